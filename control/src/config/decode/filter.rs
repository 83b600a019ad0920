//! `[filters.*]`: each type of filter reads its own settings, through [`FilterTable`].

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use corelane_filters::settings::{Default, Item, Key, Kind, Read};
use corelane_filters::{Problem, Settings};

use super::root::Root;
use super::route::Filtered;
use crate::config::format::toml;
use crate::config::names::{self, Names};
use crate::config::reader::Reader;
use crate::config::reference::Section;
use crate::config::report::{Report, Reported};
use crate::config::tree::{Spanned, Table, Value};
use crate::config::types::{Config, Filter};
use crate::config::value::{self, Parsed};
use crate::config::{show, suggest};
use crate::filters::{Compiled, Fault};

/// The filters. Also one that is wrong can be referred to.
#[derive(Debug)]
pub(super) struct Filters<'a> {
    /// In the order of the file.
    pub(super) all: Result<Vec<Filter>, Reported>,
    names: Names<'a>,
    tables: Vec<(&'a Table, usize)>,
}

/// More would not fit the place that each has in a chain.
const FILTERS_MAX: usize = 10_000;

/// Routes that answer by themselves: each has a filter of its own, in the places that filters leave.
const ANSWERS_MAX: usize = 50_000;

pub(super) fn decode<'a>(root: &Root<'a>) -> Filters<'a> {
    let mut names = Names::new();
    let (mut all, mut tables) = (Vec::new(), Vec::new());
    let entries = match root.named(Section::Filter) {
        Ok(entries) => entries,
        Err(reported) => {
            names.set_incomplete(reported);
            return Filters { all: Err(reported), names, tables };
        }
    };
    if let Some((key, _)) = entries.get(FILTERS_MAX) {
        let message = format!("this is one filter too many; allowed: at most {FILTERS_MAX}");
        let reported = root.report().wrong(key.span().start, message);
        names.set_incomplete(reported);
        return Filters { all: Err(reported), names, tables };
    }
    for (index, (key, value)) in entries.into_iter().enumerate() {
        let (name, at): (&str, usize) = (key.get_ref(), key.span().start);
        let Value::Table(table) = value.get_ref() else {
            let subject = show::subject(value.get_ref());
            let message = format!("filter {} {subject}; write [filters.NAME]", show::quoted(name));
            let reported = root.report().wrong(at, message);
            names.set_incomplete(reported);
            all.push(Err(reported));
            continue;
        };
        // The tree has each name once.
        let _ = names.add(name, index, at);
        tables.push((table, value.span().start));
        let checked = names::checked(name).map(str::to_owned);
        let checked = checked.map_err(|text| root.report().wrong(at, format!("filter {text}")));
        let settings = settings(name, table, value.span().start, root.report());
        all.push(checked.and_then(|name| Ok(Filter { name: name.into(), settings: settings? })));
    }
    Filters { all: super::all(all), names, tables }
}

