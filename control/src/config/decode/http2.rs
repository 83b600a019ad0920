//! What clients may do that speak HTTP/2: keys of `[[listeners]]`.

use std::ops::RangeInclusive;

use corelane_engine::protocol::Http2Limits;

use crate::config::reader::Reader;
use crate::config::report::Reported;
use crate::config::{size, value};

/// `None`: HTTP/2 is not spoken.
pub(super) fn decode(
    section: &Reader<'_>,
    is_spoken: Result<bool, Reported>,
) -> Result<Option<Http2Limits>, Reported> {
    let limits = limits(section);
    if is_spoken? {
        return limits.map(Some);
    }
    limits?;
    let mut refused = Ok(None);
    for key in KEYS.into_iter().filter(|key| section.has(key)) {
        let text = format!("{key} has no meaning where HTTP/2 is not spoken; write http2 = true, too");
        refused = Err(section.report().wrong(section.at(key), text));
    }
    refused
}

fn limits(section: &Reader<'_>) -> Result<Http2Limits, Reported> {
    let integer = |key, bounds: RangeInclusive<u32>| {
        section.or_default(key, move |value| value::integer(value, bounds.clone()))
    };
    let window = |key| section.or_default(key, |value| value::size(value, WINDOW_BYTES));
    let [streams_max, stream_window, connection_window, misconduct_max, client_misconduct_max] = KEYS;
    let streams_max = integer(streams_max, 1..=STREAMS_MAX);
    let (of_stream, of_connection) = (window(stream_window), window(connection_window));
    let misconduct_max = integer(misconduct_max, MISCONDUCT_LEAST..=MISCONDUCT_MAX);
    let client_misconduct_max = integer(client_misconduct_max, 0..=MISCONDUCT_MAX);
    let (of_stream, of_connection) = (of_stream?, of_connection?);
    if of_stream > of_connection {
        let default = if section.has(connection_window) { "" } else { ", its default" };
        let (shown, most) = (size::shown(of_stream), size::shown(of_connection));
        let text = format!(
            "{stream_window} {shown} is above {connection_window} {most}{default}; a stream's bytes are the connection's, too"
        );
        let key = if section.has(stream_window) { stream_window } else { connection_window };
        return Err(section.report().wrong(section.at(key), text));
    }
    let bytes = |window: usize| u32::try_from(window).expect("WINDOW_BYTES ends below 2³²");
    Ok(Http2Limits {
        streams_max: streams_max?,
        stream_window: bytes(of_stream),
        connection_window: bytes(of_connection),
        misconduct_max: misconduct_max?,
        client_misconduct_max: client_misconduct_max?,
    })
}

const KEYS: [&str; 5] = [
    "http2_streams_max",
    "http2_stream_window",
    "http2_connection_window",
    "http2_misconduct_max",
    "http2_client_misconduct_max",
];

/// Each holds an exchange, and `check` counts them.
const STREAMS_MAX: u32 = 1000;

/// From what clients begin with, before they know ours (RFC 9113 §6.9.2), rounded up.
const WINDOW_BYTES: RangeInclusive<usize> = 64 << 10..=64 << 20;

/// Less would end connections for what every client says at their beginning.
const MISCONDUCT_LEAST: u32 = 1000;

const MISCONDUCT_MAX: u32 = 1_000_000_000;
