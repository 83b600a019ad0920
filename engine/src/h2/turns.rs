//! Whose bytes are sent next, of the streams of a connection (RFC 9218 §10).
//!
//! The `h2` crate takes turns between all streams that have given it bytes, a frame each. So it gets no more than
//! [`GIVEN_BYTES_MAX`] before they have gone: what a stream has beyond that it keeps, and asks for its turn. When the connection has
//! sent what it had, the turn goes
//!
//! 1. to who has waited for [`STARVED_MS`], so that nobody starves;
//! 2. to the most urgent; of those, to who is of use only as a whole, in the order of their streams; then to the others in turn.
//!
//! A stream whose last piece has just gone is heard before: it may bring the next one. What waits for the client's windows is with h2
//! already and holds nobody up. On a connection whose client has never named a priority all of this is left out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::priority::Priority;

/// What h2 has at once of several streams, in whatever order: two frames. Who comes late waits for no more.
const GIVEN_BYTES_MAX: usize = 32 * 1024;

/// What is granted at once, and what the last one has beyond that: a frame.
const GRANTED_BYTES: usize = 16 * 1024;

/// How long a stream waits at most while others are more urgent.
const STARVED_MS: u64 = 1000;

/// Streams whose priority is remembered before they begin; RFC 9218 §7.1 leaves it to us.
const EARLY_MAX: usize = 32;

/// The streams of a connection.
#[derive(Default)]
pub(super) struct Turns {
    /// The client has named a priority.
    is_used: Cell<bool>,
    streams: RefCell<Vec<Stream>>,
    /// Priorities of streams that have not begun, and the last that has.
    early: RefCell<Vec<(u32, Priority)>>,
    last: Cell<u32>,
    /// Bytes that h2 got since the connection had sent all that it could.
    given: Cell<usize>,
    /// Who is to be heard has been heard.
    has_yielded: Cell<bool>,
    /// Turns so far.
    granted: Cell<u64>,
    driver: Cell<Option<Waker>>,
}

struct Stream {
    number: u32,
    priority: Priority,
    /// When it was its turn, among all turns.
    served: u64,
    state: State,
}

enum State {
    /// It has nothing to send.
    Idle,
    /// So many bytes, since then; `u64::MAX`: that is not known yet.
    Asking(usize, u64, Option<Waker>),
    Granted,
}

/// A stream's place among the others.
pub(super) struct Turn {
    turns: Rc<Turns>,
    number: u32,
}

impl Turns {
    /// Begins a stream, with the value of its request's `Priority` field. `None`: everybody may send at any time.
    pub(super) fn enter(self: &Rc<Self>, number: u32, field: Option<&[u8]>) -> Option<Turn> {
        self.last.set(self.last.get().max(number));
        if field.is_none() && !self.is_used.get() {
            return None;
        }
        self.is_used.set(true);
        let mut priority = Priority::default().with(field.unwrap_or_default());
        // RFC 9218 §7: it is newer than the request.
        self.early.borrow_mut().retain(|&(early, updated)| {
            if early == number {
                priority = updated;
            }
            early > number
        });
        self.streams.borrow_mut().push(Stream { number, priority, served: 0, state: State::Idle });
        Some(Turn { turns: self.clone(), number })
    }

    /// Changes the priority of a stream, which may not have begun.
    pub(super) fn update(&self, number: u32, priority: Priority) {
        self.is_used.set(true);
        if let Some(stream) = self.streams.borrow_mut().iter_mut().find(|stream| stream.number == number) {
            stream.priority = priority;
        } else if number > self.last.get() {
            let early = &mut *self.early.borrow_mut();
            early.retain(|&(early, _)| early != number);
            if early.len() < EARLY_MAX {
                early.push((number, priority));
            }
        }
    }

