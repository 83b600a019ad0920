//! The keys of `[tracing]`.

use super::KeyDefault::{Absent, Required, Value};
use super::process::REDACTED;
use super::{Key, Section};

pub(super) static KEYS: &[Key] = &[
    Key {
        section: Section::Tracing,
        name: "endpoint",
        kind: "string",
        default: Required,
        allowed: "http://host, with or without a port (4318, for gRPC 4317) and, for http/protobuf, a path",
        description: "The collector that spans are sent to; \"/v1/traces\" is added to a path that does not end so.",
        example: "\"http://127.0.0.1:4318\"",
    },
    Key {
        section: Section::Tracing,
        name: "protocol",
        kind: "string",
        default: Value("\"http/protobuf\""),
        allowed: "\"http/protobuf\", \"grpc\"",
        description: "How they are sent (OTLP).",
        example: "\"grpc\"",
    },
    Key {
        section: Section::Tracing,
        name: "sample",
        kind: "string",
        default: Value("\"1%\""),
        allowed: "\"0%\" to \"100%\", with at most four decimals",
        description: "The share of requests that is recorded, where no client decides it.",
        example: "\"0.1%\"",
    },
    Key {
        section: Section::Tracing,
        name: "parents",
        kind: "string",
        default: Value("\"trusted\""),
        allowed: "\"trusted\", \"all\", \"none\"",
        description: "Which clients decide by their traceparent whether a request is recorded; \"trusted\" is those in \
                      trusted_proxies of the listener.",
        example: "\"all\"",
    },
    Key {
        section: Section::Tracing,
        name: "service_name",
        kind: "string",
        default: Value("\"corelane\""),
        allowed: "1 to 255 characters",
        description: "What the spans are said to come from: service.name.",
        example: "\"edge-fra\"",
    },
    Key {
        section: Section::Tracing,
        name: "headers",
        kind: "table",
        default: Absent("none"),
        allowed: "{ NAME = \"value\" }",
        description: "Fields of each export, as for a token; never shown.",
        example: "{ Authorization = \"Bearer ${OTLP_TOKEN:-none}\" }",
    },
    Key {
        section: Section::Tracing,
        name: "redact_query",
        kind: "list of strings",
        default: Value(REDACTED),
        allowed: "at most 100 names of parameters",
        description: "Parameters of queries whose values are written as ***; those with API keys are besides.",
        example: "[\"token\", \"session\"]",
    },
    Key {
        section: Section::Tracing,
        name: "timeout",
        kind: "duration",
        default: Value("\"10s\""),
        allowed: "\"100ms\" to \"8760h\"",
        description: "An export that takes longer has failed.",
        example: "\"3s\"",
    },
];
