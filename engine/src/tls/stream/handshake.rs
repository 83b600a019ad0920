//! How a connection gets to TLS: the handshake, and what becomes of a peer that does not manage one.

use std::io;
use std::io::IoSlice;
use std::task::{Context, Poll, ready};

use super::{End, HELLO_BYTES_MAX, Handshake, RECEIVES_A_TURN, TlsStream, WIRE_RECORD_BYTES_MAX};
use crate::io::{ByteStream, Interest, Work};
use crate::tls::records::Records;
use crate::tls::transport::PollTurn;
use crate::tls::{Policy, Secured, TlsFailure};

impl<S: ByteStream> TlsStream<S> {
    /// Drives the handshake. `poll_turn` is asked before anything that takes long: keys, a signature, certificates.
    pub(crate) fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
        policy: Option<&dyn Policy>,
        poll_turn: &mut PollTurn<'_>,
    ) -> Poll<Result<(), TlsFailure>> {
        if self.handshake == Handshake::Complete {
            return Poll::Ready(Ok(()));
        }
        loop {
            // An alert goes out too, if the socket takes it at once.
            let flushed = self.poll_flush(cx);
            if let Some(failure) = self.failure {
                return Poll::Ready(Err(failure));
            }
            if !self.records.state().is_handshaking() {
                // What the socket does not take of the last flight goes out with what follows.
                self.complete(policy);
                return Poll::Ready(Ok(()));
            }
            if ready!(flushed).is_err() || self.end != End::None {
                return Poll::Ready(Err(self.fail(TlsFailure::PeerGone)));
            }
            if let Err(failure) = self.judge_hello() {
                return Poll::Ready(Err(self.fail(failure)));
            }
            if self.has_work() {
                let begun = self.handshake == Handshake::Going;
                ready!(poll_turn(cx, if begun { Work::Begun } else { Work::New }));
                self.handshake = Handshake::Going;
                self.process_held();
                continue;
            }
            match self.receive_to_hold() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_ready(cx, Interest::Read)).map_err(|_| TlsFailure::PeerGone)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    let failure = self.failure.unwrap_or(TlsFailure::PeerGone);
                    // Once more round, for the alert.
                    self.fail(failure);
                }
            }
        }
    }

    /// Receives once, for later.
    fn receive_to_hold(&mut self) -> io::Result<()> {
        self.with_stage(|stream, stage| {
            let room = stage.received_room(WIRE_RECORD_BYTES_MAX);
            let count = stream.receive_into(room)?;
            stream.received.extend_from_slice(&room[..count]);
            stream.has_more |= count > 0;
            Ok(())
        })
    }

    /// Whether there is something to process: of a client's first message, which may come byte by byte, the whole first
    /// record.
    fn has_work(&self) -> bool {
        match (&self.records, self.handshake) {
            (Records::Server(_), Handshake::Begun) => has_record(&self.received),
            // Who speaks first has nothing to wait for.
            (Records::Client(_), Handshake::Begun) => true,
            _ => self.has_more,
        }
    }

    /// Whether what a server has received can be the beginning of a handshake.
    fn judge_hello(&self) -> Result<(), TlsFailure> {
        if self.handshake != Handshake::Begun {
            return Ok(());
        }
        match *self.received {
            [] => Ok(()),
            // RFC 8446 §5.1: a record of a handshake, and how much it holds.
            [0x16, _, _, high, low, ..] if usize::from(u16::from_be_bytes([high, low])) > HELLO_BYTES_MAX => {
                Err(TlsFailure::HandshakeTooLarge)
            }
            [0x16, ..] => Ok(()),
            // Methods are in capitals, and no record's type is a letter.
            [b'A'..=b'Z', ..] => Err(TlsFailure::PlainHttp),
            _ => Err(TlsFailure::NotTls),
        }
    }

    /// What the handshake has settled.
    fn complete(&mut self, policy: Option<&dyn Policy>) {
        self.handshake = Handshake::Complete;
        let state = self.records.state();
        let certificate = state.peer_certificates().and_then(<[_]>::first);
        let client = policy.zip(certificate).map(|(policy, certificate)| policy.client(certificate));
        self.secured = Some(Box::new(Secured::new(state, self.server_name.take(), client)));
    }

    /// Processes what is held of received bytes.
    fn process_held(&mut self) {
        self.has_more = false;
        let sent = self.with_stage(|stream, stage| {
            let mut received = std::mem::take(&mut stream.received);
            stage.sealed.clear();
            stream.process(&mut received, &mut [], &mut stage.sealed);
            stream.send_sealed(&stage.sealed, false)
        });
        if sent.is_err() {
            self.fail(TlsFailure::PeerGone);
        }
    }

    /// Sends bytes as they are, to a peer that does not speak TLS.
    pub(crate) fn answer_plainly(&mut self, answer: &[u8]) {
        // A new connection takes so little at once, or is gone.
        let _ = self.inner.try_send(&[IoSlice::new(answer)]);
    }

    /// Closes the sending side of a connection that TLS has failed on, and drops what comes until its end: a close over
    /// unread bytes would be a reset, and the peer might lose what says why.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shutdown_write();
        let mut receives = 0;
        loop {
            receives += 1;
            if receives > RECEIVES_A_TURN {
                receives = 0;
                self.inner.rearm();
                if ready!(self.inner.poll_ready(cx, Interest::Read)).is_err() {
                    return Poll::Ready(());
                }
            }
            let received = self.with_stage(|stream, stage| {
                stream.inner.try_recv(stage.received_room(WIRE_RECORD_BYTES_MAX))
            });
            match received {
                Ok(0) => return Poll::Ready(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if ready!(self.inner.poll_ready(cx, Interest::Read)).is_err() {
                        return Poll::Ready(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// Whether a whole record is there (RFC 8446 §5.1: type, version, length).
fn has_record(received: &[u8]) -> bool {
    match *received {
        [_, _, _, high, low, ref rest @ ..] => rest.len() >= usize::from(u16::from_be_bytes([high, low])),
        _ => false,
    }
}