    /// What is to be done when the connection has done all that it can; `is_free`: all that h2 had to send has been sent, or waits for
    /// the client's windows.
    pub(super) fn pass(&self, cx: &Context<'_>, now_ms: u64, is_free: bool) {
        if !self.is_used.get() || !is_free {
            return;
        }
        self.given.set(0);
        let mut streams = self.streams.borrow_mut();
        if !streams.iter().any(Stream::is_asking) {
            return;
        }
        self.driver.set(Some(cx.waker().clone()));
        if !self.has_yielded.replace(true) {
            return cx.waker().wake_by_ref();
        }
        self.has_yielded.set(false);
        for stream in streams.iter_mut() {
            if let State::Asking(_, since_ms, _) = &mut stream.state {
                *since_ms = now_ms.min(*since_ms);
            }
        }
        while self.given.get() < GRANTED_BYTES
            && let Some(next) = next(&mut streams, now_ms)
            && let State::Asking(bytes, _, waker) = std::mem::replace(&mut next.state, State::Granted)
        {
            self.given.set(self.given.get() + bytes);
            self.granted.set(self.granted.get() + 1);
            next.served = self.granted.get();
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn wake(&self) {
        self.driver.take().into_iter().for_each(Waker::wake);
    }
}

/// Who comes next of those who ask.
fn next(streams: &mut [Stream], now_ms: u64) -> Option<&mut Stream> {
    streams.iter_mut().filter(|stream| stream.is_asking()).min_by(|one, other| {
        let starved = one.starved_since(now_ms).cmp(&other.starved_since(now_ms));
        let order = |stream: &Stream| {
            if stream.priority.is_incremental { stream.served } else { u64::from(stream.number) }
        };
        starved.then(one.priority.compare(other.priority)).then(order(one).cmp(&order(other)))
    })
}

impl Stream {
    fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking(..))
    }

    /// Since when it has waited, if that is for too long.
    fn starved_since(&self, now_ms: u64) -> u64 {
        match self.state {
            State::Asking(_, since_ms, _) if since_ms.saturating_add(STARVED_MS) <= now_ms => since_ms,
            _ => u64::MAX,
        }
    }
}

impl Turn {
    /// Whether so many bytes may be sent now. Otherwise it has asked for its turn ([`Self::poll`]).
    pub(super) fn take(&self, bytes: usize) -> bool {
        let Turns { streams, given, .. } = &*self.turns;
        let mut streams = streams.borrow_mut();
        let is_little = given.get() == 0 || given.get() + bytes <= GIVEN_BYTES_MAX;
        if is_little && !streams.iter().any(Stream::is_asking) {
            given.set(given.get() + bytes);
            return true;
        }
        self.of(&mut streams).state = State::Asking(bytes, u64::MAX, None);
        false
    }

    /// Ready when it is its turn.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let stream = &mut *self.turns.streams.borrow_mut();
        let stream = self.of(stream);
        if let State::Asking(_, _, waker) = &mut stream.state {
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        stream.state = State::Idle;
        // What is sent may have to wait for a window, of which h2 tells the connection nothing.
        self.turns.wake();
        Poll::Ready(())
    }

    /// Takes what the server says, too (RFC 9218 §8).
    pub(super) fn merge(&self, field: &[u8]) {
        let streams = &mut *self.turns.streams.borrow_mut();
        let stream = self.of(streams);
        stream.priority = stream.priority.with(field);
    }

