//! A connected TCP or Unix socket as a [`ByteStream`].

use std::io;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use socket2::{Domain, SockAddr, Type};

use super::readiness::Pollable;
use super::{ByteStream, Check, Dial, IdleState, Interest, Peeked, Pipe, syscall};
use crate::snapshot::Address;
use crate::tls::Secure;

/// A connected socket. Dropping it closes the connection.
pub(crate) struct Socket(Pollable);

impl Socket {
    /// Takes over a connected, non-blocking socket.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Pollable::new(fd)?))
    }

    /// The same for one that was accepted.
    pub(super) fn accepted(fd: OwnedFd) -> Self {
        Self(Pollable::unwatched(fd))
    }
}

impl ByteStream for Socket {
    fn poll_ready(&mut self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx, interest)
    }

    fn rearm(&mut self) {
        self.0.rearm();
    }

    fn is_open(&self) -> bool {
        self.0.is_open()
    }

    fn is_watched(&self) -> bool {
        self.0.is_watched()
    }

    fn watch_soon(&mut self, cx: &mut Context<'_>) {
        self.0.watch_soon(cx);
    }

    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        syscall::recv(self.0.raw(), buffer)
    }

    fn try_send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        syscall::send(self.0.raw(), slices)
    }

    fn try_send_last(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        syscall::send_last(self.0.raw(), slices)
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

impl Secure for Socket {}

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

    fn closed() -> Self {
        Self(Pollable::closed())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::counters::PerWorker;
    use crate::driver::{Driver, block_on};
    use crate::io::{ListenerSocket, readiness};

    /// An accepted connection and its client.
    fn accepted() -> (Socket, TcpStream) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(port.local_addr().unwrap()).unwrap();
        let listener = ListenerSocket::new(port.into()).unwrap();
        (listener.try_accept().unwrap().open().socket, client)
    }

    fn on_a_worker(test: impl Future<Output = ()>) {
        block_on(Driver::Epoll, async {
            let _closing = readiness::install(PerWorker::new(1), 0).unwrap();
            test.await;
        })
        .unwrap();
    }

    #[test]
    fn what_is_sent_last_goes_out_with_the_end() {
        on_a_worker(async {
            let (mut socket, mut client) = accepted();
            client.set_nonblocking(true).unwrap();
            assert_eq!(socket.try_send(&[IoSlice::new(b"a")]).unwrap(), 1);
            let mut byte = [0];
            assert_eq!(client.read(&mut byte).unwrap(), 1, "TCP_NODELAY is the listener's");
            assert_eq!(socket.try_send(&[IoSlice::new(b"b")]).unwrap(), 1);
            assert_eq!(client.read(&mut byte).unwrap(), 1, "also with bytes on their way");
            assert_eq!(socket.try_send_last(&[IoSlice::new(b"c")]).unwrap(), 1);
            assert_eq!(client.read(&mut byte).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            socket.shutdown_write();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"c");
        });
    }

    #[test]
    fn a_new_connection_is_watched_when_it_is_waited_for() {
        on_a_worker(async {
            let (mut socket, client) = accepted();
            assert!(!socket.is_watched());
            assert_eq!(socket.look(Check::Events), IdleState::Silent);
            // What came before it was watched is an event, too.
            drop(client);
            std::future::poll_fn(|cx| socket.poll_ready(cx, Interest::Read)).await.unwrap();
            assert!(socket.is_watched());
            assert_eq!(socket.look(Check::Events), IdleState::Closed);
        });
    }

    #[test]
    fn who_waits_for_what_is_not_urgent_is_woken_when_it_is_watched() {
        on_a_worker(async {
            let (mut socket, client) = accepted();
            drop(client);
            let mut polls = 0;
            std::future::poll_fn(|cx| {
                polls += 1;
                if socket.is_watched() {
                    return Poll::Ready(());
                }
                socket.watch_soon(cx);
                readiness::watch_waiting();
                Poll::Pending
            })
            .await;
            assert_eq!(polls, 2);
        });
    }
}
