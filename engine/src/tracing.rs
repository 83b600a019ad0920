//! Spans of sampled exchanges (OpenTelemetry), on their way from a worker to the control thread.
//!
//! ```text
//! request head → sampled? ─ no ─▶ a traceparent for the upstream, nothing else
//!                   └─ yes ─▶ Trace: what the head says │ each attempt │ the end ─▶ SpanBatch ─▶ control thread
//! ```
//!
//! A worker writes spans as they go out in OTLP ([`protobuf`]), so that the control thread puts batches one behind the
//! other and reads none. All memory of it is used again: nothing is allocated after warm-up.

pub mod protobuf;
mod span;

use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use corelane_balancer::mix;
use corelane_semantics::{TRACE_PARENT_BYTES, TraceParent, is_trace_parent, is_trace_state};

pub use crate::access_log::{
    LogBatch as SpanBatch, LogSink as SpanSink, LogSource as SpanSource, log_channel as span_channel,
};
use crate::counters::WorkerCounters;
use crate::record::Redaction;
use crate::request_id::hexadecimal;
pub(crate) use span::{ATTRIBUTES, Kind, Span};

/// Which exchanges are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Random numbers below this are not sampled.
    threshold: u64,
    parents: Parents,
    redaction: Arc<Redaction>,
}

/// Whose decision about sampling is obeyed. A trace goes on with whoever began it, whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parents {
    /// That of trusted proxies.
    #[default]
    Trusted,
    /// That of every client.
    All,
    /// Nobody's.
    None,
}

/// The numbers that are compared with the threshold have so many bits: the random ones of every trace id (W3C Trace Context
/// Level 2 §3.2.2.5.2).
const RANDOM_BITS: u32 = 56;

impl Tracing {
    /// Records so many of a million exchanges, without the secrets of their queries.
    ///
    /// # Panics
    ///
    /// When it is more than a million.
    #[must_use]
    pub fn new(share: u32, parents: Parents, redaction: Redaction) -> Self {
        let sampled = (u128::from(share) << RANDOM_BITS) / 1_000_000;
        let threshold = (1 << RANDOM_BITS) - u64::try_from(sampled).expect("at most a million");
        Self { threshold, parents, redaction: Arc::new(redaction) }
    }

    /// Whether a request is recorded. `random` decides where the client may not.
    pub(crate) fn samples(&self, parent: Option<TraceParent>, is_trusted: bool, random: u64) -> bool {
        let is_obeyed = match self.parents {
            Parents::Trusted => is_trusted,
            Parents::All => true,
            Parents::None => false,
        };
        match parent {
            Some(parent) if is_obeyed => parent.is_sampled(),
            _ => random & ((1 << RANDOM_BITS) - 1) >= self.threshold,
        }
    }

    /// Writes a query without the values of secrets.
    pub(crate) fn write_query(&self, out: &mut Vec<u8>, query: &[u8]) {
        self.redaction.pieces(query, true, |piece| out.extend_from_slice(piece));
    }
}

/// What the head for the upstream says of the trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceFields {
    pub(crate) parent: [u8; TRACE_PARENT_BYTES],
    /// The trace has begun elsewhere: its `tracestate` goes on.
    pub(crate) is_joined: bool,
}

impl TraceFields {
    /// Whether a field of this name ends here.
    pub(crate) fn replaces(&self, name: &[u8]) -> bool {
        is_trace_parent(name) || !self.is_joined && is_trace_state(name)
    }
}

/// Where the parent id stands in a `traceparent`, and the trace id.
pub(crate) const PARENT_ID_AT: usize = 36;
pub(crate) const TRACE_ID_AT: usize = 3;

/// Hexadecimal digits of a trace id.
pub(crate) const TRACE_ID_DIGITS: usize = 32;

/// A `traceparent` of version 00.
pub(crate) fn trace_parent(trace_id: u128, parent_id: u64, flags: u8) -> [u8; TRACE_PARENT_BYTES] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let (high, low) = halves(trace_id);
    text[TRACE_ID_AT..19].copy_from_slice(&hexadecimal(high));
    text[19..35].copy_from_slice(&hexadecimal(low));
    text[PARENT_ID_AT..52].copy_from_slice(&hexadecimal(parent_id));
    // Four flags at most are known.
    text[54] = b'0' + (flags & 3);
    text
}

fn halves(id: u128) -> (u64, u64) {
    let [high, low] = [id >> 64, id & u128::from(u64::MAX)];
    (u64::try_from(high).expect("64 bits"), u64::try_from(low).expect("64 bits"))
}

/// One recorded exchange, while it lasts.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) id: u128,
    /// The caller's span; 0 where the trace begins here.
    pub(crate) parent_id: u64,
    pub(crate) server_id: u64,
    /// The head says it already.
    pub(crate) first_attempt_id: u64,
    pub(crate) flags: u8,
    /// What is added to a monotonic time for nanoseconds since 1970.
    pub(crate) unix_minus_monotonic_ns: u64,
    /// `tracestate` as it came, if the trace has begun elsewhere.
    pub(crate) state: Vec<u8>,
    /// What the spans are called.
    pub(crate) name: Vec<u8>,
    /// How much of it is the method, which is what those of attempts are called.
    pub(crate) method_bytes: usize,
    /// Of the request's own span, as they are written.
    pub(crate) attributes: Vec<u8>,
    /// The attempts so far, and their attributes one behind the other.
    pub(crate) attempts: Vec<TracedAttempt>,
    pub(crate) attempt_attributes: Vec<u8>,
}

/// One request to an endpoint.
#[derive(Debug, Default)]
pub(crate) struct TracedAttempt {
    pub(crate) id: u64,
    pub(crate) started_ns: u64,
    /// 0: it has not ended.
    pub(crate) ended_ns: u64,
    pub(crate) is_error: bool,
    /// Where its attributes end.
    pub(crate) attributes_end: usize,
}