impl Filters<'_> {
    /// What the key `filters` of another section names, by index.
    pub(super) fn listed(&self, section: &Reader<'_>) -> Result<Vec<usize>, Reported> {
        let shown = |index: &usize| self.names.of(*index).unwrap_or_default().to_owned();
        section.any_items("filters", "filter", shown, |item| self.names.find(value::string(item.get_ref())?))
    }

    /// Compiles the filters of a configuration that is right otherwise; `routes` is where the filters of each are.
    pub(super) fn compile(
        &self,
        config: &Config,
        routes: &[Filtered<'_>],
        report: &Report<'_>,
    ) -> Result<(), Reported> {
        let mut answers = config.routes.iter().enumerate().filter(|(_, route)| route.answer.is_some());
        if let Some((route, _)) = answers.nth(ANSWERS_MAX) {
            let message =
                format!("this is one route too many that answers itself; allowed: at most {ANSWERS_MAX}");
            return Err(report.wrong(routes[route].at, message));
        }
        let Err(faults) = Compiled::new(config, &Compiled::default()) else { return Ok(()) };
        let mut failed = Ok(());
        for fault in faults {
            let (at, message) = match &fault {
                Fault::Settings { filter, problem } => {
                    let name = self.names.of(*filter).unwrap_or_default();
                    let (table, start) = self.tables[*filter];
                    told(&title(name), problem, table, start)
                }
                Fault::Answer { route, kind, problem } => match routes[*route].answer {
                    Some(value) => match value.get_ref() {
                        Value::Table(table) => told(kind, problem, table, value.span().start),
                        other => unreachable!("{other:?} is no table of {kind}"),
                    },
                    None => unreachable!("a route answers with {kind}, which it lacks"),
                },
                Fault::Place { route, filter, name, problem } => {
                    let (table, start) = self.tables[*filter];
                    let (_, message) = told(&title(name), problem, table, start);
                    (routes[*route].at, message)
                }
            };
            failed = Err(report.wrong(at, message));
        }
        failed
    }
}

/// `filter "secure"`
fn title(name: &str) -> String {
    format!("filter {}", show::quoted(name))
}

/// What is wrong in a filter's table, and where: `filter "a": set.X-A: {x} is not a variable (at character 3)`.
fn told(title: &str, problem: &Problem, table: &Table, start: usize) -> (usize, String) {
    let Problem { key, position, message } = problem;
    if key.is_empty() {
        return (start, format!("{title} {message}"));
    }
    let value = value_at(table, key);
    let text = value.and_then(|value| value.get_ref().as_str()).unwrap_or_default();
    let character = position.map(|at| text.char_indices().take_while(|(index, _)| *index < at).count() + 1);
    let place = character.map_or_else(String::new, |number| format!(" (at character {number})"));
    let at = value.map_or(start, |value| value.span().start);
    (at, format!("{title}: {key}: {message}{place}"))
}

/// The value at a key as [`Problem`] has it; what is nearest to it where that is not in the file.
fn value_at<'t>(table: &'t Table, path: &str) -> Option<&'t Spanned<Value>> {
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let value = table.get(&path[..end])?;
    let inner = match (value.get_ref(), &path[end..]) {
        (Value::Table(table), rest) => rest.strip_prefix('.').and_then(|key| table.get(key)),
        (Value::Array(items), rest) => {
            let index = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            index.and_then(|index| items.get(index.parse::<usize>().ok()?))
        }
        _ => None,
    };
    Some(inner.unwrap_or(value))
}

/// Reads the settings of a filter of the type that its table names.
fn settings(name: &str, table: &Table, start: usize, report: &Report<'_>) -> Result<Settings, Reported> {
    let title = title(name);
    let Some(kind) = table.get("type") else {
        let message = format!("{title} lacks the key \"type\"; one of {}", Settings::KINDS.join(", "));
        return Err(report.missing(start, message));
    };
    let at = kind.span().start;
    let kind =
        value::string(kind.get_ref()).map_err(|text| report.wrong(at, format!("{title}: type {text}")))?;
    let Some(keys) = Settings::keys(kind) else {
        let meant = suggest::did_you_mean(kind, Settings::KINDS.iter().copied());
        let allowed = Settings::KINDS.join(", ");
        let shown = show::quoted(kind);
        let message = format!("{title}: type {shown} is not known{meant} (allowed: {allowed})");
        return Err(report.wrong(at, message));
    };
    read(kind, &FilterTable::new(title, keys, Some("type"), (table, start), report, &Cell::new(false)))
}

