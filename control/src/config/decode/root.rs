//! The root of the tree: which sections there are.

use crate::config::tree::{Spanned, Table, Value};

use crate::config::reader::Reader;
use crate::config::reference::{Section, reference};
use crate::config::report::{Report, Reported};
use crate::config::{show, suggest};

/// The root table, unknown sections refused.
#[derive(Debug)]
pub(super) struct Root<'a> {
    table: &'a Table,
    /// Sections that are there under a wrong name: that they are absent is told already.
    misspelt: Vec<&'static str>,
    report: &'a Report<'a>,
}

/// The sections and how they are written.
const SECTIONS: [(&str, Section); 10] = [
    ("process", Section::Process),
    ("admin", Section::Admin),
    ("access_log", Section::AccessLog),
    ("tracing", Section::Tracing),
    ("resolver", Section::Resolver),
    ("listeners", Section::Listener),
    ("routes", Section::Route),
    ("upstreams", Section::Upstream),
    ("error_pages", Section::ErrorPage),
    ("filters", Section::Filter),
];

/// Sections by name, in the order of the file; each value with its place.
pub(super) type Entries<'a> = Vec<(&'a Spanned<String>, &'a Spanned<Value>)>;

impl<'a> Root<'a> {
    pub(super) fn new(table: &'a Table, report: &'a Report<'a>) -> Self {
        let mut misspelt = Vec::new();
        for (key, value) in table {
            if section(key.get_ref()).is_none() {
                let meant = suggest::nearest(key.get_ref(), SECTIONS.iter().map(|(name, _)| *name));
                report.wrong(key.span().start, unknown(key.get_ref(), value, meant));
                misspelt.extend(meant);
            }
        }
        Self { table, misspelt, report }
    }

    /// `[name]`
    pub(super) fn section(&self, section: Section) -> Result<Option<Reader<'a>>, Reported> {
        let Some(value) = self.value(section) else { return Ok(None) };
        match value.get_ref() {
            Value::Table(table) => Ok(Some(Reader::new(section, table, value.span().start, self.report))),
            other => Err(self.misshapen(section, value.span().start, other)),
        }
    }

    /// `[name]`, or its defaults.
    pub(super) fn section_or_absent(&self, section: Section) -> Result<Reader<'a>, Reported> {
        Ok(self.section(section)?.unwrap_or_else(|| Reader::absent(section, self.report)))
    }

    /// `[[name]]`, at least one.
    pub(super) fn list(&self, section: Section) -> Result<Vec<Reader<'a>>, Reported> {
        let readers = self.optional_list(section)?;
        match self.value(section) {
            _ if !readers.is_empty() => Ok(readers),
            value => Err(self.lacks(section, value.map_or(0, |value| value.span().start))),
        }
    }

    /// `[[name]]`, any number.
    pub(super) fn optional_list(&self, section: Section) -> Result<Vec<Reader<'a>>, Reported> {
        let Some(value) = self.value(section) else { return Ok(Vec::new()) };
        let Value::Array(items) = value.get_ref() else {
            return Err(self.misshapen(section, value.span().start, value.get_ref()));
        };
        let mut failed = None;
        let mut readers = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                Value::Table(table) => {
                    readers.push(Reader::new(section, table, item.span().start, self.report));
                }
                other => failed = Some(self.misshapen(section, item.span().start, other)),
            }
        }
        failed.map_or(Ok(readers), Err)
    }

    /// `[upstreams.*]` in the order of the file.
    pub(super) fn named(&self, section: Section) -> Result<Entries<'a>, Reported> {
        let Some(value) = self.value(section) else {
            return if self.misspelt.contains(&name(section)) { Err(Reported) } else { Ok(Vec::new()) };
        };
        let Value::Table(table) = value.get_ref() else {
            return Err(self.misshapen(section, value.span().start, value.get_ref()));
        };
        Ok(table.iter().map(|(key, value)| (key, value)).collect())
    }

    /// The errors.
    pub(super) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    fn value(&self, section: Section) -> Option<&'a Spanned<Value>> {
        self.table.get(name(section))
    }

    fn lacks(&self, section: Section, at: usize) -> Reported {
        if self.misspelt.contains(&name(section)) {
            return Reported;
        }
        let example = match section {
            Section::Listener => "address = \"0.0.0.0:8080\"",
            _ => "upstream = \"NAME\"",
        };
        let title = section.title();
        self.report.missing(at, format!("there is no {title}; write at least one: {title} {example}"))
    }

    fn misshapen(&self, section: Section, at: usize, value: &Value) -> Reported {
        let (name, title) = (name(section), section.title());
        let message = match value {
            Value::Table(_) => format!("[{name}] is one table; write {title}"),
            Value::Array(items) if items.iter().all(|item| item.get_ref().is_table()) => {
                format!("[[{name}]] is a list of tables; write {title}")
            }
            Value::Array(_) => format!("{name} is a list; write the section {title}"),
            other => {
                format!("{name} {}; write the section {title}", show::subject(other))
            }
        };
        self.report.wrong(at, message)
    }
}

/// The section with a name.
pub(in crate::config) fn section(name: &str) -> Option<Section> {
    SECTIONS.iter().find(|(known, _)| *known == name).map(|(_, section)| *section)
}

fn name(section: Section) -> &'static str {
    let found = SECTIONS.iter().find(|(_, known)| *known == section);
    found.expect("only sections of the root are asked for").0
}

fn unknown(word: &str, value: &Spanned<Value>, meant: Option<&str>) -> String {
    let titles: Vec<_> = SECTIONS.iter().map(|(_, section)| section.title()).collect();
    let (shown, titles) = (show::quoted(word), titles.join(", "));
    let is_section = matches!(value.get_ref(), Value::Table(_))
        || value.get_ref().as_array().is_some_and(|items| items.iter().any(|item| item.get_ref().is_table()));
    let meant = match meant {
        Some(name) => {
            let section = SECTIONS.iter().find(|(known, _)| *known == name).map_or("", |(_, s)| s.title());
            format!("; did you mean {section}?")
        }
        None => match reference().find(|key| key.name == word && !is_section) {
            Some(key) => format!("; it belongs below {}", key.section.title()),
            None => String::new(),
        },
    };
    let what = if is_section { "section" } else { "key" };
    format!("unknown {what} {shown}{meant} (sections: {titles})")
}
