//! What the tasks of one worker share: everything that belongs to its core and to nothing else.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use corelane_semantics::{PathBuffers, RequestHead, ResponseHead};

use crate::access_log::{LogBatch, LogSink};
use crate::admission::Admissions;
use crate::alarms::Alarms;
use crate::buffers::{Buffers, Scratch};
use crate::calendar::write_http_date;
use crate::command::Event;
use crate::counters::{PerWorker, WorkerCounters};
use crate::deadlines::{DeadlineKey, Deadlines, TICK_MS};
use crate::event::EventSender;
use crate::footprint::Footprint;
use crate::io::{Dial, Pipes, clock, readiness, set_ticker};
use crate::local::Local;
use crate::message::Lent;
use crate::record::{Opening, opening};
use crate::request_id::RequestIds;
use crate::task::BoxedTask;
use crate::tls::{HandshakeTurns, ReportFilter, TlsReport};
use crate::tracing::{SpanSink, Tracer};

/// The worker.
pub(crate) struct Core<S: Dial> {
    /// Which worker.
    pub(crate) index: usize,
    /// Its scratch buffer.
    pub(crate) scratch: Scratch,
    /// Its free list.
    pub(crate) buffers: Buffers,
    /// The large buffer in which HTTP/2 connections gather what they send, one after the other.
    pub(crate) gather: Cell<Vec<u8>>,
    /// Its pipes.
    pub(crate) pipes: Pipes,
    /// Its names for requests.
    pub(crate) request_ids: RequestIds,
    /// Its admissions of connections.
    pub(crate) admissions: Admissions,
    /// What rations its handshakes.
    pub(crate) handshake_turns: HandshakeTurns,
    /// Which failures of TLS were told of late.
    tls_reports: RefCell<ReportFilter>,
    /// Its deadlines.
    pub(crate) deadlines: Deadlines,
    /// What must not be late.
    pub(crate) alarms: Alarms,
    /// The snapshot in force, with the worker's own state for it.
    pub(crate) local: RefCell<Rc<Local<S>>>,
    /// The tables that heads are parsed into; used within a step.
    pub(crate) request_head: RefCell<RequestHead>,
    pub(crate) response_head: RefCell<ResponseHead>,
    /// The head that goes to a client instead, while it is written and sent.
    pub(crate) written_head: RefCell<Vec<u8>>,
    /// What paths are written into that are not canonical.
    pub(crate) paths: RefCell<PathBuffers>,
    /// Set when the worker is to finish what is in progress and end.
    pub(crate) draining: Cell<bool>,
    /// When that was ([`clock::coarse_ms`]).
    pub(crate) draining_since_ms: Cell<u64>,
    /// Set when the worker ends: what is still in progress is cut.
    pub(crate) cutting: Cell<bool>,
    /// Set when that is done.
    pub(crate) cut: Cell<bool>,
    /// Wakes the worker's main task: a connection ended while draining.
    pub(crate) main: RefCell<Option<Waker>>,
    /// Listeners that accept.
    pub(crate) accepting: Cell<usize>,
    /// Connections from clients that are open, and what they hold.
    pub(crate) footprint: Footprint,
    /// To the control thread.
    pub(crate) events: EventSender,
    counters: PerWorker<WorkerCounters>,
    log: RefCell<LogBatch>,
    log_opening: RefCell<LogOpening>,
    log_sink: Option<LogSink>,
    /// Its spans.
    pub(crate) tracer: Tracer,
    date: RefCell<HttpDate>,
    ticker: RawFd,
    ticking: Cell<bool>,
    trim: fn(),
    /// Runs a task on this worker ([`crate::task::spawn_aside`]).
    pub(crate) spawn: fn(BoxedTask),
}

#[derive(Default)]
struct HttpDate {
    unix_seconds: u64,
    text: Vec<u8>,
}

/// How records begin, with the time when the events were dispatched that the worker acts on.
#[derive(Default)]
struct LogOpening {
    turn: u32,
    text: Option<Opening>,
    /// Where it is written.
    room: Vec<u8>,
}

impl LogOpening {
    #[inline]
    fn now(&mut self) -> &Opening {
        if self.turn != clock::turn() {
            self.turn = clock::turn();
            self.text = None;
        }
        self.text.get_or_insert_with(|| opening(clock::unix_coarse_ns(), &mut self.room))
    }
}

