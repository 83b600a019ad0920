//! Bytes received and not yet used.
//!
//! While a step runs they are in the worker's scratch buffer (a window of it); before the task waits, what is left is
//! settled into memory of the connection's own. On the fast path nothing is left.

use std::io;
use std::ops::Range;

use crate::buffers::{Buffers, KEPT_CAPACITY_MAX};
use crate::io::ByteStream;

/// See the module.
#[derive(Default)]
pub(crate) struct Inbox {
    /// The bytes between steps.
    held: Vec<u8>,
    /// The bytes during a step, as a range of the scratch buffer.
    window: Range<usize>,
    /// Bytes received since the connection began.
    received: u64,
}

/// What a receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Bytes; `more_likely` when the buffer was filled.
    Bytes {
        /// Whether trying again is worth it.
        more_likely: bool,
    },
    /// The peer has closed its sending side.
    End,
}

impl Inbox {
    /// Brings the held bytes into the scratch buffer. Does nothing when the window is already in use.
    pub(crate) fn load(&mut self, scratch: &mut [u8]) {
        if self.held.is_empty() {
            return;
        }
        let length = self.held.len();
        scratch[..length].copy_from_slice(&self.held);
        self.held.clear();
        self.window = 0..length;
    }

    /// Receives once into the scratch buffer, behind the window: so many bytes at most, of which at least one.
    pub(crate) fn fill(
        &mut self,
        stream: &mut impl ByteStream,
        scratch: &mut [u8],
        bytes_max: usize,
    ) -> io::Result<Fill> {
        if self.window.is_empty() {
            self.window = 0..0;
        }
        let end = (self.window.end + bytes_max).min(scratch.len());
        let room = &mut scratch[self.window.end..end];
        let capacity = room.len();
        match stream.try_recv(room)? {
            0 => Ok(Fill::End),
            received => {
                self.window.end += received;
                self.received += received as u64;
                Ok(Fill::Bytes { more_likely: received == capacity })
            }
        }
    }

    /// The bytes, during a step.
    pub(crate) fn bytes<'a>(&self, scratch: &'a [u8]) -> &'a [u8] {
        &scratch[self.window.clone()]
    }

    /// Drops the first `count` bytes, during a step.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.window.len(), "more used than there is");
        self.window.start += count;
    }

    /// Ends a step: what is left moves out of the scratch buffer.
    pub(crate) fn settle(&mut self, scratch: &[u8], buffers: &Buffers) {
        let left = &scratch[std::mem::take(&mut self.window)];
        if left.is_empty() {
            if self.held.capacity() > 0 && self.held.is_empty() {
                buffers.give(std::mem::take(&mut self.held));
            }
            return;
        }
        if self.held.capacity() == 0 {
            self.held = buffers.take();
        }
        if left.len() > KEPT_CAPACITY_MAX {
            // A buffer of this size is used once, so that room to grow would be lost.
            self.held.reserve_exact(left.len());
        }
        self.held.extend_from_slice(left);
    }

    /// How many bytes there are, in or out of a step.
    pub(crate) fn len(&self) -> usize {
        self.held.len() + self.window.len()
    }

    /// Those between steps.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Takes them.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes bytes that were received past it.
    pub(super) fn note_passed(&mut self, bytes: usize) {
        debug_assert!(self.is_empty(), "bytes would overtake others");
        self.received += bytes as u64;
    }

    /// Bytes received since the connection began.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
}