    fn of<'s>(&self, streams: &'s mut [Stream]) -> &'s mut Stream {
        let own = streams.iter_mut().find(|stream| stream.number == self.number);
        own.expect("it is there as long as its turn")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.streams.borrow_mut().retain(|stream| stream.number != self.number);
        // It may have been its turn.
        self.turns.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has all that h2 may have, so that what comes next asks.
    fn full() -> (Rc<Turns>, Turn) {
        let turns = Rc::<Turns>::default();
        let busy = turns.enter(1, Some(b"u=3")).unwrap();
        assert!(busy.take(GIVEN_BYTES_MAX));
        (turns, busy)
    }

    fn asks(turns: &Rc<Turns>, number: u32, field: &str) -> Turn {
        let turn = turns.enter(number, Some(field.as_bytes())).unwrap();
        assert!(!turn.take(GRANTED_BYTES));
        turn
    }

    /// The connection has twice done all that it can: who has a turn then, of those who asked.
    fn granted(turns: &Turns, now_ms: u64, asking: &[&Turn]) -> Vec<u32> {
        let cx = &mut Context::from_waker(Waker::noop());
        turns.pass(cx, now_ms, true);
        assert!(asking.iter().all(|turn| turn.poll(cx).is_pending()), "others are heard first");
        turns.pass(cx, now_ms, true);
        asking.iter().filter(|turn| turn.poll(cx).is_ready()).map(|turn| turn.number).collect()
    }

    #[test]
    fn goes_by_urgency_then_by_number_then_round() {
        let (turns, _busy) = full();
        let (a, b) = (asks(&turns, 3, "u=4, i"), asks(&turns, 5, "u=4, i"));
        let (c, d) = (asks(&turns, 9, "u=4"), asks(&turns, 7, "u=4"));
        assert_eq!(granted(&turns, 0, &[&a, &b, &c, &d]), [7]);
        assert!(!d.take(GRANTED_BYTES), "others ask");
        assert_eq!(granted(&turns, 0, &[&a, &b, &c, &d]), [7]);
        assert_eq!(granted(&turns, 0, &[&a, &b, &c]), [9]);
        assert_eq!(granted(&turns, 0, &[&a, &b]), [3]);
        assert!(!a.take(GRANTED_BYTES));
        assert_eq!(granted(&turns, 0, &[&a, &b]), [5], "in turn");
        a.merge(b"u=0");
        drop(c);
        assert_eq!(granted(&turns, 0, &[&a]), [3]);
    }

    #[test]
    fn nobody_starves() {
        let (turns, _busy) = full();
        let (low, high) = (asks(&turns, 3, "u=7"), asks(&turns, 5, "u=0"));
        assert_eq!(granted(&turns, 10, &[&low, &high]), [5]);
        assert!(!high.take(GRANTED_BYTES));
        assert_eq!(granted(&turns, 9 + STARVED_MS, &[&low, &high]), [5]);
        assert!(!high.take(GRANTED_BYTES));
        assert_eq!(granted(&turns, 10 + STARVED_MS, &[&low, &high]), [3]);
    }

    #[test]
    fn nothing_is_granted_while_the_connection_is_not_free() {
        let (turns, _busy) = full();
        let asking = asks(&turns, 3, "");
        let cx = &mut Context::from_waker(Waker::noop());
        (0..3).for_each(|_| turns.pass(cx, 0, false));
        assert!(asking.poll(cx).is_pending());
        assert_eq!(granted(&turns, 0, &[&asking]), [3]);
    }

    #[test]
    fn updates_count_before_a_stream_begins_and_after() {
        let (turns, _busy) = full();
        turns.update(7, Priority::default().with(b"u=0"));
        (100..200).for_each(|number| turns.update(number, Priority::default()));
        assert_eq!(turns.early.borrow().len(), EARLY_MAX);
        let (low, high) = (asks(&turns, 5, "u=6"), asks(&turns, 7, "u=7"));
        assert_eq!(granted(&turns, 0, &[&low, &high]), [7]);
        assert!(!high.take(GRANTED_BYTES));
        turns.update(7, Priority::default().with(b"u=7"));
        assert_eq!(granted(&turns, 0, &[&low, &high]), [5]);
        turns.update(3, Priority::default());
        assert!(turns.early.borrow().iter().all(|&(number, _)| number >= 100), "that one is over");
    }

    #[test]
    fn is_left_out_until_a_client_names_a_priority() {
        let turns = Rc::<Turns>::default();
        assert!(turns.enter(1, None).is_none());
        let named = turns.enter(3, Some(b"i"));
        assert!(named.is_some() && turns.enter(5, None).is_some());
    }
}
