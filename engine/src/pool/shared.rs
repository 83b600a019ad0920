//! A worker's HTTP/2 connections to one endpoint, each for many requests at once, and those that are being opened.
//!
//! A request takes the busiest one that has room, so that the others become idle when there are too many. Where none has, it
//! waits for one that is being opened, with as many others as that will have room for; where all of those are spoken for,
//! another one is opened.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Pooled;
use crate::failure::Failure;
use crate::h2::ClientConnection;

/// See the module.
pub(crate) struct Shared<S> {
    /// Those that take no more requests are forgotten when one is looked for.
    connections: RefCell<Vec<Rc<ClientConnection>>>,
    openings: RefCell<Vec<Rc<Opening<S>>>>,
    /// Streams that the last one takes at once.
    streams_max: Cell<usize>,
    /// What the last one speaks.
    spoken: Cell<Option<Spoken>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
}

impl<S> Default for Shared<S> {
    fn default() -> Self {
        Self {
            connections: RefCell::default(),
            openings: RefCell::default(),
            streams_max: Cell::new(usize::MAX),
            spoken: Cell::default(),
        }
    }
}

impl<S> Shared<S> {
    /// The busiest one that has room.
    pub(crate) fn busiest(&self) -> Option<Rc<ClientConnection>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.is_open());
        if let Some(connection) = connections.last() {
            self.streams_max.set(connection.streams_max());
        }
        let with_room = connections.iter().filter(|connection| connection.has_room());
        with_room.max_by_key(|connection| connection.streams()).cloned()
    }

    /// Whether a request needs no connection of its own: one that is open has room, or one that is being opened.
    pub(crate) fn has_room(&self) -> bool {
        self.busiest().is_some() || self.openings.borrow().iter().any(|opening| opening.has_room())
    }

    /// Whether the endpoint has spoken HTTP/2.
    pub(crate) fn is_spoken(&self) -> bool {
        self.spoken.get() == Some(Spoken::Http2)
    }

    /// Waits for one that is being opened, if that will have room.
    pub(crate) fn join(&self) -> Option<Waiting<S>> {
        self.openings.borrow().iter().find(|opening| opening.has_room()).map(Waiting::new)
    }

    /// Has another one opened; what is returned first is to be completed by who opens it.
    pub(crate) fn begin(self: &Rc<Self>, streams_max: usize) -> (Opener<S>, Waiting<S>) {
        let requests_max = match self.spoken.get() {
            Some(Spoken::Http1) => 1,
            Some(Spoken::Http2) | None => self.streams_max.get().min(streams_max),
        };
        let opening = Rc::new(Opening {
            outcome: Cell::default(),
            http1: RefCell::default(),
            requests: Cell::new(0),
            requests_max,
            wakers: RefCell::default(),
        });
        self.openings.borrow_mut().push(opening.clone());
        let waiting = Waiting::new(&opening);
        (Opener { opening, shared: self.clone() }, waiting)
    }

    /// Lets those end that are idle, beyond so many.
    pub(crate) fn trim(&self, idle_max: usize) {
        let connections = self.connections.borrow();
        if connections.len() > idle_max {
            let idle = connections.iter().filter(|connection| connection.streams() == 0);
            idle.skip(idle_max).for_each(|connection| connection.drain());
        }
    }

    /// Lets the least busy one end, for requests that wait at another worker. Whether there is one.
    pub(crate) fn close_one(&self) -> bool {
        let connections = self.connections.borrow();
        let open = connections.iter().filter(|connection| connection.is_open());
        let least = open.min_by_key(|connection| connection.streams());
        least.inspect(|connection| connection.drain()).is_some()
    }

    /// Lets all of them end.
    pub(crate) fn close_all(&self) {
        self.connections.take().iter().for_each(|connection| connection.drain());
    }
}

impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        self.close_all();
    }
}

/// A connection that is being opened for some requests.
struct Opening<S> {
    outcome: Cell<Option<Result<(), Failure>>>,
    /// What came of it is a connection in HTTP/1.1, for one of them.
    http1: RefCell<Option<Pooled<S>>>,
    /// Those that wait.
    requests: Cell<usize>,
    requests_max: usize,
    wakers: RefCell<Vec<Waker>>,
}

impl<S> Opening<S> {
    fn has_room(&self) -> bool {
        self.requests.get() < self.requests_max
    }
}

