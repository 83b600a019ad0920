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

use crate::rendezvous::{GOLDEN, mix, remainder, rendezvous};
use crate::tier::Entry;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ask, Group, GroupRules, Member, Picker, Policy, fingerprint};

    const KEYS: u32 = 100_000;

    fn size(slots: u32) -> TableSize {
        TableSize::new(slots).expect("a prime")
    }

    fn name(number: usize) -> u64 {
        fingerprint(format!("10.0.0.{number}:8080").as_bytes())
    }

    fn members(weights: &[u32]) -> Vec<(u64, u32)> {
        weights.iter().enumerate().map(|(number, &weight)| (name(number), weight)).collect()
    }

    /// The names that the keys belong to.
    fn homes(members: &[(u64, u32)], size: TableSize) -> Vec<u64> {
        let table = Maglev::new(members, size, 0);
        (0..KEYS).map(|key| members[table.home(key.into()).expect("a member")].0).collect()
    }

    fn moved(before: &[u64], after: &[u64]) -> usize {
        before.iter().zip(after).filter(|(before, after)| before != after).count()
    }

    #[test]
    fn only_primes_are_sizes() {
        let primes: Vec<u32> = (0..30).filter(|&it| TableSize::new(it).is_some()).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        for size in [TableSize::DEFAULT, TableSize::MAX] {
            assert_eq!(TableSize::new(size.slots()), Some(size));
        }
        assert_eq!(TableSize::new(5_000_077), None, "a prime, but above the maximum");
        assert_eq!(TableSize::new(u32::MAX), None);
    }

    #[test]
    fn the_table_is_the_same_for_ever() {
        // Machines of different versions must agree on it: this changes in a release that says so, or never.
        let table = Maglev::new(&members(&[1, 1, 2, 0, 1]), size(31), 7);
        let text: String = table.slots.iter().map(u32::to_string).collect();
        assert_eq!(text, "2142200121204212412404220212004");
        let slots = Maglev::new(&members(&[1; 20]), TableSize::DEFAULT, 0).slots;
        let bytes: Vec<u8> = slots.iter().flat_map(|slot| slot.to_be_bytes()).collect();
        assert_eq!(format!("{:016x}", fingerprint(&bytes)), "9f863980ef917b2f");
    }

    #[test]
    fn the_order_of_the_members_does_not_matter_and_the_seed_does() {
        let mut members = members(&[3, 1, 4, 1, 5, 9, 2, 6]);
        let table = |members: &[(u64, u32)], seed| {
            let table = Maglev::new(members, size(1_009), seed);
            table.slots.iter().map(|&position| members[position as usize].0).collect::<Vec<_>>()
        };
        let (before, seeded) = (table(&members, 0), table(&members, 1));
        members.reverse();
        assert_eq!(table(&members, 0), before);
        members.swap(2, 5);
        assert_eq!(table(&members, 0), before);
        let same = before.iter().zip(&seeded).filter(|(one, other)| one == other).count();
        assert!(same < 400, "{same} of 1009");
    }

    #[test]
    fn slots_follow_the_weights() {
        for weights in [&[1; 100][..], &[1, 2, 3, 94], &[65_535, 65_535, 1], &[7, 0, 7], &[1]] {
            let table = Maglev::new(&members(weights), TableSize::DEFAULT, 0);
            let all: u32 = weights.iter().sum();
            for (position, &weight) in (0..).zip(weights) {
                let got = table.slots.iter().filter(|&&slot| slot == position).count();
                let due = f64::from(TableSize::DEFAULT.slots()) * f64::from(weight) / f64::from(all);
                assert!((got as f64 - due).abs() < 1.0 + due / 100.0, "{weights:?}: {got}, due {due}");
            }
        }
    }

    #[test]
    fn keys_follow_the_weights() {
        let homes = homes(&members(&[1, 2, 0, 5, 2]), TableSize::DEFAULT);
        let counts = [0, 1, 2, 3, 4].map(|number| homes.iter().filter(|&&it| it == name(number)).count());
        for (count, due) in counts.into_iter().zip([10_000, 20_000, 0, 50_000, 20_000_usize]) {
            // Four standard deviations are 632 at most.
            assert!(count.abs_diff(due) < 640, "{counts:?}");
        }
    }

    #[test]
    fn a_member_that_goes_moves_its_keys_and_few_others() {
        for count in [2, 5, 20, 100] {
            let all = members(&vec![1; count]);
            let before = homes(&all, TableSize::DEFAULT);
            let after = homes(&all[1..], TableSize::DEFAULT);
            let lost = before.iter().filter(|&&it| it == all[0].0).count();
            let others = moved(&before, &after) - lost;
            assert!(lost.abs_diff(KEYS as usize / count) < 640, "{count}: {lost}");
            // The paper's figure 12: with a hundred times as many slots as members a few percent of the others.
            assert!(others < KEYS as usize / 40, "{count} members: {others} of others");
        }
    }

    #[test]
    fn a_change_of_weight_moves_little_more_than_it_must() {
        let before = homes(&members(&[10; 10]), TableSize::DEFAULT);
        let mut weights = [10; 10];
        weights[3] = 5;
        let moved = moved(&before, &homes(&members(&weights), TableSize::DEFAULT));
        // From a tenth to 5 of 95.
        assert!((4_700..9_000).contains(&moved), "{moved}");
    }

    #[test]
    fn no_weight_no_home() {
        for weights in [&[][..], &[0, 0]] {
            assert_eq!(Maglev::new(&members(weights), TableSize::DEFAULT, 0).home(1), None);
        }
    }

    /// A picker by key.
    fn picker(weights: &[u32]) -> Picker {
        let member = |(name, weight)| Member { name, weight, priority: 0 };
        let members: Vec<_> = members(weights).into_iter().map(member).collect();
        Picker::new(&Group::new(GroupRules { policy: Policy::Hash, ..GroupRules::default() }, &members), 0)
    }

    fn picks(picker: &mut Picker) -> Vec<usize> {
        let ask = |key| Ask { key: Some(key), ..Ask::default() };
        (0..KEYS).map(|key| picker.pick(&ask(key.into()), &()).expect("one is available")).collect()
    }

    #[test]
    fn when_one_is_down_only_its_keys_move_and_they_come_back() {
        let mut picker = picker(&[1; 20]);
        let before = picks(&mut picker);
        let _ = picker.admit(|endpoint| if endpoint == 4 { Share::NONE } else { Share::FULL });
        let after = picks(&mut picker);
        let mut gained = [0_usize; 20];
        for (&before, &after) in before.iter().zip(&after) {
            if before == 4 {
                gained[after] += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert_eq!(gained[4], 0);
        // 5000 keys over 19: four standard deviations are 64.
        let others = gained.iter().enumerate().filter(|(endpoint, _)| *endpoint != 4);
        assert!(others.into_iter().all(|(_, &count)| count.abs_diff(263) < 64), "{gained:?}");
        let _ = picker.admit(|_| Share::FULL);
        assert_eq!(picks(&mut picker), before);
    }

    #[test]
    fn who_ramps_takes_its_keys_back_bit_by_bit() {
        let mut picker = picker(&[1; 4]);
        let all = picks(&mut picker);
        let mut back = vec![false; KEYS as usize];
        for parts in [26, 128, 200, 256] {
            let share = |endpoint| if endpoint == 0 { Share::new(parts) } else { Share::FULL };
            let _ = picker.admit(share);
            let now = picks(&mut picker);
            let mut count = 0;
            for (key, (&now, &home)) in now.iter().zip(&all).enumerate() {
                assert!(home == 0 || now == home, "only its own keys move");
                assert!(now == 0 || !back[key], "a key that is back stays");
                back[key] = now == 0;
                count += u32::from(now == 0);
            }
            let due = KEYS / 4 * u32::from(parts) / 256;
            // Four standard deviations of both draws are 600 at most.
            assert!(count.abs_diff(due) < 600, "{parts}: {count}, due {due}");
        }
    }

    #[test]
    fn the_only_one_that_may_be_is_found() {
        let mut picker = picker(&[1; 200]);
        let _ = picker.admit(|endpoint| if endpoint == 77 { Share::FULL } else { Share::NONE });
        assert!(picks(&mut picker).iter().all(|&endpoint| endpoint == 77));
    }
}
