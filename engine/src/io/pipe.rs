//! Pipes of the kernel that bodies pass through without being copied, and the worker's store of them.
//!
//! ```text
//!  socket ── splice(2) ──▶ pipe ── splice(2) ──▶ socket       pages change hands, no byte is copied
//! ```
//!
//! What one client's pipe still holds must never reach another one: only an empty pipe goes back to the store, and one
//! that an exchange leaves anything in is closed.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use super::{clock, syscall};
use crate::counters::{PerWorker, WorkerCounters};

/// What a pipe holds at most.
pub(crate) const PIPE_BYTES_MAX: usize = 256 * 1024;

/// A pipe that the kernel makes smaller than this is not worth having (`fs.pipe-user-pages-soft` is used up).
const PIPE_BYTES_MIN: usize = 64 * 1024;

/// Pipes of a worker at most, each with two descriptors. One is in use for the length of a step, and for as long as the
/// peer whose bytes it holds takes no more.
pub(crate) const PIPES_MAX: usize = 256;

/// Empty ones that are kept.
const IDLE_PIPES_MAX: usize = 32;

/// Of the descriptors that its table may have, a worker's pipes take at most one in so many.
const DESCRIPTORS_SHARE: usize = 8;

/// How long none is opened after one could not be.
const RETRY_AFTER_MS: u64 = 1000;

/// The store of a worker.
pub(crate) struct Pipes(Rc<Store>);

struct Store {
    idle: RefCell<Vec<Ends>>,
    /// Idle and in use.
    open: Cell<usize>,
    open_max: usize,
    /// The kernel does not splice here.
    refused: Cell<bool>,
    /// Before that none is opened ([`clock::coarse_ms`]).
    retry_at_ms: Cell<u64>,
    counters: PerWorker<WorkerCounters>,
    worker: usize,
}

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipes {
    /// For a worker whose table of descriptors so many workers share.
    pub(crate) fn new(counters: PerWorker<WorkerCounters>, worker: usize, table_workers: usize) -> Self {
        let share = syscall::descriptors_max() / DESCRIPTORS_SHARE / table_workers.max(1);
        Self(Rc::new(Store {
            idle: RefCell::default(),
            open: Cell::default(),
            open_max: (share / 2).min(PIPES_MAX),
            refused: Cell::default(),
            retry_at_ms: Cell::default(),
            counters,
            worker,
        }))
    }

    /// An empty pipe. `None`: there are as many as there may be, or the kernel has none; then bytes are copied.
    pub(crate) fn take(&self) -> Option<Pipe> {
        let store = &self.0;
        if store.refused.get() {
            return None;
        }
        let idle = store.idle.borrow_mut().pop();
        let ends = idle.or_else(|| store.open_one())?;
        Some(Pipe { ends: Some(ends), held: 0, store: store.clone() })
    }
}

impl Store {
    fn open_one(&self) -> Option<Ends> {
        if self.open.get() >= self.open_max || clock::coarse_ms() < self.retry_at_ms.get() {
            return None;
        }
        let Some(ends) = Ends::open() else {
            self.retry_at_ms.set(clock::coarse_ms() + RETRY_AFTER_MS);
            return None;
        };
        self.open.set(self.open.get() + 1);
        self.counters().pipes.increment();
        Some(ends)
    }

    fn counters(&self) -> &WorkerCounters {
        self.counters.of(self.worker)
    }
}

impl Ends {
    fn open() -> Option<Self> {
        let (read, write) = syscall::pipe().ok()?;
        let size = syscall::set_pipe_size(write.as_raw_fd(), PIPE_BYTES_MAX).ok()?;
        (size >= PIPE_BYTES_MIN).then_some(Self { read, write })
    }
}

/// A pipe in use. Dropped, it goes back to the store if it is empty, and is closed if it is not.
pub(crate) struct Pipe {
    /// Absent only while it is dropped.
    ends: Option<Ends>,
    held: usize,
    store: Rc<Store>,
}