/// For who opens it. Dropped, it has failed.
pub(crate) struct Opener<S> {
    opening: Rc<Opening<S>>,
    shared: Rc<Shared<S>>,
}

impl<S> Opener<S> {
    /// It is open, and speaks HTTP/2.
    pub(crate) fn complete(self, connection: Rc<ClientConnection>) {
        self.shared.spoken.set(Some(Spoken::Http2));
        self.shared.connections.borrow_mut().push(connection);
        self.opening.outcome.set(Some(Ok(())));
    }

    /// It is open, and speaks HTTP/1.1.
    pub(crate) fn complete_http1(self, connection: Pooled<S>) {
        self.shared.spoken.set(Some(Spoken::Http1));
        self.opening.http1.replace(Some(connection));
        self.opening.outcome.set(Some(Ok(())));
    }

    /// There is none.
    pub(crate) fn fail(self, failure: Failure) {
        self.opening.outcome.set(Some(Err(failure)));
    }
}

impl<S> Drop for Opener<S> {
    fn drop(&mut self) {
        let Self { opening, shared } = self;
        shared.openings.borrow_mut().retain(|known| !Rc::ptr_eq(known, opening));
        // Its task has panicked.
        let outcome = opening.outcome.get().unwrap_or(Err(Failure::ConnectFailed));
        opening.outcome.set(Some(outcome));
        opening.wakers.take().into_iter().for_each(Waker::wake);
    }
}

/// For who waits.
pub(crate) struct Waiting<S> {
    opening: Rc<Opening<S>>,
    is_attended: bool,
}

impl<S> Waiting<S> {
    fn new(opening: &Rc<Opening<S>>) -> Self {
        opening.requests.set(opening.requests.get() + 1);
        Self { opening: opening.clone(), is_attended: false }
    }

    /// Ready when it is open, or has failed. To be polled by one task.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<(), Failure>> {
        if let Some(outcome) = self.opening.outcome.get() {
            return Poll::Ready(outcome);
        }
        if !std::mem::replace(&mut self.is_attended, true) {
            self.opening.wakers.borrow_mut().push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// What came of it, if that is a connection in HTTP/1.1 that nobody has taken.
    pub(crate) fn take_http1(&self) -> Option<Pooled<S>> {
        self.opening.http1.take()
    }
}

impl<S> Drop for Waiting<S> {
    fn drop(&mut self) {
        self.opening.requests.set(self.opening.requests.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::{Faults, MemoryStream, pair};

    fn poll(waiting: &mut Waiting<MemoryStream>) -> Poll<Result<(), Failure>> {
        waiting.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn as_many_wait_as_there_will_be_room_for_and_all_learn_what_has_failed() {
        let shared = Rc::new(Shared::<MemoryStream>::default());
        assert!(!shared.has_room() && shared.join().is_none());
        let (opener, first) = shared.begin(3);
        let mut waiting = vec![first, shared.join().unwrap(), shared.join().unwrap()];
        assert!(!shared.has_room() && shared.join().is_none(), "it will be full");
        assert!(waiting.iter_mut().all(|waiting| poll(waiting).is_pending()));
        // One that leaves makes room.
        waiting.pop();
        waiting.push(shared.join().unwrap());
        opener.fail(Failure::ConnectTimeout);
        for waiting in &mut waiting {
            assert_eq!(poll(waiting), Poll::Ready(Err(Failure::ConnectTimeout)));
        }
        assert!(shared.join().is_none(), "nobody waits for what is over");
    }

    #[test]
    fn who_opens_a_connection_and_panics_has_failed() {
        let shared = Rc::new(Shared::<MemoryStream>::default());
        let (opener, mut waiting) = shared.begin(3);
        drop(opener);
        assert_eq!(poll(&mut waiting), Poll::Ready(Err(Failure::ConnectFailed)));
    }

    #[test]
    fn a_connection_in_http1_is_for_one_and_the_next_ones_are_opened_for_each() {
        let shared = Rc::new(Shared::<MemoryStream>::default());
        let (opener, mut first) = shared.begin(3);
        let mut second = shared.join().unwrap();
        let (stream, _far) = pair(Faults::none());
        opener.complete_http1(Pooled { stream, permit: None });
        assert_eq!((poll(&mut first), poll(&mut second)), (Poll::Ready(Ok(())), Poll::Ready(Ok(()))));
        assert!(first.take_http1().is_some() && second.take_http1().is_none());
        let (_opener, _waiting) = shared.begin(3);
        assert!(shared.join().is_none());
    }
}
