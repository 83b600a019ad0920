//! A byte stream inside a TLS connection over another byte stream.
//!
//! What is received is decrypted where the worker keeps it for the moment, and what is sent is encrypted there, so that an idle
//! connection holds no buffers. A connection keeps bytes of its own only where it must: a record of which a part has come,
//! plaintext that its reader had no room for, records that the socket did not take.

mod gather;
mod handshake;
mod sending;
mod stage;

use std::io;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{Error, ServerConfig};

use self::stage::{STAGE, Stage};
use super::failure::{Alert, TlsFailure};
use super::records::{Outgoing, Plaintext, RECORD_BYTES_MAX, Records, Sealed};
use super::{ClientTls, Secured, server_name};
use crate::buffers::RECV_BYTES_MAX;
use crate::io::{ByteStream, Check, IdleState, Interest, Peeked, Pipe};

/// The most that a record takes on the wire (RFC 5246 §6.2.3, which allows more than RFC 8446).
const WIRE_RECORD_BYTES_MAX: usize = 5 + RECORD_BYTES_MAX + 2048;

/// The most that is encrypted before it is sent: four records.
const BURST_BYTES: usize = 4 * RECORD_BYTES_MAX;

/// The most that is held of what was encrypted: one burst, and what TLS has to say itself.
pub(crate) const SEALED_BYTES_MAX: usize = 2 * BURST_BYTES;

/// The most of a ClientHello that is held before it is whole: those with post-quantum shares have under 2 KiB.
const HELLO_BYTES_MAX: usize = 16 * 1024;

/// The largest message of a handshake (rustls): a chain of certificates.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The most that is held of what is not whole later.
pub(crate) const HELD_BYTES_MAX: usize = MESSAGE_BYTES_MAX + WIRE_RECORD_BYTES_MAX;

/// The most that a worker has for the connection that it is busy with ([`stage`]).
pub(crate) const STAGE_BYTES_MAX: usize =
    HELD_BYTES_MAX + RECV_BYTES_MAX + RECORD_BYTES_MAX + SEALED_BYTES_MAX;

/// The least room for what is received behind a part of a message.
const ROOM_BYTES_MIN: usize = 4096;

/// Receives that filled their room, one after the other, before others get a turn.
const RECEIVES_A_TURN: u8 = 4;

/// See the module.
pub(crate) struct TlsStream<S: ByteStream> {
    inner: S,
    records: Records,
    /// Received, of records that are not whole yet.
    received: Vec<u8>,
    /// Decrypted; the first `given` bytes have been handed on.
    plaintext: Vec<u8>,
    given: usize,
    /// Encrypted; the first `sent` bytes have been sent.
    sealed: Vec<u8>,
    sent: usize,
    /// The socket took all of what it was last given: no event says when it takes more.
    is_writable: bool,
    handshake: Handshake,
    /// Not all that was received has been processed: a handshake waits for its turn.
    has_more: bool,
    /// The last receive filled its room: more is likely there, without another event.
    more_likely: bool,
    receives_in_turn: u8,
    end: End,
    /// close_notify is among what was encrypted.
    is_closed_here: bool,
    /// The sending side closes when everything is sent.
    closes: bool,
    failure: Option<TlsFailure>,
    alert: Option<Alert>,
    secured: Option<Box<Secured>>,
    server_name: Option<Box<str>>,
}

/// Where the handshake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    /// Nothing of the peer has been processed.
    Begun,
    /// Its first record may be processed, or has been.
    Going,
    Complete,
}

/// How the receiving side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    None,
    /// By close_notify.
    Clean,
    /// By the end of the stream below, which anybody on the way can make.
    Truncated,
}

impl<S: ByteStream> TlsStream<S> {
    /// The server's side.
    pub(crate) fn server(config: &Arc<ServerConfig>, inner: S) -> io::Result<Self> {
        let server = UnbufferedServerConnection::new(config.clone()).map_err(io::Error::other)?;
        Ok(Self::new(inner, Records::Server(server)))
    }

    /// The client's side.
    pub(crate) fn client(tls: &ClientTls, inner: S) -> io::Result<Self> {
        let name = tls.server_name.clone();
        let client = UnbufferedClientConnection::new(tls.config.clone(), name).map_err(io::Error::other)?;
        Ok(Self::new(inner, Records::Client(client)))
    }

    fn new(inner: S, records: Records) -> Self {
        Self {
            inner,
            records,
            received: Vec::new(),
            plaintext: Vec::new(),
            given: 0,
            sealed: Vec::new(),
            sent: 0,
            is_writable: false,
            handshake: Handshake::Begun,
            has_more: false,
            more_likely: true,
            receives_in_turn: 0,
            end: End::None,
            is_closed_here: false,
            closes: false,
            failure: None,
            alert: None,
            secured: None,
            server_name: None,
        }
    }

