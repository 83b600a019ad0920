//! What a limit counts by: parts of a request, made one number.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::IpAddr;

use corelane_semantics::host_name;

use crate::context::Context;
use crate::edits::Edits;
use crate::field_name::{FieldName, is_token_byte};
use crate::filters::Build;
use crate::settings::{self, Item, Kind, Read};

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's network: so many bits of its address. Over a Unix socket all clients are one.
    Client {
        /// For IPv4, at most 32.
        ipv4_prefix: u8,
        /// For IPv6, at most 128. A home or a machine has 64 bits of addresses to itself.
        ipv6_prefix: u8,
    },
    /// The first value of a field. All requests without it are one.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A parameter of the query, as it stands there.
    Query(String),
    /// The host, in lower case and without its port.
    Host,
    /// Who `basic_auth` let in, before this filter.
    User,
    /// Whose key `api_key` found, before this filter.
    ApiKey,
}

impl KeyPart {
    /// The client's IPv4 address or IPv6 network of 64 bits.
    pub const CLIENT: Self = Self::Client { ipv4_prefix: 32, ipv6_prefix: 64 };
}

/// The keys of a part that is a table.
pub(crate) const PART: &[settings::Key] = &[
    settings::Key::optional("header", Kind::Text, "no field").says(
        "The first value of a field.",
        "a field's name",
        "\"X-Tenant\"",
    ),
    settings::Key::optional("cookie", Kind::Text, "no cookie").says("A cookie.", "a name", "\"session\""),
    settings::Key::optional("query", Kind::Text, "no parameter").says(
        "A parameter of the query.",
        "a name",
        "\"token\"",
    ),
    settings::Key::optional("client", Kind::Table(CLIENT), "not the client").says(
        "The client's network.",
        "a table",
        "{ ipv4_prefix = 24, ipv6_prefix = 48 }",
    ),
];

const CLIENT: &[settings::Key] = &[
    settings::Key::or("ipv4_prefix", Kind::Integer, "32").says("Bits of an IPv4 address.", "0 to 32", "24"),
    settings::Key::or("ipv6_prefix", Kind::Integer, "64").says("Bits of an IPv6 address.", "0 to 128", "48"),
];

/// Reads `key`.
pub(crate) fn parts(table: &dyn Read) -> Vec<KeyPart> {
    let mut parts = Vec::new();
    table.items("key", &mut |item| match item {
        Item::Text(word) => match &*word {
            "client" => parts.push(KeyPart::CLIENT),
            "host" => parts.push(KeyPart::Host),
            "user" => parts.push(KeyPart::User),
            "api_key" => parts.push(KeyPart::ApiKey),
            _ => table.wrong(
                "key",
                format!("{word:?} is none of \"client\", \"host\", \"user\", \"api_key\", and no table"),
            ),
        },
        Item::Table(table) => {
            let texts = [
                table.text("header").map(KeyPart::Header),
                table.text("cookie").map(KeyPart::Cookie),
                table.text("query").map(KeyPart::Query),
            ];
            parts.extend(texts.into_iter().flatten());
            table.table("client", &mut |table| {
                let bits = |key, most| {
                    let bits = table.integer(key, 0..=most);
                    bits.and_then(|bits| u8::try_from(bits).ok()).unwrap_or_default()
                };
                let (ipv4_prefix, ipv6_prefix) = (bits("ipv4_prefix", 32), bits("ipv6_prefix", 128));
                parts.push(KeyPart::Client { ipv4_prefix, ipv6_prefix });
            });
        }
    });
    parts
}

/// The parts, compiled.
#[derive(Debug)]
pub(crate) struct Key {
    parts: Box<[Part]>,
    keys: RandomState,
}

#[derive(Debug)]
enum Part {
    Client { ipv4_mask: u32, ipv6_mask: u128 },
    Header(FieldName),
    Cookie(Box<[u8]>),
    Query(Box<[u8]>),
    Host,
    User,
    ApiKey,
}

