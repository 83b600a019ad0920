//! What `user_agent` and `referer` have in common: a field's value is let through, or refused.

use super::Flow;
use crate::context::Context;
use crate::edits::Edits;
use crate::field_name::FieldName;
use crate::filters::Build;
use crate::pattern::{Caches, Pattern};
use crate::reason::Reason;
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

/// A field and what it may say, compiled.
#[derive(Debug)]
pub(crate) struct Guard {
    name: FieldName,
    reason: Reason,
    rules: Rules,
}

impl Guard {
    /// `reason` is why a request is refused.
    pub(crate) fn compile(
        field: &str,
        reason: Reason,
        settings: &Settings,
        build: &mut Build<'_>,
    ) -> Option<Self> {
        if settings == &Settings::default() {
            build.problem("", "lets everything through: give allow or deny");
        }
        let rules = Rules::compile(settings, build);
        Some(Self { name: build.field_name("", field)?, reason, rules })
    }

    pub(crate) fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let is_allowed = edits.with_caches(|edits, caches| {
            self.rules.allow(edits.field(&self.name, context).unwrap_or_default(), caches)
        });
        if is_allowed {
            return Flow::Passed;
        }
        edits.refuse(403, self.reason);
        Flow::Answered
    }
}

/// Two lists, compiled.
#[derive(Debug)]
pub(super) struct Rules {
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
    pub(super) fn compile(settings: &Settings, build: &mut Build<'_>) -> Self {
        let allow = Set::compile("allow", &settings.allow, build);
        let deny = Set::compile("deny", &settings.deny, build);
        Self { allow: (!settings.allow.is_empty()).then_some(allow), deny }
    }

    /// Whether a value is let through; an empty one for no field.
    fn allow(&self, value: &[u8], caches: &mut Caches) -> bool {
        self.allows(value, caches) && !self.denies(value, caches)
    }

    /// Whether a value is in `allow`, or there is no such list.
    pub(super) fn allows(&self, value: &[u8], caches: &mut Caches) -> bool {
        self.allow.is_none() || self.allow_names(value, caches)
    }

    /// Whether there is an `allow` with the value in it.
    pub(super) fn allow_names(&self, value: &[u8], caches: &mut Caches) -> bool {
        self.allow.as_ref().is_some_and(|allow| allow.contains(value, caches))
    }

    /// Whether a value is in `deny`.
    pub(super) fn denies(&self, value: &[u8], caches: &mut Caches) -> bool {
        self.deny.contains(value, caches)
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

/// What both types are tested for.
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    /// `field` in lower case; `refusal` is the answer to what is not let through.
    pub(in crate::filter) fn deny_goes_before_allow(make: fn(Settings) -> Any, field: &str, refusal: &str) {
        let deny = vec![Values::Regex("(?i)bad".into()), Values::Empty];
        let allow = vec![Values::Exact("one".into()), Values::Regex("^g[o]+d".into())];
        let both = Settings { allow, deny: deny.clone() };
        let deny = Settings { allow: vec![], deny };
        for (value, by_both, by_deny) in [
            ("one", true, true),
            ("good", true, true),
            ("goodBAD", false, false),
            ("One", false, true),
            ("", false, false),
            ("bad\u{e9}", false, false),
        ] {
            for (settings, is_in) in [(&both, by_both), (&deny, by_deny)] {
                let sent = Sent::with("/", &format!("{field}: {value}\r\n"));
                let answer = sent.through(&chain([make(settings.clone())])).answer();
                assert_eq!(answer, if is_in { "" } else { refusal }, "{value:?}");
            }
        }
        let missing = Sent::get("/").through(&chain([make(deny)])).answer();
        assert_eq!(missing, refusal);
    }

    pub(in crate::filter) fn wrong_settings_are_told(make: fn(Settings) -> Any) {
        assert!(problems(make(Settings::default())).contains("lets everything through"));
        let settings = Settings { allow: vec![], deny: vec![Values::Regex("[".into())] };
        assert!(problems(make(settings)).starts_with("deny: not a regular expression"));
    }
}
