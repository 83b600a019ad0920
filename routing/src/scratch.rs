//! The regexes of a router, each once, and the memory that a worker needs to search with them.

use std::collections::HashMap;

use regex_automata::meta::Cache;
use regex_automata::util::primitives::NonMaxUsize;

use crate::pattern::Pattern;

/// Memory of one worker for the routes of one [`crate::Router`]: what regexes need, made when one is first used, and kept.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) caches: Vec<Option<Box<Cache>>>,
    pub(crate) slots: Vec<Option<NonMaxUsize>>,
    /// A value that does not stand in the head as it is compared.
    pub(crate) buffer: Vec<u8>,
}

/// All regexes, by number.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    all: Vec<Pattern>,
    numbers: HashMap<Pattern, usize>,
}

impl Patterns {
    /// The number of a regex; the same for the same text.
    pub(crate) fn add(&mut self, pattern: &Pattern) -> usize {
        *self.numbers.entry(pattern.clone()).or_insert_with(|| {
            self.all.push(pattern.clone());
            self.all.len() - 1
        })
    }

    pub(crate) fn number(&self, pattern: &Pattern) -> Option<usize> {
        self.numbers.get(pattern).copied()
    }

    pub(crate) fn is_match(&self, number: usize, text: &[u8], caches: &mut Vec<Option<Box<Cache>>>) -> bool {
        self.all[number].is_match(text, self.cache(number, caches))
    }

    /// Where the groups are is in the slots then.
    pub(crate) fn capture(&self, number: usize, text: &[u8], scratch: &mut Scratch) -> bool {
        let pattern = &self.all[number];
        scratch.slots.clear();
        scratch.slots.resize(pattern.slots(), None);
        pattern.capture(text, self.cache(number, &mut scratch.caches), &mut scratch.slots)
    }

    fn cache<'c>(&self, number: usize, caches: &'c mut Vec<Option<Box<Cache>>>) -> &'c mut Cache {
        if caches.len() <= number {
            caches.resize_with(self.all.len(), || None);
        }
        caches[number].get_or_insert_with(|| Box::new(self.all[number].cache()))
    }
}