    /// What the handshake has settled; asked for once.
    pub(crate) fn take_secured(&mut self) -> Option<Secured> {
        self.secured.take().map(|secured| *secured)
    }

    /// The name that a client asks for, while its handshake is in progress.
    pub(crate) fn asked_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Why TLS failed, if it did, and by which alert of the peer's.
    pub(crate) fn failure(&self) -> Option<(TlsFailure, Option<Alert>)> {
        self.failure.map(|failure| (failure, self.alert))
    }

    fn fail(&mut self, failure: TlsFailure) -> TlsFailure {
        *self.failure.get_or_insert(failure)
    }

    fn fail_by(&mut self, error: &Error) -> io::Error {
        if let Error::AlertReceived(alert) = error {
            self.alert = Some((*alert).into());
        }
        self.fail(error.into()).into()
    }

    /// Lends the worker's buffers.
    fn with_stage<R>(&mut self, step: impl FnOnce(&mut Self, &mut Stage) -> R) -> R {
        STAGE.with_borrow_mut(|stage| step(self, stage))
    }

    /// Receives once and decrypts: what there is of plaintext goes into `buffer`. `Ok(0)`: nothing for the reader, or the end.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with_stage(|stream, stage| {
            let held = stream.received.len();
            // As much as `buffer` takes, and at least a whole record.
            let room = buffer.len().clamp(WIRE_RECORD_BYTES_MAX, RECV_BYTES_MAX).max(held + ROOM_BYTES_MIN);
            let received = stage.received_room(room);
            let count = stream.receive_into(&mut received[held..])?;
            if count == 0 {
                return Ok(0);
            }
            received[..held].copy_from_slice(&stream.received);
            stream.received.clear();
            let Stage { received, sealed, .. } = stage;
            sealed.clear();
            let filled = stream.process(&mut received[..held + count], buffer, sealed);
            // An answer to a key update, an alert. Who cannot be sent to is found again by who sends, or receives next.
            match stream.send_sealed(sealed, false) {
                Err(error) if filled == 0 => Err(error),
                _ => Ok(filled),
            }
        })
    }

    /// Receives once; 0 is the end.
    fn receive_into(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let received = self.inner.try_recv(room);
        match &received {
            Ok(count) => self.more_likely = *count == room.len(),
            Err(error) => self.more_likely &= error.kind() != io::ErrorKind::WouldBlock,
        }
        if matches!(received, Ok(0)) {
            self.end = End::Truncated;
        }
        received
    }

    /// Processes received bytes and keeps what is left of them. What was decrypted before a failure is the reader's all the
    /// same.
    fn process(&mut self, received: &mut [u8], buffer: &mut [u8], sealed: &mut Sealed) -> usize {
        let mut plaintext = Plaintext { buffer, filled: 0, rest: &mut self.plaintext };
        let (processed, outcome) = self.records.process(received, Outgoing::Nothing, &mut plaintext, sealed);
        let filled = plaintext.filled;
        if self.handshake != Handshake::Complete
            && let Some(name) = server_name::take()
        {
            self.server_name = Some(name);
        }
        match outcome {
            Err(error) => drop(self.fail_by(&error)),
            Ok(()) if processed.is_closed => self.end = End::Clean,
            Ok(()) => self.received.extend_from_slice(&received[processed.used..]),
        }
        if self.received.is_empty() {
            self.received = Vec::new();
        } else if self.received.len() > self.held_bytes_max() {
            self.fail(TlsFailure::HandshakeTooLarge);
        }
        filled
    }

    /// The most that may be held of what is not whole.
    fn held_bytes_max(&self) -> usize {
        let is_server = matches!(self.records, Records::Server(_));
        if self.records.state().protocol_version().is_none() {
            HELLO_BYTES_MAX
        } else if is_server && self.handshake == Handshake::Complete {
            // Behind the handshake a client has no long message left.
            2 * WIRE_RECORD_BYTES_MAX
        } else {
            HELD_BYTES_MAX
        }
    }

    /// Hands on plaintext that is held.
    fn give(&mut self, buffer: &mut [u8]) -> usize {
        let held = &self.plaintext[self.given..];
        let count = held.len().min(buffer.len());
        buffer[..count].copy_from_slice(&held[..count]);
        self.given += count;
        if self.given == self.plaintext.len() {
            self.plaintext = Vec::new();
            self.given = 0;
        }
        count
    }

    /// Memory of its own for bytes on their way.
    #[cfg(test)]
    pub(super) fn buffered_capacity(&self) -> usize {
        self.received.capacity() + self.plaintext.capacity() + self.sealed.capacity()
    }

    fn has_plaintext(&self) -> bool {
        self.given < self.plaintext.len()
    }

    /// Sends what is held when the socket takes it; what is not sent then goes out with a later wait.
    fn flush_aside(&mut self, cx: &mut Context<'_>) {
        while !self.sealed.is_empty() {
            match self.inner.poll_ready(cx, Interest::Write) {
                // An error is found again by whoever receives.
                Poll::Ready(Ok(())) if self.try_flush().is_ok() => {}
                _ => return,
            }
        }
    }
}

