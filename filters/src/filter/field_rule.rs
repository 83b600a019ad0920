//! What `user_agent` and `referer` have in common: a field's value is let through, or refused.

use crate::filters::Build;
use crate::pattern::{Caches, Pattern};
use crate::settings::{Item, Key, Kind, Read};

/// Some values of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// This one.
    Exact(String),
    /// Those in which the expression finds something.
    Regex(String),
    /// No field, or an empty one.
    Empty,
}

/// The lists. `deny` goes before `allow`; with `allow`, what stands in neither is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What is let through.
    pub allow: Vec<Values>,
    /// What is refused.
    pub deny: Vec<Values>,
}

const VALUES: &[Key] = &[
    Key::optional("exact", Kind::Text, "not this one alone").says("This value.", "a text", "\"curl/8.5.0\""),
    Key::optional("regex", Kind::Text, "no expression").says(
        "Values in which the expression finds something.",
        "a regular expression",
        "\"(?i)bot\"",
    ),
    Key::optional("empty", Kind::Flag, "not the empty one").says(
        "No field, or an empty one.",
        "true",
        "true",
    ),
];

/// The keys of its table.
pub(super) const KEYS: &[Key] = &[
    Key::optional("allow", Kind::Items(VALUES), "everything but deny").says(
        "What is let through.",
        "texts, { regex = \"...\" } and { empty = true }",
        "[{ regex = \"^Mozilla/\" }]",
    ),
    Key::optional("deny", Kind::Items(VALUES), "nothing beside allow").says(
        "What is refused; it goes before allow.",
        "texts, { regex = \"...\" } and { empty = true }",
        "[{ regex = \"(?i)bot\" }, { empty = true }]",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let values = |key: &str| {
            let mut values = Vec::new();
            table.items(key, &mut |item| match item {
                Item::Text(text) => values.push(Values::Exact(text)),
                Item::Table(table) => {
                    let exact = table.text("exact").map(Values::Exact);
                    let regex = table.text("regex").map(Values::Regex);
                    let empty = table.flag("empty").unwrap_or_default().then_some(Values::Empty);
                    values.extend(exact.into_iter().chain(regex).chain(empty));
                }
            });
            values
        };
        Some(Self { allow: values("allow"), deny: values("deny") })
    }
}

/// Two lists, compiled.
#[derive(Debug)]
pub(crate) struct Rules {
    allow: Option<Set>,
    deny: Set,
}

#[derive(Debug, Default)]
struct Set {
    exact: Box<[Box<[u8]>]>,
    patterns: Option<Pattern>,
    has_empty: bool,
}

impl Rules {
    pub(crate) fn compile(settings: &Settings, build: &mut Build<'_>) -> Self {
        if settings == &Settings::default() {
            build.problem("", "lets everything through: give allow or deny");
        }
        let allow = Set::compile("allow", &settings.allow, build);
        let deny = Set::compile("deny", &settings.deny, build);
        Self { allow: (!settings.allow.is_empty()).then_some(allow), deny }
    }

    /// Whether a value is let through; an empty one for no field.
    pub(crate) fn allow(&self, value: &[u8], caches: &mut Caches) -> bool {
        let is_allowed = self.allow.as_ref().is_none_or(|allow| allow.contains(value, caches));
        is_allowed && !self.deny.contains(value, caches)
    }
}

impl Set {
    fn compile(key: &str, values: &[Values], build: &mut Build<'_>) -> Self {
        let (mut exact, mut texts) = (Vec::new(), Vec::new());
        for value in values {
            match value {
                Values::Exact(text) => exact.push(text.as_bytes().into()),
                Values::Regex(text) => texts.push(text.as_str()),
                Values::Empty => {}
            }
        }
        Self {
            exact: exact.into(),
            patterns: if texts.is_empty() { None } else { build.pattern(key, &texts) },
            has_empty: values.contains(&Values::Empty),
        }
    }

    fn contains(&self, value: &[u8], caches: &mut Caches) -> bool {
        if value.is_empty() {
            return self.has_empty;
        }
        self.exact.iter().any(|exact| **exact == *value)
            || self.patterns.as_ref().is_some_and(|patterns| patterns.is_match(value, caches))
    }
}
