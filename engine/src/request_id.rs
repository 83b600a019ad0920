//! Names for requests: 128 bits that differ over requests, workers, processes and machines.
//!
//! A request takes a number, which is all that it costs; the text is made from it where it is shown. Ids do not count up,
//! so that a client does not learn from two of them how busy the worker is; but they are no secret.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use corelane_balancer::mix;

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

    /// The halves of a number's id.
    pub(crate) fn halves(&self, number: u64) -> [u64; 2] {
        // Each half is a permutation of the numbers, chosen by two keys: within a worker, ids cannot collide.
        let [one, two, three, four] = self.keys;
        [mix(mix(number ^ one) ^ two), mix(mix(number ^ three) ^ four)]
    }

    /// The id of a number, in lower case.
    pub(crate) fn text(&self, number: u64) -> [u8; REQUEST_ID_DIGITS] {
        let mut text = [0; REQUEST_ID_DIGITS];
        for (digits, half) in text.as_chunks_mut().0.iter_mut().zip(self.halves(number)) {
            *digits = hexadecimal(half);
        }
        text
    }
}

/// The digits of a number, in lower case.
pub(crate) fn hexadecimal(number: u64) -> [u8; 16] {
    let number = number.swap_bytes();
    let mut text = [0; 16];
    let words = [number & u64::from(u32::MAX), number >> 32];
    for (digits, word) in text.as_chunks_mut().0.iter_mut().zip(words) {
        *digits = digits_of(word);
    }
    text
}

/// The digits of four bytes, the lowest of `word` first, all at once: each in a byte of its own.
fn digits_of(word: u64) -> [u8; 8] {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let mut bytes = (word | word << 16) & 0x0000_ffff_0000_ffff;
    bytes = (bytes | bytes << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (bytes >> 4 | bytes << 8) & 0x0f0f_0f0f_0f0f_0f0f;
    // From ten on, six more reach the higher half of the byte.
    let is_letter = ((nibbles + EACH * 6) >> 4) & EACH;
    (nibbles + EACH * u64::from(b'0') + is_letter * u64::from(b'a' - b'0' - 10)).to_le_bytes()
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
    fn shows_both_halves_in_hexadecimal() {
        let ids = RequestIds::with_keys([1, 2, 3, 4]);
        for number in 0..100 {
            let halves = [mix(mix(number ^ 1) ^ 2), mix(mix(number ^ 3) ^ 4)];
            let shown = format!("{:016x}{:016x}", halves[0], halves[1]);
            assert_eq!(ids.text(number), shown.as_bytes());
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