impl Trace {
    /// Keeps the memory only.
    fn empty(&mut self) {
        self.state.clear();
        self.name.clear();
        self.attributes.clear();
        self.attempts.clear();
        self.attempt_attributes.clear();
    }
}

/// What a worker needs for spans.
pub(crate) struct Tracer {
    /// Ids of spans are a permutation of the numbers, as those of requests are.
    keys: [u64; 2],
    next: Cell<u64>,
    #[allow(clippy::vec_box, reason = "an exchange takes the box, not what is in it")]
    free: RefCell<Vec<Box<Trace>>>,
    batch: RefCell<SpanBatch>,
    /// Where a span is written while its length is not known, and then with its length.
    body: RefCell<Vec<u8>>,
    span: RefCell<Vec<u8>>,
    sink: Option<SpanSink>,
    flushed_ms: Cell<u64>,
}

/// Traces that are kept for others at most: some 2 KiB each.
const FREE_MAX: usize = 1024;

/// How long a span waits at most before it is handed over.
const FLUSH_MS: u64 = 1000;

impl Tracer {
    pub(crate) fn new(sink: Option<SpanSink>) -> Self {
        let random = RandomState::new();
        Self {
            keys: [0u8, 1].map(|index| random.hash_one(index)),
            next: Cell::new(0),
            free: RefCell::default(),
            batch: RefCell::default(),
            body: RefCell::default(),
            span: RefCell::default(),
            sink,
            flushed_ms: Cell::new(0),
        }
    }

    /// An id that no other span of this worker has; never 0.
    pub(crate) fn span_id(&self) -> u64 {
        loop {
            let number = self.next.get();
            self.next.set(number.wrapping_add(1));
            let id = mix(mix(number ^ self.keys[0]) ^ self.keys[1]);
            if id != 0 {
                return id;
            }
        }
    }

    /// An empty trace.
    pub(crate) fn take(&self) -> Box<Trace> {
        self.free.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&self, mut trace: Box<Trace>) {
        let mut free = self.free.borrow_mut();
        if free.len() < FREE_MAX {
            trace.empty();
            free.push(trace);
        }
    }

    /// Adds a span to the batch, which is handed over when it is full.
    pub(crate) fn record(&self, span: &Span<'_>, counters: &WorkerCounters) {
        if self.sink.is_none() {
            return;
        }
        let (mut body, mut written) = (self.body.borrow_mut(), self.span.borrow_mut());
        body.clear();
        written.clear();
        span.write(&mut body);
        protobuf::write_bytes(&mut written, span::SPANS_OF_SCOPE, &body);
        let mut batch = self.batch.borrow_mut();
        batch.add(written.len(), |room| {
            room[..written.len()].copy_from_slice(&written);
            written.len()
        });
        if batch.is_full() {
            drop(batch);
            self.hand_over(counters);
        }
    }

    /// Hands over what waits, if it is time.
    pub(crate) fn tick(&self, now_ms: u64, is_last: bool, counters: &WorkerCounters) {
        if is_last || now_ms.saturating_sub(self.flushed_ms.get()) >= FLUSH_MS {
            self.flushed_ms.set(now_ms);
            self.hand_over(counters);
        }
    }

    /// Hands over what waits.
    pub(crate) fn hand_over(&self, counters: &WorkerCounters) {
        let mut batch = self.batch.borrow_mut();
        let spans = batch.records();
        let Some(sink) = self.sink.as_ref().filter(|_| spans > 0) else { return };
        match sink.hand_over(&mut batch) {
            Ok(()) => counters.spans.add(spans),
            Err(lost) => counters.spans_dropped.add(lost),
        }
    }

    /// Lets go of what a burst has needed.
    pub(crate) fn shrink_to(&self, traces: usize) {
        self.free.borrow_mut().truncate(traces);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_it_reads() {
        for flags in 0..4 {
            let text = trace_parent(0x0123_4567_89ab_cdef_0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff, flags);
            let read = TraceParent::parse(&text).unwrap();
            assert_eq!(
                (read.trace_id, read.parent_id, read.flags),
                (0x0123_4567_89ab_cdef_0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff, flags)
            );
        }
    }

    #[test]
    fn samples_its_share_and_obeys_whom_it_may() {
        let shares = [(0, 0), (10_000, 1000), (500_000, 50_000), (1_000_000, 100_000)];
        for (share, expected) in shares {
            let tracing = Tracing::new(share, Parents::Trusted, Redaction::default());
            let sampled = (0..100_000).filter(|&number| tracing.samples(None, true, mix(number))).count();
            assert!(sampled.abs_diff(expected) <= expected / 10, "{sampled} of 100000 at {share}");
        }
        let parent = |flags| Some(TraceParent { trace_id: 1, parent_id: 1, flags });
        for (parents, trusted, other) in
            [(Parents::Trusted, true, false), (Parents::All, true, true), (Parents::None, false, false)]
        {
            let [all, none] = [1_000_000, 0].map(|share| Tracing::new(share, parents, Redaction::default()));
            for (is_trusted, obeys) in [(true, trusted), (false, other)] {
                assert_eq!(none.samples(parent(1), is_trusted, u64::MAX), obeys, "{parents:?} {is_trusted}");
                assert_eq!(all.samples(parent(2), is_trusted, 0), !obeys, "{parents:?} {is_trusted}");
            }
        }
    }

    #[test]
    fn span_ids_differ() {
        let tracer = Tracer::new(None);
        let ids: std::collections::HashSet<u64> = (0..10_000).map(|_| tracer.span_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(!ids.contains(&0));
    }
}
