//! Who a client is, as the upstream and the log are told.

use std::net::{IpAddr, SocketAddr};

/// Eight groups of four digits.
const TEXT_BYTES_MAX: usize = 39;

/// A client as the upstream and the log are told of it.
#[derive(Clone, Debug)]
pub(crate) struct ClientAddress {
    /// `None` over a Unix socket.
    ip: Option<IpAddr>,
    port: u16,
    /// The IP address as text, or `unix:`.
    text: ClientText,
}

/// The text without an allocation. IPv4-mapped addresses are shown as IPv4.
#[derive(Clone, Copy, Debug)]
struct ClientText {
    bytes: [u8; TEXT_BYTES_MAX],
    length: u8,
}

impl ClientAddress {
    pub(crate) fn new(address: Option<SocketAddr>) -> Self {
        let ip = address.map(|address| address.ip().to_canonical());
        let mut text = ClientText { bytes: [0; TEXT_BYTES_MAX], length: 0 };
        let _ = match ip {
            Some(ip) => std::fmt::Write::write_fmt(&mut text, format_args!("{ip}")),
            None => std::fmt::Write::write_str(&mut text, "unix:"),
        };
        Self { ip, port: address.map_or(0, |address| address.port()), text }
    }

    /// The IP address as text, or `unix:`.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text.bytes[..usize::from(self.text.length)]
    }

    /// The IP address.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The port; 0 over a Unix socket.
    pub(crate) fn port(&self) -> u16 {
        self.port
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
