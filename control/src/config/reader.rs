//! Reads one table of the tree: each key once, unknown ones refused.

use std::collections::HashSet;
use std::hash::Hash;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reference::{Key, KeyDefault, Section, reference};
use super::report::{Report, Reported};
use super::value::Parsed;
use super::{show, suggest, value};

/// A table whose keys are all known.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    section: Section,
    /// `None`: the section is absent and every key has its default.
    table: Option<&'a DeTable<'a>>,
    start: usize,
    report: &'a Report<'a>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    /// Opens a table and reports its unknown keys; `start` is where an absent key is reported.
    pub(super) fn new(
        section: Section,
        table: &'a DeTable<'a>,
        start: usize,
        report: &'a Report<'a>,
    ) -> Self {
        for key in table.keys() {
            if !section.keys().any(|known| known.name == key.get_ref()) {
                report.wrong(key.span().start, unknown_key(section, key.get_ref()));
            }
        }
        Self { section, table: Some(table), start, report }
    }

    /// A section that the file does not have.
    pub(super) fn absent(section: Section, report: &'a Report<'a>) -> Self {
        Self { section, table: None, start: 0, report }
    }

    /// Where the table opens.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// The errors.
    pub(super) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    /// Where a key's value stands; without one, where the table opens.
    pub(super) fn at(&self, key: &str) -> usize {
        self.entry(key).map_or(self.start, |value| value.span().start)
    }

    /// Whether a key is set.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// A key's value, if it is a string; whatever is wrong with it is told elsewhere.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.entry(key)?.get_ref().as_str()
    }

    /// A key that may be absent.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Parsed<T>,
    ) -> Result<Option<T>, Reported> {
        match self.entry(key) {
            None => Ok(None),
            Some(value) => self.parsed(key, value, parse).map(Some),
        }
    }

    /// A key with a default.
    pub(super) fn or_default<T>(
        &self,
        key: &str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Result<T, Reported> {
        if let Some(value) = self.entry(key) {
            return self.parsed(key, value, parse);
        }
        let KeyDefault::Value(text) = self.known(key).default else {
            unreachable!("{key} has no default value");
        };
        let default = DeValue::parse(text).expect("the reference's defaults are TOML");
        Ok(parse(default.get_ref()).expect("the reference's defaults are allowed"))
    }

    /// A key that may not be absent.
    pub(super) fn required<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Parsed<T>,
    ) -> Result<T, Reported> {
        match self.entry(key) {
            Some(value) => self.parsed(key, value, parse),
            None => Err(self.lacks(key)),
        }
    }

    /// A list that may be absent but not be empty, since that could mean both all and nothing. Every item that is wrong
    /// is reported, as `noun`.
    pub(super) fn items<T>(
        &self,
        key: &str,
        noun: &str,
        parse: impl Fn(&'a Spanned<DeValue<'a>>) -> Result<T, ItemFault>,
    ) -> Result<Option<Vec<Placed<T>>>, Reported> {
        let Some(value) = self.entry(key) else { return Ok(None) };
        let items = self.any_items(key, noun, parse)?;
        if items.is_empty() {
            let without = match self.known(key).default {
                KeyDefault::Absent(meaning) => format!("; leave the key out for {meaning}"),
                KeyDefault::Required | KeyDefault::Value(_) => {
                    format!("; e.g. {} = {}", key, self.known(key).example)
                }
            };
            return Err(self.report.wrong(value.span().start, format!("{key} is an empty list{without}")));
        }
        Ok(Some(items))
    }

    /// A list that may be empty; the default is one too.
    pub(super) fn any_items<T>(
        &self,
        key: &str,
        noun: &str,
        parse: impl Fn(&'a Spanned<DeValue<'a>>) -> Result<T, ItemFault>,
    ) -> Result<Vec<Placed<T>>, Reported> {
        let Some(value) = self.entry(key) else { return Ok(Vec::new()) };
        let DeValue::Array(items) = value.get_ref() else {
            let expected = format!("a list, e.g. {}", self.known(key).example);
            let message = value::wrong_kind(value.get_ref(), &expected);
            return Err(self.report.wrong(value.span().start, format!("{key} {message}")));
        };
        let mut read = Vec::with_capacity(items.len());
        let mut failed = None;
        for item in items.iter() {
            let at = item.span().start;
            match parse(item) {
                Ok(value) => read.push(Placed { value, at }),
                Err(ItemFault::Wrong(text)) => failed = Some(self.report.wrong(at, format!("{noun} {text}"))),
                Err(ItemFault::Missing(text)) => {
                    failed = Some(self.report.missing(at, format!("{noun} {text}")))
                }
                Err(ItemFault::Reported(reported)) => failed = Some(reported),
            }
        }
        failed.map_or(Ok(read), Err)
    }

    /// The table that a key holds.
    pub(super) fn table(&self, key: &str, section: Section) -> Result<Option<Reader<'a>>, Reported> {
        let Some(value) = self.entry(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some(Reader::new(section, table, value.span().start, self.report))),
            other => {
                let message = match other {
                    DeValue::String(text) if text.starts_with('/') => {
                        format!(
                            "{0} is a string; write {{ prefix = {0} }} or {{ exact = {0} }}",
                            show::quoted(text)
                        )
                    }
                    other => value::wrong_kind(other, &format!("a table, e.g. {}", self.known(key).example)),
                };
                Err(self.report.wrong(value.span().start, format!("{key} {message}")))
            }
        }
    }

    /// Reports that a required key is absent.
    pub(super) fn lacks(&self, key: &str) -> Reported {
        let example = self.known(key).example;
        let message = format!("{} lacks the key \"{key}\"; e.g. {key} = {example}", self.section.title());
        self.report.missing(self.start, message)
    }

    fn parsed<T>(
        &self,
        key: &str,
        value: &'a Spanned<DeValue<'a>>,
        parse: impl FnOnce(&'a DeValue<'a>) -> Parsed<T>,
    ) -> Result<T, Reported> {
        parse(value.get_ref()).map_err(|text| self.report.wrong(value.span().start, format!("{key} {text}")))
    }

    fn entry(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert_eq!(self.known(key).name, key);
        self.table?.get(key)
    }

    fn known(&self, name: &str) -> &'static Key {
        self.section
            .keys()
            .find(|key| key.name == name)
            .expect("the decoder asks for keys of the reference only")
    }
}

