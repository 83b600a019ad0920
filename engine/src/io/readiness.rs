//! Which descriptors of a worker are ready: one edge-triggered epoll set, itself waited for by one poll in the ring.
//!
//! A poll in the ring for each wait costs a submission, a completion and the runtime's bookkeeping for both; on a
//! keep-alive connection that is paid twice a request. A descriptor that stays in an epoll set is registered once, and
//! one completion in the ring brings the readiness of all that became ready together (ARCHITECTURE.md has the figures).
//! Being edge-triggered, no wait can spin: an event comes once for each change.
//!
//! ```text
//!  sockets ─▶ epoll set ─▶ one poll in the ring ─▶ dispatch: flags, wake-ups ─▶ tasks try again
//! ```
//!
//! The rule of edge-triggering: wait only after an attempt that would block, or that moved less than it could have.
//! Whoever stops earlier asks for a new event ([`Pollable::rearm`]).
//!
//! An accepted connection gets into the set when it is waited for first: many end before. Adding it brings an event for
//! what it is ready for by then, so nothing that came earlier is missed.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use monoio::net::TcpStream;
use slab::Slab;

use super::{Interest, clock, syscall};
use crate::counters::{PerWorker, WorkerCounters};
use crate::footprint::ENTRIES_RESERVED;

/// Events taken from the set by one call; what is left is taken by the next one.
const EVENTS_MAX: usize = 256;

/// Tasks with work for later that are woken in one turn.
const LATE_A_TURN: usize = 4;

const READ: u8 = 1;
const WRITE: u8 = 2;
/// The peer has closed its sending side. Stays.
const HANG_UP: u8 = 4;
/// The connection is gone in both directions. Stays.
const GONE: u8 = 8;

thread_local! {
    static SET: OnceCell<Rc<Set>> = const { OnceCell::new() };
}

struct Set {
    epoll: OwnedFd,
    entries: RefCell<Slab<Entry>>,
    /// What is to be watched soon ([`Pollable::watch_soon`]).
    soon: RefCell<Vec<Key>>,
    /// Tasks that have work for later turns ([`wake_next_turn`]).
    late: RefCell<Late>,
}

/// What an entry takes of the table, as the tests of the memory's bound count it.
#[cfg(test)]
pub(crate) const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<usize>();

/// Tasks with work for later turns, in the order in which they came.
#[derive(Default)]
struct Late {
    begun: VecDeque<Waker>,
    new: VecDeque<Waker>,
}

/// What a task has of its work for later turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// All of it.
    New,
    /// The rest.
    Begun,
}

struct Entry {
    fd: OwnedFd,
    /// Tells this entry from an earlier one with the same index.
    generation: u32,
    flags: u8,
    /// The flags that `waker` waits for.
    awaited: u8,
    watch: Watch,
    waker: Option<Waker>,
}

/// Whether the set knows of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    Not,
    /// Not yet: with the next [`watch_waiting`].
    Soon,
    Is,
}

/// Watches what was to be watched soon.
pub(crate) fn watch_waiting() {
    if let Some(set) = SET.with(|cell| cell.get().cloned()) {
        for key in set.soon.take() {
            // If the set is full, what is in progress goes on without it.
            let _ = set.watch(key);
        }
    }
}

/// Wakes a task in the next turn, or a later one if many wait: for work that takes long, so that what is ready gets on
/// meanwhile. Work that is begun comes first, so that it is not for nothing when there is too much of it.
pub(crate) fn wake_next_turn(waker: &Waker, work: Work) {
    let Some(set) = SET.with(|cell| cell.get().cloned()) else { return waker.wake_by_ref() };
    let late = &mut *set.late.borrow_mut();
    match work {
        Work::New => late.new.push_back(waker.clone()),
        Work::Begun => late.begun.push_back(waker.clone()),
    }
}

/// Makes this thread's set and starts the task that dispatches its events. Once on each worker, inside the runtime.
/// What it returns must be dropped last.
pub(crate) fn install(counters: PerWorker<WorkerCounters>, worker: usize) -> io::Result<Closing> {
    let epoll = syscall::epoll()?;
    let handle = TcpStream::from_std(std::net::TcpStream::from(epoll.try_clone()?))?;
    let set = Rc::new(Set {
        epoll,
        entries: RefCell::new(Slab::with_capacity(ENTRIES_RESERVED)),
        soon: RefCell::default(),
        late: RefCell::default(),
    });
    let installed = SET.with(|cell| cell.set(set.clone()).is_ok());
    assert!(installed, "one worker a thread");
    let closing = Closing(set.clone());
    let turns =
        Rc::new(Turns { set, handle, next: Cell::new(0), wakers: RefCell::default(), counters, worker });
    for place in 0..PLACES {
        drop(monoio::spawn(turns.clone().take(place)));
    }
    Ok(closing)
}

