//! Who a client is, as the upstream and the log are told.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Eight groups of four digits in brackets, a colon and the port.
const TEXT_BYTES_MAX: usize = 47;

/// A client as the upstream and the log are told of it. IPv4-mapped addresses are shown as IPv4.
#[derive(Clone, Debug)]
pub(crate) struct ClientAddress {
    /// `None` over a Unix socket.
    ip: Option<IpAddr>,
    /// `192.0.2.1:80`, `[2001:db8::1]:80` or `unix:`, without an allocation.
    text: [u8; TEXT_BYTES_MAX],
    length: u8,
    ip_start: u8,
    ip_length: u8,
}

impl ClientAddress {
    pub(crate) fn new(address: Option<SocketAddr>) -> Self {
        let mut client = Self { ip: None, text: [0; TEXT_BYTES_MAX], length: 0, ip_start: 0, ip_length: 0 };
        // The longest of them fits.
        let _ = client.write(address);
        client
    }

    fn write(&mut self, address: Option<SocketAddr>) -> std::fmt::Result {
        let Some(address) = address else {
            self.write_str("unix:")?;
            self.ip_length = self.length;
            return Ok(());
        };
        let ip = address.ip().to_canonical();
        self.ip = Some(ip);
        let (open, close) = if ip.is_ipv6() { ("[", "]") } else { ("", "") };
        self.write_str(open)?;
        self.ip_start = self.length;
        write!(self, "{ip}")?;
        self.ip_length = self.length - self.ip_start;
        write!(self, "{close}:{}", address.port())
    }

    /// The IP address as text, or `unix:`.
    pub(crate) fn text(&self) -> &[u8] {
        let start = usize::from(self.ip_start);
        &self.text[start..start + usize::from(self.ip_length)]
    }

    /// The same with the port, in front of bytes that mean nothing; and its length.
    pub(crate) fn text_with_port(&self) -> (&[u8; TEXT_BYTES_MAX], usize) {
        (&self.text, usize::from(self.length))
    }

    /// The IP address.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.ip
    }
}

impl std::fmt::Write for ClientAddress {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let start = usize::from(self.length);
        let room = self.text.get_mut(start..start + part.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(part.as_bytes());
        self.length = u8::try_from(start + part.len()).map_err(|_| std::fmt::Error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_port_of(client: &ClientAddress) -> &[u8] {
        let (text, length) = client.text_with_port();
        &text[..length]
    }

    #[test]
    fn shows_each_kind_of_address() {
        let table = [
            ("192.0.2.1:80", "192.0.2.1", "192.0.2.1:80"),
            ("[::ffff:192.0.2.1]:65535", "192.0.2.1", "192.0.2.1:65535"),
            ("[2001:db8::1]:1", "2001:db8::1", "[2001:db8::1]:1"),
            (
                "[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
                "1111:2222:3333:4444:5555:6666:7777:8888",
                "[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
            ),
        ];
        for (address, ip, with_port) in table {
            let client = ClientAddress::new(Some(address.parse().unwrap()));
            assert_eq!((client.text(), with_port_of(&client)), (ip.as_bytes(), with_port.as_bytes()));
            assert_eq!(client.ip(), Some(ip.parse().unwrap()));
        }
        let client = ClientAddress::new(None);
        assert_eq!((client.text(), with_port_of(&client), client.ip()), (&b"unix:"[..], &b"unix:"[..], None));
    }
}
