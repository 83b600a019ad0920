//! How much a client may ask: keys of `[[listeners]]`.

use std::ops::RangeInclusive;

use corelane_engine::snapshot::ListenerLimits;

use super::listener::HEAD_BYTES;
use crate::config::reader::Reader;
use crate::config::report::Reported;
use crate::config::{size, value};

pub(super) fn decode(
    section: &Reader<'_>,
    head_bytes_max: Result<usize, Reported>,
) -> Result<ListenerLimits, Reported> {
    let integer = |key, bounds: RangeInclusive<u32>| {
        section.or_default(key, move |value| value::integer(value, bounds.clone()))
    };
    let size = |key, bounds: RangeInclusive<usize>| {
        section.or_default(key, move |value| value::size(value, bounds.clone()))
    };
    let request_line_bytes_max = size("request_line_bytes_max", HEAD_BYTES)
        .and_then(|bytes| refuse_above_head(section, bytes, head_bytes_max));
    let field_bytes_max = size("field_bytes_max", 256..=*HEAD_BYTES.end());
    let pipeline_bytes_max = size("pipeline_bytes_max", 1 << 10..=64 << 10);
    let requests_max = integer("requests_max", 0..=NUMBER_MAX);
    let connections_max = integer("connections_max", 1..=CONNECTIONS_MAX);
    let client_connections_max = integer("client_connections_max", 0..=CONNECTIONS_MAX);
    let body_rate_min = integer("body_rate_min", 0..=NUMBER_MAX);
    let send_rate_min = integer("send_rate_min", 0..=NUMBER_MAX);
    Ok(ListenerLimits {
        request_line_bytes_max: request_line_bytes_max?,
        field_bytes_max: field_bytes_max?,
        pipeline_bytes_max: pipeline_bytes_max?,
        requests_max: requests_max?.into(),
        body_rate_min: body_rate_min?.into(),
        send_rate_min: send_rate_min?.into(),
        connections_max: connections_max? as usize,
        client_connections_max: client_connections_max?,
    })
}

/// A request line is part of its head: a greater limit than the head's would never be reached. The default may be
/// greater, as whoever lowers `head_bytes_max` means the line too.
fn refuse_above_head(
    section: &Reader<'_>,
    bytes: usize,
    head_bytes_max: Result<usize, Reported>,
) -> Result<usize, Reported> {
    const KEY: &str = "request_line_bytes_max";
    let Ok(head) = head_bytes_max else { return Ok(bytes) };
    if !section.has(KEY) || bytes <= head {
        return Ok(bytes);
    }
    let default = if section.has("head_bytes_max") { "" } else { ", its default" };
    let (bytes, head) = (size::shown(bytes), size::shown(head));
    let message = format!(
        "{KEY} {bytes} is above head_bytes_max {head}{default}; the request line is a part of the head"
    );
    Err(section.report().wrong(section.at(KEY), message))
}

/// Beyond what any kernel can hold open.
const CONNECTIONS_MAX: u32 = 10_000_000;

/// The largest count and rate: a number that is typed with a digit too many is told.
const NUMBER_MAX: u32 = 1_000_000_000;
