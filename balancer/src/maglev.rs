//! The same endpoint for the same key, by a table: Maglev hashing (Eisenbud and others, "Maglev: A Fast and Reliable
//! Software Network Load Balancer", NSDI 2016, §3.4).
//!
//! Each member has a permutation of the table's slots that follows from its name and the seed. They take turns, as often
//! as their weights say, and each takes the first slot of its permutation that is free. So the table depends on names,
//! weights, size and seed only: not on the order of the members, nor on the machine. Of N members one that goes or
//! comes moves about 1/N of the keys, and a few more, since those that stay find other slots free.
//!
//! A table is made of all members, available or not. The keys of one that is down are looked up again under other
//! numbers, so that they spread over the others, no other key moves, and they are back when it is.

use crate::picker::Entry;
use crate::rendezvous::{mix, remainder, rendezvous};
use crate::view::Share;

/// A number of slots: a prime, since only then each step through them meets all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize(u32);

impl TableSize {
    /// 65 537 slots, 256 KiB: shares of 100 members are within 1 % of their weights.
    pub const DEFAULT: Self = Self(65_537);
    /// The largest: 5 000 011 slots, 20 MB.
    pub const MAX: Self = Self(5_000_011);

    /// `None` if `slots` is not a prime, or more than [`Self::MAX`]. A hundred times as many as members, or more.
    #[must_use]
    pub fn new(slots: u32) -> Option<Self> {
        let is_prime =
            slots >= 2 && (2..).take_while(|it| it * it <= slots).all(|it| !slots.is_multiple_of(it));
        (is_prime && slots <= Self::MAX.0).then_some(Self(slots))
    }

    /// How many slots.
    #[must_use]
    pub fn slots(self) -> u32 {
        self.0
    }
}

/// The table. 4 bytes for each slot, shared by all workers.
#[derive(Debug)]
pub struct Maglev {
    /// Positions of members. Empty if no member has a weight.
    slots: Box<[u32]>,
}

impl Maglev {
    /// `members` are names and weights. Takes some ten steps for each slot.
    #[must_use]
    pub fn new(members: &[(u64, u32)], size: TableSize, seed: u64) -> Self {
        let mut members: Vec<Filler> = (0..)
            .zip(members)
            .filter(|(_, (_, weight))| *weight > 0)
            .map(|(position, &(name, weight))| Filler::new(position, (name, weight), size, seed))
            .collect();
        // By name, as the order of the turns must not depend on that of the members.
        members.sort_unstable_by_key(|member| member.name);
        let heaviest = members.iter().map(|member| member.weight).max().unwrap_or(0);
        let mut slots: Box<[u32]> = vec![FREE; if heaviest == 0 { 0 } else { size.0 as usize }].into();
        let mut free = slots.len();
        // In each round the heaviest takes a slot, and the others as many of theirs as are due.
        let rounds = (1_u64..).take_while(|_| heaviest > 0);
        'full: for round in rounds {
            for member in &mut members {
                if member.taken * u64::from(heaviest) >= round * u64::from(member.weight) {
                    continue;
                }
                if free == 0 {
                    break 'full;
                }
                member.take(&mut slots);
                free -= 1;
            }
        }
        Self { slots }
    }

    /// The position of the member that has the key.
    #[must_use]
    pub fn home(&self, key: u64) -> Option<usize> {
        let slot = remainder(mix(key), self.slots.len())?;
        self.slots.get(slot).map(|&position| position as usize)
    }

    /// The home of the key, or, where that may not be, the next one that the key is looked up under.
    pub(crate) fn pick(&self, entries: &[Entry], may: impl Fn(&Entry) -> bool, key: u64) -> Option<usize> {
        for attempt in 0..LOOKUPS_MAX {
            let position = self.home(key.wrapping_add(attempt.wrapping_mul(GOLDEN)))?;
            if entries.get(position).is_some_and(|entry| may(entry) && entry.has_taken_back(key)) {
                return Some(position);
            }
        }
        // Nearly all may not be: among the others.
        let weight = |entry: &Entry| if may(entry) { entry.weight } else { 0 };
        rendezvous(entries.iter().map(|entry| (entry.name, weight(entry))), key)
    }
}

impl Entry {
    /// While it ramps it has a part of its keys, and always the same ones: those that it has had before among them.
    fn has_taken_back(&self, key: u64) -> bool {
        mix(key ^ self.name) % u64::from(Share::FULL.parts()) < u64::from(self.share.parts())
    }
}

/// A member that fills the table.
struct Filler {
    position: u32,
    name: u64,
    weight: u32,
    /// The next slot of its permutation, and how far it is from each to the one after it.
    next: usize,
    step: usize,
    taken: u64,
}

impl Filler {
    fn new(position: u32, (name, weight): (u64, u32), TableSize(slots): TableSize, seed: u64) -> Self {
        let hash = mix(name ^ mix(seed));
        let below = |bound: u32, hash: u64| remainder(hash, bound as usize).unwrap_or(0);
        let (next, step) = (below(slots, hash), 1 + below(slots - 1, mix(hash)));
        Self { position, name, weight, next, step, taken: 0 }
    }

    /// Takes the next slot that is free; there is one.
    fn take(&mut self, slots: &mut [u32]) {
        while slots[self.next] != FREE {
            self.next = (self.next + self.step) % slots.len();
        }
        slots[self.next] = self.position;
        self.taken += 1;
    }
}

/// A slot that nobody has taken yet.
const FREE: u32 = u32::MAX;
/// Lookups before all entries are looked at. While those that may be have half of the keys, one pick in a million comes to
/// that.
const LOOKUPS_MAX: u64 = 20;
/// Keeps the numbers that a key is looked up under apart from other keys.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
