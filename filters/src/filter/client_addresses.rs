//! `client_addresses`: which clients are let in, by address (CIDR, RFC 4632 and RFC 4291 §2.3).
//!
//! The client is the one that trusted proxies name, if the peer is one. Lists of any length cost a binary search.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::filters::Build;
use crate::reason::Reason;
use crate::settings::{Key, Kind, Read};

/// The lists. `deny` goes before `allow`; with `allow`, who stands in neither is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Addresses and networks, and `unix` for clients over a Unix socket.
    pub allow: Vec<String>,
    /// The same.
    pub deny: Vec<String>,
}

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::optional("allow", Kind::Texts, "everybody but deny").says(
        "Who is let in.",
        "addresses, networks, \"unix\"",
        "[\"10.0.0.0/8\", \"2001:db8::/32\"]",
    ),
    Key::optional("deny", Kind::Texts, "nobody beside allow").says(
        "Who is not; it goes before allow.",
        "addresses, networks, \"unix\"",
        "[\"10.9.0.0/16\"]",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        Some(Self {
            allow: table.texts("allow").unwrap_or_default(),
            deny: table.texts("deny").unwrap_or_default(),
        })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    allow: Option<Addresses>,
    deny: Addresses,
}

/// Some addresses: ranges in order, without overlaps. IPv4 addresses are their IPv4-mapped ones (RFC 4291 §2.5.5.2).
#[derive(Debug, Default)]
struct Addresses {
    ranges: Box<[(u128, u128)]>,
    unix: bool,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        if settings == &Settings::default() {
            build.problem("", "lets everybody in: give allow or deny");
        }
        let allow = Addresses::compile("allow", &settings.allow, build);
        let deny = Addresses::compile("deny", &settings.deny, build);
        Some(Self { allow: (!settings.allow.is_empty()).then_some(allow), deny })
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let is_allowed = self.allow.as_ref().is_none_or(|allow| allow.contains(context.client));
        if is_allowed && !self.deny.contains(context.client) {
            return Flow::Passed;
        }
        edits.refuse(403, Reason::AddressDenied);
        Flow::Answered
    }
}

impl Addresses {
    fn compile(key: &str, texts: &[String], build: &mut Build<'_>) -> Self {
        let (mut ranges, mut unix) = (Vec::new(), false);
        for (index, text) in texts.iter().enumerate() {
            let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            match net {
                Some(net) if net.trunc() != net => {
                    let message =
                        format!("{text:?} has bits behind its prefix; {} is the network", net.trunc());
                    build.problem(format!("{key}[{index}]"), message);
                }
                Some(net) => ranges.push((bits(net.network()), bits(net.broadcast()))),
                None if text == "unix" => unix = true,
                None => {
                    let message = format!("{text:?} is not an address, a network or \"unix\"");
                    build.problem(format!("{key}[{index}]"), message);
                }
            }
        }
        ranges.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self { ranges: joined.into(), unix }
    }

    fn contains(&self, client: Option<IpAddr>) -> bool {
        let Some(client) = client else { return self.unix };
        let client = bits(client);
        let behind = self.ranges.partition_point(|(first, _)| *first <= client);
        behind
            .checked_sub(1)
            .and_then(|index| self.ranges.get(index))
            .is_some_and(|(_, last)| client <= *last)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    #[test]
    fn deny_goes_before_allow() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let both = Settings {
            allow: texts(&["10.0.0.0/8", "2001:db8::/32", "10.1.0.0/16", "192.0.2.1", "unix"]),
            deny: texts(&["10.2.0.0/16", "2001:db8:1::/48"]),
        };
        let deny = Settings { allow: vec![], ..both.clone() };
        for (client, by_both, by_deny) in [
            ("10.0.0.0", true, true),
            ("10.255.255.255", true, true),
            ("::ffff:10.1.2.3", true, true),
            ("10.2.0.1", false, false),
            ("11.0.0.0", false, true),
            ("9.255.255.255", false, true),
            ("192.0.2.1", true, true),
            ("192.0.2.2", false, true),
            ("2001:db8::1", true, true),
            ("2001:db8:1::1", false, false),
            ("2001:db9::1", false, true),
            ("::", false, true),
            ("", true, true),
        ] {
            for (settings, is_in) in [(&both, by_both), (&deny, by_deny)] {
                let sent = Sent { client, ..Sent::get("/") };
                let answer = sent.through(&chain([Any::ClientAddresses(settings.clone())])).answer();
                assert_eq!(answer, if is_in { "" } else { "403 address_denied\n" }, "{client}");
            }
        }
        let no_unix = Settings { allow: texts(&["0.0.0.0/0", "::/0"]), deny: vec![] };
        let sent = Sent { client: "", ..Sent::get("/") };
        assert_eq!(sent.through(&chain([Any::ClientAddresses(no_unix)])).answer(), "403 address_denied\n");
    }

    #[test]
    fn wrong_settings_are_told() {
        assert!(problems(Any::ClientAddresses(Settings::default())).contains("lets everybody in"));
        let settings =
            Settings { allow: vec!["10.0.0.1/8".into(), "1.2.3".into()], deny: vec!["::1/129".into()] };
        let text = problems(Any::ClientAddresses(settings));
        for part in
            ["allow[0]: \"10.0.0.1/8\" has bits behind its prefix; 10.0.0.0/8", "allow[1]: ", "deny[0]: "]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
