//! Bytes on their way to a peer: sent at once as they are, and only what the socket does not take is kept.

use std::io;
use std::io::IoSlice;
use std::task::{Context, Poll, ready};

use crate::buffers::Buffers;
use crate::io::{ByteStream, Interest, Pipe};

/// See the module. Holds at most what one step received, because nothing is read for a blocked peer.
#[derive(Default)]
pub(crate) struct Outbox {
    kept: Vec<u8>,
    /// What is kept in a pipe.
    piped: Option<Pipe>,
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
        assert!(self.piped.is_none(), "nothing is sent behind a body that is kept");
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

    /// Sends what the pipe holds, and keeps the pipe while it holds something.
    pub(super) fn send_pipe(
        &mut self,
        stream: &mut impl ByteStream,
        pipe: Pipe,
        buffers: &Buffers,
    ) -> io::Result<()> {
        assert!(!self.is_blocked(), "nothing is received for a side that is blocked");
        self.piped = Some(pipe);
        self.drain_pipe(stream, buffers)
    }

    /// Whether bytes are kept.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.kept.is_empty() || self.piped.is_some()
    }

    /// Sends what a kept pipe holds, as far as the socket takes it.
    fn drain_pipe(&mut self, stream: &mut impl ByteStream, buffers: &Buffers) -> io::Result<()> {
        let Some(pipe) = &mut self.piped else { return Ok(()) };
        match stream.try_drain(pipe) {
            Ok(sent) => self.accepted += sent as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if pipe.is_refusal(&error) => {
                self.kept = buffers.take();
                pipe.copy_out(&mut self.kept)?;
            }
            Err(error) => return Err(error),
        }
        if pipe.held() == 0 {
            self.piped = None;
        }
        Ok(())
    }

    /// Sends what is kept; ready when nothing is.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut impl ByteStream,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        while self.piped.is_some() {
            ready!(stream.poll_ready(cx, Interest::Write))?;
            self.drain_pipe(stream, buffers)?;
        }
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
