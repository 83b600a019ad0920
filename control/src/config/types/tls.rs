//! `[listeners.tls]` and `[upstreams.NAME.tls]` after every check.
//!
//! The files that it names are read elsewhere (`control/src/tls/`): they are renewed while the configuration stays.

use std::path::PathBuf;
use std::time::Duration;

use corelane_engine::tls::rustls::pki_types::ServerName;
use corelane_engine::tls::rustls::{CipherSuite, NamedGroup};

use super::{Places, Secret};

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// `certificates`; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// `directory`; one of the two is there.
    pub directory: Option<PathBuf>,
    /// `unknown_names`
    pub unknown_names: UnknownNames,
    /// `min_version`
    pub min_version: TlsVersion,
    /// `cipher_suites`; `None`: all.
    pub cipher_suites: Option<Vec<CipherSuite>>,
    /// `groups`, the preferred one first.
    pub groups: Vec<NamedGroup>,
    /// `alpn`
    pub alpn: Vec<Box<[u8]>>,
    /// `handshake_timeout`
    pub handshake_timeout: Duration,
    /// `handshakes_max`, on each worker; 0: no limit.
    pub handshakes_max: usize,
    /// `client_handshakes_max`, on each worker; 0: no limit.
    pub client_handshakes_max: usize,
    /// `tickets`; `None`: off.
    pub tickets: Option<Tickets>,
    /// `client_auth`; `None`: clients are not asked for a certificate.
    pub client_auth: Option<ClientAuth>,
    /// Where the files are named.
    pub places: Places,
}

impl ListenerTls {
    /// Whether HTTP/2 is agreed on with whoever offers it (RFC 9113 §3.1).
    #[must_use]
    pub fn speaks_http2(&self) -> bool {
        self.alpn.iter().any(|protocol| **protocol == *HTTP2)
    }
}

/// What HTTP/2 is called by ALPN.
pub(crate) const HTTP2: &[u8] = b"h2";

/// One of `certificates`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateFiles {
    /// `cert`: the certificate, and behind it those between it and its root.
    pub cert: PathBuf,
    /// `key`; the same file if the key stands there.
    pub key: PathBuf,
    /// `ocsp`: an answer about it that is sent along.
    pub ocsp: Option<PathBuf>,
}

/// `unknown_names`: what becomes of a client that asks for a name that no certificate has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownNames {
    /// It gets the default certificate.
    #[default]
    Default,
    /// Its handshake ends.
    Refuse,
}

/// `min_version`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    V1_2,
    /// TLS 1.3 alone.
    V1_3,
}

/// `tickets`, by which clients resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tickets {
    /// `ticket_lifetime`: how long a key seals tickets. It opens them for as long again.
    pub lifetime: Duration,
    /// `ticket_secret`, which several machines share; `None`: keys of this process.
    pub secret: Option<Secret>,
}

/// How an upstream is spoken to over TLS: `[upstreams.NAME.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// `server_name`; `None`: the endpoint's name, or its address.
    pub server_name: Option<ServerName<'static>>,
    /// `verify` and `ca`
    pub trust: UpstreamTrust,
    /// `cert` and `key`, which are shown to an endpoint that asks for one.
    pub certificate: Option<CertificateFiles>,
    /// `min_version`
    pub min_version: TlsVersion,
    /// `alpn`, what is offered.
    pub alpn: Vec<Box<[u8]>>,
    /// Where the files are named.
    pub places: Places,
}

/// Whose certificates an upstream's endpoints may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamTrust {
    /// Those of the system's authorities.
    System,
    /// Those of the authorities in this file.
    Authorities(PathBuf),
    /// Anybody's.
    Anybody,
}

/// `client_auth`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// `mode`
    pub mode: ClientAuthMode,
    /// `ca`
    pub ca: PathBuf,
    /// `crl`
    pub crls: Vec<PathBuf>,
}

/// `mode` of `client_auth`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthMode {
    /// A client without a certificate is refused.
    #[default]
    Required,
    /// It is let in; a certificate that it shows must be good all the same.
    Optional,
}
