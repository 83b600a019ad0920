//! TLS: what a listener and an endpoint are told of it, and the streams that speak it.
//!
//! Keys, certificates, tickets and what is accepted of a peer are the configurations', which the control thread makes; a
//! worker only shares them.

#[cfg(any(test, fuzzing))]
pub mod altered;
mod failure;
mod handshakes;
mod records;
mod reports;
mod server_name;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod transport;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

pub use rustls;

use corelane_semantics::host_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, CommonState, HandshakeKind, ProtocolVersion, ServerConfig};

pub use failure::{Alert, TlsFailure};
pub(crate) use handshakes::{HandshakePlace, HandshakeTurns, Handshakes};
pub use reports::{ReportFilter, TlsPeer, TlsReport};
pub(crate) use server_name::noting_names;
pub(crate) use stream::{HELD_BYTES_MAX, MESSAGE_BYTES_MAX, SEALED_BYTES_MAX, STAGE_BYTES_MAX, TlsStream};
pub(crate) use transport::{Secure, Transport};

/// How the clients of a listener speak TLS.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Versions, suites, groups, certificates, client certificates, tickets and protocols.
    pub config: Arc<ServerConfig>,
    /// A handshake must be complete within this time of the accept. Zero: no limit. Default 10 s.
    pub handshake_timeout: Duration,
    /// Handshakes of the listener in progress at once on one worker; further connections are reset. Default 0: no limit.
    pub handshakes_max: usize,
    /// Of them, from one client address (IPv6: /64 network). Default 0: no limit.
    pub client_handshakes_max: usize,
    /// What a connection may be used for, and what is told of its client's certificate.
    pub policy: Arc<dyn Policy>,
}

impl ServerTls {
    /// Whether a connection may carry requests for a host, as requests name it.
    pub(crate) fn covers(&self, secured: &Secured, host: &[u8]) -> bool {
        let asked = secured.server_name.as_deref();
        // As nearly every request has it.
        if asked.is_some_and(|asked| asked.as_bytes() == host) {
            return true;
        }
        let name = host_name(host);
        // HTTP/1.0 may name none.
        if name.is_empty() || asked.is_some_and(|asked| name.eq_ignore_ascii_case(asked.as_bytes())) {
            return true;
        }
        // Authorities are ASCII by then.
        let Ok(name) = std::str::from_utf8(name) else { return false };
        // Hardly anybody writes capitals: a copy would be the only one that a request costs.
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.policy.covers(asked, &name.to_ascii_lowercase());
        }
        self.policy.covers(asked, name)
    }
}

/// What the control side knows of certificates that workers ask for.
pub trait Policy: Debug + Send + Sync {
    /// Whether a connection whose ClientHello named `server_name` may carry requests for another host (in lower case,
    /// without a port): the same certificate and demands on clients would have been met under that name. If not, such a
    /// request is answered with 421.
    fn covers(&self, server_name: Option<&str>, host: &str) -> bool;

    /// What is told of a client that has proved to hold this certificate. Asked once for each connection.
    fn client(&self, certificate: &CertificateDer<'_>) -> ClientCertificate;
}

/// What variables, logs and forwarded fields say of a verified client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's distinguished name (RFC 4514).
    pub subject: Box<str>,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint: Box<str>,
}

/// How an endpoint is spoken to.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Versions, suites, roots, certificate, tickets and protocols.
    pub config: Arc<ClientConfig>,
    /// The name that is sent, and that the certificate must be for.
    pub server_name: ServerName<'static>,
    /// What tells it from others: idle connections are kept over a reload where this is the same.
    pub identity: Arc<str>,
}

/// Everything that can be chosen from: suites, groups in the order of preference, signatures.
#[must_use]
pub fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// What is told of a connection: what its handshake has settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secured {
    /// `TLSv1.2` or `TLSv1.3`.
    pub(crate) version: &'static str,
    /// By the name that IANA has for it.
    pub(crate) cipher_suite: &'static str,
    /// The group of the key exchange, by IANA's name; absent in a resumed TLS 1.2 connection.
    pub(crate) group: Option<&'static str>,
    /// Whether it continues an earlier session.
    pub(crate) is_resumed: bool,
    /// The name that the client asked for.
    pub(crate) server_name: Option<Box<str>>,
    /// The verified certificate of the client.
    pub(crate) client: Option<ClientCertificate>,
    /// Both agreed on HTTP/2.
    pub(crate) is_http2: bool,
}

impl Secured {
    fn new(state: &CommonState, server_name: Option<Box<str>>, client: Option<ClientCertificate>) -> Self {
        let suite = state.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let group = state.negotiated_key_exchange_group();
        Self {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher_suite: suite.map_or("", iana_name),
            group: group.and_then(|group| group.name().as_str()),
            is_resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            server_name,
            client,
            is_http2: state.alpn_protocol() == Some(b"h2"),
        }
    }
}

/// The name of a cipher suite: rustls calls those of TLS 1.3 `TLS13_...`.
fn iana_name(name: &'static str) -> &'static str {
    match name {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        name => name,
    }
}
