//! The keys of `outlier` of an upstream.

use super::KeyDefault::{Absent, Value};
use super::{Key, Section};

pub(super) static KEYS: &[Key] = &[
    Key {
        section: Section::Outlier,
        name: "consecutive_failures",
        kind: "integer",
        default: Value("5"),
        allowed: "0 to 1000000; 0 is never",
        description: "After how many failures in a row an endpoint is ejected.",
        example: "3",
    },
    Key {
        section: Section::Outlier,
        name: "failure_share",
        kind: "string",
        default: Absent("never for that"),
        allowed: "\"1%\" to \"100%\"",
        description: "How large a share of failures ejects an endpoint.",
        example: "\"50%\"",
    },
    Key {
        section: Section::Outlier,
        name: "requests_min",
        kind: "integer",
        default: Value("20"),
        allowed: "1 to 1000000; with failure_share only",
        description: "Of how many requests of a worker in the window that share must be, as fewer say nothing.",
        example: "100",
    },
    Key {
        section: Section::Outlier,
        name: "window",
        kind: "duration",
        default: Value("\"10s\""),
        allowed: "\"1s\" to \"8760h\"; with failure_share only",
        description: "The time over which that share is counted.",
        example: "\"1m\"",
    },
    Key {
        section: Section::Outlier,
        name: "statuses",
        kind: "list of integers and strings",
        default: Absent("those that retry.on lists"),
        allowed: "400 to 599, \"5xx\" and the like, \"500-504\" and the like",
        description: "Statuses of responses that are failures.",
        example: "[\"5xx\", 429]",
    },
    Key {
        section: Section::Outlier,
        name: "ejection_time",
        kind: "duration",
        default: Value("\"30s\""),
        allowed: "\"1s\" to \"8760h\"",
        description: "How long the first ejection lasts; each one soon after another lasts so much longer.",
        example: "\"10s\"",
    },
    Key {
        section: Section::Outlier,
        name: "ejection_time_max",
        kind: "duration",
        default: Value("\"5m\""),
        allowed: "\"1s\" to \"8760h\"; not below ejection_time",
        description: "No ejection lasts longer.",
        example: "\"1h\"",
    },
    Key {
        section: Section::Outlier,
        name: "ejected_max",
        kind: "string",
        default: Value("\"100%\""),
        allowed: "\"1%\" to \"100%\"; always one, never the last one",
        description: "How many of the endpoints may be unavailable after an ejection.",
        example: "\"50%\"",
    },
];
