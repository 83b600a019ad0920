//! What filters are told of a request and of its response.

use std::net::IpAddr;
use std::time::Duration;

use corelane_semantics::{RequestHead, ResponseHead, Span};

use crate::Carry;

/// A request as the engine has it when its route is known.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The head as received.
    pub head: &'a RequestHead,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The host that the client asked for, with its port if it named one; empty if it named none.
    pub host: &'a [u8],
    /// The canonical path; empty for `*` and CONNECT.
    pub path: &'a [u8],
    /// The path that the upstream gets if no filter changes it.
    pub forwarded_path: &'a [u8],
    /// Which parts of the canonical path the groups of the route's path have, in the order of [`crate::Scope::captures`].
    pub captures: &'a [Option<Span>],
    /// The client, which a trusted proxy may have named; `None` over a Unix socket.
    pub client: Option<IpAddr>,
    /// Who is at the other end of the connection; `None` over a Unix socket.
    pub peer: Option<IpAddr>,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
    /// The client's TLS connection, if it is one.
    pub tls: Option<Tls<'a>>,
    /// The id that the engine made for the request.
    pub request_id: &'a [u8],
    /// The listener's name.
    pub listener: &'a str,
    /// The route's name.
    pub route: &'a str,
    /// The upstream's name; empty if the route has none.
    pub upstream: &'a str,
    /// Time that only moves forward, in nanoseconds, from one origin for all workers: the clock of rate limits.
    pub now_ns: u64,
    /// Whether the request is served, or only asked about.
    pub purpose: Purpose,
}

/// What the filters run for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To serve the request.
    #[default]
    Serve,
    /// To tell what would happen: limits look and do not count.
    Explain,
}

/// A client's TLS connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tls<'a> {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'a str,
    /// By IANA's name.
    pub cipher_suite: &'a str,
    /// The name that the client asked for; empty if it named none.
    pub server_name: &'a str,
    /// The subject of the client's verified certificate; empty without one.
    pub client_subject: &'a [u8],
    /// SHA-256 of that certificate in hexadecimal; empty without one.
    pub client_fingerprint: &'a str,
}

/// A response as the engine has it: an upstream's, or one of Corelane's own, whose head then has no lines.
#[derive(Clone, Copy, Debug)]
pub struct ResponseContext<'a> {
    /// The head as received; for an answer of our own `ResponseHead::default()` with the status.
    pub head: &'a ResponseHead,
    /// Its bytes; for an answer of our own none.
    pub bytes: &'a [u8],
    /// What the exchange kept of its request.
    pub carry: &'a Carry,
    /// The address of the endpoint that answered; empty if none did.
    pub endpoint: &'a str,
    /// Since the request's head was complete.
    pub duration: Duration,
}
