//! Where the servers of an upstream are, and what each of them takes.

use std::fmt;
use std::sync::Arc;

use corelane_engine::snapshot::Address;

/// One of an upstream's `endpoints`.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Where it is.
    pub target: Target,
    /// Whether it is spoken to over TLS: it is `https://...`, or the upstream has `tls`.
    pub tls: bool,
    /// `weight`, 0 to 65 535.
    pub weight: u32,
    /// `priority`, 0 to 65 535, or [`BACKUP_PRIORITY`] for a `backup`.
    pub priority: u32,
    /// `requests_max`; 0: no limit.
    pub requests_max: u32,
    /// `connections_max`; 0: no limit.
    pub connections_max: u32,
}

impl Endpoint {
    /// With the defaults of everything else.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self { target, tls: false, weight: 1, priority: 0, requests_max: 0, connections_max: 0 }
    }
}

/// The priority of a `backup`: behind all that can be configured.
pub const BACKUP_PRIORITY: u32 = 65_536;

/// An endpoint's address before names are resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address as it stands.
    Address(Address),
    /// A name that the resolver turns into addresses.
    Name {
        /// The host name.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}
