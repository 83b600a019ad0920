//! Who a client is, as the upstream and the log are told.

use std::net::{IpAddr, SocketAddr};

/// A client as the upstream and the log are told of it.
#[derive(Clone, Debug)]
pub(crate) struct ClientAddress {
    /// The address; `None` over a Unix socket.
    pub(crate) address: Option<SocketAddr>,
    /// The IP address as text, or `unix:`.
    text: ClientText,
}

/// The text without an allocation: an IPv6 address has at most 39 characters (IPv4-mapped ones are shown as IPv4).
#[derive(Clone, Copy, Debug)]
struct ClientText {
    bytes: [u8; 45],
    length: u8,
}

impl ClientAddress {
    pub(crate) fn new(address: Option<SocketAddr>) -> Self {
        let address = address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        let mut text = ClientText { bytes: [0; 45], length: 0 };
        let _ = match address {
            Some(address) => std::fmt::Write::write_fmt(&mut text, format_args!("{}", address.ip())),
            None => std::fmt::Write::write_str(&mut text, "unix:"),
        };
        Self { address, text }
    }

    /// The IP address as text, or `unix:`.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text.bytes[..usize::from(self.text.length)]
    }

    /// The IP address.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip())
    }
}

impl std::fmt::Write for ClientText {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let start = usize::from(self.length);
        let room = self.bytes.get_mut(start..start + part.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(part.as_bytes());
        self.length = u8::try_from(start + part.len()).map_err(|_| std::fmt::Error)?;
        Ok(())
    }
}