impl Key {
    pub(crate) fn compile(parts: &[KeyPart], build: &mut Build<'_>) -> Self {
        let mut compiled = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            match Part::compile(part) {
                Ok(part) => compiled.push(part),
                Err(why) => build.problem(format!("key[{index}]"), why),
            }
        }
        if parts.is_empty() {
            build.problem("key", "names nothing; for all requests together use host");
        }
        Self { parts: compiled.into(), keys: build.keys().clone() }
    }

    /// The key of a request, never 0. The chance that two keys are one number is 2⁻⁶⁴.
    pub(crate) fn of(&self, context: &Context<'_>, edits: &Edits) -> u64 {
        let mut hasher = self.keys.build_hasher();
        // Each part is closed by its length, so that what ends one cannot begin the next.
        let mut write = |value: Option<&[u8]>| {
            let value = match value {
                Some(value) => {
                    hasher.write(value);
                    value.len() as u64
                }
                None => u64::MAX,
            };
            hasher.write_u64(value);
        };
        for part in &self.parts {
            match part {
                Part::Client { ipv4_mask, ipv6_mask } => match context
                    .client
                    .map(|client| client.to_canonical())
                {
                    Some(IpAddr::V4(client)) => write(Some(&(client.to_bits() & ipv4_mask).to_be_bytes())),
                    Some(IpAddr::V6(client)) => write(Some(&(client.to_bits() & ipv6_mask).to_be_bytes())),
                    None => write(None),
                },
                Part::Header(name) => write(edits.field(name, context)),
                Part::Cookie(name) => write(edits.cookie(name, context)),
                Part::Query(name) => write(edits.query_parameter(name, context)),
                Part::Host => {
                    for piece in host_name(context.host).chunks(64) {
                        let mut lower = [0; 64];
                        let lower = &mut lower[..piece.len()];
                        lower.copy_from_slice(piece);
                        lower.make_ascii_lowercase();
                        write(Some(lower));
                    }
                }
                Part::User => write(Some(edits.user())),
                Part::ApiKey => write(Some(edits.api_key())),
            }
        }
        hasher.finish().max(1)
    }
}

impl Part {
    fn compile(part: &KeyPart) -> Result<Self, String> {
        Ok(match part {
            KeyPart::Client { ipv4_prefix, ipv6_prefix } => {
                if *ipv4_prefix > 32 || *ipv6_prefix > 128 {
                    return Err(
                        "a prefix longer than the address: at most 32 for IPv4 and 128 for IPv6".to_owned()
                    );
                }
                Self::Client {
                    ipv4_mask: u32::MAX.checked_shl(32 - u32::from(*ipv4_prefix)).unwrap_or(0),
                    ipv6_mask: u128::MAX.checked_shl(128 - u32::from(*ipv6_prefix)).unwrap_or(0),
                }
            }
            KeyPart::Header(name) => {
                Self::Header(FieldName::parse(name).map_err(|why| format!("{name:?}: {why}"))?)
            }
            KeyPart::Cookie(name) if !name.is_empty() && name.bytes().all(is_token_byte) => {
                Self::Cookie(name.as_bytes().into())
            }
            KeyPart::Cookie(name) => return Err(format!("{name:?} is not the name of a cookie")),
            KeyPart::Query(name) if name.is_empty() => return Err("a parameter without a name".to_owned()),
            KeyPart::Query(name) => Self::Query(name.as_bytes().into()),
            KeyPart::Host => Self::Host,
            KeyPart::User => Self::User,
            KeyPart::ApiKey => Self::ApiKey,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::Filters;
    use crate::fixtures::{Sent, environment};

    fn key(parts: &[KeyPart]) -> Key {
        let filters = Filters::default();
        Key::compile(parts, &mut filters.build(None, &environment))
    }

    #[test]
    fn keys_differ_where_their_parts_do() {
        let of = |key: &Key, sent: &Sent| key.of(&sent.context(), &Edits::default());
        let clients = key(&[KeyPart::CLIENT]);
        let from = |client| Sent { client, ..Sent::get("/") };
        assert_eq!(of(&clients, &from("192.0.2.1")), of(&clients, &from("::ffff:192.0.2.1")));
        assert_ne!(of(&clients, &from("192.0.2.1")), of(&clients, &from("192.0.2.2")));
        assert_eq!(of(&clients, &from("2001:db8::1")), of(&clients, &from("2001:db8::2:0:0:1")));
        assert_ne!(of(&clients, &from("2001:db8::1")), of(&clients, &from("2001:db8:0:1::1")));
        assert_eq!(of(&clients, &from("")), of(&clients, &from("")));
        let all = key(&[KeyPart::Client { ipv4_prefix: 0, ipv6_prefix: 0 }]);
        assert_eq!(of(&all, &from("192.0.2.1")), of(&all, &from("203.0.113.9")));

        let parts = [KeyPart::Header("X-A".into()), KeyPart::Cookie("c".into()), KeyPart::Query("q".into())];
        let parts = key(&parts);
        let different = [
            Sent::get("/"),
            Sent::get("/?q="),
            Sent::get("/?q=1"),
            Sent::with("/", "X-A: 1\r\n"),
            Sent::with("/", "X-A: \r\n"),
            Sent::with("/", "Cookie: c=1\r\n"),
            Sent::with("/?q=1", "Cookie: c=1\r\n"),
        ];
        for (index, one) in different.iter().enumerate() {
            for other in &different[index + 1..] {
                assert_ne!(of(&parts, one), of(&parts, other));
            }
        }

        let hosts = key(&[KeyPart::Host]);
        let host = |host: &str| Sent::new(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(of(&hosts, &host("A.example:80")), of(&hosts, &host("a.example")));
        assert_eq!(of(&hosts, &host("[::1]:80")), of(&hosts, &host("[::1]")));
        assert_ne!(of(&hosts, &host("b.example")), of(&hosts, &host("a.example")));
    }
}
