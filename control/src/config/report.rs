//! Collects the errors of one file, so that all of them are told at once.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use super::error::{ConfigError, ConfigErrors};
use super::lines::Lines;
use super::syntax::Syntax;

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
    lines: &'t Lines<'t>,
    found: RefCell<Vec<(usize, String)>>,
    surplus: Cell<usize>,
    spoilt_lines: HashSet<usize>,
    spoilt_from: usize,
    complete: bool,
}

/// Errors kept; the rest is counted. A broken generator can produce one a line, and a reader needs a handful.
const FOUND_MAX: usize = 1000;

/// Errors shown, the first ones of the file.
const SHOWN_MAX: usize = 100;

impl<'t> Report<'t> {
    /// A report that starts with the syntax errors.
    pub(super) fn new(lines: &'t Lines<'t>, syntax: Syntax) -> Self {
        let spoilt_lines = syntax.errors.iter().map(|(offset, _)| lines.line(*offset)).collect();
        let report = Self {
            lines,
            found: RefCell::default(),
            surplus: Cell::new(0),
            spoilt_lines,
            spoilt_from: syntax.spoilt_from,
            complete: syntax.complete,
        };
        for (offset, message) in syntax.errors {
            report.push(offset, message);
        }
        report
    }

    /// Something that stands in the file is wrong.
    pub(super) fn wrong(&self, offset: usize, message: String) -> Reported {
        if offset < self.spoilt_from && !self.spoilt_lines.contains(&self.lines.line(offset)) {
            self.push(offset, message);
        }
        Reported
    }

    /// Something is missing, or wrong because of something that is missing.
    pub(super) fn missing(&self, offset: usize, message: String) -> Reported {
        if self.complete { self.wrong(offset, message) } else { Reported }
    }

    /// The line of an offset, to point at it in a message; from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.line(offset) + 1
    }

    /// The errors, the first of the file first; `None` when there are none.
    pub(super) fn finish(self, file: &str) -> Option<ConfigErrors> {
        let file: std::sync::Arc<str> = file.into();
        let mut found = self.found.into_inner();
        found.sort();
        found.dedup();
        let left_out = found.len().saturating_sub(SHOWN_MAX) + self.surplus.get();
        found.truncate(SHOWN_MAX);
        let mut errors: Vec<_> = found
            .into_iter()
            .map(|(offset, message)| ConfigError {
                file: file.clone(),
                position: Some(self.lines.position(offset)),
                message,
            })
            .collect();
        if left_out > 0 {
            errors.push(ConfigError { file, position: None, message: format!("{left_out} more errors") });
        }
        ConfigErrors::new(errors)
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
