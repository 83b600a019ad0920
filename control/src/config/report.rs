//! Collects the errors of all files, so that all of them are told at once.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;

use super::error::{ConfigError, ConfigErrors, Position};
use super::reference::Key;
use super::sources::{Mark, Sources};

/// Proof that an error was reported: whoever holds it need not say anything more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reported;

/// The errors found so far.
///
/// A file with a syntax error is read on as far as it was understood, and what its broken part alone would provoke is
/// left out: nothing on the line of a syntax error, nothing behind a bracket that is never closed, and nothing that
/// only follows from something being absent, since it may be there and not have been understood.
#[derive(Debug)]
pub(super) struct Report<'t> {
    sources: &'t Sources,
    found: RefCell<Vec<(usize, String)>>,
    surplus: Cell<usize>,
    complete: bool,
}

/// Errors kept; the rest is counted. A broken generator can produce one a line, and a reader needs a handful.
const FOUND_MAX: usize = 1000;

/// Errors shown, the first ones of the file.
const SHOWN_MAX: usize = 100;

impl<'t> Report<'t> {
    /// A report that starts with the syntax errors and what else was found while reading. `complete`: nothing was left out.
    pub(super) fn new(sources: &'t Sources, errors: Vec<(usize, String)>, complete: bool) -> Self {
        let complete = complete && sources.are_complete();
        let report = Self { sources, found: RefCell::default(), surplus: Cell::new(0), complete };
        for (offset, message) in sources.syntax_errors() {
            report.push(offset, message);
        }
        for (offset, message) in errors {
            if !sources.is_spoilt(offset) {
                report.push(offset, message);
            }
        }
        report
    }

    /// Something that stands in a file is wrong.
    pub(super) fn wrong(&self, offset: usize, message: String) -> Reported {
        self.judge(offset, |from| match from {
            Some(from) => format!("the value of {from} is not allowed here"),
            None => message,
        })
    }

    /// The same for a key's value, which is not shown if it may be secret.
    pub(super) fn wrong_value(&self, offset: usize, key: &Key, message: String) -> Reported {
        self.judge(offset, |from| match from {
            Some(from) => {
                format!("the value of {from} is not allowed for {}; allowed: {}", key.name, key.allowed)
            }
            None => message,
        })
    }

    /// Something is missing, or wrong because of something that is missing.
    pub(super) fn missing(&self, offset: usize, message: String) -> Reported {
        if self.complete { self.wrong(offset, message) } else { Reported }
    }

    /// The line of an offset, to point at it in a message behind the word "line"; from 1, with the file if there are
    /// several.
    pub(super) fn line(&self, offset: usize) -> String {
        self.sources.line(offset)
    }

    /// The file and place of an offset, to be told later.
    pub(super) fn place(&self, offset: usize) -> (Arc<str>, Position) {
        self.sources.position(offset)
    }

    /// Where the relative paths begin that stand at an offset.
    pub(super) fn folder(&self, offset: usize) -> &'t Path {
        self.sources.folder(offset)
    }

    /// The errors, the first of the first file first; `None` when there are none.
    pub(super) fn finish(self) -> Option<ConfigErrors> {
        let mut found = self.found.into_inner();
        found.sort();
        found.dedup();
        let left_out = found.len().saturating_sub(SHOWN_MAX) + self.surplus.get();
        found.truncate(SHOWN_MAX);
        let mut errors: Vec<_> = found
            .into_iter()
            .map(|(offset, message)| {
                let (file, position) = self.sources.position(offset);
                ConfigError { file, position: Some(position), message }
            })
            .collect();
        if left_out > 0 {
            let (file, _) = self.sources.position(0);
            errors.push(ConfigError { file, position: None, message: format!("{left_out} more errors") });
        }
        ConfigErrors::new(errors)
    }

    /// Reports what is wrong with what stands at an offset, unless it is guesswork or told; `message` gets the variables
    /// that the value came from.
    fn judge(&self, offset: usize, message: impl FnOnce(Option<&str>) -> String) -> Reported {
        if self.sources.is_spoilt(offset) {
            return Reported;
        }
        match self.sources.marked(offset) {
            Some(Mark::Told) => {}
            Some(Mark::Environment(from)) => self.push(offset, message(Some(from))),
            None => self.push(offset, message(None)),
        }
        Reported
    }

    fn push(&self, offset: usize, message: String) {
        // Messages go to logs line by line: whatever they show of the file has been escaped.
        debug_assert!(!message.contains(char::is_control), "{message:?}");
        let mut found = self.found.borrow_mut();
        if found.len() < FOUND_MAX {
            found.push((offset, message));
        } else {
            self.surplus.set(self.surplus.get() + 1);
        }
    }
}
