//! The same choice for the same key, without a table: weighted rendezvous hashing.
//!
//! Each candidate draws a number from its own name and the key, scaled by its weight, and the highest wins. So the shares
//! of keys follow the weights, the order of the candidates does not matter, and after a change of weights only those keys
//! move that have to: nothing moves between two candidates whose weights did not change.

/// A number that stands for `bytes`, the same in every process (FNV-1a, then mixed).
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    mix(bytes.iter().fold(OFFSET, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
}

/// A number that stands for several parts, some of which may be missing: their order and borders count. The same in every
/// process. `None` if all are missing.
#[must_use]
pub fn combined<'a>(parts: impl IntoIterator<Item = Option<&'a [u8]>>) -> Option<u64> {
    let mut is_any = false;
    let combined = parts.into_iter().fold(0_u64, |hash, part| {
        is_any |= part.is_some();
        mix(hash.wrapping_add(GOLDEN) ^ part.map_or(0, fingerprint))
    });
    is_any.then_some(combined)
}

/// Which of the candidates `key` belongs to: each is the [`fingerprint`] of its name and its weight. `None` if every
/// weight is 0.
#[must_use]
pub fn rendezvous(candidates: impl IntoIterator<Item = (u64, u32)>, key: u64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, (name, weight)) in candidates.into_iter().enumerate() {
        if weight == 0 {
            continue;
        }
        let score = -f64::from(weight) / unit(name ^ mix(key)).ln();
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

/// The last steps of splitmix64: a permutation in which each bit of the input changes half of the output's.
#[inline]
#[must_use]
pub fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The step of splitmix64: sums with its multiples keep numbers apart that follow each other.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Evenly a number between 0 and 1, never one of them: the logarithm is finite and not 0.
#[inline]
pub(crate) fn unit(random: u64) -> f64 {
    ((mix(random) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// What is left of `number` after division: below `divisor`. `None` if that is 0.
#[inline]
pub(crate) fn remainder(number: u64, divisor: usize) -> Option<usize> {
    let rest = number.checked_rem(divisor as u64)?;
    Some(usize::try_from(rest).expect("it is below the divisor, which was a usize"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const KEYS: u64 = 100_000;

    fn named(weights: &[(&str, u32)]) -> Vec<(u64, u32)> {
        weights.iter().map(|&(name, weight)| (fingerprint(name.as_bytes()), weight)).collect()
    }

    fn choices(weights: &[(&str, u32)]) -> Vec<usize> {
        let candidates = named(weights);
        (0..KEYS).map(|key| rendezvous(candidates.iter().copied(), key).expect("a weight")).collect()
    }

    #[test]
    fn shares_follow_the_weights() {
        let chosen = choices(&[("a", 90), ("b", 10), ("none", 0)]);
        let counts = [0, 1, 2].map(|index| chosen.iter().filter(|&&it| it == index).count());
        // Four standard deviations are 380.
        assert!(counts[0].abs_diff(90_000) < 380, "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn only_what_must_move_moves() {
        let before = choices(&[("a", 50), ("b", 30), ("c", 20)]);
        // In another order, and `c` has lost its share.
        let after = choices(&[("b", 30), ("a", 50), ("c", 0)]);
        for (before, after) in before.iter().zip(&after) {
            match before {
                0 => assert_eq!(*after, 1),
                1 => assert_eq!(*after, 0),
                _ => assert!(*after < 2),
            }
        }
    }

    #[test]
    fn no_weight_no_choice() {
        assert_eq!(rendezvous(named(&[("a", 0)]), 1), None);
        assert_eq!(rendezvous([], 1), None);
    }

    #[test]
    fn order_and_borders_of_parts_count() {
        let parts: [&[Option<&[u8]>]; 9] = [
            &[Some(b"a"), Some(b"b")],
            &[Some(b"b"), Some(b"a")],
            &[Some(b"ab"), Some(b"")],
            &[Some(b""), Some(b"ab")],
            &[Some(b"ab"), None],
            &[None, Some(b"ab")],
            &[Some(b"ab")],
            &[Some(b"a")],
            &[Some(b"")],
        ];
        let numbers: HashSet<u64> =
            parts.iter().filter_map(|parts| combined(parts.iter().copied())).collect();
        assert_eq!(numbers.len(), parts.len());
        assert_eq!((combined([None, None]), combined([])), (None, None));
    }

    #[test]
    fn a_fingerprint_is_the_same_for_ever() {
        // Cookies that clients keep are made of it.
        assert_eq!(format!("{:016x}", fingerprint(b"blue")), "d6aca0b0b9ba62b1");
        assert_ne!(fingerprint(b"blue"), fingerprint(b"green"));
        // Machines of different versions must agree on keys.
        let key = combined([Some(&b"192.0.2.7"[..]), None, Some(b"/cart")]);
        assert_eq!(key.map(|key| format!("{key:016x}")), Some("60fee28450073800".to_owned()));
    }
}
