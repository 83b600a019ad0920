//! A descriptor that can be waited for, with one armed poll per direction that is kept and reused.
//!
//! The runtime offers waits as futures that borrow the stream. One such future per direction lives in a box for as long
//! as the descriptor does: it arms a poll, notes that it fired and rests until it is asked again, so that a wait
//! allocates nothing and an unfinished one is simply polled again.
//!
//! ```text
//!          poll_ready                poll fires
//!   Rest ─────────────▶ Armed ─────────────────▶ Fired ──▶ Rest (and Ready)
//! ```

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use monoio::net::TcpStream;

/// Read or write readiness of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Rest,
    Armed,
    Fired,
}

/// A descriptor registered with the runtime. Any kind that can be polled.
pub(super) struct Pollable {
    raw: RawFd,
    /// `None` only while dropping.
    shared: Option<Rc<Shared>>,
    read: Option<Pin<Box<dyn Future<Output = ()>>>>,
    write: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

struct Shared {
    /// Never used as a TCP stream: it is the runtime's handle for "a descriptor with readiness".
    handle: TcpStream,
    read: Cell<State>,
    write: Cell<State>,
}

impl Pollable {
    /// Takes the descriptor over. It must be non-blocking.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let handle = TcpStream::from_std(std::net::TcpStream::from(fd))?;
        let raw = handle.as_raw_fd();
        let shared = Rc::new(Shared { handle, read: Cell::new(State::Rest), write: Cell::new(State::Rest) });
        Ok(Self { raw, shared: Some(shared), read: None, write: None })
    }

    pub(super) fn raw(&self) -> RawFd {
        self.raw
    }

    /// Waits for readiness. A wait that was left armed is taken up again.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>, direction: Direction) -> Poll<()> {
        let Some(shared) = &self.shared else { return Poll::Pending };
        let (driver, cell) = match direction {
            Direction::Read => (&mut self.read, &shared.read),
            Direction::Write => (&mut self.write, &shared.write),
        };
        if cell.get() == State::Rest {
            cell.set(State::Armed);
        }
        let driver = driver.get_or_insert_with(|| Box::pin(drive(shared.clone(), direction)));
        // The driver never finishes.
        let _ = driver.as_mut().poll(cx);
        if cell.get() == State::Fired {
            cell.set(State::Rest);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

async fn drive(shared: Rc<Shared>, direction: Direction) {
    loop {
        // An error of the poll itself is found again, and named, by the attempt that follows.
        let cell = match direction {
            Direction::Read => {
                let _ = shared.handle.readable(false).await;
                &shared.read
            }
            Direction::Write => {
                let _ = shared.handle.writable(false).await;
                &shared.write
            }
        };
        cell.set(State::Fired);
        poll_fn(|_| if cell.get() == State::Armed { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Drop for Pollable {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let armed = shared.read.get() == State::Armed || shared.write.get() == State::Armed;
        if armed {
            // A poll in flight keeps the file open until its cancellation is done: end the connection now.
            super::syscall::shutdown(self.raw, libc::SHUT_RDWR);
        }
        self.read = None;
        self.write = None;
        if !armed && let Ok(shared) = Rc::try_unwrap(shared) {
            // Nothing in flight: one direct close instead of two operations in the ring.
            close(shared.handle);
        }
    }
}

#[allow(unsafe_code, reason = "takes the descriptor's ownership back from the runtime")]
fn close(handle: TcpStream) {
    let fd = handle.into_raw_fd();
    // SAFETY: `into_raw_fd` has just given the ownership of `fd` to us.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}
