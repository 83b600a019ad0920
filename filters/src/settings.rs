//! How settings are read: what keys a filter's table has, and what its file asks of whoever reads the configuration.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A key of a filter's table in the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds without it.
    pub default: Default,
    /// Which values are allowed.
    pub allowed: &'static str,
    /// What it does, in a sentence or two.
    pub description: &'static str,
    /// A value, in TOML.
    pub example: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// A list of strings.
    Texts,
    /// A table of strings, whose keys are the user's.
    Pairs,
    /// The same, and no message may show what they are.
    Secrets,
    /// A number without a sign.
    Integer,
    /// A string as `"1m30s"`.
    Duration,
    /// A string as `"10MiB"`, or a number of bytes.
    Size,
    /// `true` or `false`.
    Flag,
    /// A table with these keys.
    Table(&'static [Key]),
    /// A list of strings, or of tables with these keys.
    Items(&'static [Key]),
}

/// What holds when a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// It may not be absent.
    Required,
    /// This value, in TOML.
    Value(&'static str),
    /// No value would mean the same; this happens.
    Absent(&'static str),
}

/// A filter's table in the configuration. Whoever implements it has checked the names of the keys against [`Key`]s, fills in
/// the defaults that are values, and tells the user what is wrong with a value, which counts as absent then.
pub trait Read {
    /// A string.
    fn text(&self, key: &str) -> Option<String>;
    /// A list of strings.
    fn texts(&self, key: &str) -> Option<Vec<String>>;
    /// A table of strings, in the order of the file.
    fn pairs(&self, key: &str) -> Option<Vec<(String, String)>>;
    /// A number.
    fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64>;
    /// A time.
    fn duration(&self, key: &str) -> Option<Duration>;
    /// A number of bytes.
    fn size(&self, key: &str) -> Option<u64>;
    /// Whether.
    fn flag(&self, key: &str) -> Option<bool>;
    /// One of several words, by its place.
    fn choice(&self, key: &str, words: &[&str]) -> Option<usize>;
    /// A table, if there is one.
    fn table(&self, key: &str, read: &mut dyn FnMut(&dyn Read));
    /// A list of strings and tables.
    fn items(&self, key: &str, read: &mut dyn FnMut(Item<'_>));
    /// Tells the user what is wrong at a key.
    fn wrong(&self, key: &str, message: String);
}

/// One of a list.
pub enum Item<'a> {
    /// A string.
    Text(String),
    /// A table.
    Table(&'a dyn Read),
}

impl Key {
    /// A key that may be absent.
    #[must_use]
    pub(crate) const fn optional(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(name, kind, Default::Absent(meaning))
    }

    /// A key that must be there.
    #[must_use]
    pub(crate) const fn required(name: &'static str, kind: Kind) -> Self {
        Self::new(name, kind, Default::Required)
    }

    /// A key with a default.
    #[must_use]
    pub(crate) const fn or(name: &'static str, kind: Kind, value: &'static str) -> Self {
        Self::new(name, kind, Default::Value(value))
    }

    const fn new(name: &'static str, kind: Kind, default: Default) -> Self {
        Self { name, kind, default, allowed: "", description: "", example: "" }
    }

    /// Says what the key is about.
    #[must_use]
    pub(crate) const fn says(
        self,
        description: &'static str,
        allowed: &'static str,
        example: &'static str,
    ) -> Self {
        Self { description, allowed, example, ..self }
    }
}
