//! TLS over streams in memory, with rustls' own buffered connection at the other end: whatever the splits are, every byte
//! arrives, and every end is what it is.

mod hellos;
mod turns;

use std::io::{self, IoSlice, Read as _, Write as _};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{
    ClientConfig, ClientConnection, Connection, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion, version,
};

use super::altered::{self, VERSIONS, client_config, client_tls, server_config};
use super::{
    Alert, ClientCertificate, ClientTls, Policy, SEALED_BYTES_MAX, ServerTls, TlsFailure, TlsStream,
    noting_names, provider,
};
use crate::io::memory::{Faults, MemoryStream, Seed, pair};
use crate::io::{ByteStream, Check, IdleState, Interest};

/// Holds for every host, and says nothing of clients.
#[derive(Debug)]
struct Anything;

impl Policy for Anything {
    fn covers(&self, _server_name: Option<&str>, _host: &str) -> bool {
        true
    }

    fn client(&self, _certificate: &CertificateDer<'_>) -> ClientCertificate {
        ClientCertificate::default()
    }
}

thread_local! {
    static BOTH: (Arc<ServerTls>, Arc<ClientTls>) = {
        let server = ServerTls {
            config: server_config(&VERSIONS).into(),
            handshake_timeout: Duration::from_secs(60),
            handshakes_max: 0,
            client_handshakes_max: 0,
            policy: Arc::new(Anything),
        };
        (server.into(), client_tls(client_config(&VERSIONS)).into())
    };
}

/// What both sides of an exchange are told.
pub(crate) fn both() -> (Arc<ServerTls>, Arc<ClientTls>) {
    BOTH.with(Clone::clone)
}

/// The other end: rustls' buffered connection over the far end of a stream.
struct Peer {
    tls: Connection,
    stream: MemoryStream,
    received: Vec<u8>,
    /// close_notify has come.
    is_closed: bool,
    /// The stream below has ended.
    is_ended: bool,
}

impl Peer {
    fn client(config: ClientConfig, stream: MemoryStream) -> Self {
        let tls = ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap();
        Self::new(tls.into(), stream)
    }

    fn server(config: ServerConfig, stream: MemoryStream) -> Self {
        Self::new(ServerConnection::new(config.into()).unwrap().into(), stream)
    }

    fn new(tls: Connection, stream: MemoryStream) -> Self {
        Self { tls, stream, received: Vec::new(), is_closed: false, is_ended: false }
    }

    /// Moves what can be moved.
    fn turn(&mut self) -> Result<(), rustls::Error> {
        let mut buffer = [0; 5000];
        while let Ok(count) = self.stream.try_recv(&mut buffer) {
            if count == 0 {
                self.is_ended = true;
                break;
            }
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                self.tls.read_tls(&mut rest).unwrap();
                let state = self.tls.process_new_packets();
                self.flush();
                self.is_closed |= state?.peer_has_closed();
                let mut plain = [0; 20_000];
                while let Ok(count @ 1..) = self.tls.reader().read(&mut plain) {
                    self.received.extend_from_slice(&plain[..count]);
                }
            }
        }
        self.flush();
        Ok(())
    }

    fn flush(&mut self) {
        struct Sink<'a>(&'a mut MemoryStream);
        impl io::Write for Sink<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.try_send(&[IoSlice::new(bytes)])
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        while self.tls.wants_write() && self.tls.write_tls(&mut Sink(&mut self.stream)).is_ok() {}
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Drives the handshake; the outcome of this side's.
fn shake_hands(stream: &mut TlsStream<MemoryStream>, peer: &mut Peer) -> Result<(), TlsFailure> {
    for _ in 0..100_000 {
        let shaken = stream.poll_handshake(&mut context(), None, &mut |_, _| Poll::Ready(()));
        let _ = peer.turn();
        if let Poll::Ready(shaken) = shaken {
            return shaken;
        }
    }
    panic!("the handshake does not end");
}

