//! A listening socket of one worker.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use super::readiness::Pollable;
use super::syscall;
use super::{Interest, Socket};

/// A listening, non-blocking socket.
pub(crate) struct ListenerSocket {
    pollable: Pollable,
}

/// An accepted connection.
pub(crate) struct Accepted {
    /// The connection.
    pub(crate) socket: Socket,
    /// The peer's address; `None` over a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
}

impl ListenerSocket {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        // Accepted sockets inherit it: one call here instead of one a connection.
        syscall::set_nodelay(fd.as_raw_fd());
        Ok(Self { pollable: Pollable::new(fd)? })
    }

    /// Waits until a connection waits.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pollable.poll_ready(cx, Interest::Read)
    }

    /// Asks to be ready again while connections wait.
    pub(crate) fn rearm(&self) {
        self.pollable.rearm();
    }

    /// Accepts without waiting.
    pub(crate) fn try_accept(&self) -> io::Result<Accepted> {
        let (fd, peer) = syscall::accept(self.pollable.raw())?;
        Ok(Accepted { socket: Socket::new(fd)?, peer })
    }
}
