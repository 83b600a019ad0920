//! `[filters.*]`: each type of filter reads its own settings, through [`FilterTable`].

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use corelane_filters::settings::{Default, Item, Key, Kind, Read};
use corelane_filters::{Problem, Settings};

use super::root::Root;
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

    /// Compiles the filters of a configuration that is right otherwise; `routes` is where each says its filters.
    pub(super) fn compile(
        &self,
        config: &Config,
        routes: &[usize],
        report: &Report<'_>,
    ) -> Result<(), Reported> {
        let Err(faults) = Compiled::new(config, &Compiled::default()) else { return Ok(()) };
        let mut failed = Ok(());
        for fault in faults {
            let (at, message) = match fault {
                Fault::Settings { filter, problem } => match self.tables.get(filter) {
                    Some((table, start)) => (place(table, *start, &problem), told(&problem)),
                    None => (0, told(&problem)),
                },
                Fault::Place { route, name, problem } => {
                    let at = routes.get(route).copied().unwrap_or_default();
                    (at, format!("filter {}: {}", show::quoted(&name), told(&problem)))
                }
            };
            failed = Err(report.wrong(at, message));
        }
        failed
    }
}

/// Where in a filter's table something is wrong.
fn place(table: &Table, start: usize, problem: &Problem) -> usize {
    let path = &*problem.key;
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let Some(value) = table.get(&path[..end]) else { return start };
    let inner = match (value.get_ref(), &path[end..]) {
        (Value::Table(table), rest) => rest.strip_prefix('.').and_then(|key| table.get(key)),
        (Value::Array(items), rest) => {
            let index = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            index.and_then(|index| items.get(index.parse::<usize>().ok()?))
        }
        _ => None,
    };
    inner.unwrap_or(value).span().start
}

/// `set.X-A: the variable is not known`
fn told(problem: &Problem) -> String {
    let place = problem.position.map_or_else(String::new, |at| format!(" (at character {})", at + 1));
    match &*problem.key {
        "" => format!("this filter {}", problem.message),
        key => format!("{key}: {}{place}", problem.message),
    }
}

/// Reads the settings of a filter of the type that its table names.
fn settings(name: &str, table: &Table, start: usize, report: &Report<'_>) -> Result<Settings, Reported> {
    let title = format!("filter {}", show::quoted(name));
    let kinds = || Settings::KINDS.iter().copied();
    let Some(kind) = table.get("type") else {
        let message = format!("{title} lacks the key \"type\"; one of {}", show::list(kinds()));
        return Err(report.missing(start, message));
    };
    let at = kind.span().start;
    let kind = value::string(kind.get_ref()).map_err(|text| report.wrong(at, format!("type {text}")))?;
    let Some(keys) = Settings::keys(kind) else {
        let meant = suggest::did_you_mean(kind, kinds());
        let allowed = show::list(kinds());
        let message = format!("type {} is not known{meant} (allowed: {allowed})", show::quoted(kind));
        return Err(report.wrong(at, message));
    };
    read(kind, &FilterTable::new(&title, keys, Some("type"), (table, start), report, &Cell::new(false)))
}

/// Reads settings of a type that has no table of its own: what a route answers with.
pub(super) fn settings_of(
    kind: &str,
    section: &Reader<'_>,
    value: &Spanned<Value>,
) -> Result<Settings, Reported> {
    let report = section.report();
    let Value::Table(table) = value.get_ref() else {
        let message = value::wrong_kind(value.get_ref(), "a table");
        return Err(report.wrong(value.span().start, format!("{kind} {message}")));
    };
    let keys = Settings::keys(kind).unwrap_or_default();
    let start = (table, value.span().start);
    read(kind, &FilterTable::new(kind, keys, None, start, report, &Cell::new(false)))
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
    title: &'a str,
    keys: &'static [Key],
    table: &'a Table,
    start: usize,
    report: &'a Report<'a>,
    failed: &'a Cell<bool>,
}

impl<'a> FilterTable<'a> {
    /// Refuses unknown keys; `besides` is one that is read already.
    fn new(
        title: &'a str,
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
                opened
                    .fail(key.span().start, format!("unknown key {shown} in {title}{meant} (keys: {known})"));
            }
        }
        opened
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
            let wrong = |text| self.fail(value.span().start, format!("{key} {text}"));
            return parse(value.get_ref()).map_err(wrong).ok();
        }
        match self.known(key).default {
            Default::Absent(_) => None,
            Default::Value(text) => {
                let default = toml::value_of(text).expect("the defaults of filters are TOML");
                Some(parse(&default).expect("the defaults of filters are allowed"))
            }
            Default::Required => {
                let (title, example) = (self.title, self.known(key).example);
                let message = format!("{title} lacks the key \"{key}\"; e.g. {key} = {example}");
                let Reported = self.report.missing(self.start, message);
                self.failed.set(true);
                None
            }
        }
    }

    /// A table inside.
    fn within(&self, key: &'a str, table: (&'a Table, usize)) -> FilterTable<'a> {
        let keys = match self.known(key).kind {
            Kind::Table(keys) | Kind::Items(keys) => keys,
            _ => &[],
        };
        FilterTable::new(key, keys, None, table, self.report, self.failed)
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
        self.parsed(key, |value| {
            let Value::Table(table) = value else {
                return Err(value::wrong_kind(value, "a table of strings"));
            };
            let pair = |(name, value): &(Spanned<String>, Spanned<Value>)| {
                let text = value::string(value.get_ref());
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
            Value::Table(table) => read(&self.within(self.known(key).name, (table, value.span().start))),
            other => {
                let example = self.known(key).example;
                let message = value::wrong_kind(other, &format!("a table, e.g. {example}"));
                self.fail(value.span().start, format!("{key} {message}"));
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
            return self.fail(at, format!("{key} {message}"));
        };
        for item in items {
            match item.get_ref() {
                Value::String(text) => read(Item::Text(text.to_string())),
                Value::Table(table) => {
                    let name = self.known(key).name;
                    read(Item::Table(&self.within(name, (table, item.span().start))));
                }
                other => {
                    let message = value::wrong_kind(other, "a string or a table");
                    self.fail(item.span().start, format!("{key}: an item {message}"));
                }
            }
        }
    }

    fn wrong(&self, key: &str, message: String) {
        let at = self.table.get(key).map_or(self.start, |value| value.span().start);
        self.fail(at, format!("{key}: {message}"));
    }
}
