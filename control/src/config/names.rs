//! The names that other parts of the file refer to.

use std::cell::Cell;
use std::collections::HashMap;

use super::reader::ItemFault;
use super::report::{Report, Reported};
use super::{show, suggest};

/// Names of one kind, each with its index and place.
#[derive(Debug)]
pub(super) struct Names<'a> {
    places: HashMap<&'a str, (usize, usize)>,
    /// With their indices, which grow: names are added in the order of the file.
    order: Vec<(usize, &'a str)>,
    /// A definition could not be read: whether a name is defined is anyone's guess.
    incomplete: bool,
    comparisons_left: Cell<usize>,
}

/// Comparisons made for suggestions, all undefined names together: a second. Past it, none are made.
const COMPARISONS_MAX: usize = 1_000_000;

impl<'a> Names<'a> {
    pub(super) fn new() -> Self {
        Self {
            places: HashMap::new(),
            order: Vec::new(),
            incomplete: false,
            comparisons_left: Cell::new(COMPARISONS_MAX),
        }
    }

    /// Adds a name; the place where it already stands when it is not new.
    pub(super) fn add(&mut self, name: &'a str, index: usize, at: usize) -> Result<(), usize> {
        if let Some((_, first)) = self.places.get(name) {
            return Err(*first);
        }
        self.places.insert(name, (index, at));
        self.order.push((index, name));
        Ok(())
    }

    /// The name with an index.
    pub(super) fn of(&self, index: usize) -> Option<&'a str> {
        let place = self.order.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(self.order[place].1)
    }

    /// Gives up on complaining about undefined names, after an error in a definition.
    pub(super) fn set_incomplete(&mut self, reported: Reported) {
        let Reported = reported;
        self.incomplete = true;
    }

    /// The index of a name, or what to say of it.
    pub(super) fn find(&self, name: &str) -> Result<usize, ItemFault> {
        if let Some((index, _)) = self.places.get(name) {
            return Ok(*index);
        }
        if self.incomplete {
            return Err(ItemFault::Reported(Reported));
        }
        let names = self.order.iter().map(|(_, name)| *name);
        let left = self.comparisons_left.get();
        let meant = match left.checked_sub(names.len()) {
            Some(left) => {
                self.comparisons_left.set(left);
                suggest::did_you_mean(name, names.clone())
            }
            None => String::new(),
        };
        let defined = match self.order.is_empty() {
            true => "none is defined".to_owned(),
            false => format!("defined: {}", show::list(names)),
        };
        Err(ItemFault::Missing(format!("{} is not defined{meant} ({defined})", show::quoted(name))))
    }
}

/// Most characters of a name: it stands in every log record and every line of the metrics.
const NAME_CHARS_MAX: usize = 100;

/// A name that can stand in logs and metrics.
pub(super) fn checked(name: &str) -> Result<&str, String> {
    let shown = show::quoted(name);
    if name.is_empty() {
        return Err(format!("{shown} is empty; allowed: 1 to {NAME_CHARS_MAX} characters"));
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(format!("{shown} is too long; allowed: 1 to {NAME_CHARS_MAX} characters"));
    }
    match name.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("{shown} has the control character {c:?}")),
        None => Ok(name),
    }
}

/// Reports a name that stands twice.
pub(super) fn twice(report: &Report<'_>, at: usize, what: &str, name: &str, first: usize) -> Reported {
    let line = report.line(first);
    report.wrong(at, format!("{what} {} is already used in line {line}", show::quoted(name)))
}
