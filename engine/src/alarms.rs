//! Times to the millisecond, for the few waits that the wheel (`deadlines.rs`) is too coarse for: a timer of its own, which
//! is set to the earliest of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::task::{Context, Poll, Waker};

use crate::io::{clock, set_timer};

/// The alarms of one worker.
pub(crate) struct Alarms {
    waiting: RefCell<BTreeMap<At, Waker>>,
    next_number: Cell<u64>,
    /// When the timer fires; `u64::MAX` for never.
    armed_ns: Cell<u64>,
    /// The timer's descriptor.
    timer: RawFd,
}

/// A time ([`clock::monotonic_ns`]), and a number that no other alarm has.
type At = (u64, u64);

impl Alarms {
    pub(crate) fn new(timer: RawFd) -> Self {
        let armed_ns = Cell::new(u64::MAX);
        Self { waiting: RefCell::default(), next_number: Cell::default(), armed_ns, timer }
    }

    /// The timer has fired: wakes whose time has come.
    pub(crate) fn ring(&self) {
        self.armed_ns.set(u64::MAX);
        self.wake_until(clock::monotonic_ns());
        self.arm();
    }

    fn wake_until(&self, now_ns: u64) {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= now_ns) else { return };
            let waker = first.remove();
            drop(waiting);
            // No borrow is held: it may be the last that holds a task.
            waker.wake();
        }
    }

    /// Sets the timer, if it would fire too late.
    fn arm(&self) {
        let first_ns = self.waiting.borrow().first_key_value().map(|(at, _)| at.0);
        if let Some(first_ns) = first_ns.filter(|&first_ns| first_ns < self.armed_ns.get()) {
            self.armed_ns.set(first_ns);
            set_timer(self.timer, first_ns);
        }
    }

    /// Wakes nobody any more, and lets go of the tasks that it held by their wakers.
    pub(crate) fn forget_wakers(&self) {
        let wakers = self.waiting.take();
        // Dropping a task removes its alarm: no borrow is held.
        drop(wakers);
    }
}

/// One wait. Removed when dropped.
pub(crate) struct Alarm<'a> {
    alarms: &'a Alarms,
    at: At,
}

impl<'a> Alarm<'a> {
    /// For this time.
    pub(crate) fn new(alarms: &'a Alarms, due_ns: u64) -> Self {
        let number = alarms.next_number.get();
        alarms.next_number.set(number.wrapping_add(1));
        Self { alarms, at: (due_ns, number) }
    }

    /// Ready when its time has come.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if clock::monotonic_ns() >= self.at.0 {
            return Poll::Ready(());
        }
        let mut waiting = self.alarms.waiting.borrow_mut();
        let waker = waiting.entry(self.at).or_insert_with(|| cx.waker().clone());
        waker.clone_from(cx.waker());
        drop(waiting);
        self.alarms.arm();
        Poll::Pending
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let waker = self.alarms.waiting.borrow_mut().remove(&self.at);
        // No borrow is held.
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use crate::exchange_tests::counter;

    #[test]
    fn wakes_whose_time_has_come_and_nobody_who_waits_no_more() {
        let (woken, waker) = counter();
        let cx = Context::from_waker(&waker);
        // No timer: time is what the test says.
        let alarms = Alarms::new(-1);
        let later_ns = clock::monotonic_ns() + 3_600_000_000_000;
        let mut waits = [later_ns + 3, later_ns + 1, later_ns + 1, later_ns + 2].map(|due_ns| {
            let mut alarm = Alarm::new(&alarms, due_ns);
            assert!(alarm.poll(&cx).is_pending() && alarm.poll(&cx).is_pending());
            alarm
        });
        assert_eq!(alarms.armed_ns.get(), later_ns + 1, "the earliest");
        let wakes_until = |now_ns| {
            alarms.wake_until(now_ns);
            woken.0.swap(0, Ordering::Relaxed)
        };
        assert_eq!([later_ns, later_ns + 1, later_ns + 1].map(wakes_until), [0, 2, 0]);
        drop(waits);
        assert_eq!(wakes_until(u64::MAX), 0);
        let mut past = Alarm::new(&alarms, 1);
        assert!(past.poll(&cx).is_ready());
        waits = [later_ns; 4].map(|due_ns| Alarm::new(&alarms, due_ns));
        waits.iter_mut().for_each(|alarm| assert!(alarm.poll(&cx).is_pending()));
        alarms.forget_wakers();
        assert_eq!((wakes_until(u64::MAX), Arc::strong_count(&woken)), (0, 2));
    }
}