/// What a worker is made of.
pub(crate) struct CoreParts {
    pub(crate) index: usize,
    pub(crate) counters: PerWorker<WorkerCounters>,
    pub(crate) events: EventSender,
    pub(crate) log: Option<LogSink>,
    pub(crate) spans: Option<SpanSink>,
    /// The descriptor of the worker's ticker.
    pub(crate) ticker: RawFd,
    /// The descriptor of the timer of its alarms.
    pub(crate) alarm: RawFd,
    /// How many workers its table of descriptors is shared by, itself included.
    pub(crate) table_workers: usize,
    /// Gives memory back to the system that the thread has freed.
    pub(crate) trim: fn(),
    /// Runs a task.
    pub(crate) spawn: fn(BoxedTask),
}

impl<S: Dial> Core<S> {
    pub(crate) fn new(parts: CoreParts) -> Self {
        Self {
            index: parts.index,
            scratch: Scratch::new(),
            buffers: Buffers::default(),
            gather: Cell::default(),
            pipes: Pipes::new(parts.counters.clone(), parts.index, parts.table_workers),
            request_ids: RequestIds::new(),
            admissions: Admissions::default(),
            handshake_turns: HandshakeTurns::default(),
            tls_reports: RefCell::default(),
            deadlines: Deadlines::new(clock::coarse_ms()),
            alarms: Alarms::new(parts.alarm),
            local: RefCell::new(Rc::new(Local::empty(parts.index))),
            request_head: RefCell::default(),
            response_head: RefCell::default(),
            written_head: RefCell::default(),
            paths: RefCell::default(),
            draining: Cell::new(false),
            cutting: Cell::new(false),
            cut: Cell::new(false),
            draining_since_ms: Cell::new(u64::MAX),
            main: RefCell::default(),
            accepting: Cell::new(0),
            footprint: Footprint::default(),
            events: parts.events,
            counters: parts.counters,
            log: RefCell::default(),
            log_opening: RefCell::default(),
            log_sink: parts.log,
            tracer: Tracer::new(parts.spans),
            date: RefCell::default(),
            ticker: parts.ticker,
            ticking: Cell::new(false),
            trim: parts.trim,
            spawn: parts.spawn,
        }
    }

    /// Makes the main task look whether the worker is drained.
    pub(crate) fn wake_main(&self) {
        if self.draining.get()
            && let Some(main) = &*self.main.borrow()
        {
            main.wake_by_ref();
        }
    }

    /// What every step needs.
    pub(crate) fn lent(&self) -> Lent<'_> {
        Lent { scratch: &self.scratch, buffers: &self.buffers, pipes: Some(&self.pipes) }
    }

    /// The worker's own counters.
    pub(crate) fn counters(&self) -> &WorkerCounters {
        self.counters.of(self.index)
    }

    /// Lends the current date as an HTTP date.
    pub(crate) fn with_date<R>(&self, use_date: impl FnOnce(&[u8]) -> R) -> R {
        let unix_seconds = clock::unix_coarse_ns() / 1_000_000_000;
        let mut date = self.date.borrow_mut();
        if date.unix_seconds != unix_seconds {
            date.unix_seconds = unix_seconds;
            date.text.clear();
            write_http_date(&mut date.text, unix_seconds);
        }
        use_date(&date.text)
    }

    /// Lets `write` add a record to the access log; it is lent how the record begins.
    pub(crate) fn log_record(&self, write: impl FnOnce(&mut LogBatch, &Opening)) {
        if self.log_sink.is_none() {
            return;
        }
        let mut batch = self.log.borrow_mut();
        write(&mut batch, self.log_opening.borrow_mut().now());
        self.keep_ticking();
        if batch.is_full() {
            drop(batch);
            self.flush_log();
        }
    }

    /// Has the control thread told of TLS that failed, unless the like was told a moment ago.
    pub(crate) fn report_tls(&self, report: TlsReport) {
        if self.tls_reports.borrow_mut().passes(&report, clock::coarse_ms()) {
            self.events.send(Event::TlsFailed(report));
        }
    }

    /// Hands over all that is written so far: the worker ends, or is done.
    pub(crate) fn flush(&self) {
        self.flush_log();
        self.tracer.hand_over(self.counters());
    }

    /// Hands the records so far to the log writer.
    pub(crate) fn flush_log(&self) {
        let mut batch = self.log.borrow_mut();
        let records = batch.records();
        let Some(sink) = self.log_sink.as_ref().filter(|_| records > 0) else { return };
        match sink.hand_over(&mut batch) {
            Ok(()) => self.counters().log_records.add(records),
            Err(lost) => self.counters().log_dropped.add(lost),
        }
    }

    /// Makes sure that the ticker runs: something waits for it.
    pub(crate) fn keep_ticking(&self) {
        if !self.ticking.replace(true) {
            let interval = u32::try_from(TICK_MS).expect("a tick is far below 49 days");
            set_ticker(self.ticker, interval);
        }
    }

    /// One tick: wakes what is due, flushes the log, checks the pools, gives memory back; stops the ticker when nothing
    /// waits for it.
    pub(crate) fn tick(&self) {
        let now_ms = clock::coarse_ms();
        let no_deadlines = self.deadlines.advance(now_ms);
        self.flush_log();
        readiness::watch_waiting();
        let no_idle = self.local.borrow().sweep(now_ms);
        let is_last = no_deadlines && no_idle;
        self.tracer.tick(now_ms, is_last, self.counters());
        if self.footprint.take_slack(now_ms, is_last) {
            self.buffers.shrink_to(self.footprint.exchanges());
            self.gather.take();
            self.tracer.shrink_to(self.footprint.exchanges());
            (self.trim)();
        }
        if is_last {
            self.ticking.set(false);
            set_ticker(self.ticker, 0);
        }
    }
}

