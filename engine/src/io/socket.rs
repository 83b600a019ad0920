//! A connected TCP or Unix socket as a [`ByteStream`].

use std::io;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use socket2::{Domain, SockAddr, Type};

use super::readiness::{Direction, Pollable};
use super::{ByteStream, Dial, Interest, syscall};
use crate::snapshot::Address;

/// A connected socket. Dropping it closes the connection.
pub(crate) struct Socket {
    pollable: Pollable,
    /// Write wake-ups since the last byte that was taken.
    idle_write_wakeups: u8,
    /// Waits for events that the plain poll cannot be limited to; made when first needed.
    exact: Option<Box<ExactWait>>,
}

/// An epoll descriptor on the socket for exactly one kind of event.
struct ExactWait {
    events: libc::c_int,
    pollable: Pollable,
}

/// A poll for writing also fires for a peer that has closed its sending side, at once and again and again. After so
/// many wake-ups without progress the wait moves to an epoll descriptor that has only EPOLLOUT registered.
const IDLE_WRITE_WAKEUPS_MAX: u8 = 2;

impl Socket {
    /// Takes over a connected, non-blocking socket.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { pollable: Pollable::new(fd)?, idle_write_wakeups: 0, exact: None })
    }

    fn poll_exact(&mut self, cx: &mut Context<'_>, events: libc::c_int) -> Poll<io::Result<()>> {
        if self.exact.as_ref().is_none_or(|exact| exact.events != events) {
            let epoll = syscall::epoll_for(self.pollable.raw(), events)?;
            self.exact = Some(Box::new(ExactWait { events, pollable: Pollable::new(epoll)? }));
        }
        match &mut self.exact {
            Some(exact) => exact.pollable.poll_ready(cx, Direction::Read).map(Ok),
            None => Poll::Pending,
        }
    }
}

impl ByteStream for Socket {
    fn poll_ready(&mut self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        match interest {
            Interest::Read => self.pollable.poll_ready(cx, Direction::Read).map(Ok),
            Interest::HangUp => self.poll_exact(cx, libc::EPOLLRDHUP),
            // EPOLLERR and EPOLLHUP are always reported.
            Interest::Gone => self.poll_exact(cx, 0),
            Interest::Write if self.idle_write_wakeups >= IDLE_WRITE_WAKEUPS_MAX => {
                self.poll_exact(cx, libc::EPOLLOUT)
            }
            Interest::Write => {
                ready!(self.pollable.poll_ready(cx, Direction::Write));
                self.idle_write_wakeups += 1;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        syscall::recv(self.pollable.raw(), buffer)
    }

    fn try_send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = syscall::send(self.pollable.raw(), slices)?;
        self.idle_write_wakeups = 0;
        Ok(sent)
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn shutdown_write(&mut self) {
        syscall::shutdown(self.pollable.raw(), libc::SHUT_WR);
    }

    fn abort(&mut self) {
        syscall::reset(self.pollable.raw());
    }

    fn is_clean(&mut self) -> bool {
        // Anything but "nothing there" is the end of the stream, an error, or bytes that nobody asked for.
        matches!(syscall::peek(self.pollable.raw()), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
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
        syscall::take_error(self.pollable.raw())
    }
}
