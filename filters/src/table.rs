//! A table of numbers by key for all workers: where rate limits and limits of requests in flight count.
//!
//! A key may stand in any of the 7 ways of one set, which is two cache lines. A known key costs one compare-and-swap of its
//! number. A new key takes a way while it holds its set: there are never two ways with one key, so that nothing is counted
//! twice or forgotten. Whoever holds a set does so for some twenty instructions; who waits for it gives up after a bound, and
//! the request is refused.
//!
//! A way is claimed by its number, not by its key: only who swaps the number that it saw for [`CLAIMED`] may change the key,
//! so that a key never goes away under a number that another worker has just changed.

use std::sync::atomic::{AtomicU64, Ordering};

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    sets: Box<[Set]>,
    keys_max: u32,
    meaning: Meaning,
    /// Keys that were pushed out while their number still mattered.
    evictions: AtomicU64,
}

/// What the numbers say. With another rate they would be debts that take a day, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// How many are in flight.
    InFlight,
    /// Times of a rate, in nanoseconds.
    Rate {
        /// Between two requests.
        interval: u64,
        /// How far ahead a time may be.
        depth: u64,
    },
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Set {
    /// 1 while a key is being added.
    is_held: AtomicU64,
    /// 0: none.
    keys: [AtomicU64; WAYS],
    numbers: [AtomicU64; WAYS],
}

/// Why a number was not changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The limit says no; with the number.
    Limit(u64),
    /// There is no place for the key.
    Full,
}

/// What the numbers of a table mean.
pub(crate) trait Rule {
    /// What becomes of a number; `None` if the limit says no.
    fn next(&self, number: u64) -> Option<u64>;

    /// Whether a number says nothing more than 0 does.
    fn is_idle(&self, number: u64) -> bool;

    /// Whether a key whose number matters may be pushed out for a new one, the smallest number first.
    const EVICTS: bool;

    /// Takes back what `next` did to the number of a wrong key.
    fn undo(&self, _number: &AtomicU64) {}
}

impl Table {
    /// With room for at least this many keys: about twice as many ways, 32 to 64 bytes a key.
    pub(crate) fn new(keys_max: u32, meaning: Meaning) -> Self {
        let sets = std::iter::repeat_with(Set::default).take(Self::sets(keys_max)).collect();
        Self { sets, keys_max, meaning, evictions: AtomicU64::new(0) }
    }

    fn sets(keys_max: u32) -> usize {
        (keys_max as usize).div_ceil(KEYS_PER_SET).next_power_of_two()
    }

    /// What a table with room for so many keys takes.
    pub(crate) fn bytes(keys_max: u32) -> u64 {
        (Self::sets(keys_max) * size_of::<Set>()) as u64
    }

