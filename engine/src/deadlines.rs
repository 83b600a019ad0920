//! One coarse wheel of deadlines per core.
//!
//! A connection has one entry for its whole life and moves its due time with a store: an entry sits in the slot of an
//! earlier time and is put further back only when the wheel gets there (lazy re-insertion). Only a due time before the
//! slot moves the entry at once. Resolution is [`TICK_MS`]; a deadline fires up to one tick late, never early.

use std::cell::RefCell;
use std::task::Waker;

use slab::Slab;

use crate::footprint::ENTRIES_RESERVED;

/// Milliseconds between two ticks. Deadlines of a proxy are seconds; a finer wheel only wakes more often.
pub(crate) const TICK_MS: u64 = 100;

/// Slots in the wheel: 51.2 s. What is due later is put back once a turn.
const SLOTS: usize = 512;

/// No entry.
const NONE: u32 = u32::MAX;

/// The deadlines of one worker.
pub(crate) struct Deadlines {
    wheel: RefCell<Wheel>,
}

/// Names an entry. Must be given back with [`Deadlines::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeadlineKey(u32);

struct Wheel {
    entries: Slab<Entry>,
    slots: Box<[u32; SLOTS]>,
    /// The tick that was processed last.
    tick: u64,
    /// Entries in slots.
    queued: usize,
}

/// What an entry takes of the table, as the tests of the memory's bound count it.
#[cfg(test)]
pub(crate) const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<usize>();

struct Entry {
    waker: Option<Waker>,
    /// When to wake, in ticks; `u64::MAX` for never.
    due: u64,
    /// The tick of the slot that it sits in, if any.
    queued_at: Option<u64>,
    previous: u32,
    next: u32,
}

impl Deadlines {
    pub(crate) fn new(now_ms: u64) -> Self {
        let wheel = Wheel {
            entries: Slab::with_capacity(ENTRIES_RESERVED),
            slots: Box::new([NONE; SLOTS]),
            tick: now_ms / TICK_MS,
            queued: 0,
        };
        Self { wheel: RefCell::new(wheel) }
    }

    /// A new entry that is never due.
    pub(crate) fn insert(&self) -> DeadlineKey {
        let entry = Entry { waker: None, due: u64::MAX, queued_at: None, previous: NONE, next: NONE };
        let index = self.wheel.borrow_mut().entries.insert(entry);
        DeadlineKey(u32::try_from(index).expect("fewer than 2^32 connections"))
    }

    /// Ends an entry.
    pub(crate) fn remove(&self, key: DeadlineKey) {
        let mut wheel = self.wheel.borrow_mut();
        wheel.unlink(key.0);
        let entry = wheel.entries.try_remove(key.0 as usize);
        drop(wheel);
        // Its waker may be the last that holds a task: no borrow is held.
        drop(entry);
    }

    /// Wakes `waker` when `due_ms` has passed; the ticker must run from now on.
    pub(crate) fn set(&self, key: DeadlineKey, now_ms: u64, due_ms: u64, waker: &Waker) {
        let mut wheel = self.wheel.borrow_mut();
        let wheel = &mut *wheel;
        if wheel.queued == 0 {
            // An empty wheel may have slept: it does not have to walk through that time.
            wheel.tick = now_ms / TICK_MS;
        }
        let due = due_ms.div_ceil(TICK_MS).max(wheel.tick + 1);
        let Some(entry) = wheel.entries.get_mut(key.0 as usize) else { return };
        entry.due = due;
        match &mut entry.waker {
            Some(known) => known.clone_from(waker),
            None => entry.waker = Some(waker.clone()),
        }
        match entry.queued_at {
            Some(tick) if tick <= due => return,
            Some(_) => wheel.unlink(key.0),
            None => {}
        }
        wheel.link(key.0);
    }

    /// Names whom to wake, before any due time is set.
    pub(crate) fn attend(&self, key: DeadlineKey, waker: &Waker) {
        if let Some(entry) = self.wheel.borrow_mut().entries.get_mut(key.0 as usize) {
            entry.waker = Some(waker.clone());
        }
    }

    /// Makes an entry never due.
    pub(crate) fn clear(&self, key: DeadlineKey) {
        if let Some(entry) = self.wheel.borrow_mut().entries.get_mut(key.0 as usize) {
            entry.due = u64::MAX;
        }
    }

    /// Wakes what is due. Returns whether the wheel is empty now and can sleep.
    pub(crate) fn advance(&self, now_ms: u64) -> bool {
        let now = now_ms / TICK_MS;
        let mut wheel = self.wheel.borrow_mut();
        // After a stall of more than one turn each slot is still visited only once.
        wheel.tick = wheel.tick.max(now.saturating_sub(SLOTS as u64));
        while wheel.tick < now {
            wheel.tick += 1;
            wheel.visit_slot();
        }
        wheel.queued == 0
    }

