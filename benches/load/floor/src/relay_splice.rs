//! A TCP relay that copies nothing: splice(2) moves the pages of a message from one socket into a pipe and from there into
//! the other. The floor for large bodies.
//!
//! Laid out like `relay_epoll`; each direction has a pipe of its own, since what one socket does not take stays in it.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::arguments::Arguments;
use crate::net::{self, Epoll, Event};

/// What is moved at once, and the size of a pipe: the kernel's default of 16 pages of 4 KiB.
const PIPE_BYTES: usize = 64 << 10;
/// The listener's token; the sides of pair N have 2N and 2N+1.
const LISTENER: u64 = u64::MAX;

/// A connection, and the pipe of what goes to it.
struct Side {
    stream: TcpStream,
    pipe_out: OwnedFd,
    pipe_in: OwnedFd,
    in_pipe: usize,
}

/// A client and the origin.
struct Pair {
    sides: [Side; 2],
    is_ending: bool,
}

/// Serves until it is killed.
///
/// # Errors
/// The port is taken, or the kernel refuses a call that it must not refuse.
pub(crate) fn run(arguments: &mut Arguments) -> io::Result<()> {
    let listener = net::listen(arguments.value("port")?)?;
    let origin: u16 = arguments.value("origin")?;
    let mut epoll = Epoll::new()?;
    epoll.add(&listener, LISTENER, libc::EPOLLIN)?;
    let mut pairs: Vec<Option<Pair>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    loop {
        for number in 0..epoll.wait(-1)? {
            let event = epoll.event(number);
            if event.token == LISTENER {
                accept_all(&listener, origin, &epoll, &mut pairs, &mut free)?;
                continue;
            }
            let index = (event.token / 2) as usize;
            let Some(pair) = &mut pairs[index] else { continue };
            if !pair.is_open_after(event).unwrap_or(false) {
                pairs[index] = None;
                free.push(index);
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    origin: u16,
    epoll: &Epoll,
    pairs: &mut Vec<Option<Pair>>,
    free: &mut Vec<usize>,
) -> io::Result<()> {
    while let Some(client) = net::accept(listener)? {
        let origin = net::connect(origin)?;
        let index = free.pop().unwrap_or_else(|| {
            pairs.push(None);
            pairs.len() - 1
        });
        let bits = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP;
        epoll.add(&client, 2 * index as u64, bits)?;
        epoll.add(&origin, 2 * index as u64 + 1, bits)?;
        pairs[index] = Some(Pair { sides: [Side::new(client)?, Side::new(origin)?], is_ending: false });
    }
    Ok(())
}

impl Pair {
    /// Moves what an event allows to move; whether the pair lives on.
    fn is_open_after(&mut self, event: Event) -> io::Result<bool> {
        let [client, origin] = &mut self.sides;
        let (this, other) = if event.token.is_multiple_of(2) { (client, origin) } else { (origin, client) };
        let mut ended = false;
        if this.in_pipe > 0 && this.flush()? {
            ended |= relay(other, this, true)?;
        }
        if event.bits & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP) as u32 != 0 {
            ended |= relay(this, other, event.is_hung_up())?;
        }
        self.is_ending |= ended;
        Ok(!self.is_ending || self.sides.iter().any(|side| side.in_pipe > 0))
    }
}

impl Side {
    fn new(stream: TcpStream) -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors.
        net::check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) })?;
        // SAFETY: new descriptors that nobody else owns.
        let [pipe_out, pipe_in] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self { stream, pipe_out, pipe_in, in_pipe: 0 })
    }

    /// Moves from the pipe to the socket; whether the pipe is empty.
    fn flush(&mut self) -> io::Result<bool> {
        let moved = splice(&self.pipe_out, &self.stream, self.in_pipe)?.unwrap_or(0);
        self.in_pipe -= moved;
        Ok(self.in_pipe == 0)
    }
}

/// Moves until there is nothing, or no room. With `to_the_end` a short move is followed by another. Whether `from` has ended.
fn relay(from: &mut Side, to: &mut Side, to_the_end: bool) -> io::Result<bool> {
    while to.in_pipe == 0 {
        let Some(count) = splice(&from.stream, &to.pipe_in, PIPE_BYTES)? else { return Ok(false) };
        if count == 0 {
            return Ok(true);
        }
        to.in_pipe = count;
        // A pipe of 16 buffers is full with less than its bytes when the pages of the message were not.
        let may_have_more = count >= PIPE_BYTES / 16;
        if to.flush()? && !may_have_more && !to_the_end {
            return Ok(false);
        }
    }
    Ok(false)
}

/// Moves up to `room` bytes; none when it would have to wait.
fn splice(from: &impl AsRawFd, to: &impl AsRawFd, room: usize) -> io::Result<Option<usize>> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let none = std::ptr::null_mut();
    // SAFETY: neither end has an offset, and no memory of ours is involved.
    net::or_would_block(unsafe { libc::splice(from.as_raw_fd(), none, to.as_raw_fd(), none, room, flags) })
}