/// Reads settings of a type that has no table of its own: what a route answers with.
pub(super) fn settings_of(
    kind: &str,
    section: &Reader<'_>,
    value: &Spanned<Value>,
) -> Result<Settings, Reported> {
    let report = section.report();
    let Value::Table(table) = value.get_ref() else {
        let example = Section::Route.keys().find(|key| key.name == kind).map_or("{}", |key| key.example);
        let message = value::wrong_kind(value.get_ref(), &format!("a table, e.g. {example}"));
        return Err(report.wrong(value.span().start, format!("{kind} {message}")));
    };
    let keys = Settings::keys(kind).unwrap_or_default();
    let start = (table, value.span().start);
    read(kind, &FilterTable::new(kind.to_owned(), keys, None, start, report, &Cell::new(false)))
}

fn read(kind: &str, table: &FilterTable<'_>) -> Result<Settings, Reported> {
    let settings = Settings::read(kind, table);
    match settings {
        Some(settings) if !table.failed.get() => Ok(settings),
        _ => Err(Reported),
    }
}

/// A table of a filter.
struct FilterTable<'a> {
    title: String,
    keys: &'static [Key],
    table: &'a Table,
    start: usize,
    report: &'a Report<'a>,
    failed: &'a Cell<bool>,
}

impl<'a> FilterTable<'a> {
    /// Refuses unknown keys; `besides` is one that is read already.
    fn new(
        title: String,
        keys: &'static [Key],
        besides: Option<&str>,
        (table, start): (&'a Table, usize),
        report: &'a Report<'a>,
        failed: &'a Cell<bool>,
    ) -> Self {
        let opened = Self { title, keys, table, start, report, failed };
        for key in table.keys() {
            let name: &str = key.get_ref();
            if Some(name) != besides && keys.iter().all(|known| known.name != name) {
                let names = || keys.iter().map(|key| key.name);
                let meant = suggest::did_you_mean(name, names());
                let known = names().collect::<Vec<_>>().join(", ");
                let shown = show::quoted(name);
                let message = format!("unknown key {shown} in {}{meant} (keys: {known})", opened.title);
                opened.fail(key.span().start, message);
            }
        }
        opened
    }

    /// Reports a mistake, told as what is wrong with this table.
    fn mistake(&self, at: usize, message: String) {
        self.fail(at, format!("{}: {message}", self.title));
    }

    fn fail(&self, at: usize, message: String) {
        let Reported = self.report.wrong(at, message);
        self.failed.set(true);
    }

    fn known(&self, name: &str) -> &'static Key {
        let key = self.keys.iter().find(|key| key.name == name);
        key.expect("a filter asks for keys of its table only")
    }

    fn parsed<T>(&self, key: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        if let Some(value) = self.table.get(key) {
            let wrong = |text| self.mistake(value.span().start, format!("{key} {text}"));
            return parse(value.get_ref()).map_err(wrong).ok();
        }
        match self.known(key).default {
            Default::Absent(_) => None,
            Default::Value(text) => {
                let default = toml::value_of(text).expect("the defaults of filters are TOML");
                Some(parse(&default).expect("the defaults of filters are allowed"))
            }
            Default::Required => {
                let (title, example) = (&self.title, self.known(key).example);
                let message = format!("{title} lacks the key \"{key}\"; e.g. {key} = {example}");
                let Reported = self.report.missing(self.start, message);
                self.failed.set(true);
                None
            }
        }
    }

