//! The keys of `tls` of an upstream.

use super::KeyDefault::{Absent, Value};
use super::{Key, Section};

pub(super) static KEYS: &[Key] = &[
    Key {
        section: Section::Upstream,
        name: "tls",
        kind: "table",
        default: Absent("clear text, but for endpoints that are https://"),
        allowed: "{ ca = \"...\", ... }; { } with the system's authorities",
        description: "How its endpoints are spoken to over TLS; all of them are then.",
        example: "{ ca = \"internal.pem\" }",
    },
    Key {
        section: Section::UpstreamTls,
        name: "server_name",
        kind: "string",
        default: Absent("the endpoint's name, or its address"),
        allowed: "a name or an IP address",
        description: "The name that is asked for, and that the certificate must be for.",
        example: "\"app.internal\"",
    },
    Key {
        section: Section::UpstreamTls,
        name: "ca",
        kind: "string",
        default: Absent("the system's authorities"),
        allowed: "the path of a PEM file",
        description: "The authorities whose certificates are taken.",
        example: "\"internal.pem\"",
    },
    Key {
        section: Section::UpstreamTls,
        name: "verify",
        kind: "boolean",
        default: Value("true"),
        allowed: "true, false",
        description: "Whether the certificate must be good and for the right name.",
        example: "false",
    },
    Key {
        section: Section::UpstreamTls,
        name: "cert",
        kind: "string",
        default: Absent("none is shown"),
        allowed: "the path of a PEM file",
        description: "The certificate that is shown to an endpoint that asks for one.",
        example: "\"client.pem\"",
    },
    Key {
        section: Section::UpstreamTls,
        name: "key",
        kind: "string",
        default: Absent("the file of `cert`"),
        allowed: "the path of a PEM file",
        description: "Its private key.",
        example: "\"client.key\"",
    },
    Key {
        section: Section::UpstreamTls,
        name: "min_version",
        kind: "string",
        default: Value("\"1.2\""),
        allowed: "\"1.2\", \"1.3\"",
        description: "The oldest version of TLS that is spoken.",
        example: "\"1.3\"",
    },
    Key {
        section: Section::UpstreamTls,
        name: "alpn",
        kind: "list of strings",
        default: Value("[\"http/1.1\"]"),
        allowed: "\"http/1.1\"; empty: nothing is offered",
        description: "The protocols that are offered (RFC 7301).",
        example: "[]",
    },
];
