//! Hash maps whose keys come from the configuration.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map from a configured host or path. Peers only look up and never insert, so they cannot flood a bucket; that is why
/// an unkeyed hash will do.
pub(crate) type KeyMap<V> = HashMap<Box<[u8]>, V, BuildHasherDefault<KeyHasher>>;

/// Eight bytes a step: rotate, mix in, multiply (the "Fx" scheme of Firefox and rustc), with a finish that carries the
/// high bits down, because the map takes its bucket from the low ones.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl KeyHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
    }

    // A slice's length comes through here, so that a short last word and one padded with zeros differ.
    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn finish(&self) -> u64 {
        let folded = (self.0 ^ (self.0 >> 32)).wrapping_mul(MULTIPLIER);
        folded ^ (folded >> 29)
    }
}

/// An odd number without a pattern in its bits: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::Hash;

    fn hash(key: &[u8]) -> u64 {
        let mut hasher = KeyHasher::default();
        key.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn similar_keys_differ_in_the_bits_that_the_map_uses() {
        let keys: Vec<String> = (0..10_000).map(|n| format!("/tenants/{n}/api")).collect();
        let buckets: HashSet<u64> = keys.iter().map(|key| hash(key.as_bytes()) & 0xffff).collect();
        // 10 000 keys thrown at random into 65 536 buckets hit 9 274 of them on average.
        assert!(buckets.len() > 9_000, "only {} buckets", buckets.len());
        let tags: HashSet<u64> = keys.iter().map(|key| hash(key.as_bytes()) >> 57).collect();
        assert_eq!(tags.len(), 128, "all values of the map's 7-bit tag occur");
    }

    #[test]
    fn zeros_at_the_end_count() {
        assert_ne!(hash(b"a"), hash(b"a\0"));
        assert_ne!(hash(b""), hash(b"\0"));
    }
}