/// Dispatches events for ever, in turns: after a turn the tasks that it woke run first, and then the set is asked directly.
/// Only when nothing has come is it waited for in the ring: while there is work, that would cost more than it tells.
///
/// There are two tasks for it, because the runtime runs a task that wakes itself before all others: each wakes the other,
/// which then runs behind those that it woke before.
struct Turns {
    set: Rc<Set>,
    handle: TcpStream,
    /// Whose turn it is.
    next: Cell<usize>,
    wakers: RefCell<[Option<Waker>; PLACES]>,
    counters: PerWorker<WorkerCounters>,
    worker: usize,
}

const PLACES: usize = 2;

impl Turns {
    async fn take(self: Rc<Self>, place: usize) {
        loop {
            poll_fn(|cx| {
                if self.next.get() == place {
                    return Poll::Ready(());
                }
                let waker = &mut self.wakers.borrow_mut()[place];
                if waker.is_none() {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            })
            .await;
            let counters = self.counters.of(self.worker);
            while self.set.dispatch() == 0 {
                counters.waits.increment();
                // The ring's poll says only that there are events; an error of it is followed by none.
                let _ = self.handle.readable(false).await;
            }
            counters.turns.increment();
            let next = (place + 1) % PLACES;
            self.next.set(next);
            if let Some(waker) = &self.wakers.borrow()[next] {
                waker.wake_by_ref();
            }
        }
    }
}

impl Set {
    /// Adds an entry, unless it is there. What it is ready for already is an event, too.
    fn watch(&self, key: Key) -> io::Result<()> {
        match self.entries.borrow_mut().get_mut(key.index as usize) {
            Some(entry) if entry.generation == key.generation && entry.watch != Watch::Is => {
                syscall::epoll_add(self.epoll.as_raw_fd(), entry.fd.as_raw_fd(), key.to_bits())?;
                entry.watch = Watch::Is;
            }
            _ => {}
        }
        Ok(())
    }

    /// Wakes the first of those that have work for later; says how many.
    fn wake_late(&self) -> usize {
        let Late { begun, new } = &mut *self.late.borrow_mut();
        let count = (begun.len() + new.len()).min(LATE_A_TURN);
        let first = count.min(begun.len());
        begun.drain(..first).chain(new.drain(..count - first)).for_each(Waker::wake);
        count
    }

    /// Returns how many events there were.
    fn dispatch(&self) -> usize {
        clock::refresh();
        let mut dispatched = self.wake_late();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        loop {
            let count = syscall::epoll_take(self.epoll.as_raw_fd(), &mut events);
            let mut entries = self.entries.borrow_mut();
            for event in &events[..count] {
                let key = Key::from_bits(event.u64);
                let Some(entry) = entries.get_mut(key.index as usize) else { continue };
                if entry.generation == key.generation {
                    entry.notice(flags_of(event.events));
                }
            }
            dispatched += count;
            if count < EVENTS_MAX {
                return dispatched;
            }
        }
    }
}

impl Entry {
    fn await_flags(&mut self, cx: &mut Context<'_>, flags: u8) {
        self.awaited |= flags;
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    fn notice(&mut self, flags: u8) {
        self.flags |= flags;
        if self.flags & self.awaited != 0 {
            self.awaited = 0;
            if let Some(waker) = &self.waker {
                waker.wake_by_ref();
            }
        }
    }
}

fn flags_of(events: u32) -> u8 {
    let has = |bits: libc::c_int| events & bits.cast_unsigned() != 0;
    let mut flags = 0;
    if has(libc::EPOLLIN) {
        flags |= READ;
    }
    if has(libc::EPOLLOUT) {
        flags |= WRITE;
    }
    if has(libc::EPOLLRDHUP) {
        flags |= READ | HANG_UP;
    }
    // Nothing will block any more.
    if has(libc::EPOLLHUP | libc::EPOLLERR) {
        flags |= READ | WRITE | HANG_UP | GONE;
    }
    flags
}

/// What an event carries.
#[derive(Clone, Copy)]
struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    fn from_bits(bits: u64) -> Self {
        let low = u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        Self { index: low, generation: u32::try_from(bits >> 32).unwrap_or_default() }
    }
}

/// A descriptor in this thread's set. Dropping it closes the descriptor.
pub(super) struct Pollable {
    set: Rc<Set>,
    /// Owned by the set's entry.
    raw: RawFd,
    key: Key,
    /// Nobody else holds the same file open, so that closing takes it out of the set.
    is_sole: bool,
}

thread_local! {
    static GENERATION: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

impl Pollable {
    /// Takes the descriptor over. It must be non-blocking, of a kind that can be polled, and this a worker's thread.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let pollable = Self::unwatched(fd);
        pollable.set.watch(pollable.key)?;
        Ok(pollable)
    }

    /// The same for one that the set gets to know only when it is waited for: many connections end before.
    pub(super) fn unwatched(fd: OwnedFd) -> Self {
        let set = SET.with(|cell| cell.get().cloned()).expect("a worker installs its set first");
        let generation = GENERATION.get().wrapping_add(1);
        GENERATION.set(generation);
        let raw = fd.as_raw_fd();
        let entry = Entry { fd, generation, flags: 0, awaited: 0, watch: Watch::Not, waker: None };
        let index = set.entries.borrow_mut().insert(entry);
        let key = Key { index: u32::try_from(index).expect("fewer than 2^32 descriptors"), generation };
        Self { set, raw, key, is_sole: true }
    }

    /// The same for a duplicate of what others hold too.
    pub(super) fn of_shared(fd: OwnedFd) -> io::Result<Self> {
        let mut shared = Self::new(fd)?;
        shared.is_sole = false;
        Ok(shared)
    }

    /// One without a descriptor.
    pub(super) fn closed() -> Self {
        let set = SET.with(|cell| cell.get().cloned()).expect("a worker installs its set first");
        Self { set, raw: -1, key: Key { index: u32::MAX, generation: 0 }, is_sole: true }
    }

    pub(super) fn raw(&self) -> RawFd {
        self.raw
    }

    /// Waits for an event since the last time this was ready. An error if the set has no room for it.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        let mut entries = self.set.entries.borrow_mut();
        let Some(entry) = entries.get_mut(self.key.index as usize) else { return Poll::Pending };
        // The last two stay set; a stream that has ended is always worth an attempt.
        let (wanted, used_up) = match interest {
            Interest::Read => (READ | HANG_UP, READ),
            Interest::Write => (WRITE | GONE, WRITE),
            Interest::HangUp => (HANG_UP, 0),
            Interest::Gone => (GONE, 0),
        };
        if entry.flags & wanted != 0 {
            entry.flags &= !used_up;
            return Poll::Ready(Ok(()));
        }
        entry.await_flags(cx, wanted);
        if entry.watch != Watch::Is {
            drop(entries);
            self.set.watch(self.key)?;
        }
        Poll::Pending
    }

