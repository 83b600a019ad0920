//! Bytes on their way to a peer: sent at once as they are, and only what the socket does not take is kept.

use std::io;
use std::io::IoSlice;
use std::task::{Context, Poll, ready};

use crate::buffers::Buffers;
use crate::io::{ByteStream, Interest};

/// See the module. Holds at most what one step received, because nothing is read for a blocked peer.
#[derive(Default)]
pub(crate) struct Outbox {
    kept: Vec<u8>,
    /// How much of `kept` the socket has taken.
    taken: usize,
    /// Bytes that the socket has taken since the connection began.
    accepted: u64,
}

impl Outbox {
    /// Sends the slices, and keeps what the socket does not take.
    pub(crate) fn send(
        &mut self,
        stream: &mut impl ByteStream,
        slices: &[IoSlice<'_>],
        buffers: &Buffers,
    ) -> io::Result<()> {
        let mut sent = 0;
        if self.kept.is_empty() {
            sent = match stream.try_send(slices) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            self.accepted += sent as u64;
        }
        for slice in slices {
            let skipped = sent.min(slice.len());
            sent -= skipped;
            if skipped < slice.len() {
                if self.kept.capacity() == 0 {
                    self.kept = buffers.take();
                }
                self.kept.extend_from_slice(&slice[skipped..]);
            }
        }
        Ok(())
    }

    /// Whether bytes are kept.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Sends what is kept; ready when nothing is.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut impl ByteStream,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        while self.taken < self.kept.len() {
            ready!(stream.poll_ready(cx, Interest::Write))?;
            match stream.try_send(&[IoSlice::new(&self.kept[self.taken..])]) {
                Ok(sent) => {
                    self.taken += sent;
                    self.accepted += sent as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.kept.capacity() > 0 {
            self.taken = 0;
            self.kept.clear();
            buffers.give(std::mem::take(&mut self.kept));
        }
        stream.poll_flush(cx)
    }

    /// Bytes that the socket has taken since the connection began.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }
}
