//! What rules look at.

use std::net::IpAddr;

use corelane_semantics::RequestHead;

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The listener that it came in by.
    pub listener: usize,
    /// As in the Host field: it may carry a port, any case, an IPv6 address in brackets, a trailing dot.
    pub host: &'a [u8],
    /// The canonical path (`corelane_semantics::Paths::canonical`): with any other a route is no fence. Empty is `/`.
    pub path: &'a [u8],
    /// The head.
    pub head: &'a RequestHead,
    /// The bytes that the head's spans are about.
    pub bytes: &'a [u8],
    /// Who asks, told by the last proxy that is trusted; `None` over a Unix socket.
    pub client: Option<IpAddr>,
    /// Whether it came over TLS.
    pub tls: bool,
}

impl<'a> Request<'a> {
    /// RFC 9110 §4.2.3: an empty path is the same as "/".
    pub(crate) fn path_or_root(&self) -> &'a [u8] {
        if self.path.is_empty() { b"/" } else { self.path }
    }

    pub(crate) fn query(&self) -> Option<&'a [u8]> {
        self.head.query.map(|query| query.bytes(self.bytes))
    }

    pub(crate) fn method(&self) -> &'a [u8] {
        self.head.method_token.bytes(self.bytes)
    }
}
