//! What h2 reads from and writes to: a byte stream, by tokio's traits, and its frames as they pass.

use std::cell::RefCell;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::blocks::Blocks;
use super::conduct::Conduct;
use super::connection::SMALL_FRAME_BYTES;
use super::frames::{FrameScanner, Kind, Passing};
use super::priority::{Priority, Updates};
use crate::buffers::{KEPT_CAPACITY_MAX, RECV_BYTES_MAX};
use crate::core::Core;
use crate::io::{Dial, Interest, clock};
use crate::message::Moved;
use crate::tls::{Alert, TlsFailure};

/// What is gathered before it is sent, at most, but for heads that are larger than they were for h2: a pooled buffer, four
/// records of TLS.
pub(crate) const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// The window of a connection at first (RFC 9113 §6.9.2).
const WINDOW_AT_FIRST: i64 = 65_535;

/// What is received before others get a turn, at most: 2 ms if it is all updates of windows.
pub(crate) const TURN_BYTES_MAX: usize = 64 * 1024;

/// After so many bytes, or so many frames with little in them, what nobody has taken is put into memory of its own.
pub(crate) const COMPACT_BYTES: usize = 256 * 1024;
const COMPACT_FRAMES: u32 = 512;

/// One end of a connection.
pub(super) struct Wire<S: Dial> {
    core: Rc<Core<S>>,
    stream: S,
    /// Received before it was known that this is HTTP/2.
    early: Vec<u8>,
    /// What h2 has written; the first `sent` bytes have been sent.
    gathered: Vec<u8>,
    sent: usize,
    /// Sending is worth an attempt.
    is_writable: bool,
    /// There was no room for what h2 had to write.
    was_full: bool,
    /// The last receive left nothing behind.
    is_drained: bool,
    received_in_turn: usize,
    incoming: FrameScanner,
    outgoing: FrameScanner,
    /// Heads of responses.
    blocks: Rc<Blocks>,
    conduct: Conduct,
    /// The peer has said GOAWAY.
    is_told_to_end: bool,
    /// What was received when bodies were compacted, and small frames since then.
    compacted_bytes: u64,
    small_frames: u32,
    /// How many bytes of bodies the peer still takes (RFC 9113 §6.9).
    window: i64,
    updates: Updates,
    /// Bytes since the connection began.
    sent_bytes: u64,
    received_bytes: u64,
    /// What [`Self::take_moved`] has reported.
    reported: Moved,
}

impl<S: Dial> Wire<S> {
    /// The server's end, at which a client behaves somehow.
    pub(super) fn of_server(core: &Rc<Core<S>>, stream: S, early: Vec<u8>, conduct: Conduct) -> Self {
        let (incoming, outgoing) = (FrameScanner::of_client(), FrameScanner::of_server().holding_heads());
        Self { early, ..Self::new(core, stream, incoming, outgoing, conduct) }
    }

    /// The client's end.
    pub(super) fn of_client(core: &Rc<Core<S>>, stream: S) -> Self {
        let (incoming, outgoing) = (FrameScanner::of_server(), FrameScanner::of_client());
        Self::new(core, stream, incoming, outgoing, Conduct::of_server(clock::coarse_ms()))
    }

    fn new(
        core: &Rc<Core<S>>,
        stream: S,
        incoming: FrameScanner,
        outgoing: FrameScanner,
        conduct: Conduct,
    ) -> Self {
        Self {
            core: core.clone(),
            stream,
            early: Vec::new(),
            gathered: Vec::new(),
            sent: 0,
            is_writable: true,
            was_full: false,
            is_drained: false,
            received_in_turn: 0,
            incoming,
            outgoing,
            blocks: Rc::default(),
            conduct,
            is_told_to_end: false,
            compacted_bytes: 0,
            small_frames: 0,
            window: WINDOW_AT_FIRST,
            updates: Updates::default(),
            sent_bytes: 0,
            received_bytes: 0,
            reported: Moved::default(),
        }
    }

    /// What the peer has sent.
    pub(super) fn incoming(&self) -> &FrameScanner {
        &self.incoming
    }

    /// What streams write into the heads that are sent.
    pub(super) fn blocks(&self) -> &Rc<Blocks> {
        &self.blocks
    }

    /// Whether the peer has behaved badly for long enough.
    pub(super) fn is_misused(&mut self, now_ms: u64) -> bool {
        self.conduct.is_bad(now_ms)
    }

    /// What it has paid above what is tolerated for long, since the last call.
    pub(super) fn take_excess(&mut self) -> u32 {
        self.conduct.take_excess()
    }

    /// Whether the peer takes no more streams.
    pub(super) fn is_told_to_end(&self) -> bool {
        self.is_told_to_end
    }

    /// Whether the peer does not take what there is to send.
    pub(super) fn is_blocked(&self) -> bool {
        !self.gathered.is_empty() || self.stream.holds_back()
    }

    /// Bytes that the socket has taken.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Whether it is time to compact bodies.
    pub(super) fn must_compact(&mut self) -> bool {
        let is_due = self.received_bytes - self.compacted_bytes >= COMPACT_BYTES as u64
            || self.small_frames >= COMPACT_FRAMES;
        if is_due {
            (self.compacted_bytes, self.small_frames) = (self.received_bytes, 0);
        }
        is_due
    }

    /// Bytes that have come.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Why TLS has failed, if it has.
    pub(super) fn tls_failure(&self) -> Option<(TlsFailure, Option<Alert>)> {
        self.stream.tls_failure()
    }

