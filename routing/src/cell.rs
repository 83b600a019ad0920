//! The rules that share a host pattern and a path pattern, and the search for the first of them that a request takes.

use std::collections::HashMap;

use crate::Request;
use crate::conditions::{Compiled, Place};
use crate::key::KeyMap;
use crate::scratch::{Patterns, Scratch};

/// A rule under one of its host patterns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Its place in the order of precedence among all of the listener.
    pub(crate) rank: u32,
    /// The index of its route.
    pub(crate) route: u32,
    /// The index of its conditions; [`Entry::PLAIN`] without any.
    pub(crate) conditions: u32,
}

impl Entry {
    pub(crate) const PLAIN: u32 = u32::MAX;
}

/// The rules of a host pattern and a path pattern, in their order of precedence.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    /// The rank of the first; 0 in a cell without rules.
    best_rank: u32,
    entries: Vec<Entry>,
    by_value: Option<Box<ByValue>>,
}

/// Rules of a large cell that ask for an exact value, by that value.
#[derive(Debug, Default)]
struct ByValue {
    tables: Vec<(Place, Box<str>, KeyMap<Vec<Entry>>)>,
}

/// More rules than these in a cell are looked up by the values that they ask for. A guess at where that pays.
const SCANNED_MAX: usize = 8;

impl Cell {
    /// Adds a rule behind all that go before it.
    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.is_empty() {
            self.best_rank = entry.rank;
        }
        self.entries.push(entry);
    }

    /// The route of the first rule.
    #[inline]
    pub(crate) fn first(&self) -> Option<u32> {
        self.entries.first().map(|entry| entry.route)
    }

    /// Moves rules that ask for exact values to tables, if there are many.
    pub(crate) fn index(&mut self, conditions: &[Compiled]) {
        if self.entries.len() <= SCANNED_MAX {
            return;
        }
        let mut numbers: HashMap<(Place, Box<str>), usize> = HashMap::new();
        let mut by_value = ByValue::default();
        let exact = |entry: &Entry| conditions.get(entry.conditions as usize)?.first_exact();
        self.entries.retain(|entry| {
            let Some((place, name, value)) = exact(entry) else { return true };
            // Fields have names without case.
            let name: Box<str> =
                if place == Place::Header { name.to_ascii_lowercase().into() } else { name.into() };
            let number = *numbers.entry((place, name.clone())).or_insert_with(|| {
                by_value.tables.push((place, name, KeyMap::default()));
                by_value.tables.len() - 1
            });
            by_value.tables[number].2.entry(value.into()).or_default().push(*entry);
            false
        });
        self.by_value = (!by_value.tables.is_empty()).then(|| Box::new(by_value));
    }
}

/// The search for the route of one request.
pub(crate) struct Search<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) path: &'a [u8],
    pub(crate) conditions: &'a [Compiled],
    pub(crate) patterns: &'a Patterns,
    pub(crate) scratch: &'a mut Scratch,
    /// Tables are not visited in the order of precedence, so that a later one may have a better rule.
    pub(crate) is_exhaustive: bool,
    pub(crate) best: Option<Entry>,
}

impl Search<'_> {
    /// Whether what is still to be visited cannot change the answer.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.best.is_some() && !self.is_exhaustive
    }

    /// Whether a cell may hold a better rule than the best so far.
    pub(crate) fn may_improve(&self, cell: &Cell) -> bool {
        self.best.is_none_or(|best| cell.best_rank < best.rank)
    }

    /// Looks for a better rule in a cell. Whether the search is over.
    #[inline]
    pub(crate) fn visit(&mut self, cell: &Cell) -> bool {
        self.scan(&cell.entries);
        if let Some(by_value) = &cell.by_value {
            self.look_up(by_value);
        }
        self.is_settled()
    }

    /// Whether a regex is found in the path.
    pub(crate) fn finds(&mut self, pattern: usize, text: &[u8]) -> bool {
        self.patterns.is_match(pattern, text, &mut self.scratch.caches)
    }

    #[inline]
    fn scan(&mut self, entries: &[Entry]) {
        for entry in entries {
            if self.best.is_some_and(|best| best.rank < entry.rank) {
                return;
            }
            if entry.conditions == Entry::PLAIN || self.conditions_hold(entry) {
                self.best = Some(*entry);
                return;
            }
        }
    }

    fn conditions_hold(&mut self, entry: &Entry) -> bool {
        self.conditions[entry.conditions as usize].hold(self.request, self.patterns, self.scratch)
    }

    fn look_up(&mut self, by_value: &ByValue) {
        for (place, name, table) in &by_value.tables {
            let value = place.value(name.as_bytes(), self.request, &mut self.scratch.buffer);
            if let Some(entries) = value.and_then(|value| table.get(value)) {
                self.scan(entries);
            }
        }
    }
}
