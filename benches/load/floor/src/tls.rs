//! The client's side of TLS: one version, one suite and one group, so that every proxy has the same to compute.
//!
//! Nothing is verified: that would cost the load's core more than the proxy's signature does.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    UnbufferedClientConnection,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, NamedGroup, SignatureScheme,
    version,
};

use crate::arguments::invalid;
use crate::net;

/// The name that is asked for.
const NAME: &str = "bench.example";
/// More than a message of the client's, or a request, takes when it is encrypted.
const SEALED_ROOM: usize = 4 << 10;
/// Beyond the bytes of a request: the record's header, type and tag.
const RECORD_OVERHEAD: usize = 64;
/// Tickets that are kept of a target: more than it has connections, each of which gets one or two.
const TICKETS_MAX: usize = 1024;

/// A configuration whose connections shake hands in full.
pub(crate) fn without_resumption() -> Arc<ClientConfig> {
    Arc::new(config(Resumption::disabled()))
}

/// The same for HTTP/2.
pub(crate) fn for_http2() -> Arc<ClientConfig> {
    let mut config = config(Resumption::disabled());
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// One whose connections resume, but for those of the beginning.
pub(crate) fn with_resumption() -> Arc<ClientConfig> {
    Arc::new(config(Resumption::store(Arc::new(Tickets::default()))))
}

fn config(resumption: Resumption) -> ClientConfig {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[&version::TLS13]).expect("the suite is one of TLS 1.3");
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Credulous));
    let mut config = builder.with_no_client_auth();
    config.resumption = resumption;
    config
}

fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a name")
}

/// A connection for somebody who waits.
pub(crate) fn connection(config: &Arc<ClientConfig>) -> io::Result<ClientConnection> {
    ClientConnection::new(config.clone(), name()).map_err(io::Error::other)
}

/// What TLS has of a connection that does not wait. Its socket is another's.
pub(crate) struct Tls {
    connection: UnbufferedClientConnection,
    /// Received, of a record that is not whole.
    held: Vec<u8>,
    /// Encrypted, to be sent.
    sealed: Vec<u8>,
}

/// What a receive found.
pub(crate) enum Received {
    Nothing,
    /// There may be more.
    Some,
    /// There is no more for now.
    All,
    End,
}

impl Tls {
    pub(crate) fn new(config: &Arc<ClientConfig>) -> io::Result<Self> {
        let connection = UnbufferedClientConnection::new(config.clone(), name()).map_err(io::Error::other)?;
        Ok(Self { connection, held: Vec::new(), sealed: Vec::new() })
    }

    /// Whether the handshake was a full one; unknown before it is complete.
    pub(crate) fn is_full(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Full)
    }

    /// Gets on without having received anything: sends what there is to send, `request` as soon as it may be.
    pub(crate) fn send(&mut self, stream: &TcpStream, request: &mut &[u8]) -> io::Result<()> {
        if request.is_empty() && self.sealed.is_empty() {
            return Ok(());
        }
        self.process(&mut [], request, &mut |_| Ok(()))?;
        self.flush(stream)
    }

    /// Receives once into `scratch`, and lends what it decrypts to `came`.
    pub(crate) fn receive(
        &mut self,
        stream: &TcpStream,
        scratch: &mut [u8],
        request: &mut &[u8],
        mut came: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Received> {
        let held = self.held.len();
        scratch[..held].copy_from_slice(&self.held);
        let count = match net::unless_blocked((&*stream).read(&mut scratch[held..]))? {
            None => return Ok(Received::Nothing),
            Some(0) => return Ok(Received::End),
            Some(count) => count,
        };
        let is_all = held + count < scratch.len();
        let received = &mut scratch[..held + count];
        let used = self.process(received, request, &mut came)?;
        self.held.clear();
        self.held.extend_from_slice(&received[used..]);
        self.flush(stream)?;
        Ok(if is_all { Received::All } else { Received::Some })
    }

    /// How much of `received` is done with.
    fn process(
        &mut self,
        received: &mut [u8],
        request: &mut &[u8],
        came: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut received[used..]);
            let mut is_done = false;
            match state.map_err(io::Error::other)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        discard += record.discard;
                        came(record.payload)?;
                    }
                }
                ConnectionState::EncodeTlsData(mut message) => {
                    append(&mut self.sealed, SEALED_ROOM, |room| message.encode(room).ok())?;
                }
                ConnectionState::TransmitTlsData(message) => message.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    let plain = std::mem::take(request);
                    if !plain.is_empty() {
                        let room = plain.len() + (plain.len() >> 12) * RECORD_OVERHEAD + SEALED_ROOM;
                        append(&mut self.sealed, room, |room| traffic.encrypt(plain, room).ok())?;
                    }
                    is_done = true;
                }
                // Its end follows, or it is in `received`.
                ConnectionState::PeerClosed => {}
                _ => is_done = true,
            }
            used += discard;
            if is_done {
                return Ok(used);
            }
        }
    }

    fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.sealed.is_empty() {
            match net::unless_blocked((&*stream).write(&self.sealed))? {
                None => break,
                Some(count) => drop(self.sealed.drain(..count)),
            }
        }
        Ok(())
    }
}

/// Lets `write` append to `bytes`.
fn append(
    bytes: &mut Vec<u8>,
    room: usize,
    write: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> io::Result<()> {
    let length = bytes.len();
    bytes.resize(length + room, 0);
    let written = write(&mut bytes[length..]).ok_or_else(|| invalid("a record that is too large"))?;
    bytes.truncate(length + written);
    Ok(())
}

/// Takes every certificate.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The tickets of one target. rustls' own store keeps eight, fewer than there are connections that want one at a time.
#[derive(Debug, Default)]
struct Tickets(Mutex<VecDeque<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _server_name: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server_name: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _server_name: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server_name: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.push_back(value);
        if tickets.len() > TICKETS_MAX {
            tickets.pop_front();
        }
    }

    fn take_tls13_ticket(&self, _server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_back()
    }
}