    /// Wakes an entry, whatever its due time.
    pub(crate) fn wake(&self, key: DeadlineKey) {
        let wheel = self.wheel.borrow();
        if let Some(waker) = wheel.entries.get(key.0 as usize).and_then(|entry| entry.waker.as_ref()) {
            waker.wake_by_ref();
        }
    }

    /// Wakes nobody any more, and lets go of the tasks that it held by their wakers.
    pub(crate) fn forget_wakers(&self) {
        let wakers: Vec<_> =
            self.wheel.borrow_mut().entries.iter_mut().filter_map(|(_, entry)| entry.waker.take()).collect();
        // Dropping a task removes its entry: no borrow is held.
        drop(wakers);
    }

    /// Wakes every entry that has a waker, whatever its due time: something that all must look at has changed.
    pub(crate) fn wake_all(&self) {
        let wheel = self.wheel.borrow();
        for waker in wheel.entries.iter().filter_map(|(_, entry)| entry.waker.as_ref()) {
            waker.wake_by_ref();
        }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.wheel.borrow().entries.len()
    }
}

impl Wheel {
    fn slot_of(tick: u64) -> usize {
        usize::try_from(tick % SLOTS as u64).expect("less than the number of slots")
    }

    /// Puts an entry into the slot of its due time, or the farthest one.
    fn link(&mut self, index: u32) {
        let farthest = self.tick + SLOTS as u64 - 1;
        let Some(entry) = self.entries.get_mut(index as usize) else { return };
        let tick = entry.due.min(farthest);
        let slot = Self::slot_of(tick);
        entry.queued_at = Some(tick);
        entry.previous = NONE;
        entry.next = self.slots[slot];
        let next = entry.next;
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = index;
        }
        self.slots[slot] = index;
        self.queued += 1;
    }

    fn unlink(&mut self, index: u32) {
        let Some(entry) = self.entries.get_mut(index as usize) else { return };
        let Some(tick) = entry.queued_at.take() else { return };
        let (previous, next) = (entry.previous, entry.next);
        if let Some(entry) = self.entries.get_mut(previous as usize) {
            entry.next = next;
        } else {
            self.slots[Self::slot_of(tick)] = next;
        }
        if let Some(entry) = self.entries.get_mut(next as usize) {
            entry.previous = previous;
        }
        self.queued -= 1;
    }

    fn visit_slot(&mut self) {
        let mut index = std::mem::replace(&mut self.slots[Self::slot_of(self.tick)], NONE);
        while let Some(entry) = self.entries.get_mut(index as usize) {
            let next = entry.next;
            entry.queued_at = None;
            self.queued -= 1;
            if entry.due <= self.tick {
                entry.due = u64::MAX;
                if let Some(waker) = &entry.waker {
                    waker.wake_by_ref();
                }
            } else if entry.due != u64::MAX {
                self.link(index);
            }
            index = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::exchange_tests::counter;

    #[test]
    fn wakes_once_and_never_early() {
        let deadlines = Deadlines::new(1_000);
        let (count, waker) = counter();
        let key = deadlines.insert();
        deadlines.set(key, 1_000, 1_950, &waker);
        assert!(!deadlines.advance(1_949));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        assert!(deadlines.advance(2_000));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        deadlines.advance(200_000);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_later_due_time_is_lazy_and_an_earlier_one_is_not() {
        let deadlines = Deadlines::new(0);
        let (count, waker) = counter();
        let key = deadlines.insert();
        deadlines.set(key, 0, 1_000, &waker);
        deadlines.set(key, 0, 120_000, &waker);
        for now in (0..120_000).step_by(100) {
            deadlines.advance(now);
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        deadlines.set(key, 119_900, 119_990, &waker);
        deadlines.advance(120_000);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn removing_an_entry_leaves_its_neighbours() {
        let deadlines = Deadlines::new(0);
        let (count, waker) = counter();
        let keys: Vec<_> = (0..5).map(|_| deadlines.insert()).collect();
        for key in &keys {
            deadlines.set(*key, 0, 500, &waker);
        }
        for key in [keys[0], keys[2], keys[4]] {
            deadlines.remove(key);
        }
        assert_eq!(deadlines.len(), 2);
        assert!(deadlines.advance(500));
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_cleared_entry_is_silent_and_a_stall_loses_nothing() {
        let deadlines = Deadlines::new(0);
        let (count, waker) = counter();
        let (cleared, kept) = (deadlines.insert(), deadlines.insert());
        deadlines.set(cleared, 0, 700, &waker);
        deadlines.set(kept, 0, 60_000, &waker);
        deadlines.clear(cleared);
        deadlines.advance(10_000_000);
        // `kept` was put back during the one visit of its slot or woken: by the next turn it must have fired.
        deadlines.advance(10_060_000);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
