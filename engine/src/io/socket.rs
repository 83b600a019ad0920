//! A connected TCP or Unix socket as a [`ByteStream`].

use std::io;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use socket2::{Domain, SockAddr, Type};

use super::readiness::Pollable;
use super::{ByteStream, Check, Dial, IdleState, Interest, Peeked, Pipe, syscall};
use crate::snapshot::Address;

/// A connected socket. Dropping it closes the connection.
pub(crate) struct Socket(Pollable);

impl Socket {
    /// Takes over a connected, non-blocking socket.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Pollable::new(fd)?))
    }
}

impl ByteStream for Socket {
    fn poll_ready(&mut self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx, interest).map(Ok)
    }

    fn rearm(&mut self) {
        self.0.rearm();
    }

    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        syscall::recv(self.0.raw(), buffer)
    }

    fn try_send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        syscall::send(self.0.raw(), slices)
    }

    fn splices(&self) -> bool {
        true
    }

    fn try_fill(&mut self, pipe: &mut Pipe, bytes_max: usize) -> io::Result<usize> {
        pipe.fill(self.0.raw(), bytes_max)
    }

    fn try_drain(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        pipe.drain(self.0.raw())
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn unacknowledged(&self) -> usize {
        syscall::unacknowledged(self.0.raw())
    }

    fn shutdown_write(&mut self) {
        syscall::shutdown(self.0.raw(), libc::SHUT_WR);
    }

    fn abort(&mut self) {
        syscall::reset(self.0.raw());
    }

    fn look(&mut self, check: Check) -> IdleState {
        if check == Check::Events && !self.0.may_be_readable() {
            return IdleState::Silent;
        }
        match Peeked::with(|buffer| syscall::peek(self.0.raw(), buffer)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => IdleState::Silent,
            Ok(peeked) if !peeked.as_slice().is_empty() => IdleState::Surplus(peeked),
            Ok(_) | Err(_) => IdleState::Closed,
        }
    }
}

impl Dial for Socket {
    fn dial(address: &Address) -> io::Result<Self> {
        let (socket, address) = match address {
            Address::Tcp(address) => {
                let socket = socket2::Socket::new(
                    Domain::for_address(*address),
                    Type::STREAM.nonblocking().cloexec(),
                    None,
                )?;
                (socket, SockAddr::from(*address))
            }
            Address::Unix(path) => {
                let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
                (socket, SockAddr::unix(path)?)
            }
        };
        match socket.connect(&address) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            // A Unix socket whose queue is full says EAGAIN and cannot be waited for.
            Err(error) => return Err(error),
        }
        let fd = OwnedFd::from(socket);
        if address.is_ipv4() || address.is_ipv6() {
            use std::os::fd::AsRawFd;
            syscall::set_nodelay(fd.as_raw_fd());
        }
        Self::new(fd)
    }

    fn take_error(&mut self) -> io::Result<()> {
        syscall::take_error(self.0.raw())
    }
}