/// What is wrong with an item of a list.
#[derive(Debug)]
pub(super) enum ItemFault {
    /// The item itself.
    Wrong(String),
    /// Something that it names is not there.
    Missing(String),
    /// Told already.
    Reported(Reported),
}

/// Reports every item that stands twice.
pub(super) fn refuse_repeats<T: Eq + Hash>(
    report: &Report<'_>,
    noun: &str,
    items: &[Placed<T>],
    shown: impl Fn(&T) -> String,
) -> Result<(), Reported> {
    let mut seen = HashSet::new();
    let mut failed = Ok(());
    for item in items {
        if !seen.insert(&item.value) {
            let message = format!("{noun} {} is listed twice", show::quoted(&shown(&item.value)));
            failed = Err(report.wrong(item.at, message));
        }
    }
    failed
}

impl From<String> for ItemFault {
    fn from(text: String) -> Self {
        Self::Wrong(text)
    }
}

fn unknown_key(section: Section, name: &str) -> String {
    let names = section.keys().map(|key| key.name);
    let elsewhere = reference().iter().find(|key| key.name == name);
    let hint = match elsewhere {
        Some(key) => format!("; it is a key of {}", key.section.title()),
        None => suggest::did_you_mean(name, names.clone()),
    };
    let names: Vec<_> = names.collect();
    format!("unknown key {} in {}{hint} (keys: {})", show::quoted(name), section.title(), names.join(", "))
}