    /// Whether the set still has its descriptor: not after [`Closing`].
    pub(super) fn is_open(&self) -> bool {
        let entries = self.set.entries.borrow();
        entries.get(self.key.index as usize).is_some_and(|entry| entry.generation == self.key.generation)
    }

    /// Whether the set knows of it.
    pub(super) fn is_watched(&self) -> bool {
        self.set.entries.borrow().get(self.key.index as usize).is_none_or(|entry| entry.watch == Watch::Is)
    }

    /// Waits for something to receive, or the end of it, from the next [`watch_waiting`] on: for what is not urgent.
    pub(super) fn watch_soon(&self, cx: &mut Context<'_>) {
        let mut entries = self.set.entries.borrow_mut();
        let Some(entry) = entries.get_mut(self.key.index as usize) else { return };
        entry.await_flags(cx, READ | HANG_UP);
        if entry.watch == Watch::Not {
            entry.watch = Watch::Soon;
            self.set.soon.borrow_mut().push(self.key);
        }
    }

    /// Whether there may be something to receive: an event has come that may mean it, or none could.
    pub(super) fn may_be_readable(&self) -> bool {
        let entries = self.set.entries.borrow();
        entries
            .get(self.key.index as usize)
            .is_none_or(|entry| entry.watch != Watch::Is || entry.flags & (READ | HANG_UP) != 0)
    }

    /// Forgets the events so far and asks for a new one if the descriptor is still ready: for whoever stops before an
    /// attempt would block, to let others run.
    pub(super) fn rearm(&self) {
        if !self.is_watched() {
            // The first wait asks.
            return;
        }
        if let Some(entry) = self.set.entries.borrow_mut().get_mut(self.key.index as usize) {
            entry.flags &= !(READ | WRITE);
        }
        syscall::epoll_rearm(self.set.epoll.as_raw_fd(), self.raw(), self.key.to_bits());
    }
}

impl Drop for Pollable {
    fn drop(&mut self) {
        let mut entries = self.set.entries.borrow_mut();
        // After `Closing` the entry is gone.
        if entries.get(self.key.index as usize).is_none_or(|entry| entry.generation != self.key.generation) {
            return;
        }
        let entry = entries.remove(self.key.index as usize);
        drop(entries);
        if !self.is_sole {
            syscall::epoll_remove(self.set.epoll.as_raw_fd(), self.raw);
        }
        // Its waker may be the last that holds a task, and that task's end may come here again: no borrow is held.
        drop(entry);
    }
}

/// Closes every descriptor of the thread's set when dropped: what a worker leaves behind when it ends. Its tasks are
/// held by the wakers that they gave to the set, so they would keep their connections open for ever.
pub(crate) struct Closing(Rc<Set>);

impl Drop for Closing {
    fn drop(&mut self) {
        let entries = std::mem::take(&mut *self.0.entries.borrow_mut());
        let (descriptors, wakers): (Vec<_>, Vec<_>) =
            entries.into_iter().map(|(_, entry)| (entry.fd, entry.waker)).unzip();
        drop(descriptors);
        drop(wakers);
        let late = self.0.late.take();
        drop(late);
    }
}
