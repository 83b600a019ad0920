//! The idle connections of one listener on one worker, the longest idle first.
//!
//! A connection is in the list while it waits for a request and may be closed for another client. Linking, unlinking and
//! finding the first one take constant time, however many there are.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use slab::Slab;

use crate::deadlines::DeadlineKey;
use crate::footprint::ENTRIES_RESERVED;

/// No entry.
const NONE: u32 = u32::MAX;

/// The entries of all lists of one worker: 16 bytes for each connection that is idle, and as much room is kept as was ever
/// needed.
#[derive(Debug)]
pub(crate) struct IdleEntries(RefCell<Slab<Entry>>);

/// See the module.
#[derive(Debug)]
pub(crate) struct IdleList {
    entries: Rc<IdleEntries>,
    first: Cell<u32>,
    last: Cell<u32>,
}

/// Names an entry. Must be given back with [`IdleList::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdleKey(u32);

/// What an entry takes of the table, as the tests of the memory's bound count it.
#[cfg(test)]
pub(crate) const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<usize>();

#[derive(Debug)]
struct Entry {
    /// Through which its task is woken.
    timer: DeadlineKey,
    previous: u32,
    next: u32,
    /// It was told to close, and is no longer linked.
    is_called: bool,
}

impl Default for IdleEntries {
    fn default() -> Self {
        Self(RefCell::new(Slab::with_capacity(ENTRIES_RESERVED)))
    }
}

impl IdleList {
    /// An empty list.
    pub(crate) fn new(entries: &Rc<IdleEntries>) -> Self {
        Self { entries: entries.clone(), first: Cell::new(NONE), last: Cell::new(NONE) }
    }

    /// A connection becomes idle.
    pub(crate) fn link(&self, timer: DeadlineKey) -> IdleKey {
        let mut entries = self.entries.0.borrow_mut();
        let entry = Entry { timer, previous: self.last.get(), next: NONE, is_called: false };
        let index = u32::try_from(entries.insert(entry)).expect("fewer than 2^32 connections");
        match entries.get_mut(self.last.get() as usize) {
            Some(last) => last.next = index,
            None => self.first.set(index),
        }
        self.last.set(index);
        IdleKey(index)
    }

    /// Tells the longest idle connection to close; the caller wakes it.
    pub(crate) fn call_first(&self) -> Option<DeadlineKey> {
        let mut entries = self.entries.0.borrow_mut();
        let index = self.first.get();
        self.unlink(&mut entries, index);
        let entry = entries.get_mut(index as usize)?;
        entry.is_called = true;
        Some(entry.timer)
    }

    /// Whether the connection was told to close.
    pub(crate) fn is_called(&self, key: IdleKey) -> bool {
        self.entries.0.borrow().get(key.0 as usize).is_some_and(|entry| entry.is_called)
    }

    /// The connection is no longer idle. Returns whether it had been told to close.
    pub(crate) fn remove(&self, key: IdleKey) -> bool {
        let mut entries = self.entries.0.borrow_mut();
        self.unlink(&mut entries, key.0);
        entries.try_remove(key.0 as usize).is_some_and(|entry| entry.is_called)
    }

    /// Whether there is none that could be told to close.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.get() == NONE
    }

    fn unlink(&self, entries: &mut Slab<Entry>, index: u32) {
        let Some(entry) = entries.get(index as usize).filter(|entry| !entry.is_called) else { return };
        let (previous, next) = (entry.previous, entry.next);
        match entries.get_mut(previous as usize) {
            Some(entry) => entry.next = next,
            None => self.first.set(next),
        }
        match entries.get_mut(next as usize) {
            Some(entry) => entry.previous = previous,
            None => self.last.set(previous),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::deadlines::Deadlines;
    use crate::io::memory::Seed;

    #[test]
    fn calls_the_longest_idle_first_and_each_once() {
        let (deadlines, idle) = (Deadlines::new(0), IdleList::new(&Rc::default()));
        let timers: Vec<_> = (0..4).map(|_| deadlines.insert()).collect();
        let keys: Vec<_> = timers.iter().map(|timer| idle.link(*timer)).collect();
        assert!(!idle.remove(keys[1]), "it becomes busy");
        assert_eq!(idle.call_first(), Some(timers[0]));
        assert!(idle.is_called(keys[0]) && !idle.is_called(keys[2]));
        assert_eq!(idle.call_first(), Some(timers[2]));
        assert!(idle.remove(keys[0]), "it was called");
        assert_eq!(idle.call_first(), Some(timers[3]));
        assert!(idle.is_empty() && idle.call_first().is_none());
        assert!(idle.remove(keys[2]) && idle.remove(keys[3]));
    }

    #[test]
    fn lists_with_common_entries_are_apart() {
        let (deadlines, entries) = (Deadlines::new(0), Rc::default());
        let (one, two) = (IdleList::new(&entries), IdleList::new(&entries));
        let timers: Vec<_> = (0..3).map(|_| deadlines.insert()).collect();
        let keys = [one.link(timers[0]), two.link(timers[1]), one.link(timers[2])];
        assert!(!two.remove(keys[1]) && two.is_empty() && two.call_first().is_none());
        assert_eq!((one.call_first(), one.call_first()), (Some(timers[0]), Some(timers[2])));
        assert!(one.is_empty() && one.remove(keys[0]) && one.remove(keys[2]));
    }

    #[test]
    fn is_a_queue_with_removals_whatever_the_order() {
        let (deadlines, idle) = (Deadlines::new(0), IdleList::new(&Rc::default()));
        let mut seed = Seed::new(7);
        let (mut model, mut called) = (VecDeque::new(), Vec::new());
        for _ in 0..50_000 {
            match seed.below(4) {
                0 | 1 => {
                    let timer = deadlines.insert();
                    model.push_back((timer, idle.link(timer)));
                }
                2 if !model.is_empty() => {
                    let (_, key) = model.remove(seed.below(model.len())).unwrap();
                    assert!(!idle.remove(key));
                }
                _ => {
                    let first = model.pop_front();
                    assert_eq!(idle.call_first(), first.map(|(timer, _)| timer));
                    called.extend(first.map(|(_, key)| key));
                    if let Some(key) = called.pop().filter(|_| seed.once_in(2)) {
                        assert!(idle.remove(key));
                    }
                }
            }
            assert_eq!(idle.is_empty(), model.is_empty());
        }
    }
}
