//! How a connection is set up before its protocol begins.
//!
//! ```text
//! accept → [PROXY protocol] → [ClientHello] → [TLS] → session
//! ```
//!
//! Each stage takes an [`Established`] connection and gives one: the stream as the next stage sees it, who is at the
//! other end, and the bytes that were read too far. Only `accept` exists so far.

use std::net::SocketAddr;

use crate::io::{Accepted, Socket};

/// A connection between two stages.
pub(crate) struct Established<S> {
    /// The stream, as the next stage sees it.
    pub(crate) stream: S,
    /// Who is at the other end; `None` over a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
}

/// The first stage.
pub(crate) fn accepted(accepted: Accepted) -> Established<Socket> {
    Established { stream: accepted.socket, peer: accepted.peer }
}