    /// What was moved since the last call.
    pub(super) fn take_moved(&mut self) -> Moved {
        let moved = Moved { received: self.received_bytes, sent: self.sent_bytes };
        let before = std::mem::replace(&mut self.reported, moved);
        Moved { received: moved.received - before.received, sent: moved.sent - before.sent }
    }

    /// Gives up the stream.
    pub(super) fn take_stream(&mut self) -> S {
        std::mem::replace(&mut self.stream, S::closed())
    }

    /// Whether h2 waits for room that there was none of since the last call.
    pub(super) fn take_was_full(&mut self) -> bool {
        std::mem::take(&mut self.was_full)
    }

    /// Ends the connection so that its peer sees an error.
    pub(super) fn abort(&mut self) {
        self.stream.abort();
    }

    /// Sends what is gathered; ready when all of it has gone.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.gathered.len() {
            if !self.is_writable {
                ready!(self.stream.poll_ready(cx, Interest::Write))?;
                self.is_writable = true;
            }
            let left = &self.gathered[self.sent..];
            let sent = match self.stream.try_send(&[IoSlice::new(left)]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                sent => sent?,
            };
            self.is_writable = sent == left.len();
            self.sent += sent;
            self.sent_bytes += sent as u64;
        }
        self.sent = 0;
        if (1..=KEPT_CAPACITY_MAX).contains(&self.gathered.capacity()) {
            self.gathered.clear();
            self.core.gather.set(std::mem::take(&mut self.gathered));
        }
        self.gathered = Vec::new();
        self.stream.poll_flush(cx)
    }

    fn note_received(&mut self, bytes: &[u8]) {
        let Self { incoming, conduct, is_told_to_end, small_frames, blocks, window, updates, .. } = self;
        incoming.relay(bytes, |passing| match passing {
            Passing::Payload(bytes) => updates.note_payload(bytes),
            Passing::Frame(frame, _) => {
                match frame.kind {
                    Kind::Data if (frame.length as usize) < SMALL_FRAME_BYTES => *small_frames += 1,
                    Kind::GoAway => *is_told_to_end = true,
                    Kind::Reset => blocks.forget(frame.stream),
                    Kind::WindowUpdate if frame.stream == 0 => {
                        *window += i64::from(frame.code.unwrap_or_default());
                    }
                    Kind::PriorityUpdate => updates.begin(frame.length),
                    _ => {}
                }
                conduct.note_received(frame);
            }
        });
    }

    /// Whether the peer takes any more of bodies, of whichever stream.
    pub(super) fn has_window(&self) -> bool {
        self.window > 0
    }

    /// Hands on the priorities that the peer has changed, with their streams.
    pub(super) fn take_updates(&mut self, take: impl FnMut(u32, Priority)) {
        self.updates.take(take);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buffer.remaining().min(RECV_BYTES_MAX);
        if !self.early.is_empty() {
            let left = self.early.split_off(room.min(self.early.len()));
            let bytes = std::mem::replace(&mut self.early, left);
            self.note_received(&bytes);
            buffer.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.received_in_turn >= TURN_BYTES_MAX {
                // Others first: this stream gets its next turn with the next events.
                self.stream.rearm();
                self.is_drained = true;
                self.received_in_turn = 0;
            }
            if self.is_drained {
                ready!(self.stream.poll_ready(cx, Interest::Read))?;
                self.is_drained = false;
                self.received_in_turn = 0;
            }
            let core = self.core.clone();
            // By way of the scratch buffer, because what h2 lends is not initialised, and more than a request takes.
            let received = core.scratch.with(|scratch| {
                self.stream.try_recv(&mut scratch[..room]).inspect(|&received| {
                    self.note_received(&scratch[..received]);
                    buffer.put_slice(&scratch[..received]);
                })
            });
            match received {
                Ok(received) => {
                    self.is_drained = received < room;
                    self.received_in_turn += received;
                    self.received_bytes += received as u64;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= GATHERED_BYTES_MAX {
            let sent = self.poll_send(cx);
            self.was_full = sent.is_pending();
            ready!(sent)?;
        }
        if self.gathered.capacity() == 0 {
            self.gathered = self.core.gather.take();
            // At once: one that grows by doubling grows beyond what is kept.
            self.gathered.reserve_exact(GATHERED_BYTES_MAX);
        }
        let mut written = 0;
        let Self { gathered, outgoing, conduct, blocks, window, .. } = self;
        for slice in slices {
            let room = GATHERED_BYTES_MAX.saturating_sub(gathered.len());
            let taken = &slice[..slice.len().min(room)];
            outgoing.relay(taken, |passing| match passing {
                Passing::Payload(bytes) => gathered.extend_from_slice(bytes),
                Passing::Frame(frame, bytes) => {
                    conduct.note_sent(frame);
                    *window -= i64::from(if frame.kind == Kind::Data { frame.length } else { 0 });
                    blocks.pass(frame, bytes, gathered);
                }
            });
            written += taken.len();
            // What the scanner holds back is not among what is gathered: there may seem to be room for the next slice.
            if taken.len() < slice.len() {
                break;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.stream.shutdown_write();
        self.stream.poll_flush(cx)
    }
}

/// A wire as h2 has it.
pub(super) struct Io<S: Dial>(Rc<RefCell<Wire<S>>>);

impl<S: Dial> Io<S> {
    pub(super) fn new(wire: &Rc<RefCell<Wire<S>>>) -> Self {
        Self(wire.clone())
    }
}

impl<S: Dial> AsyncRead for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, buffer)
    }
}

impl<S: Dial> AsyncWrite for Io<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Says yes: h2 asks behind each frame. Who drives the connection sends when h2 has said all that it can
    /// ([`Wire::poll_send`]).
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_shutdown(cx)
    }
}
