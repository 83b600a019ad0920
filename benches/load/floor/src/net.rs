//! Sockets and epoll: the system calls that std does not offer, each once.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Enough for every workload; a queue that overflows would cost retransmissions of SYN.
const BACKLOG: i32 = 4096;

/// A set of descriptors that tells which of them became ready; everything in it is edge-triggered.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// What became ready.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    /// As it was registered.
    pub(crate) token: u64,
    /// Bits of EPOLL*.
    pub(crate) bits: u32,
}

impl Event {
    /// Whether the other side has sent all that it will, or the connection broke.
    pub(crate) fn is_hung_up(self) -> bool {
        self.bits & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no memory of ours.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    /// Adds a descriptor for good, edge-triggered; closing it takes it out.
    pub(crate) fn add(&self, fd: &impl AsRawFd, token: u64, bits: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (bits | libc::EPOLLET) as u32, u64: token };
        // SAFETY: the event lives until the call returns.
        check(unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event)
        })?;
        Ok(())
    }

    /// Waits for at least one event; how many there are.
    pub(crate) fn wait(&mut self, timeout_ms: i32) -> io::Result<usize> {
        loop {
            let (room, at) = (self.events.len() as i32, self.events.as_mut_ptr());
            // SAFETY: the kernel writes at most `room` events.
            match check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), at, room, timeout_ms) }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                count => return Ok(count? as usize),
            }
        }
    }

    /// The event of that number, of those that the last wait found.
    pub(crate) fn event(&self, index: usize) -> Event {
        let event = self.events[index];
        Event { token: event.u64, bits: event.events }
    }
}

/// A non-blocking listener on loopback whose connections send without delay.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    set_nodelay(listener.as_raw_fd())?;
    // SAFETY: the call takes no memory of ours.
    check(unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) })?;
    Ok(listener)
}

/// The next connection of a listener, non-blocking; none when nobody waits. It inherits TCP_NODELAY.
pub(crate) fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no address is asked for.
    let fd =
        unsafe { libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    match or_would_block(fd as isize)? {
        None => Ok(None),
        // SAFETY: a new descriptor that nobody else owns.
        Some(_) => Ok(Some(unsafe { TcpStream::from_raw_fd(fd) })),
    }
}

/// A non-blocking connection to loopback. There the handshake is over before the call returns.
pub(crate) fn connect(port: u16) -> io::Result<TcpStream> {
    // SAFETY: the call takes no memory of ours.
    let fd = check(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0)
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    set_nodelay(fd)?;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: an address of that size, which lives until the call returns.
    let done = unsafe {
        let size = size_of::<libc::sockaddr_in>() as u32;
        libc::connect(fd, (&raw const address).cast(), size)
    };
    match check(done) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(stream),
    }
}

/// Throws up to `room` received bytes away without copying them; none when nothing waits.
pub(crate) fn discard(stream: &TcpStream, room: usize) -> io::Result<Option<usize>> {
    // SAFETY: with MSG_TRUNC a stream socket copies nothing, so that the buffer is not written.
    or_would_block(unsafe { libc::recv(stream.as_raw_fd(), std::ptr::null_mut(), room, libc::MSG_TRUNC) })
}

/// `read` or `write` of std, where nothing to read and no room are no errors.
pub(crate) fn unless_blocked(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn set_nodelay(fd: RawFd) -> io::Result<()> {
    let on: i32 = 1;
    // SAFETY: a value of that size, which lives until the call returns.
    check(unsafe {
        let size = size_of::<i32>() as u32;
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), size)
    })?;
    Ok(())
}

/// The result of a system call, or its error.
pub(crate) fn check(done: i32) -> io::Result<i32> {
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

/// The result of a system call that moves bytes, or its error; none when it would have to wait.
pub(crate) fn or_would_block(done: isize) -> io::Result<Option<usize>> {
    match usize::try_from(done) {
        Ok(count) => Ok(Some(count)),
        Err(_) => unless_blocked(Err(io::Error::last_os_error())),
    }
}

/// A descriptor that the ring accepted.
pub(crate) fn adopt(fd: RawFd) -> io::Result<TcpStream> {
    check(fd)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { TcpStream::from_raw_fd(fd) })
}

/// Binds the calling thread to a core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    // SAFETY: an empty set is all zeros.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is as large as CPU_SETSIZE says, and larger than any core's number here.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: a set of that size, which lives until the call returns.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) })?;
    Ok(())
}
