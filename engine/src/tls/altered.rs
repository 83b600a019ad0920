//! A conversation over TLS with somebody on the way who changes, drops, repeats and delays bytes, as a script says: for the
//! tests, and for the fuzz target `tls`.
//!
//! Whatever is done on the way: what is handed on is the beginning of what was sent, and an end is one of the other side's
//! words only if it has said so and everything before it has been handed on. And what is only delayed and split arrives.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::{ClientTls, TlsFailure, TlsStream, noting_names, provider};
use crate::io::memory::{Faults, MemoryStream, pair};
use crate::io::{ByteStream, Interest};

const CERTIFICATE: &[u8] = include_bytes!("../../testdata/localhost.pem");
const KEY: &[u8] = include_bytes!("../../testdata/localhost.key");

pub(super) const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// Of `localhost`.
pub(super) fn certificate_and_key() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    (certificate, PrivateKeyDer::from_pem_slice(KEY).unwrap())
}

pub(super) fn server_config(versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let (certificate, key) = certificate_and_key();
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_no_client_auth();
    builder.with_single_cert(vec![certificate], key).unwrap()
}

pub(super) fn client_config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate_and_key().0).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

pub(super) fn client_tls(config: ClientConfig) -> ClientTls {
    ClientTls { config: config.into(), server_name: "localhost".try_into().unwrap(), identity: "".into() }
}

