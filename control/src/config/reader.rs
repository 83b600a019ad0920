//! Reads one table of the tree: each key once, unknown ones refused.

use std::collections::HashSet;

use super::tree::{Spanned, Table, Value};

use super::format::toml;
use super::reference::{Key, KeyDefault, Section, reference};
use super::report::{Report, Reported};
use super::value::{self, Parsed};
use super::{show, suggest};

/// A table whose keys are all known.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    section: Section,
    /// The table's own name, in a section of named ones.
    name: Option<&'a str>,
    /// `None`: the section is absent and every key has its default.
    table: Option<&'a Table>,
    start: usize,
    /// Keys that are there under a wrong name: that they are absent is told already.
    misspelt: Vec<&'static str>,
    report: &'a Report<'a>,
}

/// Items of a list that each request is compared with. A guess at what is plenty.
const SHORT_LIST_MAX: usize = 100;

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

impl<'a> Reader<'a> {
    /// Opens a table and reports its unknown keys; `start` is where an absent key is reported.
    pub(super) fn new(section: Section, table: &'a Table, start: usize, report: &'a Report<'a>) -> Self {
        Self { section, name: None, table: Some(table), start, misspelt: Vec::new(), report }.refuse_unknown()
    }

    /// The same for a table of a section that has named ones.
    pub(super) fn named(
        section: Section,
        name: &'a str,
        (table, start): (&'a Table, usize),
        report: &'a Report<'a>,
    ) -> Self {
        let (name, table) = (Some(name), Some(table));
        Self { section, name, table, start, misspelt: Vec::new(), report }.refuse_unknown()
    }

    /// A section that the file does not have.
    pub(super) fn absent(section: Section, report: &'a Report<'a>) -> Self {
        Self { section, name: None, table: None, start: 0, misspelt: Vec::new(), report }
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

    /// Whether a key is there under a wrong name, which is told.
    pub(super) fn is_misspelt(&self, key: &str) -> bool {
        self.misspelt.contains(&key)
    }

    /// A key's value, if it is a string; whatever is wrong with it is told elsewhere.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.entry(key)?.get_ref().as_str()
    }

    /// A key that may be absent.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&'a Value) -> Parsed<T>,
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
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Result<T, Reported> {
        if let Some(value) = self.entry(key) {
            return self.parsed(key, value, parse);
        }
        let KeyDefault::Value(text) = self.known(key).default else {
            unreachable!("{key} has no default value");
        };
        let default = toml::value_of(text).expect("the reference's defaults are TOML");
        Ok(parse(&default).expect("the reference's defaults are allowed"))
    }

    /// A key that may not be absent.
    pub(super) fn required<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&'a Value) -> Parsed<T>,
    ) -> Result<T, Reported> {
        match self.entry(key) {
            Some(value) => self.parsed(key, value, parse),
            None => Err(self.lacks(key)),
        }
    }