    /// A table inside.
    fn within(&self, key: &str, table: (&'a Table, usize)) -> FilterTable<'a> {
        let keys = match self.known(key).kind {
            Kind::Table(keys) | Kind::Items(keys) => keys,
            _ => &[],
        };
        let title = format!("{key} of {}", self.title);
        FilterTable::new(title, keys, None, table, self.report, self.failed)
    }
}

impl Read for FilterTable<'_> {
    fn text(&self, key: &str) -> Option<String> {
        self.parsed(key, |value| value::string(value).map(str::to_owned))
    }

    fn texts(&self, key: &str) -> Option<Vec<String>> {
        self.parsed(key, |value| {
            let items = value.as_array().ok_or_else(|| value::wrong_kind(value, "a list of strings"))?;
            let mut seen = HashSet::new();
            items
                .iter()
                .map(|item| {
                    let text =
                        value::string(item.get_ref()).map_err(|text| format!("has an item: {text}"))?;
                    match seen.insert(text) {
                        true => Ok(text.to_owned()),
                        false => Err(format!("has {} twice", show::quoted(text))),
                    }
                })
                .collect()
        })
    }

    fn pairs(&self, key: &str) -> Option<Vec<(String, String)>> {
        let is_secret = matches!(self.known(key).kind, Kind::Secrets);
        self.parsed(key, |value| {
            let Value::Table(table) = value else {
                return match is_secret {
                    true => Err("is no table of strings (not shown: it may be secret)".to_owned()),
                    false => Err(value::wrong_kind(value, "a table of strings")),
                };
            };
            let pair = |(name, value): &(Spanned<String>, Spanned<Value>)| {
                let wrong = |text| match is_secret {
                    true => "not a string (not shown: it may be secret)".to_owned(),
                    false => text,
                };
                let text = value::string(value.get_ref()).map_err(wrong);
                let text = text.map_err(|text| format!("has {}: {text}", show::quoted(name.get_ref())))?;
                Ok((name.get_ref().clone(), text.to_owned()))
            };
            table.iter().map(pair).collect()
        })
    }

    fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let bound = |bound: &u64| u32::try_from(*bound).unwrap_or(u32::MAX);
        let range = bound(range.start())..=bound(range.end());
        self.parsed(key, |value| value::integer(value, range.clone())).map(u64::from)
    }

    fn duration(&self, key: &str) -> Option<Duration> {
        self.parsed(key, |value| value::duration(value, Duration::ZERO))
    }

    fn size(&self, key: &str) -> Option<u64> {
        self.parsed(key, |value| value::size(value, 0..=1 << 50)).map(|bytes| bytes as u64)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.parsed(key, value::boolean)
    }

    fn choice(&self, key: &str, words: &[&str]) -> Option<usize> {
        let choices: Vec<(&str, usize)> = words.iter().copied().zip(0..).collect();
        self.parsed(key, |value| value::choice(value, &choices))
    }

    fn table(&self, key: &str, read: &mut dyn FnMut(&dyn Read)) {
        let Some(value) = self.table.get(key) else { return };
        match value.get_ref() {
            Value::Table(table) => read(&self.within(key, (table, value.span().start))),
            other => {
                let example = self.known(key).example;
                let message = value::wrong_kind(other, &format!("a table, e.g. {example}"));
                self.mistake(value.span().start, format!("{key} {message}"));
            }
        }
    }

    fn items(&self, key: &str, read: &mut dyn FnMut(Item<'_>)) {
        let default;
        let value = match (self.table.get(key), self.known(key).default) {
            (Some(value), _) => value.get_ref(),
            (None, Default::Value(text)) => {
                default = toml::value_of(text).expect("the defaults of filters are TOML");
                &default
            }
            // Tells that it is required, if it is.
            (None, _) => {
                let _: Option<()> = self.parsed(key, |_| Ok(()));
                return;
            }
        };
        let at = self.table.get(key).map_or(self.start, |value| value.span().start);
        let Value::Array(items) = value else {
            let message = value::wrong_kind(value, &format!("a list, e.g. {}", self.known(key).example));
            return self.mistake(at, format!("{key} {message}"));
        };
        for item in items {
            match item.get_ref() {
                Value::String(text) => read(Item::Text(text.to_string())),
                Value::Table(table) => read(Item::Table(&self.within(key, (table, item.span().start)))),
                other => {
                    let message = value::wrong_kind(other, "a string or a table");
                    self.mistake(item.span().start, format!("{key} has an item: {message}"));
                }
            }
        }
    }

    fn wrong(&self, key: &str, message: String) {
        let at = self.table.get(key).map_or(self.start, |value| value.span().start);
        self.mistake(at, format!("{key}: {message}"));
    }
}