impl<S: ByteStream> Drop for TlsStream<S> {
    fn drop(&mut self) {
        if self.inner.is_open() {
            self.close();
        }
    }
}

impl<S: ByteStream> ByteStream for TlsStream<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        match interest {
            Interest::Write => {
                // Nothing is taken before what is held.
                ready!(self.poll_flush(cx))?;
                if self.is_writable {
                    return Poll::Ready(Ok(()));
                }
                return self.inner.poll_ready(cx, Interest::Write);
            }
            Interest::Gone => return self.inner.poll_ready(cx, Interest::Gone),
            Interest::Read if self.has_plaintext() => return Poll::Ready(Ok(())),
            Interest::Read | Interest::HangUp if self.end != End::None || self.failure.is_some() => {
                return Poll::Ready(Ok(()));
            }
            Interest::HangUp => return self.inner.poll_ready(cx, Interest::HangUp),
            Interest::Read => {}
        }
        self.flush_aside(cx);
        if self.more_likely {
            if self.receives_in_turn < RECEIVES_A_TURN {
                self.receives_in_turn += 1;
                return Poll::Ready(Ok(()));
            }
            // Others first.
            self.rearm();
        }
        self.receives_in_turn = 0;
        self.inner.poll_ready(cx, Interest::Read)
    }

    fn rearm(&mut self) {
        // The next event says both.
        (self.more_likely, self.is_writable) = (false, false);
        self.inner.rearm();
    }

    fn is_open(&self) -> bool {
        self.inner.is_open()
    }

    fn is_watched(&self) -> bool {
        self.inner.is_watched()
    }

    fn watch_soon(&mut self, cx: &mut Context<'_>) {
        self.inner.watch_soon(cx);
    }

    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.has_plaintext() {
            return Ok(self.give(buffer));
        }
        for _ in 0..RECEIVES_A_TURN {
            match self.end {
                End::Clean => return Ok(0),
                End::Truncated => return Err(io::ErrorKind::UnexpectedEof.into()),
                End::None => {}
            }
            if let Some(failure) = self.failure {
                return Err(failure.into());
            }
            let received = self.receive(buffer)?;
            if received > 0 || self.has_plaintext() {
                return Ok(received);
            }
            if !self.more_likely && self.end == End::None && self.failure.is_none() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        // So much that is for TLS alone: others first.
        self.rearm();
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn try_send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(slices, false)
    }

    fn try_send_last(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(slices, true)
    }

    fn splices(&self) -> bool {
        false
    }

    fn try_fill(&mut self, _pipe: &mut Pipe, _bytes_max: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn try_drain(&mut self, _pipe: &mut Pipe) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn holds_back(&self) -> bool {
        !self.sealed.is_empty()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.try_flush()? {
            ready!(self.inner.poll_ready(cx, Interest::Write))?;
        }
        self.inner.poll_flush(cx)
    }

    fn unacknowledged(&self) -> usize {
        self.inner.unacknowledged() + self.sealed.len() - self.sent
    }

    fn shutdown_write(&mut self) {
        self.close();
        self.closes = true;
        // An error means that nobody is there to see the end.
        let _ = self.try_flush();
    }

    fn abort(&mut self) {
        // What is cut has no clean end.
        self.is_closed_here = true;
        self.inner.abort();
    }

    fn look(&mut self, check: Check) -> IdleState {
        if !self.has_plaintext() && self.end == End::None && self.failure.is_none() {
            match self.inner.look(check) {
                IdleState::Silent => {}
                IdleState::Closed => return IdleState::Closed,
                // It may be for TLS alone: a ticket, a new key, the end. Other outcomes show in the state.
                IdleState::Surplus(_) => match self.try_recv(&mut []) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return IdleState::Closed,
                    _ => {}
                },
            }
        }
        if self.has_plaintext() || !self.received.is_empty() {
            IdleState::Surplus(Peeked::of(&self.plaintext[self.given..]))
        } else if self.end != End::None || self.failure.is_some() {
            IdleState::Closed
        } else {
            IdleState::Silent
        }
    }
}