thread_local! {
    /// Of a server and a client, for TLS 1.3 and for TLS 1.2.
    static SIDES: [(Arc<ServerConfig>, ClientTls); 2] = VERSIONS.map(|version| {
        (noting_names(&server_config(&[version])), client_tls(client_config(&[version])))
    });
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// The bytes of a script.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// 0 when it is over.
    fn byte(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    fn count(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }
}

/// One end, and what it has sent that is still on the way.
struct Side {
    stream: TlsStream<MemoryStream>,
    far: MemoryStream,
    on_the_way: Vec<u8>,
    sent: usize,
    received: usize,
    is_shut: bool,
    /// The other side's end has come.
    has_ended: bool,
    has_failed: bool,
}

impl Side {
    fn new(stream: TlsStream<MemoryStream>, far: MemoryStream) -> Self {
        Self {
            stream,
            far,
            on_the_way: Vec::new(),
            sent: 0,
            received: 0,
            is_shut: false,
            has_ended: false,
            has_failed: false,
        }
    }

    /// Whether the handshake is over.
    fn is_established(&mut self) -> bool {
        if self.has_failed {
            return false;
        }
        let shaken = self.stream.poll_handshake(&mut context(), None, &mut |_, _| Poll::Ready(()));
        self.has_failed = matches!(shaken, Poll::Ready(Err(_)));
        matches!(shaken, Poll::Ready(Ok(())))
    }

    fn send(&mut self, count: usize) {
        if !self.is_established() || self.is_shut {
            return;
        }
        let bytes: Vec<_> = (self.sent..self.sent + count).map(pattern).collect();
        let (head, tail) = bytes.split_at(count / 3);
        match self.stream.try_send(&[IoSlice::new(head), IoSlice::new(tail)]) {
            Ok(sent) => self.sent += sent,
            Err(error) => self.has_failed |= error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn shut(&mut self) {
        if self.is_established() && !self.is_shut {
            self.stream.shutdown_write();
            self.is_shut = true;
        }
    }

    /// Gets on as far as it can.
    fn turn(&mut self, buffer_bytes: usize) {
        if !self.is_established() {
            return;
        }
        let _ = self.stream.poll_flush(&mut context());
        if self.has_ended {
            return;
        }
        let mut buffer = vec![0; buffer_bytes];
        for _ in 0..4 {
            if self.stream.poll_ready(&mut context(), Interest::Read).is_pending() {
                return;
            }
            match self.stream.try_recv(&mut buffer) {
                Ok(0) => {
                    self.has_ended = true;
                    return;
                }
                Ok(count) => {
                    for byte in &buffer[..count] {
                        assert_eq!(*byte, pattern(self.received), "byte {}", self.received);
                        self.received += 1;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.has_failed = true;
                    return;
                }
            }
        }
    }

    /// Takes what the stream has sent.
    fn collect(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = self.far.try_recv(&mut bytes) {
            self.on_the_way.extend_from_slice(&bytes[..count]);
        }
    }
}

/// The bytes that each side sends.
fn pattern(position: usize) -> u8 {
    (position ^ (position >> 8)).to_le_bytes()[0]
}

/// Lets up to `count` bytes of one side arrive at the other.
fn deliver(from: &mut Side, to: &mut Side, count: usize) {
    from.collect();
    let count = count.min(from.on_the_way.len());
    if let Ok(taken) = to.far.try_send(&[IoSlice::new(&from.on_the_way[..count])]) {
        from.on_the_way.drain(..taken);
    }
}

/// Changes what is on the way; whether there was anything to change.
fn alter(from: &mut Side, script: &mut Script<'_>) -> bool {
    from.collect();
    let (kind, place) = (script.byte(), script.count());
    let length = from.on_the_way.len();
    if length == 0 {
        return false;
    }
    let place = place % length;
    let end = length.min(place + 1 + usize::from(script.byte()));
    match kind % 4 {
        0 => from.on_the_way[place] ^= script.byte().max(1),
        1 => drop(from.on_the_way.drain(place..end)),
        2 => from.on_the_way.extend_from_within(place..end),
        _ => {
            let bytes: Vec<_> = (place..end).map(|_| script.byte()).collect();
            from.on_the_way.splice(place..place, bytes);
        }
    }
    true
}

/// Lets a client and a server talk as the script says.
///
/// # Panics
///
/// When something is handed on that was not sent, or the other way round.
pub fn converse(script: &[u8]) {
    let mut script = Script(script);
    let is_tls13 = script.byte() % 2 == 0;
    let faults = |seed: u8| if seed == 0 { Faults::edges() } else { Faults::unsteady(seed.into()) };
    let (server, far_server) = pair(faults(script.byte()));
    let (client, far_client) = pair(faults(script.byte()));
    let (server, client) = SIDES.with(|sides| {
        let (config, tls) = &sides[usize::from(!is_tls13)];
        (TlsStream::server(config, server).unwrap(), TlsStream::client(tls, client).unwrap())
    });
    let mut sides = [Side::new(server, far_server), Side::new(client, far_client)];
    // Of each direction, by the side that sends.
    let mut altered = [false; 2];
    while let Some(step) = script.next() {
        let (from, to) = (usize::from(step & 1), usize::from(!step & 1));
        let [one, other] = &mut sides;
        let (sender, receiver) = if from == 0 { (one, other) } else { (other, one) };
        match (step >> 1) % 8 {
            0 => sender.send(script.count()),
            // After its own close_notify rustls (0.23.46) sends no alert about what is received, and asserts so in builds with
            // assertions: who has said the end gets nothing that was altered.
            1 if !altered[to] => sender.shut(),
            2 if !receiver.is_shut => altered[from] |= alter(sender, &mut script),
            1 | 2 => {}
            3 if step > 0xf0 => {
                // The stream below ends, which anybody can make.
                altered[from] = true;
                receiver.far.shutdown_write();
            }
            3 | 4 => deliver(sender, receiver, script.count()),
            _ => {
                deliver(sender, receiver, usize::MAX);
                receiver.turn(1 + script.count());
            }
        }
        sides[to].turn(16_384);
        judge(&sides);
    }
    if altered != [false; 2] {
        return;
    }
    // RFC 5246 §7.2.1: in TLS 1.2 who gets the end of the other side stops sending, too.
    let is_whole = is_tls13 || !sides.iter().any(|side| side.is_shut);
    for _ in 0..10_000 {
        let [server, client] = &mut sides;
        deliver(server, client, usize::MAX);
        client.turn(16_384);
        deliver(client, server, usize::MAX);
        server.turn(16_384);
        judge(&sides);
        if is_done(&sides) {
            return;
        }
    }
    assert!(!is_whole, "what was sent has not arrived");
}

/// Whether everything that was sent has arrived.
fn is_done([server, client]: &[Side; 2]) -> bool {
    let arrived = |from: &Side, to: &Side| to.received == from.sent && to.has_ended == from.is_shut;
    arrived(server, client) && arrived(client, server)
}

/// What holds at any time.
fn judge([server, client]: &[Side; 2]) {
    for (from, to) in [(server, client), (client, server)] {
        assert!(to.received <= from.sent, "{} of {} bytes", to.received, from.sent);
        if to.has_ended {
            assert!(from.is_shut && to.received == from.sent, "an end that is none");
        }
    }
}

/// Lets a server that knows nothing of its peer receive these bytes, in pieces; what becomes of the handshake.
///
/// # Panics
///
/// When that depends on the pieces.
pub fn receive(bytes: &[u8]) {
    let whole = received(bytes, Faults::none());
    for seed in 0..2 {
        assert_eq!(received(bytes, Faults::unsteady(seed)), whole, "{}", bytes.escape_ascii());
    }
}

fn received(bytes: &[u8], faults: Faults) -> Option<Result<(), TlsFailure>> {
    let (near, mut far) = pair(faults);
    let config = SIDES.with(|sides| sides[0].0.clone());
    let mut stream = TlsStream::server(&config, near).unwrap();
    let mut sent = 0;
    let mut turns_left = 1000;
    while turns_left > 0 {
        sent += far.try_send(&[IoSlice::new(&bytes[sent..])]).unwrap_or(0);
        if let Poll::Ready(shaken) = stream.poll_handshake(&mut context(), None, &mut |_, _| Poll::Ready(()))
        {
            return Some(shaken);
        }
        let _ = far.try_recv(&mut [0; 4096]);
        turns_left -= 1;
    }
    None
}
