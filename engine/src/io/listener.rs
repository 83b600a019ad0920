//! A listening socket of one worker.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll};

use super::readiness::Pollable;
use super::syscall;
use super::{Interest, Socket};

/// A listening, non-blocking socket.
pub(crate) struct ListenerSocket {
    pollable: Pollable,
}

/// A connection as it comes out of the queue.
pub(crate) struct Incoming {
    fd: OwnedFd,
    /// The peer's address; `None` over a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
}

impl Incoming {
    /// Makes it a connection of this worker.
    pub(crate) fn open(self) -> Accepted {
        Accepted { socket: Socket::accepted(self.fd), peer: self.peer }
    }

    /// Ends it with a reset: nothing is left of it here, in the kernel neither.
    pub(crate) fn refuse(self) {
        syscall::reset(self.fd.as_raw_fd());
    }
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
        // Accepted sockets inherit it: one call here instead of one a connection.
        syscall::set_nodelay(fd.as_raw_fd());
        Ok(Self { pollable: Pollable::of_shared(fd)? })
    }

    /// Waits until a connection waits.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pollable.poll_ready(cx, Interest::Read).map(drop)
    }

    /// Asks to be ready again while connections wait.
    pub(crate) fn rearm(&self) {
        self.pollable.rearm();
    }

    /// Whether a connection waits now, by a system call.
    pub(crate) fn has_waiting(&self) -> bool {
        syscall::is_readable(self.pollable.raw(), 0)
    }

    /// Accepts without waiting.
    pub(crate) fn try_accept(&self) -> io::Result<Incoming> {
        let (fd, peer) = syscall::accept(self.pollable.raw())?;
        Ok(Incoming { fd, peer })
    }
}