impl Pipe {
    /// How many bytes it holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Moves up to `bytes_max` received bytes of a socket into the empty pipe. `Ok(0)` is the end of the stream.
    pub(super) fn fill(&mut self, socket: RawFd, bytes_max: usize) -> io::Result<usize> {
        debug_assert_eq!(self.held(), 0, "a full pipe and an empty socket would look the same");
        let Some(ends) = &self.ends else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let moved = syscall::splice(socket, ends.write.as_raw_fd(), bytes_max.min(PIPE_BYTES_MAX))?;
        self.held = moved;
        self.store.counters().spliced_bytes.add(moved as u64);
        Ok(moved)
    }

    /// Moves what it holds into a socket, as far as the socket takes it at once.
    pub(super) fn drain(&mut self, socket: RawFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let moved = syscall::splice(ends.read.as_raw_fd(), socket, self.held)?;
        self.held -= moved;
        Ok(moved)
    }

    /// Whether an error of filling or emptying it means that the kernel does not splice here, which is then taken to be
    /// so for good: Unix sockets of an old kernel, or a filter of system calls.
    pub(crate) fn is_refusal(&self, error: &io::Error) -> bool {
        let refusals = [libc::EINVAL, libc::ENOSYS, libc::EPERM, libc::EOPNOTSUPP];
        let is_refusal = error.raw_os_error().is_some_and(|code| refusals.contains(&code));
        if is_refusal {
            self.store.refused.set(true);
        }
        is_refusal
    }