fn server(
    versions: &[&'static SupportedProtocolVersion],
    faults: Faults,
) -> (TlsStream<MemoryStream>, MemoryStream) {
    let (near, far) = pair(faults);
    (TlsStream::server(&noting_names(&server_config(versions)), near).unwrap(), far)
}

/// A connection whose handshake is over: this side, and the client.
fn established(faults: Faults) -> (TlsStream<MemoryStream>, Peer) {
    let (mut stream, far) = server(&VERSIONS, faults);
    let mut peer = Peer::client(client_config(&VERSIONS), far);
    shake_hands(&mut stream, &mut peer).unwrap();
    peer.turn().unwrap();
    (stream, peer)
}

/// The same with this side as the client.
fn established_client(versions: &[&'static SupportedProtocolVersion]) -> (TlsStream<MemoryStream>, Peer) {
    let (near, far) = pair(Faults::none());
    let mut stream = TlsStream::client(&client_tls(client_config(versions)), near).unwrap();
    let mut peer = Peer::server(server_config(versions), far);
    shake_hands(&mut stream, &mut peer).unwrap();
    peer.turn().unwrap();
    (stream, peer)
}

fn random_bytes(seed: &mut Seed, count_max: usize) -> Vec<u8> {
    let count = seed.below(count_max);
    (0..count).map(|_| u8::try_from(seed.below(256)).unwrap()).collect()
}

/// Sends `bytes` in random pieces as far as they are taken; how many were.
fn send_some(stream: &mut TlsStream<MemoryStream>, bytes: &[u8], seed: &mut Seed, is_last: bool) -> usize {
    let mut slices = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() && slices.len() < 8 {
        let (slice, after) = rest.split_at(seed.below(rest.len().min(40_000)) + 1);
        slices.push(IoSlice::new(slice));
        rest = after;
    }
    let attempt =
        if is_last && rest.is_empty() { stream.try_send_last(&slices) } else { stream.try_send(&slices) };
    match attempt {
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            0
        }
        Ok(taken) => taken,
    }
}

/// Receives what there is, into a buffer of any size; whether it was the end.
fn receive_some(stream: &mut TlsStream<MemoryStream>, seed: &mut Seed, received: &mut Vec<u8>) -> bool {
    let mut buffer = vec![0; if seed.once_in(2) { 80 * 1024 } else { 1 + seed.below(300) }];
    match stream.try_recv(&mut buffer) {
        Ok(0) => return true,
        Ok(count) => received.extend_from_slice(&buffer[..count]),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
    }
    false
}

/// Both directions at once, as readiness allows, with new keys in between; then the end.
fn converse(stream: &mut TlsStream<MemoryStream>, peer: &mut Peer, seed: &mut Seed) {
    let (mine, theirs) = (random_bytes(seed, 200_000), random_bytes(seed, 200_000));
    let (mut sent, mut given, mut received) = (0, 0, Vec::new());
    let is_tls13 = peer.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let (mut is_shut, mut has_ended) = (false, false);
    // TLS 1.2 has no half-closed connections: whoever gets a close_notify stops sending (RFC 5246 §7.2.1).
    let ends_together = is_tls13 && seed.once_in(2);
    for _ in 0..100_000 {
        if sent < mine.len() {
            if stream.poll_ready(&mut context(), Interest::Write).is_ready() {
                sent += send_some(stream, &mine[sent..], seed, ends_together);
            }
        } else if !is_shut
            && (is_tls13 || received.len() == theirs.len())
            && stream.poll_flush(&mut context()).is_ready()
        {
            assert!(!stream.holds_back());
            stream.shutdown_write();
            is_shut = true;
        } else {
            let _ = stream.poll_flush(&mut context());
        }
        if given < theirs.len() && !peer.tls.is_handshaking() {
            let piece = (1 + seed.below(30_000)).min(theirs.len() - given);
            given += peer.tls.writer().write(&theirs[given..][..piece]).unwrap();
            if is_tls13 && seed.once_in(4) {
                peer.tls.refresh_traffic_keys().unwrap();
            }
            if is_tls13 && given == theirs.len() {
                peer.tls.send_close_notify();
            }
        }
        peer.turn().unwrap();
        if !is_tls13 && is_shut && peer.is_closed {
            peer.tls.send_close_notify();
            peer.turn().unwrap();
        }
        if !has_ended && stream.poll_ready(&mut context(), Interest::Read).is_ready() {
            has_ended = receive_some(stream, seed, &mut received);
        }
        if has_ended && is_shut && peer.is_ended && peer.received.len() == mine.len() {
            assert!(peer.is_closed, "close_notify comes before the end");
            assert!(peer.received == mine && received == theirs);
            return;
        }
    }
    panic!("sent {sent} of {}, received {} of {}", mine.len(), received.len(), theirs.len());
}

#[test]
fn every_byte_arrives_whatever_the_splits_are() {
    for number in 0..120 {
        let mut seed = Seed::new(number);
        let faults = if number % 3 == 0 { Faults::edges() } else { Faults::unsteady(number) };
        let versions = [VERSIONS[usize::try_from(number % 2).unwrap()]];
        let (mut stream, mut peer) = if seed.once_in(2) {
            let (stream, far) = server(&versions, faults);
            (stream, Peer::client(client_config(&versions), far))
        } else {
            let (near, far) = pair(faults);
            let stream = TlsStream::client(&client_tls(client_config(&versions)), near).unwrap();
            (stream, Peer::server(server_config(&versions), far))
        };
        assert_eq!(shake_hands(&mut stream, &mut peer), Ok(()), "seed {number}");
        converse(&mut stream, &mut peer, &mut seed);
    }
}

#[test]
fn nothing_is_taken_for_what_was_sent_that_was_altered_on_the_way() {
    for number in 0..300 {
        let mut seed = Seed::new(number);
        altered::converse(&random_bytes(&mut seed, 300));
    }
}

#[test]
fn what_comes_in_place_of_a_handshake_is_judged_the_same_in_any_pieces() {
    let mut hello = Vec::new();
    let name = "localhost".try_into().unwrap();
    let mut client = ClientConnection::new(client_config(&VERSIONS).into(), name).unwrap();
    client.write_tls(&mut hello).unwrap();
    for number in 0..300 {
        let mut seed = Seed::new(number);
        let mut bytes = hello.clone();
        let place = seed.below(bytes.len());
        match number % 3 {
            0 => bytes[place] ^= 1 << seed.below(8),
            1 => bytes.extend(random_bytes(&mut seed, 200)),
            _ => drop(bytes.splice(place.., random_bytes(&mut seed, 2000))),
        }
        altered::receive(&bytes);
    }
}

#[test]
fn what_the_handshake_has_settled_is_told() {
    for (version, name) in [(&version::TLS13, "TLSv1.3"), (&version::TLS12, "TLSv1.2")] {
        let config = client_config(&[version]);
        for is_resumed in [false, true] {
            let (near, far) = pair(Faults::none());
            let mut server = server_config(&[version]);
            server.session_storage = SESSIONS.with(Clone::clone);
            let mut stream = TlsStream::server(&noting_names(&server), near).unwrap();
            let mut peer = Peer::client(config.clone(), far);
            shake_hands(&mut stream, &mut peer).unwrap();
            peer.turn().unwrap();
            let secured = stream.take_secured().unwrap();
            assert_eq!((secured.version, secured.is_resumed), (name, is_resumed));
            assert_eq!(secured.server_name.as_deref(), Some("localhost"));
            assert!(secured.cipher_suite.starts_with("TLS_"), "{}", secured.cipher_suite);
            if name == "TLSv1.3" {
                assert_eq!(secured.group, Some("X25519MLKEM768"));
            }
        }
    }
}

thread_local! {
    static SESSIONS: Arc<dyn rustls::server::StoresServerSessions> =
        rustls::server::ServerSessionMemoryCache::new(64);
}

#[test]
fn tickets_go_out_with_the_end_of_the_handshake() {
    let (stream, peer) = established(Faults::none());
    assert!(!stream.holds_back());
    let Connection::Client(client) = &peer.tls else { panic!("it is a client") };
    assert_eq!(client.tls13_tickets_received(), 2);
}

#[test]
fn the_end_of_the_stream_below_alone_is_a_truncation() {
    let (mut stream, mut peer) = established(Faults::none());
    peer.tls.writer().write_all(b"some").unwrap();
    peer.turn().unwrap();
    drop(peer);
    let mut buffer = [0; 100];
    assert_eq!(stream.try_recv(&mut buffer).unwrap(), 4);
    assert_eq!(stream.try_recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(stream.poll_ready(&mut context(), Interest::Read).is_ready(), "it is told each time");
    assert_eq!(stream.look(Check::Socket), IdleState::Closed);
}

#[test]
fn idle_streams_know_tickets_from_surplus() {
    let (mut stream, mut peer) = established_client(&[&version::TLS13]);
    assert_eq!(stream.look(Check::Socket), IdleState::Silent, "two tickets have come");
    peer.tls.refresh_traffic_keys().unwrap();
    peer.turn().unwrap();
    assert_eq!(stream.look(Check::Socket), IdleState::Silent);
    peer.tls.writer().write_all(b"HTTP/1.1 408").unwrap();
    peer.turn().unwrap();
    let IdleState::Surplus(peeked) = stream.look(Check::Socket) else { panic!("a response has come") };
    assert_eq!(peeked.as_slice(), b"HTTP/1.1 408");
    let mut buffer = [0; 100];
    assert_eq!(stream.try_recv(&mut buffer).unwrap(), 12, "and it is still there");

    peer.tls.send_close_notify();
    peer.turn().unwrap();
    assert_eq!(stream.look(Check::Socket), IdleState::Closed);
}

#[test]
fn buffered_plaintext_is_readable() {
    let (mut stream, mut peer) = established(Faults::none());
    peer.tls.writer().write_all(&[7; 1000]).unwrap();
    peer.turn().unwrap();
    let mut buffer = [0; 10];
    for _ in 0..100 {
        assert!(stream.poll_ready(&mut context(), Interest::Read).is_ready());
        assert_eq!(stream.try_recv(&mut buffer).unwrap(), 10);
        stream.rearm();
    }
    assert!(stream.poll_ready(&mut context(), Interest::Read).is_pending());
    assert_eq!(stream.try_recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn alerts_are_told_by_name() {
    let (mut stream, far) = server(&VERSIONS, Faults::none());
    // It does not know who signed the certificate.
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_protocol_versions(&VERSIONS).unwrap();
    let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut peer = Peer::client(config, far);
    assert_eq!(shake_hands(&mut stream, &mut peer), Err(TlsFailure::Alert));
    assert_eq!(stream.failure(), Some((TlsFailure::Alert, Some(Alert::UnknownCa))));
}

#[test]
fn altered_records_are_fatal() {
    let (mut stream, mut peer) = established(Faults::none());
    let record = [&[0x17, 3, 3, 0, 30][..], &[1; 30]].concat();
    peer.stream.try_send(&[IoSlice::new(&record)]).unwrap();
    let mut buffer = [0; 100];
    assert_eq!(stream.try_recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(stream.failure(), Some((TlsFailure::RecordUndecipherable, None)));
    assert!(stream.try_send(&[IoSlice::new(b"x")]).is_err());
    assert!(matches!(peer.turn(), Err(rustls::Error::AlertReceived(_))));
}

#[test]
fn what_is_received_before_an_error_is_handed_on() {
    let (mut stream, mut peer) = established(Faults::none());
    peer.tls.writer().write_all(b"last words").unwrap();
    peer.turn().unwrap();
    peer.stream
        .try_send(&[IoSlice::new(&[
            0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0,
        ])])
        .unwrap();
    let mut buffer = [0; 100];
    assert_eq!(stream.try_recv(&mut buffer).unwrap(), 10);
    assert!(stream.try_recv(&mut buffer).is_err());
}

#[test]
fn who_lets_go_of_a_connection_says_so_unless_it_is_cut() {
    let (stream, mut peer) = established(Faults::none());
    drop(stream);
    peer.turn().unwrap();
    assert!(peer.is_closed && peer.is_ended);
    let (mut stream, mut peer) = established(Faults::none());
    stream.abort();
    drop(stream);
    peer.turn().unwrap();
    assert!(!peer.is_closed);
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    let (mut stream, mut peer) = established(Faults::none());
    for _ in 0..3 {
        peer.tls.writer().write_all(&[7; 40_000]).unwrap();
        peer.turn().unwrap();
        let (mut buffer, mut received) = (vec![0; 80 * 1024], 0);
        while let Ok(count) = stream.try_recv(&mut buffer) {
            received += count;
            peer.turn().unwrap();
        }
        assert_eq!(received, 40_000);
        assert_eq!(stream.try_send(&[IoSlice::new(&[7; 40_000])]).unwrap(), 40_000);
        peer.turn().unwrap();
    }
    assert_eq!(stream.buffered_capacity(), 0);
    // Of what rustls allocates for itself there are some 3 KiB more.
    assert!(
        size_of::<TlsStream<crate::io::Socket>>() <= 2048,
        "{}",
        size_of::<TlsStream<crate::io::Socket>>()
    );
}

#[test]
fn who_does_not_read_makes_nothing_more_be_held() {
    let (mut stream, mut peer) = established(Faults::none());
    // What the peer does not read is held, up to a burst of records.
    while let Ok(taken) = stream.try_send(&[IoSlice::new(&[7; 40_000])]) {
        assert!(taken > 0);
    }
    let held = stream.buffered_capacity();
    assert!(stream.holds_back() && held <= SEALED_BYTES_MAX, "{held}");
    // Each of these is to be answered: with what is sent next, and only once.
    for _ in 0..2000 {
        peer.tls.refresh_traffic_keys().unwrap();
        peer.tls.writer().write_all(&[1]).unwrap();
        peer.flush();
        let mut buffer = [0; 10];
        assert_eq!(stream.try_recv(&mut buffer).unwrap(), 1);
    }
    assert_eq!(stream.buffered_capacity(), held);
}
