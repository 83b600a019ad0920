//! `[upstreams.NAME.health]` and `[upstreams.NAME.outlier]` after every check.

use std::net::IpAddr;
use std::time::Duration;

use corelane_balancer::health::EjectionRules;
pub use corelane_balancer::health::Initial;
use corelane_engine::outlier::OutlierDetection;
use corelane_engine::protocol::UpstreamProtocol;
use corelane_routing::Pattern;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

/// How the endpoints of an upstream are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// `kind`, with the keys that belong to it.
    pub check: Check,
    /// `interval`: from the beginning of one check to that of the next, give or take a tenth.
    pub interval: Duration,
    /// `timeout`: of the whole check.
    pub timeout: Duration,
    /// `rise`: checks in a row that must pass until an endpoint is up.
    pub rise: u32,
    /// `fall`: checks in a row that must fail until it is down.
    pub fall: u32,
    /// `initial`: what an endpoint is before its first check.
    pub initial: Initial,
    /// `port`, instead of the endpoint's.
    pub port: Option<u16>,
    /// `address`, instead of the endpoint's.
    pub address: Option<IpAddr>,
}

/// When an endpoint of an upstream is ejected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlier {
    /// `consecutive_failures`, `failure_share`, `requests_min`, `window`, `statuses`
    pub detection: OutlierDetection,
    /// `ejection_time`, `ejection_time_max`, `ejected_max`
    pub ejection: EjectionRules,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// Opens a connection.
    Tcp,
    /// Sends a request.
    Http(HttpCheck),
    /// Asks grpc.health.v1.Health/Check.
    Grpc(GrpcCheck),
    /// Runs a program.
    Exec(ExecCheck),
    /// Sends bytes and compares the answer.
    Probe(ProbeCheck),
}

/// The keys of the kinds `http` and `https`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// `None`: `http`.
    pub tls: Option<TlsSettings>,
    /// What is spoken: what requests are, unless the check goes elsewhere.
    pub protocol: UpstreamProtocol,
    /// `method`
    pub method: Box<str>,
    /// `path`
    pub path: Box<str>,
    /// `host`; `None`: the endpoint's name, or its address.
    pub host: Option<Box<str>>,
    /// `headers`
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// `statuses`: the first and the last of each range.
    pub statuses: Vec<(u16, u16)>,
    /// `body` or `body_regex`: what is found in the body.
    pub body: Option<Expected>,
}

/// The keys of the kind `grpc`.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcCheck {
    /// `tls`, with its settings.
    pub tls: Option<TlsSettings>,
    /// `service`; empty: the server as a whole.
    pub service: Box<str>,
}

/// The keys of the kind `exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCheck {
    /// `command`: the program, an absolute path, and its first arguments.
    pub command: Vec<Box<str>>,
    /// `expect`: what it prints, without white space around it. `None`: its exit status decides.
    pub expect: Option<Box<str>>,
}

/// The keys of the kind `probe`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeCheck {
    /// `protocol`
    pub protocol: ProbeProtocol,
    /// `send`
    pub send: Box<[u8]>,
    /// `expect`, what the answer begins with, or `expect_regex`, what is found in it.
    pub expect: Option<Expected>,
    /// `expect_bytes_max`
    pub expect_bytes_max: usize,
}

/// `protocol`
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeProtocol {
    /// A byte stream.
    Tcp,
    /// One over TLS.
    Tls(TlsSettings),
    /// One datagram each way.
    Udp,
}

/// What an answer is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// These bytes.
    Bytes(Box<[u8]>),
    /// A regular expression.
    Regex(Pattern),
}

/// How a check speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// `server_name`; `None`: that of the upstream's `tls`, or the endpoint's name, or its address.
    pub server_name: Option<ServerName<'static>>,
    /// `verify` and `ca`; `None`: as the upstream's `tls` says, or the system's authorities.
    pub trust: Option<Trust>,
}

/// Whose certificates are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of these authorities.
    Authorities(Vec<CertificateDer<'static>>),
    /// Anybody's.
    Anybody,
}
