//! Names for requests: 128 bits that differ over requests, workers, processes and machines.
//!
//! A request takes a number, which is all that it costs; the text is made from it where it is shown. Ids do not count up,
//! so that a client does not learn from two of them how busy the worker is; but they are no secret.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

/// Hexadecimal digits of an id.
pub(crate) const REQUEST_ID_DIGITS: usize = 32;

/// The id of a request.
pub(crate) enum RequestId<'a> {
    /// Of a worker's own.
    Made([u8; REQUEST_ID_DIGITS]),
    /// A filter's: visible ASCII that means nothing in JSON or HTML.
    Given(&'a [u8]),
}

impl std::ops::Deref for RequestId<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Made(text) => text,
            Self::Given(text) => text,
        }
    }
}

/// A worker's source of ids.
pub(crate) struct RequestIds {
    keys: [u64; 4],
    next: Cell<u64>,
}

impl RequestIds {
    /// With keys of its own, which the standard library has from the system's random numbers.
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        Self::with_keys([0u8, 1, 2, 3].map(|index| random.hash_one(index)))
    }

    fn with_keys(keys: [u64; 4]) -> Self {
        Self { keys, next: Cell::new(0) }
    }

    /// A number that no other request of this worker has.
    pub(crate) fn take(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        number
    }

    /// The id of a number, in lower case.
    pub(crate) fn text(&self, number: u64) -> [u8; REQUEST_ID_DIGITS] {
        // Each half is a permutation of the numbers, chosen by two keys: within a worker, ids cannot collide.
        let [one, two, three, four] = self.keys;
        let halves = [mix(mix(number ^ one) ^ two), mix(mix(number ^ three) ^ four)];
        let mut text = [0; REQUEST_ID_DIGITS];
        let bytes = halves.iter().flat_map(|half| half.to_be_bytes());
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&PAIRS[usize::from(byte)]);
        }
        text
    }
}

/// The two digits of each byte.
const PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The finaliser of splitmix64: a permutation in which every bit depends on every other.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_over_requests_and_workers() {
        let workers = [RequestIds::new(), RequestIds::new(), RequestIds::new()];
        let mut seen = HashSet::new();
        for ids in &workers {
            for _ in 0..10_000 {
                let id = ids.text(ids.take());
                assert!(id.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
                assert!(seen.insert(id), "twice");
            }
        }
    }

    #[test]
    fn a_number_is_shown_the_same_each_time_and_each_half_depends_on_it() {
        let ids = RequestIds::with_keys([1, 2, 3, 4]);
        let (first, second) = (ids.take(), ids.take());
        assert_eq!(ids.text(first), ids.text(first));
        let (first, second) = (ids.text(first), ids.text(second));
        let (half, other) = first.split_at(REQUEST_ID_DIGITS / 2);
        assert_ne!(half, &second[..16]);
        assert_ne!(other, &second[16..]);
        assert_ne!(half, other);
    }
}