    /// Whether a limit can go on with it after a reload.
    pub(crate) fn fits(&self, keys_max: u32, meaning: Meaning) -> bool {
        (self.keys_max, self.meaning) == (keys_max, meaning)
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// The number of a key; 0 if it is not there.
    pub(crate) fn number(&self, key: u64) -> u64 {
        let (_, set) = self.set(key);
        let way = set.keys.iter().position(|other| other.load(Ordering::Relaxed) == key);
        let number = way.map_or(0, |way| set.numbers[way].load(Ordering::Relaxed));
        if number == CLAIMED { 0 } else { number }
    }

    /// Changes the number of a key by a rule; the new number and its place. `key` is not 0.
    pub(crate) fn change<R: Rule>(&self, key: u64, rule: &R) -> Result<(u64, u32), Refused> {
        debug_assert!(key != 0, "0 stands for no key");
        let (index, set) = self.set(key);
        for _ in 0..ATTEMPTS_MAX {
            let tried = match set.keys.iter().position(|other| other.load(Ordering::Acquire) == key) {
                Some(way) => set.change(way, key, rule).map(|changed| changed.map(|number| (number, way))),
                None => self.add(set, key, rule),
            };
            match tried {
                Some(Ok((number, way))) => {
                    let place = index * WAYS + way;
                    return Ok((
                        number,
                        u32::try_from(place).expect("keys_max is an u32, with few ways for each"),
                    ));
                }
                Some(Err(refused)) => return Err(refused),
                None => std::hint::spin_loop(),
            }
        }
        Err(Refused::Full)
    }

    /// Takes one from the number at a place that [`Table::change`] gave.
    pub(crate) fn decrease(&self, place: u32) {
        let place = place as usize;
        if let Some(set) = self.sets.get(place / WAYS) {
            // The number was at least 1 since, so that nobody has claimed the way.
            let before = set.numbers[place % WAYS].fetch_sub(1, Ordering::AcqRel);
            debug_assert!((1..CLAIMED).contains(&before), "a place was given back twice");
        }
    }

    fn set(&self, key: u64) -> (usize, &Set) {
        // A power of two: the remainder is a mask.
        let index = (key >> 32) as usize % self.sets.len();
        (index, &self.sets[index])
    }

    /// Adds a key; `None` to try again.
    fn add<R: Rule>(&self, set: &Set, key: u64, rule: &R) -> Option<Result<(u64, usize), Refused>> {
        set.is_held.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let added = self.add_held(set, key, rule);
        set.is_held.store(0, Ordering::Release);
        added
    }

    fn add_held<R: Rule>(&self, set: &Set, key: u64, rule: &R) -> Option<Result<(u64, usize), Refused>> {
        let mut victim = None;
        for way in 0..WAYS {
            if set.keys[way].load(Ordering::Relaxed) == key {
                // Another worker was faster.
                return None;
            }
            let number = set.numbers[way].load(Ordering::Acquire);
            if victim.is_none_or(|(_, smallest)| number < smallest) {
                victim = Some((way, number));
            }
        }
        let (way, number) = victim?;
        let is_idle = rule.is_idle(number);
        if !is_idle && !R::EVICTS {
            return Some(Err(Refused::Full));
        }
        let Some(first) = rule.next(0) else { return Some(Err(Refused::Limit(0))) };
        set.numbers[way].compare_exchange(number, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        if !is_idle {
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
        set.keys[way].store(key, Ordering::Release);
        set.numbers[way].store(first, Ordering::Release);
        Some(Ok((first, way)))
    }
}

impl Set {
    /// Changes the number in a way; `None` if the key has gone or the number has changed.
    fn change<R: Rule>(&self, way: usize, key: u64, rule: &R) -> Option<Result<u64, Refused>> {
        let is_ours = || self.keys[way].load(Ordering::Acquire) == key;
        let number = self.numbers[way].load(Ordering::Acquire);
        // The key was written before the number of it that we have seen.
        if number == CLAIMED || !is_ours() {
            return None;
        }
        let Some(next) = rule.next(number) else { return Some(Err(Refused::Limit(number))) };
        let swapped =
            self.numbers[way].compare_exchange(number, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if swapped && !is_ours() {
            // Another key came with the very same number.
            rule.undo(&self.numbers[way]);
            return None;
        }
        swapped.then_some(Ok(next))
    }
}

/// Two cache lines: 7 keys, 7 numbers, and who holds the set.
const WAYS: usize = 7;

/// So that a set that fills by chance seldom overflows.
const KEYS_PER_SET: usize = 4;

/// The number of a way whose key changes.
const CLAIMED: u64 = u64::MAX;

/// Each failed attempt is another worker's success; so many in a row are none of a live system.
const ATTEMPTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts to 3.
    struct Three;

    impl Rule for Three {
        fn next(&self, number: u64) -> Option<u64> {
            (number < 3).then_some(number + 1)
        }

        fn is_idle(&self, number: u64) -> bool {
            number == 0
        }

        fn undo(&self, number: &AtomicU64) {
            number.fetch_sub(1, Ordering::AcqRel);
        }

        const EVICTS: bool = false;
    }

    #[test]
    fn a_set_is_two_cache_lines() {
        assert_eq!(size_of::<Set>(), 128);
    }

    #[test]
    fn counts_each_key_and_is_full_when_all_matter() {
        let table = Table::new(4, Meaning::InFlight);
        assert_eq!(table.sets.len(), 1);
        for key in 1..=7 {
            assert_eq!(table.change(key, &Three).map(|(number, _)| number), Ok(1));
        }
        let (_, place) = table.change(5, &Three).unwrap();
        assert_eq!(table.change(5, &Three).map(|(number, _)| number), Ok(3));
        assert_eq!(table.change(5, &Three), Err(Refused::Limit(3)));
        assert_eq!(table.change(8, &Three), Err(Refused::Full));
        for _ in 0..3 {
            table.decrease(place);
        }
        assert_eq!((table.number(5), table.number(8)), (0, 0));
        assert_eq!(table.change(8, &Three), Ok((1, place)), "an idle way is taken");
        assert_eq!(table.evictions(), 0);
        table.decrease(u32::MAX);
    }

    #[test]
    fn never_more_than_the_limit_is_held_over_threads() {
        // More keys than ways, so that ways change their keys all the time.
        let table = Table::new(4, Meaning::InFlight);
        let held: [AtomicU64; 16] = Default::default();
        let granted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (table, held, granted) = (&table, &held, &granted);
                scope.spawn(move || {
                    let mut random = thread + 1;
                    for _ in 0..200_000 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let key = random >> 60;
                        if let Ok((_, place)) = table.change(key + 1, &Three) {
                            let now = held[key as usize].fetch_add(1, Ordering::SeqCst);
                            assert!(now < 3, "{now} were there already");
                            granted.fetch_add(1, Ordering::Relaxed);
                            held[key as usize].fetch_sub(1, Ordering::SeqCst);
                            table.decrease(place);
                        }
                    }
                });
            }
        });
        assert!(granted.load(Ordering::Relaxed) > 100_000);
        assert!(table.sets[0].numbers.iter().all(|number| number.load(Ordering::Relaxed) == 0));
    }
}
