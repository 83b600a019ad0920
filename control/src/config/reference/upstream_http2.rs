//! The keys of `[upstreams.NAME]` that are about what is spoken there.

use super::KeyDefault::{Absent, Value};
use super::{DURATION, Key, Section};

pub(super) static KEYS: &[Key] = &[
    Key {
        section: Section::Upstream,
        name: "protocol",
        kind: "string",
        default: Value("\"h1\""),
        allowed: "\"h1\", \"h2\", \"h2c\", \"auto\"",
        description: "What its endpoints speak: HTTP/1.1, HTTP/2, or what is agreed on in the TLS handshake.",
        example: "\"h2c\"",
    },
    Key {
        section: Section::Upstream,
        name: "http2_streams_max",
        kind: "integer",
        default: Value("100"),
        allowed: "1 to 65535; not with the protocol h1",
        description: "How many requests share an HTTP/2 connection at once.",
        example: "250",
    },
    Key {
        section: Section::Upstream,
        name: "http2_stream_window",
        kind: "size",
        default: Value("\"64KiB\""),
        allowed: WINDOW,
        description: "How much of a response is received before the client takes it.",
        example: "\"256KiB\"",
    },
    Key {
        section: Section::Upstream,
        name: "http2_connection_window",
        kind: "size",
        default: Absent("as much as all of its requests may have"),
        allowed: WINDOW,
        description: "The same for all responses of a connection together.",
        example: "\"4MiB\"",
    },
    Key {
        section: Section::Upstream,
        name: "http2_ping_interval",
        kind: "duration",
        default: Value("\"0s\""),
        allowed: "\"0s\" to \"8760h\"; \"0s\" is never; not with the protocol h1",
        description: "After how long without a byte on a connection with requests the endpoint is asked whether it is there.",
        example: "\"30s\"",
    },
    Key {
        section: Section::Upstream,
        name: "http2_ping_timeout",
        kind: "duration",
        default: Value("\"20s\""),
        allowed: DURATION,
        description: "The time in which it must answer that, or the connection ends.",
        example: "\"5s\"",
    },
];

const WINDOW: &str = "\"64KiB\" to \"16MiB\"; not with the protocol h1";
