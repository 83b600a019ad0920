//! What is spoken with endpoints, and what bounds HTTP/2 connections on both sides.

use std::time::Duration;

use crate::reason::{Word, words};

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
    /// Whether nothing else is spoken.
    #[must_use]
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2ClearText)
    }

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
    /// The same for all responses of a connection together. Default: what all streams may have, so that clients that do not read
    /// hold nobody else up.
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
            connection_window: 100 * 64 * 1024,
            ping_interval: Duration::ZERO,
            ping_timeout: Duration::from_secs(20),
        }
    }
}

words! {
    /// How an endpoint resets a stream (RFC 9113 §7).
    StreamReset {
        NoError = "no_error",
        ProtocolError = "protocol_error",
        InternalError = "internal_error",
        FlowControlError = "flow_control_error",
        SettingsTimeout = "settings_timeout",
        StreamClosed = "stream_closed",
        FrameSizeError = "frame_size_error",
        RefusedStream = "refused_stream",
        Cancel = "cancel",
        CompressionError = "compression_error",
        ConnectError = "connect_error",
        EnhanceYourCalm = "enhance_your_calm",
        InadequateSecurity = "inadequate_security",
        Http11Required = "http_1_1_required",
        Unknown = "unknown",
    }
}

impl StreamReset {
    /// By the code in the frame.
    pub(crate) fn of_code(code: u32) -> Self {
        let known = usize::try_from(code).ok().and_then(|code| Self::ALL.get(code));
        known.copied().unwrap_or(Self::Unknown)
    }
}

/// What a client that speaks HTTP/2 may do. The defaults are those of Envoy's guide for edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Streams open at once on a connection, those that were reset and whose exchange is not over included. Default 100.
    pub streams_max: u32,
    /// Bytes of a request's body before the first are taken. Default 64 KiB.
    pub stream_window: u32,
    /// The same for all streams of a connection together. Default 1 MiB.
    pub connection_window: u32,
    /// The score at which a connection ends. Default 10 000.
    pub misconduct_max: u32,
    /// The sum of such scores at which a client's connections end, on one worker. Default 100 000; 0: no limit.
    pub client_misconduct_max: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams_max: 100,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            misconduct_max: 10_000,
            client_misconduct_max: 100_000,
        }
    }
}
