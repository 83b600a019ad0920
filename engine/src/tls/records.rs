//! One TLS connection as rustls keeps it: records in, plaintext and records out. It does no I/O and keeps no buffers.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};

/// Room that is made for one message of a handshake before its size is known.
const MESSAGE_ROOM: usize = 4096;

/// The most plaintext in a record (RFC 8446 §5.1).
pub(super) const RECORD_BYTES_MAX: usize = 16 * 1024;

/// More than a record adds to its plaintext: header, explicit nonce or content type, tag.
const RECORD_OVERHEAD: usize = 64;

/// See the module.
pub(super) enum Records {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What is to be sent once the connection can.
#[derive(Clone, Copy)]
pub(super) enum Outgoing<'a> {
    Nothing,
    Plaintext(&'a [u8]),
    /// That nothing more follows.
    CloseNotify,
}

impl Outgoing<'_> {
    fn is_none(self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// Where plaintext goes: into the buffer that was lent, and what does not fit behind `rest`.
pub(super) struct Plaintext<'a> {
    pub(super) buffer: &'a mut [u8],
    pub(super) filled: usize,
    pub(super) rest: &'a mut Vec<u8>,
}

impl Plaintext<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let room = if self.rest.is_empty() { self.buffer.len() - self.filled } else { 0 };
        let (fitting, rest) = bytes.split_at(room.min(bytes.len()));
        self.buffer[self.filled..][..fitting.len()].copy_from_slice(fitting);
        self.filled += fitting.len();
        self.rest.extend_from_slice(rest);
    }
}

/// What processing came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Processed {
    /// So many bytes at the front of the input are done with.
    pub(super) used: usize,
    /// The peer sends nothing more.
    pub(super) is_closed: bool,
}

/// What follows a state.
enum Step {
    /// Another state.
    Again,
    /// Another state, after plaintext.
    Read,
    Closed,
    /// More input is needed.
    Done,
}

impl Records {
    /// Processes the records that `incoming` begins with, then does what `outgoing` says. What is to be sent is appended to
    /// `sealed`: after an error too, for then it is the alert.
    pub(super) fn process(
        &mut self,
        incoming: &mut [u8],
        outgoing: Outgoing<'_>,
        plaintext: &mut Plaintext<'_>,
        sealed: &mut Sealed,
    ) -> (Processed, Result<(), Error>) {
        let mut processed = Processed::default();
        loop {
            let (used, step) = self.step(&mut incoming[processed.used..], outgoing, plaintext, sealed);
            processed.used += used;
            match step {
                // Nothing is left to ask for: a state machine's turn less for each request.
                Ok(Step::Read)
                    if processed.used == incoming.len()
                        && outgoing.is_none()
                        && !self.state().wants_write() =>
                {
                    return (processed, Ok(()));
                }
                Ok(Step::Again | Step::Read) => {}
                Ok(Step::Closed) => processed.is_closed = true,
                Ok(Step::Done) => return (processed, Ok(())),
                Err(error) => {
                    // No more than this may be asked of a connection that has failed.
                    while self.state().wants_write() {
                        let _ = self.step(&mut [], Outgoing::Nothing, plaintext, sealed);
                    }
                    return (processed, Err(error));
                }
            }
        }
    }

    fn step(
        &mut self,
        incoming: &mut [u8],
        outgoing: Outgoing<'_>,
        plaintext: &mut Plaintext<'_>,
        sealed: &mut Sealed,
    ) -> (usize, Result<Step, Error>) {
        match self {
            Self::Server(server) => {
                take_step(server.process_tls_records(incoming), outgoing, plaintext, sealed)
            }
            Self::Client(client) => {
                take_step(client.process_tls_records(incoming), outgoing, plaintext, sealed)
            }
        }
    }

    /// What both sides know of the connection.
    pub(super) fn state(&self) -> &CommonState {
        match self {
            Self::Server(server) => server,
            Self::Client(client) => client,
        }
    }
}

/// Deals with one state. Says how much of the input is done with.
fn take_step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: Outgoing<'_>,
    plaintext: &mut Plaintext<'_>,
    sealed: &mut Sealed,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut outcome = Ok(Step::Read);
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        plaintext.put(record.payload);
                    }
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            outcome
        }
        Ok(ConnectionState::EncodeTlsData(mut message)) => {
            sealed.append(MESSAGE_ROOM, |room| match message.encode(room) {
                Err(EncodeError::InsufficientSize(size)) => Err(Some(size.required_size)),
                encoded => encoded.map_err(|_| None),
            });
            Ok(Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(message)) => {
            message.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::Closed),
        Ok(ConnectionState::WriteTraffic(traffic)) => send(traffic, outgoing, sealed).map(|()| Step::Done),
        // Early data is never accepted, and states that are added to rustls are none that it needs to be driven by.
        Ok(_) => Ok(Step::Done),
    };
    (discard, step)
}

fn send<Data>(
    mut traffic: WriteTraffic<'_, Data>,
    outgoing: Outgoing<'_>,
    sealed: &mut Sealed,
) -> Result<(), Error> {
    let plain = match outgoing {
        Outgoing::Nothing => return Ok(()),
        Outgoing::CloseNotify => 0,
        Outgoing::Plaintext(plain) => plain.len(),
    };
    let records = plain.div_ceil(RECORD_BYTES_MAX) + 1;
    let written = sealed.append(plain + records * RECORD_OVERHEAD, |room| {
        let written = match outgoing {
            Outgoing::Plaintext(plain) => traffic.encrypt(plain, room),
            _ => traffic.queue_close_notify(room),
        };
        written.map_err(|error| match error {
            EncryptError::InsufficientSize(size) => Some(size.required_size),
            EncryptError::EncryptExhausted => None,
        })
    });
    if written { Ok(()) } else { Err(Error::EncryptError) }
}

/// Records on their way out. The memory behind them stays, so that nothing is cleared for each.
#[derive(Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    length: usize,
}

impl Sealed {
    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Lets `write` append; it says how much it wrote, or how much room it needs.
    fn append(
        &mut self,
        mut room: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
    ) -> bool {
        loop {
            let end = self.length + room;
            if self.bytes.len() < end {
                self.bytes.resize(end, 0);
            }
            match write(&mut self.bytes[self.length..end]) {
                Ok(written) => {
                    self.length += written;
                    return true;
                }
                Err(Some(required)) if required > room => room = required,
                Err(_) => return false,
            }
        }
    }
}
