//! The keys of `[[routes]]` and of their `path`.

use super::KeyDefault::{Absent, Required, Value};
use super::{Key, Section};

pub(super) static KEYS: &[Key] = &[
    Key {
        section: Section::Route,
        name: "name",
        kind: "string",
        default: Absent("the upstream's name"),
        allowed: "1 to 100 characters, unique among the routes",
        description: "What logs and metrics call it.",
        example: "\"api\"",
    },
    Key {
        section: Section::Route,
        name: "listeners",
        kind: "list of strings",
        default: Absent("every http listener"),
        allowed: "one or more names of listeners",
        description: "Where the route holds.",
        example: "[\"web\"]",
    },
    Key {
        section: Section::Route,
        name: "hosts",
        kind: "list of strings",
        default: Absent("any host"),
        allowed: "one or more host names or IP addresses without a port; *.name",
        description: "The hosts that requests may be for.",
        example: "[\"api.example.com\", \"*.example.org\"]",
    },
    Key {
        section: Section::Route,
        name: "path",
        kind: "table",
        default: Value("{ prefix = \"/\" }"),
        allowed: "{ prefix = \"/...\" } or { exact = \"/...\" }",
        description: "The paths that requests may be for.",
        example: "{ prefix = \"/api\" }",
    },
    Key {
        section: Section::Route,
        name: "upstream",
        kind: "string",
        default: Required,
        allowed: "the name of an upstream",
        description: "Where the requests go.",
        example: "\"api\"",
    },
    Key {
        section: Section::Route,
        name: "host",
        kind: "string",
        default: Value("\"preserve\""),
        allowed: "\"preserve\" or a host, with or without a port",
        description: "The Host field towards the upstream; \"preserve\" is the client's own.",
        example: "\"app.internal\"",
    },
    Key {
        section: Section::Path,
        name: "prefix",
        kind: "string",
        default: Absent("not matched by prefix"),
        allowed: "a path that begins with /; not beside exact",
        description: "This path and all below it, by whole segments.",
        example: "\"/api\"",
    },
    Key {
        section: Section::Path,
        name: "exact",
        kind: "string",
        default: Absent("not matched exactly"),
        allowed: "a path that begins with /; not beside prefix",
        description: "This path alone.",
        example: "\"/favicon.ico\"",
    },
];