    /// A list that may be absent but not be empty, since that could mean both all and nothing.
    pub(super) fn items<T>(
        &self,
        key: &str,
        noun: &str,
        shown: impl Fn(&T) -> String,
        parse: impl Fn(&'a Spanned<Value>) -> Result<T, ItemFault>,
    ) -> Result<Option<Vec<T>>, Reported> {
        let Some(value) = self.entry(key) else { return Ok(None) };
        let items = self.any_items(key, noun, shown, parse)?;
        if items.is_empty() {
            let without = match self.known(key).default {
                KeyDefault::Absent(meaning) => format!("leave the key out for {meaning}"),
                KeyDefault::Required | KeyDefault::Value(_) => {
                    format!("e.g. {key} = {}", self.known(key).example)
                }
            };
            return Err(self.report.wrong(value.span().start, format!("{key} is an empty list; {without}")));
        }
        Ok(Some(items))
    }

    /// A list that may be absent or empty. Every item that is wrong is reported, as `noun`, and every one that is shown
    /// like one before it.
    pub(super) fn any_items<T>(
        &self,
        key: &str,
        noun: &str,
        shown: impl Fn(&T) -> String,
        parse: impl Fn(&'a Spanned<Value>) -> Result<T, ItemFault>,
    ) -> Result<Vec<T>, Reported> {
        let Some(value) = self.entry(key) else { return Ok(Vec::new()) };
        let Value::Array(items) = value.get_ref() else {
            let expected = format!("a list, e.g. {}", self.known(key).example);
            let message = value::wrong_kind(value.get_ref(), &expected);
            return Err(self.report.wrong(value.span().start, format!("{key} {message}")));
        };
        let mut read = Vec::with_capacity(items.len());
        let mut seen = HashSet::new();
        let mut failed = None;
        for item in items.iter() {
            let parsed = parse(item).and_then(|value| match seen.insert(shown(&value)) {
                true => Ok(value),
                false => Err(ItemFault::Wrong(format!("{} is listed twice", show::quoted(&shown(&value))))),
            });
            match parsed {
                Ok(value) => read.push(value),
                Err(ItemFault::Wrong(text)) => {
                    let message = format!("{noun} {text}");
                    failed = Some(self.report.wrong_value(item.span().start, self.known(key), message));
                }
                Err(fault) => failed = Some(self.tell(item.span().start, noun, fault)),
            }
        }
        failed.map_or(Ok(read), Err)
    }

    /// A list that may be absent, its default then, or empty, but not long: requests are compared with each item.
    pub(super) fn short_list(
        &self,
        key: &str,
        noun: &str,
        parse: impl Fn(&str) -> Parsed<String>,
    ) -> Result<Vec<String>, Reported> {
        if !self.has(key) {
            return self.or_default(key, |value| {
                let items = value.as_array().into_iter().flatten();
                items.map(|item| parse(value::string(item.get_ref())?)).collect()
            });
        }
        let items =
            self.any_items(key, noun, String::clone, |item| Ok(parse(value::string(item.get_ref())?)?))?;
        if items.len() > SHORT_LIST_MAX {
            let message = format!("{key} has {} items; allowed: at most {SHORT_LIST_MAX}", items.len());
            return Err(self.report.wrong(self.at(key), message));
        }
        Ok(items)
    }

    /// The table that a key holds.
    pub(super) fn table(&self, key: &str, section: Section) -> Result<Option<Reader<'a>>, Reported> {
        let Some(value) = self.entry(key) else { return Ok(None) };
        let message = match value.get_ref() {
            Value::Table(table) => {
                return Ok(Some(Reader::new(section, table, value.span().start, self.report)));
            }
            Value::String(text) if section == Section::Path && text.starts_with('/') => {
                format!("{0} is a string; write {{ prefix = {0} }} or {{ exact = {0} }}", show::quoted(text))
            }
            other => value::wrong_kind(other, &format!("a table, e.g. {}", self.known(key).example)),
        };
        Err(self.report.wrong(value.span().start, format!("{key} {message}")))
    }

    /// Reports what is wrong with something that has a name for itself.
    pub(super) fn tell(&self, at: usize, noun: &str, fault: ItemFault) -> Reported {
        match fault {
            ItemFault::Wrong(text) => self.report.wrong(at, format!("{noun} {text}")),
            ItemFault::Missing(text) => self.report.missing(at, format!("{noun} {text}")),
            ItemFault::Reported(reported) => reported,
        }
    }

    /// Reports that a required key is absent.
    pub(super) fn lacks(&self, key: &str) -> Reported {
        if self.is_misspelt(key) {
            return Reported;
        }
        let example = self.known(key).example;
        let message = format!("{} lacks the key \"{key}\"; e.g. {key} = {example}", self.title());
        self.report.missing(self.start, message)
    }

    fn refuse_unknown(mut self) -> Self {
        for key in self.table.into_iter().flat_map(Table::keys) {
            let name: &str = key.get_ref();
            if self.section.keys().any(|known| known.name == name) {
                continue;
            }
            let elsewhere = reference().find(|known| known.name == name);
            let meant = suggest::nearest(name, self.section.keys().map(|known| known.name));
            let hint = match (elsewhere, meant) {
                (Some(key), _) => format!("; it is a key of {}", key.section.title()),
                (None, Some(meant)) => format!("; did you mean \"{meant}\"?"),
                (None, None) => String::new(),
            };
            self.misspelt.extend(meant);
            let keys: Vec<_> = self.section.keys().map(|key| key.name).collect();
            let (shown, title, keys) = (show::quoted(name), self.title(), keys.join(", "));
            self.report
                .wrong(key.span().start, format!("unknown key {shown} in {title}{hint} (keys: {keys})"));
        }
        self
    }

    /// `[upstreams.api]`
    fn title(&self) -> String {
        let title = self.section.title();
        match self.name {
            Some(name) => title.replace("NAME", &show::list([name])),
            None => title.to_owned(),
        }
    }

    fn parsed<T>(
        &self,
        key: &str,
        value: &'a Spanned<Value>,
        parse: impl FnOnce(&'a Value) -> Parsed<T>,
    ) -> Result<T, Reported> {
        let wrong =
            |text| self.report.wrong_value(value.span().start, self.known(key), format!("{key} {text}"));
        parse(value.get_ref()).map_err(wrong)
    }

    /// A key's value with its place.
    pub(super) fn value(&self, key: &str) -> Option<&'a Spanned<Value>> {
        self.entry(key)
    }

    fn entry(&self, key: &str) -> Option<&'a Spanned<Value>> {
        debug_assert_eq!(self.known(key).name, key);
        self.table?.get(key)
    }

    fn known(&self, name: &str) -> &'static Key {
        let key = self.section.keys().find(|key| key.name == name);
        key.expect("the decoder asks for keys of the reference only")
    }
}

impl From<String> for ItemFault {
    fn from(text: String) -> Self {
        Self::Wrong(text)
    }
}
