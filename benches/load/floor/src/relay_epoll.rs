//! The floor: a TCP relay that looks at nothing. One edge-triggered epoll set, one scratch buffer, and for each message
//! one receive and one send; for each client one connection to the origin.
//!
//! Everything is registered once and for both directions, so that no call but those two follows an event. After a receive
//! that fills the buffer it tries again; after a short one there is nothing, and the next byte is a new event.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::arguments::Arguments;
use crate::net::{self, Epoll, Event};

/// What is received at once; more than one buffer would be colder, a smaller one needs more calls for large bodies.
const SCRATCH_BYTES: usize = 64 << 10;
/// The listener's token; the sides of pair N have 2N and 2N+1.
const LISTENER: u64 = u64::MAX;

/// A connection and what its socket did not take yet; while there is any, the other side is not read.
struct Side {
    stream: TcpStream,
    unsent: Vec<u8>,
}

/// A client and the origin.
struct Pair {
    sides: [Side; 2],
    /// One of them has sent all that it will: the pair ends when the rest is sent.
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
    let mut scratch = vec![0; SCRATCH_BYTES];
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
            if !pair.is_open_after(event, &mut scratch).unwrap_or(false) {
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
        let sides = [client, origin].map(|stream| Side { stream, unsent: Vec::new() });
        pairs[index] = Some(Pair { sides, is_ending: false });
    }
    Ok(())
}

impl Pair {
    /// Moves what an event allows to move; whether the pair lives on.
    fn is_open_after(&mut self, event: Event, scratch: &mut [u8]) -> io::Result<bool> {
        let [client, origin] = &mut self.sides;
        let (this, other) = if event.token.is_multiple_of(2) { (client, origin) } else { (origin, client) };
        let mut ended = false;
        if !this.unsent.is_empty() && this.flush()? {
            ended |= relay(other, this, scratch, true)?;
        }
        if event.bits & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP) as u32 != 0 {
            ended |= relay(this, other, scratch, event.is_hung_up())?;
        }
        self.is_ending |= ended;
        Ok(!self.is_ending || self.sides.iter().any(|side| !side.unsent.is_empty()))
    }
}

impl Side {
    /// Sends what was left; whether nothing is any more.
    fn flush(&mut self) -> io::Result<bool> {
        let sent = net::unless_blocked((&self.stream).write(&self.unsent))?.unwrap_or(0);
        self.unsent.drain(..sent);
        Ok(self.unsent.is_empty())
    }
}

/// Copies until there is nothing, or no room. With `to_the_end` a short receive is followed by another. Whether `from` has
/// ended.
fn relay(from: &mut Side, to: &mut Side, scratch: &mut [u8], to_the_end: bool) -> io::Result<bool> {
    while to.unsent.is_empty() {
        let Some(count) = net::unless_blocked(from.stream.read(scratch))? else { return Ok(false) };
        if count == 0 {
            return Ok(true);
        }
        let sent = net::unless_blocked(to.stream.write(&scratch[..count]))?.unwrap_or(0);
        to.unsent.extend_from_slice(&scratch[sent..count]);
        if count < scratch.len() && !to_the_end {
            return Ok(false);
        }
    }
    Ok(false)
}
