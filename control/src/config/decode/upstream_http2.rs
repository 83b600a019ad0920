//! What the endpoints of an upstream speak: `protocol`, and the keys of HTTP/2.

use std::ops::RangeInclusive;
use std::time::Duration;

use corelane_engine::protocol::{Http2Rules, UpstreamProtocol};
use corelane_engine::retry::Retry;

use crate::config::reader::Reader;
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::types::Endpoint;
use crate::config::{show, value};

const PROTOCOLS: [(&str, UpstreamProtocol); 4] = [
    ("h1", UpstreamProtocol::Http1),
    ("h2", UpstreamProtocol::Http2),
    ("h2c", UpstreamProtocol::Http2ClearText),
    ("auto", UpstreamProtocol::Negotiated),
];

/// RFC 9113 §6.9.1.
const CONNECTION_WINDOW_MAX: u32 = (1 << 31) - 1;

/// Windows might be larger; this is memory.
const WINDOW: RangeInclusive<usize> = 64 << 10..=16 << 20;

pub(super) fn protocol(section: &Reader<'_>) -> Result<UpstreamProtocol, Reported> {
    section.or_default("protocol", |value| value::choice(value, &PROTOCOLS))
}

/// Whether what is spoken fits the endpoints and the retries.
pub(super) fn check(
    section: &Reader<'_>,
    protocol: UpstreamProtocol,
    endpoints: &[Endpoint],
    retry: Option<&Retry>,
) -> Result<(), Reported> {
    let wrong = |key: &str, text: String| Err(section.report().wrong(section.at(key), text));
    let shown = |endpoint: &Endpoint| show::quoted(&endpoint.target.to_string());
    match protocol {
        UpstreamProtocol::Http1 => {
            let of_http2 = |name: &&str| name.starts_with("http2_") && section.has(name);
            if let Some(name) = Section::Upstream.keys().map(|key| key.name).find(of_http2) {
                let text = format!("{name} has no meaning with the protocol \"h1\"; leave it out");
                return wrong(name, text);
            }
            return Ok(());
        }
        UpstreamProtocol::Http2 => {
            if let Some(endpoint) = endpoints.iter().find(|it| !it.tls) {
                let text = format!(
                    "protocol \"h2\" is spoken over TLS, and the endpoint {} is in clear text; \
                     write protocol = \"h2c\", or tls = {{ }}",
                    shown(endpoint)
                );
                return wrong("protocol", text);
            }
        }
        UpstreamProtocol::Http2ClearText => {
            if let Some(endpoint) = endpoints.iter().find(|it| it.tls) {
                let text = format!(
                    "protocol \"h2c\" is spoken in clear text, and the endpoint {} speaks TLS; write protocol = \"h2\"",
                    shown(endpoint)
                );
                return wrong("protocol", text);
            }
        }
        UpstreamProtocol::Negotiated => {}
    }
    if retry.is_some_and(|retry| !retry.hedge_after.is_zero()) {
        let text = "protocol has to be \"h1\" where requests are hedged (retry.hedge_after)".to_owned();
        return wrong("protocol", text);
    }
    Ok(())
}

pub(super) fn rules(section: &Reader<'_>) -> Result<Http2Rules, Reported> {
    let streams_max = section.or_default("http2_streams_max", |value| value::integer(value, 1..=65_535));
    let stream_window = section.or_default("http2_stream_window", |value| value::size(value, WINDOW));
    let connection_window = section.optional("http2_connection_window", |value| value::size(value, WINDOW));
    let duration = |key| section.or_default(key, |value| value::duration(value, Duration::ZERO));
    let (interval, timeout) = (duration("http2_ping_interval"), duration("http2_ping_timeout"));
    let (streams_max, stream_window) = (streams_max?, stream_window?);
    let all_streams = stream_window.saturating_mul(streams_max as usize);
    let window = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX).min(CONNECTION_WINDOW_MAX);
    Ok(Http2Rules {
        streams_max,
        stream_window: window(stream_window),
        connection_window: window(connection_window?.unwrap_or(all_streams)),
        ping_interval: interval?,
        ping_timeout: timeout?,
    })
}
