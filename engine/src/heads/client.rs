//! Who a client is: as the upstream and the log are told, and as trusted proxies tell it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use corelane_semantics::{Known, RequestHead};
use ipnet::IpNet;

use crate::tls::Secured;

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
    /// What TLS has settled; `None` without it.
    secured: Option<Rc<Secured>>,
    /// It speaks HTTP/2, whatever the heads say that are made of its requests.
    is_http2: bool,
}

impl ClientAddress {
    pub(crate) fn new(address: Option<SocketAddr>) -> Self {
        let mut client = Self {
            ip: None,
            text: [0; TEXT_BYTES_MAX],
            length: 0,
            ip_start: 0,
            ip_length: 0,
            secured: None,
            is_http2: false,
        };
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

    /// The same with the port.
    pub(crate) fn with_port(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }

    /// The same with the port, in front of bytes that mean nothing; and its length.
    pub(crate) fn text_with_port(&self) -> (&[u8; TEXT_BYTES_MAX], usize) {
        (&self.text, usize::from(self.length))
    }

    /// Notes what TLS has settled with it.
    pub(crate) fn secure(&mut self, secured: Secured) {
        self.secured = Some(Rc::new(secured));
    }

    /// What TLS has settled; `None` without it.
    pub(crate) fn secured(&self) -> Option<&Secured> {
        self.secured.as_deref()
    }

    /// Notes that it speaks HTTP/2.
    pub(crate) fn note_http2(&mut self) {
        self.is_http2 = true;
    }

    /// Whether it speaks HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// The scheme that it came by.
    pub(crate) fn scheme(&self) -> &'static [u8] {
        if self.secured.is_some() { b"https" } else { b"http" }
    }

    /// The IP address.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.ip
    }
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    /// The peer is a proxy whose forwarding fields are believed.
    pub(crate) is_trusted: bool,
    /// Who asks, for routes; `None` over a Unix socket.
    pub(crate) client: Option<IpAddr>,
    /// The connection has TLS.
    pub(crate) is_tls: bool,
}

impl Sender {
    pub(crate) fn new(
        peer: &ClientAddress,
        trusted_proxies: &[IpNet],
        head: &RequestHead,
        bytes: &[u8],
    ) -> Self {
        let is_tls = peer.secured.is_some();
        match peer.ip() {
            Some(ip) if trusted_proxies.iter().any(|network| network.contains(&ip)) => {
                let client = Some(forwarded_client(ip, trusted_proxies, head, bytes));
                Self { is_trusted: true, client, is_tls }
            }
            client => Self { is_trusted: false, client, is_tls },
        }
    }

    /// Whether the client came by https: a trusted proxy in front knows that better than the connection does.
    pub(crate) fn came_by_https(self, head: &RequestHead, bytes: &[u8]) -> bool {
        match head.fields.first(Known::XForwardedProto, bytes) {
            Some(claimed) if self.is_trusted => {
                let of_client = claimed.split(|&byte| byte == b',').next().unwrap_or_default();
                of_client.trim_ascii().eq_ignore_ascii_case(b"https")
            }
            _ => self.is_tls,
        }
    }
}

/// Who asked the first proxy that is trusted: the rightmost address of X-Forwarded-For that is not a trusted proxy itself.
/// `peer` is one.
///
/// What stands left of that anybody may have written. Where something is no address, the proxy that passed it on is the
/// client; if all are trusted, the leftmost is.
pub fn forwarded_client(peer: IpAddr, trusted_proxies: &[IpNet], head: &RequestHead, bytes: &[u8]) -> IpAddr {
    let mut client = peer;
    if !head.fields.has(Known::XForwardedFor) {
        return client;
    }
    let lines = head.fields.lines().iter().rev().filter(|field| field.known == Some(Known::XForwardedFor));
    let entries = lines.flat_map(|field| field.value.bytes(bytes).rsplit(|&byte| byte == b','));
    // RFC 9110 §5.6.1: empty members of a list do not count.
    for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
        let Some(address) = forwarded_address(entry) else { return client };
        client = address;
        if !trusted_proxies.iter().any(|network| network.contains(&client)) {
            return client;
        }
    }
    client
}

/// An address as proxies write it: alone, or with a port, as some do.
fn forwarded_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let address = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.0,
        None if text.bytes().filter(|&byte| byte == b':').count() == 1 => text.split_once(':')?.0,
        None => text,
    };
    Some(address.parse::<IpAddr>().ok()?.to_canonical())
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
            assert_eq!((client.text(), client.with_port()), (ip.as_bytes(), with_port.as_bytes()));
            assert_eq!(client.ip(), Some(ip.parse().unwrap()));
        }
        let client = ClientAddress::new(None);
        assert_eq!((client.text(), client.with_port(), client.ip()), (&b"unix:"[..], &b"unix:"[..], None));
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_trusted() {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "2001:db8:1::/48"].map(|text| text.parse().unwrap()).to_vec();
        let table: [(&[&str], &str); 16] = [
            (&[], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.2,10.0.0.3"], "192.0.2.1"),
            (&["192.0.2.1, , 10.0.0.2,"], "192.0.2.1"),
            (&["198.51.100.1", "192.0.2.1", "10.0.0.2"], "192.0.2.1"),
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            (&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["192.0.2.1, unknown"], "10.0.0.1"),
            (&["192.0.2.1:443"], "192.0.2.1"),
            (&["[2001:db8::1]:443, 2001:db8:1::5"], "2001:db8::1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.2 x"], "10.0.0.1"),
        ];
        for (lines, expected) in table {
            let fields: String = lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")).collect();
            let text = format!("GET / HTTP/1.1\r\n{fields}Host: a\r\n\r\n");
            let mut head = RequestHead::default();
            let limits = corelane_http1::HeadLimits::default();
            corelane_http1::parse_request(text.as_bytes(), &limits, &mut head).unwrap();
            let peer = "10.0.0.1".parse().unwrap();
            let client = forwarded_client(peer, &trusted, &head, text.as_bytes());
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{lines:?}");
        }
    }
}
