//! A byte stream inside a TLS connection over another byte stream.
//!
//! What is received is decrypted where the worker keeps it for the moment, and what is sent is encrypted there, so that an idle
//! connection holds no buffers. A connection keeps bytes of its own only where it must: a record of which a part has come,
//! plaintext that its reader had no room for, records that the socket did not take.

mod gather;
mod handshake;
mod stage;

use std::io;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{Error, ServerConfig};

use self::gather::Rest;
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

/// The most that is held of what is not whole later: the largest message of a handshake, which is a chain of certificates.
pub(crate) const HELD_BYTES_MAX: usize = 64 * 1024 + WIRE_RECORD_BYTES_MAX;

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
            let Stage { received, sealed, .. } = stage;
            let held = stream.received.len();
            // As much as `buffer` takes, and at least a whole record.
            let room = buffer.len().clamp(WIRE_RECORD_BYTES_MAX, RECV_BYTES_MAX).max(held + 1);
            if received.len() < room {
                received.resize(room, 0);
            }
            received[..held].copy_from_slice(&stream.received);
            let count = match stream.inner.try_recv(&mut received[held..room]) {
                Ok(count) => count,
                Err(error) => {
                    stream.more_likely &= error.kind() != io::ErrorKind::WouldBlock;
                    return Err(error);
                }
            };
            stream.more_likely = count == room - held;
            if count == 0 {
                stream.end = End::Truncated;
                return Ok(0);
            }
            if stream.handshake == Handshake::Begun {
                stream.received.extend_from_slice(&received[held..held + count]);
                return Ok(0);
            }
            stream.received.clear();
            sealed.clear();
            let filled = stream.process(&mut received[..held + count], buffer, sealed);
            // Tickets, an answer to a key update, an alert.
            stream.send_sealed(sealed, false)?;
            Ok(filled)
        })
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
        let has_begun = self.records.state().protocol_version().is_some();
        let held_max = if has_begun { HELD_BYTES_MAX } else { HELLO_BYTES_MAX };
        if self.received.is_empty() {
            self.received = Vec::new();
        } else if self.received.len() > held_max {
            self.fail(TlsFailure::HandshakeTooLarge);
        }
        filled
    }

    /// Sends records, behind those that are held, and holds what the socket does not take.
    fn send_sealed(&mut self, sealed: &Sealed, is_last: bool) -> io::Result<()> {
        let mut bytes = sealed.as_slice();
        if bytes.is_empty() {
            return Ok(());
        }
        if self.sealed.is_empty() {
            let slices = [IoSlice::new(bytes)];
            let sent = if is_last { self.inner.try_send_last(&slices) } else { self.inner.try_send(&slices) };
            bytes = &bytes[unless_blocked(sent)?..];
            self.is_writable = bytes.is_empty();
        }
        self.sealed.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what is held, as far as the socket takes it; whether that was all.
    fn try_flush(&mut self) -> io::Result<bool> {
        if !self.sealed.is_empty() {
            self.sent += unless_blocked(self.inner.try_send(&[IoSlice::new(&self.sealed[self.sent..])]))?;
            self.is_writable = self.sent == self.sealed.len();
            if !self.is_writable {
                return Ok(false);
            }
            self.sealed = Vec::new();
            self.sent = 0;
        }
        if std::mem::take(&mut self.closes) {
            self.inner.shutdown_write();
        }
        Ok(true)
    }

    /// Encrypts the slices and sends them; how many bytes of them are on their way, or held.
    fn send(&mut self, slices: &[IoSlice<'_>], is_last: bool) -> io::Result<usize> {
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        if self.is_closed_here {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.try_flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.with_stage(|stream, stage| {
            let mut rest = Rest::new(slices);
            let mut taken = 0;
            while !rest.is_empty() && stream.sealed.is_empty() {
                stage.sealed.clear();
                let start = taken;
                while taken - start < BURST_BYTES && !rest.is_empty() {
                    let piece = rest.take(&mut stage.gathered, BURST_BYTES - (taken - start));
                    taken += piece.len();
                    stream.seal(Outgoing::Plaintext(piece), &mut stage.sealed)?;
                }
                let ends = is_last && rest.is_empty();
                if ends {
                    stream.seal(Outgoing::CloseNotify, &mut stage.sealed)?;
                    stream.is_closed_here = true;
                }
                stream.send_sealed(&stage.sealed, ends)?;
            }
            Ok(taken)
        })
    }

    /// Encrypts behind what is in `sealed`.
    fn seal(&mut self, outgoing: Outgoing<'_>, sealed: &mut Sealed) -> io::Result<()> {
        let mut plaintext = Plaintext { buffer: &mut [], filled: 0, rest: &mut self.plaintext };
        let (processed, outcome) = self.records.process(&mut self.received, outgoing, &mut plaintext, sealed);
        self.received.drain(..processed.used);
        outcome.map_err(|error| self.fail_by(&error))
    }

    /// Says that nothing more follows, unless that was said.
    fn close(&mut self) {
        if self.is_closed_here || self.handshake != Handshake::Complete || self.failure.is_some() {
            return;
        }
        self.is_closed_here = true;
        // Who does not get it learns of the end by the stream below.
        let _ = self.with_stage(|stream, stage| {
            stage.sealed.clear();
            stream.seal(Outgoing::CloseNotify, &mut stage.sealed)?;
            stream.send_sealed(&stage.sealed, true)
        });
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

/// How much was sent: nothing, if the attempt would block.
fn unless_blocked(sent: io::Result<usize>) -> io::Result<usize> {
    match sent {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        sent => sent,
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
        loop {
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
