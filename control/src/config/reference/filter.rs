//! The key that every filter has; the others are those of its type ([`corelane_filters::Settings::keys`]).

use super::KeyDefault::Required;
use super::{Key, Section};

pub(super) static KEYS: &[Key] = &[Key {
    section: Section::Filter,
    name: "type",
    kind: "string",
    default: Required,
    allowed: "one of the types in docs/filters",
    description: "What the filter does; its other keys are those of the type.",
    example: "\"security_headers\"",
}];
