//! `[[listeners]]`

use std::collections::HashMap;
use std::time::Duration;

use corelane_engine::snapshot::{Address, ClientHalfClose, ForwardedFields};
use ipnet::IpNet;

use super::filter::Filters;
use super::{http2, limits, rules, tls};
use crate::config::names::{self, Names};
use crate::config::reader::Reader;
use crate::config::report::Reported;
use crate::config::types::{Listener, ListenerTls};
use crate::config::{address, show, value};

/// The listeners, and what else refers to them. Also one that is wrong can be referred to.
#[derive(Debug)]
pub(super) struct Listeners<'a> {
    /// In the order of the file.
    pub(super) all: Result<Vec<Listener>, Reported>,
    /// Their names.
    pub(super) names: Names<'a>,
    /// How many there are.
    pub(super) count: usize,
    addresses: HashMap<Address, usize>,
}

impl Listeners<'_> {
    /// Where the listener with an address stands.
    pub(super) fn at(&self, address: &Address) -> Option<usize> {
        self.addresses.get(address).copied()
    }

    /// What the key `listeners` of another section names, by index; `None` without the key.
    pub(super) fn listed(&self, section: &Reader<'_>) -> Result<Option<Vec<usize>>, Reported> {
        let shown = |index: &usize| self.names.of(*index).unwrap_or_default().to_owned();
        section.items("listeners", "listener", shown, |item| self.names.find(value::string(item.get_ref())?))
    }
}

/// What `protocol` may be: nothing else yet.
const PROTOCOLS: [(&str, ()); 1] = [("http", ())];

const HALF_CLOSES: [(&str, ClientHalfClose); 2] =
    [("abort", ClientHalfClose::Abort), ("finish", ClientHalfClose::Finish)];

pub(super) fn decode<'a>(
    sections: Result<Vec<Reader<'a>>, Reported>,
    filters: &Filters<'_>,
) -> Listeners<'a> {
    let mut names = Names::new();
    let failed = sections.is_err();
    let sections = sections.unwrap_or_else(|reported| {
        names.set_incomplete(reported);
        Vec::new()
    });
    let mut addresses = HashMap::new();
    let mut all = Vec::with_capacity(sections.len());
    for (index, section) in sections.iter().enumerate() {
        let address = address(section, &mut addresses);
        let name = name(section, index, address.is_ok(), &mut names);
        if let Err(reported) = name {
            names.set_incomplete(reported);
        }
        all.push(listener(section, name, address, filters));
    }
    let all = if failed { Err(Reported) } else { super::all(all) };
    Listeners { all, names, count: sections.len(), addresses }
}

fn listener(
    section: &Reader<'_>,
    name: Result<&str, Reported>,
    address: Result<Address, Reported>,
    filters: &Filters<'_>,
) -> Result<Listener, Reported> {
    let timeout = |key| section.or_default(key, |value| value::duration(value, Duration::ZERO));
    let protocol = section.or_default("protocol", |value| value::choice(value, &PROTOCOLS));
    let head_timeout = timeout("head_timeout");
    let body_idle_timeout = timeout("body_idle_timeout");
    let keepalive_timeout = timeout("keepalive_timeout");
    let send_timeout = timeout("send_timeout");
    let head_bytes_max = section.or_default("head_bytes_max", |value| value::size(value, HEAD_BYTES));
    let fields_max = section.or_default("fields_max", |value| value::integer(value, 1..=1000));
    let trusted_proxies = trusted_proxies(section);
    let forwarded = forwarded(section);
    let client_half_close =
        section.or_default("client_half_close", |value| value::choice(value, &HALF_CLOSES));
    let http2 = section.optional("http2", value::boolean);
    let limits = limits::decode(section, head_bytes_max);
    let rules = rules::decode(section);
    let filters = filters.listed(section);
    let tls = tls::decode(section, http2.unwrap_or_default());
    let is_spoken = http2.and_then(|http2| match &tls {
        Ok(tls) => Ok(tls.as_ref().map_or(http2 == Some(true), ListenerTls::speaks_http2)),
        Err(reported) => Err(*reported),
    });
    let http2 = http2::decode(section, is_spoken);
    protocol?;
    Ok(Listener {
        name: name?.into(),
        address: address?,
        head_timeout: head_timeout?,
        body_idle_timeout: body_idle_timeout?,
        keepalive_timeout: keepalive_timeout?,
        send_timeout: send_timeout?,
        head_bytes_max: head_bytes_max?,
        fields_max: fields_max? as usize,
        trusted_proxies: trusted_proxies?,
        forwarded: forwarded?,
        client_half_close: client_half_close?,
        http2: http2?,
        limits: limits?,
        rules: rules?,
        filters: filters?,
        tls: tls?,
    })
}

/// The largest message head that can be allowed, on both sides.
pub(super) const HEAD_BYTES: std::ops::RangeInclusive<usize> = 1 << 10..=64 << 10;

fn address(section: &Reader<'_>, known: &mut HashMap<Address, usize>) -> Result<Address, Reported> {
    let address = section.required("address", |value| address::listening(value::string(value)?))?;
    let at = section.at("address");
    if let Some(first) = known.get(&address) {
        let (shown, line) = (show::quoted(&address.to_string()), section.report().line(*first));
        let message = format!("address {shown} is already used by the listener in line {line}");
        return Err(section.report().wrong(at, message));
    }
    known.insert(address.clone(), at);
    Ok(address)
}

/// The name; without one, the address as it is written. `unique` says that the address is worth complaining about.
fn name<'a>(
    section: &Reader<'a>,
    index: usize,
    unique: bool,
    names: &mut Names<'a>,
) -> Result<&'a str, Reported> {
    let named = section.optional("name", |value| names::checked(value::string(value)?))?;
    if let Some(name) = named {
        let at = section.at("name");
        let first = names.add(name, index, at);
        return first.map(|()| name).map_err(|first| names::twice(section.report(), at, "name", name, first));
    }
    let name = section.text("address").ok_or(Reported)?;
    let at = section.at("address");
    match names.add(name, index, at) {
        Err(first) if unique => Err(names::twice(section.report(), at, "name", name, first)),
        Err(_) => Err(Reported),
        Ok(()) => Ok(name),
    }
}

fn trusted_proxies(section: &Reader<'_>) -> Result<Vec<IpNet>, Reported> {
    section.any_items("trusted_proxies", "trusted proxy", IpNet::to_string, |item| {
        Ok(address::network(value::string(item.get_ref())?)?)
    })
}

fn forwarded(section: &Reader<'_>) -> Result<ForwardedFields, Reported> {
    const FIELDS: [(&str, &str); 3] =
        [("x-forwarded", "x-forwarded"), ("forwarded", "forwarded"), ("via", "via")];
    if !section.has("forwarded_fields") {
        return Ok(ForwardedFields { x_forwarded: true, forwarded: true, via: true });
    }
    let fields = section.any_items(
        "forwarded_fields",
        "forwarded field",
        |field: &&str| field.to_string(),
        |item| Ok(value::choice(item.get_ref(), &FIELDS)?),
    )?;
    let has = |name| fields.contains(&name);
    Ok(ForwardedFields { x_forwarded: has("x-forwarded"), forwarded: has("forwarded"), via: has("via") })
}
