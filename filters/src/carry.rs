//! What an exchange keeps of its request until its end.

use corelane_semantics::Span;

/// Texts that filters of the response will need, and the places that limits of requests in flight gave.
///
/// Empty, and then without memory, for a chain that needs neither. [`crate::Chain::finish`] must get it at the end of the
/// exchange, whatever that end is: places that are not given back stay taken.
#[derive(Debug, Default)]
pub struct Carry {
    bytes: Vec<u8>,
    texts: Vec<Span>,
    /// Which entry of the chain gave a place, and which.
    pub(crate) places: Vec<(u16, u32)>,
}

impl Carry {
    /// Whether there is nothing to give back: the exchange may then forget it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.places.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.texts.clear();
        self.places.clear();
    }

    pub(crate) fn has_memory(&self) -> bool {
        self.bytes.capacity() + self.texts.capacity() + self.places.capacity() > 0
    }

    /// Whether its memory is worth keeping.
    pub(crate) fn keeps_little(&self) -> bool {
        self.bytes.capacity() <= 1024 && self.texts.capacity() <= 64 && self.has_memory()
    }

    /// Adds a text: what `write` appends.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.texts.push(Span::new(start, self.bytes.len()));
    }

    pub(crate) fn text(&self, index: usize) -> &[u8] {
        self.texts.get(index).map_or(&[], |span| span.bytes(&self.bytes))
    }
}
