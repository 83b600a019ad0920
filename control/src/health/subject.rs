//! What one check is about: an endpoint, and how it is checked.

use std::net::SocketAddr;
use std::sync::Arc;

use corelane_engine::snapshot::Address;

use crate::config::Health;

/// An endpoint of an upstream with checks. While it is equal to what it was, its checks go on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subject {
    /// The upstream's name.
    pub(super) upstream: Arc<str>,
    /// The endpoint's address.
    pub(super) endpoint: Address,
    /// The host name that it is an address of.
    pub(super) name: Option<Arc<str>>,
    pub(super) health: Arc<Health>,
}

impl Subject {
    /// What is connected to: the endpoint, or what `address` and `port` put in its place.
    pub(super) fn place(&self) -> Address {
        let (address, port) = (self.health.address, self.health.port);
        match &self.endpoint {
            Address::Tcp(endpoint) => Address::Tcp(SocketAddr::new(
                address.unwrap_or(endpoint.ip()),
                port.unwrap_or(endpoint.port()),
            )),
            Address::Unix(_) => match (address, port) {
                (Some(address), Some(port)) => Address::Tcp(SocketAddr::new(address, port)),
                _ => self.endpoint.clone(),
            },
        }
    }

    /// The host and the port of the place, as programs get them; those of a Unix socket are its path and nothing.
    pub(super) fn host_and_port(&self) -> (String, String) {
        match self.place() {
            Address::Tcp(address) => (address.ip().to_string(), address.port().to_string()),
            Address::Unix(path) => (path.display().to_string(), String::new()),
        }
    }

    /// What a Host field says of the place: the endpoint's name, or the address.
    pub(super) fn authority(&self) -> String {
        match (&self.name, self.place()) {
            (Some(name), Address::Tcp(address)) => format!("{name}:{}", address.port()),
            (None, Address::Tcp(address)) => address.to_string(),
            (_, Address::Unix(_)) => "localhost".to_owned(),
        }
    }
}