/// A connection's deadline. Removed when dropped.
pub(crate) struct Timer<S: Dial> {
    core: Rc<Core<S>>,
    key: DeadlineKey,
    due_ms: u64,
    /// The wheel knows whom to wake, be it only by [`Deadlines::wake_all`].
    attended: bool,
}

impl<S: Dial> Timer<S> {
    pub(crate) fn new(core: &Rc<Core<S>>) -> Self {
        Self { core: core.clone(), key: core.deadlines.insert(), due_ms: u64::MAX, attended: false }
    }

    /// Names its entry in the worker's deadlines.
    pub(crate) fn key(&self) -> DeadlineKey {
        self.key
    }

    /// Wakes the task when `due_ms` ([`clock::coarse_ms`]) has passed; `u64::MAX` for never.
    fn set(&mut self, cx: &Context<'_>, now_ms: u64, due_ms: u64) {
        if due_ms == self.due_ms && self.attended {
            return;
        }
        self.due_ms = due_ms;
        if !std::mem::replace(&mut self.attended, true) {
            self.core.deadlines.attend(self.key, cx.waker());
        }
        if due_ms == u64::MAX {
            self.core.deadlines.clear(self.key);
        } else {
            self.core.deadlines.set(self.key, now_ms, due_ms, cx.waker());
            self.core.keep_ticking();
        }
    }

    /// Ready when `due_ms` has passed, or the worker ends; `u64::MAX` is never.
    pub(crate) fn poll_until(&mut self, cx: &Context<'_>, due_ms: u64) -> Poll<()> {
        let now_ms = clock::coarse_ms();
        if now_ms >= due_ms || self.core.cutting.get() {
            // Setting the same time again arms it again.
            self.due_ms = u64::MAX;
            return Poll::Ready(());
        }
        self.set(cx, now_ms, due_ms);
        Poll::Pending
    }
}

impl<S: Dial> Drop for Timer<S> {
    fn drop(&mut self) {
        self.core.deadlines.remove(self.key);
    }
}

/// `start_ms` plus a timeout of which zero means none.
pub(crate) fn due(start_ms: u64, timeout: Duration) -> u64 {
    due_ms(start_ms, milliseconds(timeout))
}

/// The same for a timeout in milliseconds.
pub(crate) fn due_ms(start_ms: u64, timeout_ms: u64) -> u64 {
    if timeout_ms == 0 { u64::MAX } else { start_ms.saturating_add(timeout_ms) }
}

/// A timeout in milliseconds; one of less than that is none.
pub(crate) fn milliseconds(timeout: Duration) -> u64 {
    let rest = u64::from(timeout.subsec_millis());
    timeout.as_secs().saturating_mul(1000).saturating_add(rest)
}
