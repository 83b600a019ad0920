//! The byte streams of a worker: attempts that never wait, and waits that never transfer.
//!
//! Only this module and its children name the runtime's network types, so that the driver can be changed here alone.
//! A stream is tried first (`try_recv`, `try_send`), and when it would block the task waits for readiness
//! ([`ByteStream::poll_ready`]). Readiness is edge-triggered: it comes once for each change, and a wait that is left
//! standing while something else is done costs nothing; that is how a client that goes away is noticed.

pub(crate) mod clock;
mod descriptors;
mod listener;

#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "the fuzz targets use a part of it"))]
pub(crate) mod memory;
pub(crate) mod pipe;
pub(crate) mod readiness;
mod socket;
mod syscall;
mod ticker;
mod wake;

use std::io;
use std::io::IoSlice;
use std::task::{Context, Poll};

pub(crate) use descriptors::{DescriptorReceiver, DescriptorSender, descriptor_channel, separate};
pub(crate) use listener::{Accepted, Incoming, ListenerSocket};
pub(crate) use pipe::{PIPE_BYTES_MAX, PIPES_MAX, Pipe, Pipes};
pub(crate) use readiness::{Work, wake_next_turn};
pub(crate) use socket::Socket;
pub(crate) use ticker::Ticker;
pub(crate) use ticker::{set as set_ticker, set_once as set_timer};
pub(crate) use wake::{Wake, WakeListener};

use crate::snapshot::Address;
use crate::tls::Secure;

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Bytes, the end of the stream or an error can be received.
    Read,
    /// Bytes can be sent, or sending fails at once.
    Write,
    /// The peer has closed its sending side or the connection is gone, whatever is still unread.
    HangUp,
    /// The connection is gone in both directions.
    Gone,
}

/// How thoroughly an idle stream is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The events so far; a system call only if they say that something came. What arrived since the last dispatch is
    /// missed, as what arrives right after any check is.
    Events,
    /// The socket itself.
    Socket,
}

/// What an idle stream turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdleState {
    /// Open, nothing buffered, nothing surplus: fit for another exchange.
    Silent,
    /// The peer has closed its sending side, or the connection has failed.
    Closed,
    /// Bytes that nobody asked for; how they begin.
    Surplus(Peeked),
}

/// The first bytes of what a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peeked {
    bytes: [u8; PEEKED_BYTES_MAX],
    length: usize,
}

/// Enough for the version and the status of a response.
const PEEKED_BYTES_MAX: usize = 12;

impl Peeked {
    /// How bytes begin that are there.
    pub(crate) fn of(held: &[u8]) -> Self {
        let length = held.len().min(PEEKED_BYTES_MAX);
        let mut bytes = [0; PEEKED_BYTES_MAX];
        bytes[..length].copy_from_slice(&held[..length]);
        Self { bytes, length }
    }

    /// What `peek` reads into the buffer that it is lent; it says how much.
    fn with<E>(peek: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Self, E> {
        let mut bytes = [0; PEEKED_BYTES_MAX];
        peek(&mut bytes).map(|length| Self { bytes, length })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A connected stream of bytes: TCP, Unix, TLS over either, and the in-memory stream of the tests.
pub(crate) trait ByteStream {
    /// Waits until an attempt is worth making. `Ready` is a hint: the attempt may still say `WouldBlock`.
    fn poll_ready(&mut self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>>;

    /// Asks for another readiness although the last attempt did not block: for whoever stops early to let others run.
    fn rearm(&mut self);

    /// Whether it still has its descriptor: a worker that ends closes those of its tasks before it drops the tasks.
    fn is_open(&self) -> bool {
        true
    }

    /// Whether what happens to it is noticed. A new one is watched only when it is waited for.
    fn is_watched(&self) -> bool {
        true
    }

    /// Asks for a stream that is not watched to be so from the worker's next tick on, and the task to be woken when there
    /// is something to receive.
    fn watch_soon(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// Receives what is there. `Ok(0)` is the end of the stream.
    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends what the peer takes at once.
    fn try_send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// The same for the last bytes: what goes out last may wait for [`Self::shutdown_write`], which has to follow at once.
    fn try_send_last(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_send(slices)
    }

    /// Whether the next two can work: not for a stream that changes its bytes on the way (TLS).
    fn splices(&self) -> bool;

    /// Moves what is there into an empty pipe, so many bytes at most. `Ok(0)` is the end of the stream.
    fn try_fill(&mut self, pipe: &mut Pipe, bytes_max: usize) -> io::Result<usize>;

    /// Sends what a pipe holds, as far as the peer takes it at once.
    fn try_drain(&mut self, pipe: &mut Pipe) -> io::Result<usize>;

    /// Whether the stream itself holds back what it was given to send: then nothing more is received for it.
    fn holds_back(&self) -> bool {
        false
    }

    /// Sends what the stream itself holds back (TLS records); nothing for a plain socket.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// How many of the bytes that were sent the peer has not taken yet. Maybe a system call: for seldom use.
    fn unacknowledged(&self) -> usize;

    /// Closes the sending side: the peer sees the end of the stream.
    fn shutdown_write(&mut self);

    /// Makes the close that follows a reset: the peer sees an error, never a clean end.
    fn abort(&mut self);

    /// Looks at an idle stream.
    fn look(&mut self, check: Check) -> IdleState;
}

/// A stream that can be opened from here.
pub(crate) trait Dial: Secure + 'static {
    /// Starts to connect. The connection stands when `poll_ready` for writing is ready and `take_error` is `None`.
    fn dial(address: &Address) -> io::Result<Self>;

    /// The outcome of connecting.
    fn take_error(&mut self) -> io::Result<()>;

    /// One that is closed: what stays where a stream is moved away from.
    fn closed() -> Self;
}