    /// Copies what it holds to the end of `bytes`: for a stream that takes no pipe after all.
    pub(crate) fn copy_out(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let Some(ends) = &self.ends else { return Err(io::ErrorKind::BrokenPipe.into()) };
        while self.held > 0 {
            let start = bytes.len();
            bytes.resize(start + self.held, 0);
            let read = syscall::read(ends.read.as_raw_fd(), &mut bytes[start..]);
            let moved = read.as_ref().map_or(0, |read| *read);
            bytes.truncate(start + moved);
            self.held -= moved;
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        let mut idle = self.store.idle.borrow_mut();
        if self.held == 0 && idle.len() < IDLE_PIPES_MAX {
            idle.push(ends);
        } else {
            self.store.open.set(self.store.open.get() - 1);
            self.store.counters().pipes.decrement();
        }
    }
}

/// What the streams in memory do instead of splicing, on a pipe of the kernel all the same.
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "the fuzz targets use a part of it"))]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]
impl Pipe {
    /// Fills the pipe with bytes that it has room for.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        use std::io::Write;
        let ends = self.ends.as_ref().unwrap();
        let written = std::fs::File::from(ends.write.try_clone().unwrap()).write(bytes).unwrap();
        assert_eq!(written, bytes.len());
        self.held += written;
        self.store.counters().spliced_bytes.add(written as u64);
    }

    /// Whether the kernel agrees that it holds nothing.
    pub(crate) fn is_empty_in_kernel(&self) -> bool {
        let read = syscall::read(self.ends.as_ref().unwrap().read.as_raw_fd(), &mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Takes bytes out that it holds.
    pub(super) fn take_out(&mut self, bytes: &mut [u8]) {
        use std::io::Read;
        let ends = self.ends.as_ref().unwrap();
        let read = std::fs::File::from(ends.read.try_clone().unwrap()).read(bytes).unwrap();
        assert_eq!(read, bytes.len());
        self.held -= read;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pipes() -> (Pipes, PerWorker<WorkerCounters>) {
        let counters = PerWorker::new(1);
        (Pipes::new(counters.clone(), 0, 1), counters)
    }

    /// Two ends of a connection; the first one does not block.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        (near, listener.accept().unwrap().0)
    }

    /// Fills it with what the far end of a connection sends.
    fn filled_by(pipe: &mut Pipe, near: &TcpStream, far: &mut TcpStream, bytes: &[u8]) {
        far.write_all(bytes).unwrap();
        // What was sent over loopback may take a moment.
        assert!(syscall::is_readable(near.as_raw_fd(), 5000));
        assert_eq!(pipe.fill(near.as_raw_fd(), bytes.len()).unwrap(), bytes.len());
    }

    #[test]
    fn moves_bytes_from_one_socket_to_another() {
        let (pipes, counters) = pipes();
        let ((from, mut sender), (to, mut reader)) = (connection(), connection());
        let mut pipe = pipes.take().unwrap();
        let empty = pipe.fill(from.as_raw_fd(), 100).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        filled_by(&mut pipe, &from, &mut sender, b"through the pipe");
        assert_eq!(pipe.held(), 16);
        assert_eq!(pipe.drain(to.as_raw_fd()).unwrap(), 16);
        let mut got = [0; 16];
        reader.read_exact(&mut got).unwrap();
        assert_eq!((&got, pipe.held()), (b"through the pipe", 0));
        assert_eq!(counters.of(0).spliced_bytes.value(), 16);
        drop(sender);
        assert!(syscall::is_readable(from.as_raw_fd(), 5000));
        assert_eq!(pipe.fill(from.as_raw_fd(), 100).unwrap(), 0, "the end of the stream");
    }

    #[test]
    fn never_takes_more_than_it_was_told() {
        let (pipes, _) = pipes();
        let (from, mut sender) = connection();
        let mut pipe = pipes.take().unwrap();
        sender.write_all(b"bodyHTTP/1.1").unwrap();
        assert!(syscall::is_readable(from.as_raw_fd(), 5000));
        assert_eq!(pipe.fill(from.as_raw_fd(), 4).unwrap(), 4);
        let mut rest = Vec::new();
        pipe.copy_out(&mut rest).unwrap();
        assert_eq!((&rest[..], pipe.held()), (&b"body"[..], 0));
        let mut next = [0; 8];
        (&from).read_exact(&mut next).unwrap();
        assert_eq!(&next, b"HTTP/1.1");
    }

    #[test]
    fn a_pipe_that_holds_something_is_never_used_again() {
        let (pipes, counters) = pipes();
        let (from, mut sender) = connection();
        let open = || counters.of(0).pipes.value();
        drop(pipes.take().unwrap());
        assert_eq!(open(), 1, "an empty one is kept");
        let mut pipe = pipes.take().unwrap();
        assert_eq!(open(), 1, "and used again");
        filled_by(&mut pipe, &from, &mut sender, b"somebody's");
        drop(pipe);
        assert_eq!(open(), 0, "a full one is closed");
        let mut fresh = pipes.take().unwrap();
        filled_by(&mut fresh, &from, &mut sender, b"another's");
        let mut bytes = Vec::new();
        fresh.copy_out(&mut bytes).unwrap();
        assert_eq!(bytes, b"another's");
    }

    #[test]
    fn there_are_no_more_than_there_may_be() {
        let (pipes, counters) = pipes();
        let taken: Vec<Pipe> = std::iter::from_fn(|| pipes.take()).collect();
        let open_max = PIPES_MAX.min(syscall::descriptors_max() / DESCRIPTORS_SHARE / 2);
        assert_eq!(taken.len(), open_max);
        assert_eq!(counters.of(0).pipes.value(), open_max as u64);
        drop(taken);
        assert_eq!(counters.of(0).pipes.value(), IDLE_PIPES_MAX.min(open_max) as u64);
        assert!(pipes.take().is_some());
    }

    #[test]
    fn a_refusal_is_for_good_and_a_lost_connection_is_none() {
        let (pipes, _) = pipes();
        let pipe = pipes.take().unwrap();
        for code in [libc::EPIPE, libc::ECONNRESET, libc::EAGAIN, libc::EINTR, libc::ENOTCONN] {
            assert!(!pipe.is_refusal(&io::Error::from_raw_os_error(code)), "{code}");
        }
        assert!(pipes.take().is_some());
        assert!(pipe.is_refusal(&io::Error::from_raw_os_error(libc::EINVAL)));
        assert!(pipes.take().is_none());
    }
}
