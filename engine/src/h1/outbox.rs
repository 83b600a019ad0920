//! Bytes on their way to a peer: sent at once as they are, and only what the socket does not take is kept.

use std::io;
use std::io::IoSlice;
use std::task::{Context, Poll, ready};

use crate::buffers::Buffers;
use crate::io::{ByteStream, Interest, Pipe};

/// See the module. Holds at most what one step received, because nothing is read for a blocked peer.
#[derive(Default)]
pub(crate) struct Outbox {
    kept: Kept,
    /// Bytes that the socket has taken since the connection began.
    accepted: u64,
}

/// What the socket has not taken.
enum Kept {
    /// The first `taken` bytes it has.
    Bytes { bytes: Vec<u8>, taken: usize },
    /// What the pipe holds.
    Pipe(Pipe),
}

impl Default for Kept {
    fn default() -> Self {
        Self::Bytes { bytes: Vec::new(), taken: 0 }
    }
}

impl Outbox {
    /// Sends the slices, and keeps what the socket does not take. `is_last`: the end of the stream follows at once.
    pub(crate) fn send(
        &mut self,
        stream: &mut impl ByteStream,
        slices: &[IoSlice<'_>],
        is_last: bool,
        buffers: &Buffers,
    ) -> io::Result<()> {
        let Kept::Bytes { bytes: kept, .. } = &mut self.kept else {
            panic!("nothing is sent behind a body that a peer does not take")
        };
        let mut sent = 0;
        if kept.is_empty() {
            let attempt = if is_last { stream.try_send_last(slices) } else { stream.try_send(slices) };
            sent = unless_blocked(attempt)?;
            self.accepted += sent as u64;
        }
        for slice in slices {
            let skipped = sent.min(slice.len());
            sent -= skipped;
            if skipped < slice.len() {
                if kept.capacity() == 0 {
                    *kept = buffers.take();
                }
                kept.extend_from_slice(&slice[skipped..]);
            }
        }
        Ok(())
    }

    /// Sends what the pipe holds, and keeps the pipe while it holds something.
    pub(super) fn send_pipe(
        &mut self,
        stream: &mut impl ByteStream,
        pipe: Pipe,
        buffers: &Buffers,
    ) -> io::Result<()> {
        assert!(!self.is_blocked(), "nothing is received for a side that is blocked");
        self.kept = Kept::Pipe(pipe);
        self.drain_pipe(stream, buffers)
    }

    /// Whether bytes are kept.
    pub(crate) fn is_blocked(&self) -> bool {
        match &self.kept {
            Kept::Bytes { bytes, .. } => !bytes.is_empty(),
            Kept::Pipe(_) => true,
        }
    }

    /// Sends what is kept; ready when nothing is.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut impl ByteStream,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        while let Kept::Pipe(_) = self.kept {
            ready!(stream.poll_ready(cx, Interest::Write))?;
            self.drain_pipe(stream, buffers)?;
        }
        if let Kept::Bytes { bytes, taken } = &mut self.kept {
            while *taken < bytes.len() {
                ready!(stream.poll_ready(cx, Interest::Write))?;
                let sent = unless_blocked(stream.try_send(&[IoSlice::new(&bytes[*taken..])]))?;
                *taken += sent;
                self.accepted += sent as u64;
            }
            if bytes.capacity() > 0 {
                *taken = 0;
                bytes.clear();
                buffers.give(std::mem::take(bytes));
            }
        }
        stream.poll_flush(cx)
    }

    /// Bytes that the socket has taken since the connection began.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Sends what a kept pipe holds, as far as the socket takes it.
    fn drain_pipe(&mut self, stream: &mut impl ByteStream, buffers: &Buffers) -> io::Result<()> {
        let Kept::Pipe(pipe) = &mut self.kept else { return Ok(()) };
        match unless_blocked(stream.try_drain(pipe)) {
            Ok(sent) => {
                self.accepted += sent as u64;
                if pipe.held() == 0 {
                    self.kept = Kept::default();
                }
            }
            Err(error) if pipe.is_refusal(&error) => {
                let mut bytes = buffers.take();
                pipe.copy_out(&mut bytes)?;
                self.kept = Kept::Bytes { bytes, taken: 0 };
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// How much was sent: nothing, if the attempt would block.
fn unless_blocked(sent: io::Result<usize>) -> io::Result<usize> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}
