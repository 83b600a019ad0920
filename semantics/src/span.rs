//! A range of bytes in the buffer that holds a message head.

/// A half-open range of bytes in a head's buffer. Heads are bounded far below 4 GiB, so 32 bits hold any position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The span `start..end`.
    ///
    /// # Panics
    ///
    /// When a position does not fit in 32 bits: heads are bounded by configuration far below that.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end, "a span ends before it starts");
        let to_u32 = |n: usize| u32::try_from(n).expect("heads are bounded far below 4 GiB");
        Self { start: to_u32(start), end: to_u32(end) }
    }

    /// Where `part` lies within `whole`; `part` must be a sub-slice of it.
    ///
    /// # Panics
    ///
    /// When `part` is not inside `whole`.
    #[must_use]
    pub fn of(whole: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        assert!(start <= whole.len() && part.len() <= whole.len() - start, "not a part of the buffer");
        Self::new(start, start + part.len())
    }

    /// The bytes that this span names.
    #[must_use]
    pub fn bytes(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The number of bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it holds no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}
