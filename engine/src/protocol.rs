//! What an upstream's endpoints speak, and what its HTTP/2 connections may grow to.

use std::time::Duration;

/// What endpoints are spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 over TLS; an endpoint that does not agree on it fails.
    Http2,
    /// HTTP/2 without TLS and without being asked (RFC 9113 §3.3).
    Http2ClearText,
    /// What is agreed on in the TLS handshake; HTTP/1.1 in clear text.
    Negotiated,
}

impl UpstreamProtocol {
    /// Whether HTTP/2 may be spoken.
    #[must_use]
    pub fn may_be_http2(self) -> bool {
        self != Self::Http1
    }
}

/// What bounds an HTTP/2 connection to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Rules {
    /// Streams open at once; the endpoint may want fewer. Default 100.
    pub streams_max: u32,
    /// Bytes of a response's body that nobody has taken. Default 64 KiB.
    pub stream_window: u32,
    /// The same for all responses of a connection together. Default 1 MiB.
    pub connection_window: u32,
    /// With streams open and nothing received for so long the endpoint is asked whether it is there. Zero: never. Default 0.
    pub ping_interval: Duration,
    /// It must answer within this time, or the connection ends. Default 20 s.
    pub ping_timeout: Duration,
}

impl Default for Http2Rules {
    fn default() -> Self {
        Self {
            streams_max: 100,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            ping_interval: Duration::ZERO,
            ping_timeout: Duration::from_secs(20),
        }
    }
}
