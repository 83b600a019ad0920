//! Streams that are open on a connection, as those count them who serve them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::intake::Body;

/// Streams that have not ended for us: a client that resets one does not get its place before the exchange is over.
pub(crate) struct InProgress {
    count: Cell<usize>,
    driver: Cell<Option<Waker>>,
    /// What they receive. Those that are over are forgotten when there is no room.
    bodies: RefCell<Vec<Weak<RefCell<Body>>>>,
}

impl InProgress {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { count: Cell::new(0), driver: Cell::new(None), bodies: RefCell::default() })
    }

    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    /// Ready when none is left.
    pub(crate) fn poll_none(&self, cx: &Context<'_>) -> Poll<()> {
        self.watch(cx);
        if self.count() == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Wakes the connection's task when one ends.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        self.driver.set(Some(cx.waker().clone()));
    }

    /// Wakes the connection's task.
    pub(super) fn wake(&self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Takes note of a body.
    pub(super) fn know(&self, body: &Rc<RefCell<Body>>) {
        let mut bodies = self.bodies.borrow_mut();
        if bodies.len() == bodies.capacity() {
            bodies.retain(|known| known.strong_count() > 0);
        }
        bodies.push(Rc::downgrade(body));
    }

    /// Has each body put what it has into memory of its own.
    pub(super) fn compact(&self) {
        self.bodies.borrow_mut().retain(|known| {
            let body = known.upgrade();
            body.is_some_and(|body| {
                body.borrow_mut().compact();
                true
            })
        });
    }

    pub(super) fn enter(self: &Rc<Self>) -> Place {
        self.count.set(self.count() + 1);
        Place(self.clone())
    }
}

/// One of them.
pub(super) struct Place(Rc<InProgress>);

impl Place {
    /// Streams that are in progress on the connection, this one included.
    pub(super) fn streams(&self) -> usize {
        self.0.count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.set(self.0.count() - 1);
        self.0.wake();
    }
}
