//! The formats of a file, which all fill the same tree.

mod json;
pub(super) mod toml;
mod yaml;

use std::collections::HashMap;
use std::path::Path;

use super::lines::Lines;
use super::show;
use super::tree::{Spanned, Table, Value};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Toml,
    Yaml,
    Json,
}

impl Format {
    /// By the ending of the file's name; TOML where it says nothing.
    pub(super) fn of(name: &str) -> Self {
        let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match &*ending.to_ascii_lowercase() {
            "yaml" | "yml" => Self::Yaml,
            "json" => Self::Json,
            _ => Self::Toml,
        }
    }
}

/// What was understood of a file. Offsets are those of the file alone, but for the tree's.
#[derive(Debug)]
pub(super) struct Understood {
    pub(super) root: Table,
    pub(super) syntax: Syntax,
}

/// The syntax errors of a file, and how far what was understood of it may be judged.
#[derive(Debug)]
pub(super) struct Syntax {
    /// Offset and message.
    pub(super) errors: Vec<(usize, String)>,
    /// From this offset on the tree is guesswork.
    pub(super) spoilt_from: usize,
    /// Whether the lines of the errors are guesswork too.
    pub(super) spoils_lines: bool,
    /// Whether everything that the file sets is in the tree.
    pub(super) complete: bool,
}

impl Syntax {
    /// Of a file that ends at its first error, of which nothing may be judged.
    pub(super) fn broken(at: usize, message: String) -> Self {
        Self { errors: vec![(at, message)], spoilt_from: 0, spoils_lines: true, complete: false }
    }
}

/// Reads a file that begins at the offset `base`.
pub(super) fn read(format: Format, lines: &Lines, base: usize) -> Understood {
    let read = match format {
        Format::Toml => return toml::read(lines, base),
        Format::Yaml => yaml::read,
        Format::Json => json::read,
    };
    let text = lines.text();
    // No part of the text for any parser.
    let skipped = if text.starts_with(MARK) { MARK.len_utf8() } else { 0 };
    let mut found = Vec::new();
    let tree = read(&text[skipped..], base + skipped, &mut Errors { lines, base, found: &mut found });
    match tree {
        Ok(root) => {
            // Keys that stand twice; nothing of the tree is guesswork.
            let (spoilt_from, spoils_lines) = (usize::MAX, false);
            Understood { root, syntax: Syntax { errors: found, spoilt_from, spoils_lines, complete: true } }
        }
        Err((at, message)) => {
            let syntax = Syntax::broken(at + skipped, message);
            Understood { root: Table::default(), syntax }
        }
    }
}

const MARK: char = '\u{feff}';

/// How deep lists and tables may be nested; TOML's parser has this number from its own makers.
const DEPTH_MAX: usize = 80;

const TOO_DEEP: &str = "lists and tables are nested too deeply; at most 80 levels are read";

/// An error after which a file cannot be read on: its offset in the text, and what is wrong.
type Fatal = (usize, String);

/// Errors after which a file can be read on.
struct Errors<'a> {
    lines: &'a Lines,
    base: usize,
    found: &'a mut Vec<(usize, String)>,
}

impl Errors<'_> {
    fn push(&mut self, at: usize, message: String) {
        self.found.push((at - self.base, message));
    }
}

/// A table that takes each key once.
struct Keys<'a, 'e> {
    table: Table,
    places: HashMap<String, usize>,
    errors: &'a mut Errors<'e>,
}

impl<'a, 'e> Keys<'a, 'e> {
    fn new(errors: &'a mut Errors<'e>) -> Self {
        Self { table: Table::default(), places: HashMap::new(), errors }
    }

    fn push(&mut self, key: Spanned<String>, value: Spanned<Value>) {
        let at = key.span().start;
        match self.places.get(key.get_ref()) {
            Some(first) => {
                let line = self.errors.lines.line(first - self.errors.base) + 1;
                let message =
                    format!("key {} is already defined in line {line}", show::quoted(key.get_ref()));
                self.errors.push(at, message);
            }
            None => {
                self.places.insert(key.get_ref().clone(), at);
                self.table.push(key, value);
            }
        }
    }
}
