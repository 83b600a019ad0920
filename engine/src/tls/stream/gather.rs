//! Slices that become records: whole ones where they lie, small ones together.

use std::io::IoSlice;

use crate::tls::records::RECORD_BYTES_MAX;

/// What is left of some slices.
pub(super) struct Rest<'a> {
    slices: &'a [IoSlice<'a>],
    /// Taken of the first.
    taken: usize,
}

impl<'a> Rest<'a> {
    pub(super) fn new(slices: &'a [IoSlice<'a>]) -> Self {
        let mut rest = Self { slices, taken: 0 };
        rest.skip_empty();
        rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    fn skip_empty(&mut self) {
        while self.slices.first().is_some_and(|slice| slice.len() == self.taken) {
            self.slices = &self.slices[1..];
            self.taken = 0;
        }
    }

    fn advance(&mut self, count: usize) {
        self.taken += count;
        self.skip_empty();
    }

    /// The next bytes, so many at most: whole records of one slice where they lie, or one record that is gathered.
    pub(super) fn take<'b>(&mut self, gathered: &'b mut Vec<u8>, bytes_max: usize) -> &'b [u8]
    where
        'a: 'b,
    {
        let first: &'a [u8] = &self.slices[0][self.taken..];
        let whole = first.len().min(bytes_max) / RECORD_BYTES_MAX * RECORD_BYTES_MAX;
        if whole > 0 || self.slices.len() == 1 {
            let count = if whole > 0 { whole } else { first.len().min(bytes_max) };
            self.advance(count);
            return &first[..count];
        }
        gathered.clear();
        while !self.is_empty() && gathered.len() < RECORD_BYTES_MAX.min(bytes_max) {
            let slice = &self.slices[0][self.taken..];
            let count = slice.len().min(RECORD_BYTES_MAX.min(bytes_max) - gathered.len());
            gathered.extend_from_slice(&slice[..count]);
            self.advance(count);
        }
        gathered
    }
}
