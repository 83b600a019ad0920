//! Bodies that pass through a pipe of the kernel ([`crate::io::Pipe`]) instead of being copied.

use std::io;
use std::task::{Context, Poll};

use super::connection::Connection;
use crate::io::{ByteStream, Pipe};
use crate::message::{BodyBatch, BodyStep, Lent, RelayError};

/// A body of which less is left is copied: with what both sides of it cost, a pipe pays from about 48 KiB on.
pub(crate) const PIPED_BYTES_MIN: u64 = 64 * 1024;

/// Bytes moved without waiting in between, at most, and a full pipe more: about as long as a burst of copied ones takes.
const BURST_BYTES_MAX: u64 = 512 * 1024;

impl<S: ByteStream> Connection<S> {
    /// As [`Self::poll_body`], through a pipe. `None`: the next bytes are not worth one, or there is none.
    pub(super) fn poll_piped(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Option<Poll<Result<BodyStep, RelayError>>> {
        let pipes = lent.pipes.filter(|_| self.is_worth_a_pipe())?;
        let mut pipe = pipes.take()?;
        loop {
            match self.poll_turn(cx, BURST_BYTES_MAX) {
                Poll::Pending => return Some(Poll::Pending),
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(RelayError::Receive(error.into())))),
                Poll::Ready(Ok(())) => {}
            }
            let bytes_max = usize::try_from(self.reader.plain_left()).unwrap_or(usize::MAX);
            match self.stream.try_fill(&mut pipe, bytes_max) {
                Ok(0) => return Some(Poll::Ready(self.end_of_stream(accept))),
                Ok(moved) => {
                    self.inbox.note_passed(moved);
                    // A pipe can be full with less than it could hold, of which nothing tells: only an attempt that
                    // would block means that there is no more.
                    self.more_likely = true;
                    return Some(Poll::Ready(self.hand_on_pipe(pipe, accept)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.more_likely = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if pipe.is_refusal(&error) => {
                    // What made it ready is still there.
                    self.more_likely = true;
                    return None;
                }
                Err(error) => return Some(Poll::Ready(Err(RelayError::Receive(error.into())))),
            }
        }
    }

    /// Whether much more is to come than fits the scratch buffer: certainly, or, where nobody can tell, most likely.
    fn is_worth_a_pipe(&self) -> bool {
        let left = self.reader.plain_left();
        left >= PIPED_BYTES_MIN
            && self.stream.splices()
            && self.inbox.is_empty()
            && (left != u64::MAX || self.more_likely)
    }

    fn hand_on_pipe(
        &mut self,
        pipe: Pipe,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        let end = self.reader.skip(pipe.held() as u64);
        accept(&BodyBatch::of_pipe(pipe, end)).map_err(|_| RelayError::Send)?;
        Ok(if end { BodyStep::End } else { BodyStep::More })
    }
}
