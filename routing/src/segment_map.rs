//! Values under paths, found by whole segments.

use crate::key::KeyMap;

/// Values under prefixes of paths; the root's is under the empty path.
#[derive(Debug)]
pub(crate) struct SegmentMap<V> {
    /// Without the root.
    below: KeyMap<V>,
    /// No key is longer.
    bytes_max: usize,
    /// No key has more segments.
    segments_max: usize,
    root: Option<V>,
}

impl<V> Default for SegmentMap<V> {
    fn default() -> Self {
        Self { below: KeyMap::default(), bytes_max: 0, segments_max: 0, root: None }
    }
}

impl<V: Default> SegmentMap<V> {
    /// The value under a prefix, made if it is new. Trailing slashes do not count.
    pub(crate) fn entry(&mut self, prefix: &[u8]) -> &mut V {
        let end = prefix.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        let prefix = &prefix[..end];
        if prefix.is_empty() {
            return self.root.get_or_insert_default();
        }
        self.bytes_max = self.bytes_max.max(prefix.len());
        self.segments_max = self.segments_max.max(prefix.iter().filter(|&&byte| byte == b'/').count());
        self.below.entry(prefix.into()).or_default()
    }
}

impl<V> SegmentMap<V> {
    /// All values.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.below.values_mut().chain(self.root.as_mut())
    }

    /// Calls `see` with the values above a path, the longest prefix first, until it says that this was enough.
    #[inline]
    pub(crate) fn walk<'m>(&'m self, path: &[u8], mut see: impl FnMut(&'m V) -> bool) {
        // Where there is the root alone, as behind a catch-all, the path need not be looked at.
        let mut candidate = if self.below.is_empty() { b"" } else { self.longest_candidate(path) };
        while !candidate.is_empty() {
            if let Some(value) = self.below.get(candidate)
                && see(value)
            {
                return;
            }
            let Some(parent) = candidate.iter().rposition(|&byte| byte == b'/') else { break };
            candidate = &candidate[..parent];
        }
        if let Some(root) = &self.root {
            see(root);
        }
    }

    /// The longest run of whole segments at the start of the path that could be a key here, so that a path of many
    /// or long segments costs no more than the configured prefixes.
    fn longest_candidate<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        if path.len() <= self.bytes_max {
            return first_segments(path, self.segments_max);
        }
        // One byte more than the longest prefix, to see whether a segment ends there.
        let seen = &path[..=self.bytes_max];
        let whole = seen.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        first_segments(&seen[..whole], self.segments_max)
    }
}

/// At most so many segments of a path, without the slash after the last one.
fn first_segments(path: &[u8], segments_max: usize) -> &[u8] {
    let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
    match slashes.map(|(at, _)| at).nth(segments_max) {
        Some(end) => &path[..end],
        None => path,
    }
}
