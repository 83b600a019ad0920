//! `[resolver]`

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::report::Reported;
use crate::config::types::Resolver;
use crate::config::{address, duration, value};

/// The shortest time between two questions for one name: an answer with a TTL of 0 must not become a busy loop.
const TTL_LEAST: Duration = Duration::from_millis(100);

pub(super) fn decode(section: &Reader<'_>) -> Result<Resolver, Reported> {
    let shown = |(address, port): &(IpAddr, u16)| SocketAddr::new(*address, *port).to_string();
    let servers = section
        .items("servers", "server", shown, |item| Ok(address::server(value::string(item.get_ref())?)?));
    let ttl_min = section.or_default("ttl_min", |value| value::duration(value, TTL_LEAST));
    let ttl_max = section.or_default("ttl_max", |value| value::duration(value, TTL_LEAST));
    let ttls = ordered(section, ttl_min, ttl_max);
    let (ttl_min, ttl_max) = ttls?;
    Ok(Resolver { servers: servers?.unwrap_or_default(), ttl_min, ttl_max })
}

fn ordered(
    section: &Reader<'_>,
    min: Result<Duration, Reported>,
    max: Result<Duration, Reported>,
) -> Result<(Duration, Duration), Reported> {
    let (min, max) = (min?, max?);
    if min <= max {
        return Ok((min, max));
    }
    let (shown_min, shown_max) = (duration::shown(min), duration::shown(max));
    Err(match section.has("ttl_max") {
        true => {
            let of_min = if section.has("ttl_min") { "" } else { ", its default" };
            let message = format!("ttl_max \"{shown_max}\" is below ttl_min \"{shown_min}\"{of_min}");
            section.report().wrong(section.at("ttl_max"), message)
        }
        false => {
            let message = format!("ttl_min \"{shown_min}\" is above ttl_max \"{shown_max}\", its default");
            section.report().wrong(section.at("ttl_min"), message)
        }
    })
}
