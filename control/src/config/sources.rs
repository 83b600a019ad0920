//! The files that were read together, one behind the other in one row of offsets.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Position;
use super::format::Syntax;
use super::lines::Lines;

/// Every file of a configuration, in the order in which they were read; never without one.
#[derive(Debug)]
pub(super) struct Sources {
    files: Vec<Source>,
    marks: HashMap<usize, Mark>,
}

/// One file.
#[derive(Debug)]
struct Source {
    name: Arc<str>,
    /// Where its relative paths begin.
    folder: PathBuf,
    /// Its first byte.
    base: usize,
    lines: Lines,
    spoilt_lines: HashSet<usize>,
    syntax: Syntax,
}

/// What is to be known of a value before it is complained about.
#[derive(Debug)]
pub(super) enum Mark {
    /// What is wrong with it is told already.
    Told,
    /// It holds variables of the environment, shown like this; it may be secret.
    Environment(String),
}

impl Sources {
    /// Before the first file.
    pub(super) fn new() -> Self {
        Self { files: Vec::new(), marks: HashMap::new() }
    }

    /// Where the next file begins. The end of a file is a place too.
    pub(super) fn next_base(&self) -> usize {
        self.files.last().map_or(0, |last| last.base + last.lines.text().len() + 1)
    }

    /// Adds a file at [`next_base`](Self::next_base).
    pub(super) fn push(&mut self, name: &str, folder: &Path, lines: Lines, syntax: Syntax) {
        let base = self.next_base();
        let spoilt = syntax.errors.iter().filter(|_| syntax.spoils_lines);
        let spoilt_lines = spoilt.map(|(at, _)| lines.line(*at)).collect();
        let (name, folder) = (name.into(), folder.to_owned());
        self.files.push(Source { name, folder, base, lines, spoilt_lines, syntax });
    }

    /// How many files there are.
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.name.to_string()).collect()
    }

    /// Says something about the value at an offset.
    pub(super) fn mark(&mut self, offset: usize, mark: Mark) {
        self.marks.insert(offset, mark);
    }

    /// What was said about the value at an offset.
    pub(super) fn marked(&self, offset: usize) -> Option<&Mark> {
        self.marks.get(&offset)
    }

    /// The syntax errors of all files.
    pub(super) fn syntax_errors(&self) -> impl Iterator<Item = (usize, String)> {
        self.files
            .iter()
            .flat_map(|file| file.syntax.errors.iter().map(|(at, message)| (file.base + at, message.clone())))
    }

    /// Whether everything that the files set was understood.
    pub(super) fn are_complete(&self) -> bool {
        self.files.iter().all(|file| file.syntax.complete)
    }

    /// Whether a syntax error has made guesswork of what stands at an offset.
    pub(super) fn is_spoilt(&self, offset: usize) -> bool {
        let (file, at) = self.find(offset);
        at >= file.syntax.spoilt_from || file.spoilt_lines.contains(&file.lines.line(at))
    }

    /// The file and place of an offset.
    pub(super) fn position(&self, offset: usize) -> (Arc<str>, Position) {
        let (file, at) = self.find(offset);
        (file.name.clone(), file.lines.position(at))
    }

    /// `7`, or `7 of conf.d/a.toml` when there are more files than one: behind the word "line".
    pub(super) fn line(&self, offset: usize) -> String {
        let (file, at) = self.find(offset);
        let line = file.lines.line(at) + 1;
        if self.files.len() == 1 { line.to_string() } else { format!("{line} of {}", shown(&file.name)) }
    }

    /// Where relative paths begin that stand at an offset.
    pub(super) fn folder(&self, offset: usize) -> &Path {
        &self.find(offset).0.folder
    }

    fn find(&self, offset: usize) -> (&Source, usize) {
        let behind = self.files.partition_point(|file| file.base <= offset);
        let file = &self.files[behind.saturating_sub(1)];
        (file, offset - file.base)
    }
}

/// A file's name within a message, which is one line.
pub(super) fn shown(name: &str) -> String {
    name.replace(char::is_control, "?")
}
