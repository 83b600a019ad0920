//! The keys of `[[error_pages]]`.

use super::KeyDefault::{Absent, Required, Value};
use super::{Key, Section};

pub(super) static KEYS: &[Key] = &[
    Key {
        section: Section::ErrorPage,
        name: "statuses",
        kind: "list of integers and strings",
        default: Required,
        allowed: "one or more of 400 to 599, \"4xx\", \"5xx\"",
        description: "The statuses that the page is for.",
        example: "[404, \"5xx\"]",
    },
    Key {
        section: Section::ErrorPage,
        name: "file",
        kind: "string",
        default: Absent("the text is in `body`"),
        allowed: "the path of a file of at most 64 KiB; not beside body",
        description: "The file that has the page's text; a relative path starts at the configuration's folder.",
        example: "\"pages/unavailable.html\"",
    },
    Key {
        section: Section::ErrorPage,
        name: "body",
        kind: "string",
        default: Absent("the text is in `file`"),
        allowed: "a text of at most 64 KiB; not beside file",
        description: "The page's text itself.",
        example: "\"<h1>{status} {reason_phrase}</h1><p>{request_id}</p>\"",
    },
    Key {
        section: Section::ErrorPage,
        name: "content_type",
        kind: "string",
        default: Value("\"text/html; charset=utf-8\""),
        allowed: "a media type, at most 256 characters",
        description: "What the page is.",
        example: "\"application/json\"",
    },
    Key {
        section: Section::ErrorPage,
        name: "listeners",
        kind: "list of strings",
        default: Absent("every listener"),
        allowed: "one or more names of listeners",
        description: "Where the page holds.",
        example: "[\"web\"]",
    },
];
