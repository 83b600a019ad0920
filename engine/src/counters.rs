//! Counters that one worker writes and the control thread reads.
//!
//! Each worker owns its own cells on its own cache lines; a cell is written with a plain load and store, because it has
//! exactly one writer. The sum over the workers is the value that `/metrics` shows.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use corelane_grpc::Status;

use crate::Http2End;
use crate::action::MirrorSkip;
use crate::histogram::{Distribution, Durations, Histogram, Sizes};
use crate::protocol::StreamReset;
use crate::reason::{Reason, Word};
use crate::tls::{Alert, TlsFailure};
use crate::tripwire::Tripwire;

/// A number that one worker writes and anyone may read. Wraps at 2^64.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`. Only the owning worker calls this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one. Only the owning worker calls this.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Subtracts one (gauges). Only the owning worker calls this.
    pub fn decrement(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }

    /// The current value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts by word. Its memory, 8 bytes a word, is allocated at the first one, because most things never see any.
#[derive(Debug)]
pub struct Tally<W> {
    cells: OnceLock<Box<[Cell]>>,
    words: PhantomData<W>,
}

impl<W> Default for Tally<W> {
    fn default() -> Self {
        Self { cells: OnceLock::new(), words: PhantomData }
    }
}

impl<W: Word> Tally<W> {
    /// Counts one. Only the owning worker calls this.
    #[cold]
    pub fn add(&self, word: W) {
        let cells = self.cells.get_or_init(|| W::ALL.iter().map(|_| Cell::default()).collect());
        cells[word.index()].increment();
    }

    /// The words that were counted, with how often.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let cells = self.cells.get().map_or(&[][..], |cells| &**cells);
        let counted = W::ALL.iter().zip(cells).map(|(word, cell)| (word.name(), cell.value()));
        counted.filter(|(_, count)| *count > 0)
    }
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows; its exported name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many values there were of which size; its exported name ends in their unit.
    Histogram,
}

/// One metric of a counter set: what `/metrics` needs to print it. Of those with one name the first one's help is printed.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name without the set's prefix, e.g. `requests_total`.
    pub name: &'static str,
    /// One line for `# HELP`.
    pub help: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// The label, with its value, that tells it from the metrics beside it that have the same name. Of what is counted by word,
    /// the label of the words alone; without one it is `reason`.
    pub label: Option<(&'static str, &'static str)>,
}

/// A set of cells with names.
pub trait CounterSet: Default + Send + Sync + 'static {
    /// The metrics that are one number; those of one name follow each other.
    const METRICS: &'static [Metric];

    /// The value of [`CounterSet::METRICS`] with this index.
    fn value(&self, index: usize) -> u64;

    /// The metrics that have a further label `reason`: one for each [`Tally`].
    const TALLIES: &'static [Metric];

    /// Adds to `sums` what was counted for [`CounterSet::TALLIES`] with this index.
    fn add_tally(&self, index: usize, sums: &mut BTreeMap<&'static str, u64>);

    /// The metrics that are histograms.
    const HISTOGRAMS: &'static [Metric] = &[];

    /// The histogram with this index in [`CounterSet::HISTOGRAMS`], once there was a value for one of them.
    fn histogram(&self, _index: usize) -> Option<&dyn Histogram> {
        None
    }
}

/// The counters of one thing (a listener, a route …), one set of cells per worker. Cloning shares them.
#[derive(Debug)]
pub struct PerWorker<T>(Arc<[Padded<T>]>);

impl<T> Clone for PerWorker<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Keeps two workers' cells off each other's cache lines (128: adjacent-line prefetch).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T: CounterSet> PerWorker<T> {
    /// A set for each of `workers` workers, all zero.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Padded::default()).collect())
    }

    /// A number of [`CounterSet::METRICS`], summed over the workers.
    #[must_use]
    pub fn sum(&self, index: usize) -> u64 {
        self.iter().fold(0, |sum, set| sum.wrapping_add(set.value(index)))
    }

    /// What was counted by reason for one of [`CounterSet::TALLIES`], summed over the workers.
    #[must_use]
    pub fn tally(&self, index: usize) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        self.iter().for_each(|set| set.add_tally(index, &mut sums));
        sums
    }

    /// A histogram of [`CounterSet::HISTOGRAMS`], summed over the workers; `None` if no worker has had anything for it.
    #[must_use]
    pub fn distribution(&self, index: usize) -> Option<Distribution> {
        self.distribution_of(|set| set.histogram(index))
    }
}

impl<T> PerWorker<T> {
    /// What was counted by the words of a tally that `of` finds, summed over the workers.
    #[must_use]
    pub fn tally_of<W: Word>(&self, of: impl Fn(&T) -> &Tally<W>) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        self.iter().for_each(|set| of(set).add_to(&mut sums));
        sums
    }

    /// A histogram that `of` finds, summed over the workers; `None` if it finds none.
    #[must_use]
    pub fn distribution_of(&self, of: impl Fn(&T) -> Option<&dyn Histogram>) -> Option<Distribution> {
        let mut histograms = self.iter().filter_map(of).peekable();
        let mut sum = Distribution::empty(histograms.peek()?.unit());
        histograms.for_each(|histogram| histogram.add_to(&mut sum));
        Some(sum)
    }

    /// The cells of one worker.
    ///
    /// # Panics
    ///
    /// When there is no such worker: indices come from the number the sets were made for.
    #[must_use]
    pub fn of(&self, worker: usize) -> &T {
        &self.0[worker].0
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.0.len()
    }

    /// The cells of every worker.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

macro_rules! counter_set {
    (
        $(#[$meta:meta])* $set:ident {
            $($field:ident: $kind:ident, $name:literal $([$label:literal = $value:literal])?, $help:literal;)+
        }
        $(by reason { $($tally:ident: $word:ident, $tally_name:literal $([$tally_label:literal])?, $tally_help:literal;)+ })?
        $(histograms $histograms:ident {
            $($histogram:ident: $distribution:ident, $histogram_name:literal, $histogram_help:literal;)+
        })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $set {
            $(#[doc = $help] pub $field: Cell,)+
            $($(#[doc = $tally_help] pub $tally: Tally<$word>,)+)?
            $(#[doc = "Its histograms. Their memory is allocated at the first value."]
            pub histograms: OnceLock<Box<$histograms>>,)?
        }

        $(#[doc = concat!("The histograms of [`", stringify!($set), "`].")]
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct $histograms {
            $(#[doc = $histogram_help] pub $histogram: $distribution,)+
        })?

        impl CounterSet for $set {
            const METRICS: &'static [Metric] = &[
                $(Metric {
                    label: label!($($label = $value)?),
                    ..metric($name, $help, MetricKind::$kind)
                },)+
            ];

            fn value(&self, index: usize) -> u64 {
                [$(&self.$field,)+][index].value()
            }

            const TALLIES: &'static [Metric] = &[
                $($(Metric {
                    label: label!($($tally_label = "")?),
                    ..metric($tally_name, $tally_help, MetricKind::Counter)
                },)+)?
            ];

            fn add_tally(&self, index: usize, sums: &mut BTreeMap<&'static str, u64>) {
                let tallies: &[&dyn Counted] = &[$($(&self.$tally,)+)?];
                tallies[index].add_to(sums);
            }

            $(const HISTOGRAMS: &'static [Metric] = &[
                $(metric($histogram_name, $histogram_help, MetricKind::Histogram),)+
            ];

            fn histogram(&self, index: usize) -> Option<&dyn Histogram> {
                let histograms = self.histograms.get()?;
                let known: &[&dyn Histogram] = &[$(&histograms.$histogram,)+];
                known.get(index).copied()
            })?
        }
    };
}

macro_rules! label {
    () => {
        None
    };
    ($label:literal = $value:literal) => {
        Some(($label, $value))
    };
}

const fn metric(name: &'static str, help: &'static str, kind: MetricKind) -> Metric {
    Metric { name, help, kind, label: None }
}

/// A tally of whatever words.
trait Counted {
    fn add_to(&self, sums: &mut BTreeMap<&'static str, u64>);
}

impl<W: Word> Counted for Tally<W> {
    fn add_to(&self, sums: &mut BTreeMap<&'static str, u64>) {
        for (word, count) in self.counted() {
            let sum = sums.entry(word).or_default();
            *sum = sum.wrapping_add(count);
        }
    }
}

counter_set! {
    /// What a worker counts about itself.
    WorkerCounters {
        connections_total: Counter, "connections_total", "Connections accepted.";
        connections: Gauge, "connections", "Connections from clients open now.";
        requests: Counter, "requests_total", "Requests, as those of listeners.";
        turns: Counter, "turns_total", "Turns of the event loop that had events.";
        waits: Counter, "waits_total", "Times the event loop had nothing to do and waited.";
        tasks_panicked: Counter, "task_panics_total", "Connection tasks that panicked; a bug in Corelane.";
        accept_paused: Counter, "accept_pauses_total", "Times accepting paused because file descriptors or memory ran out, or for an unknown error.";
        log_records: Counter, "access_log_records_total", "Access-log records handed to the log writer.";
        log_dropped: Counter, "access_log_dropped_total", "Access-log records dropped because the log writer was behind.";
        log_skipped: Counter, "access_log_skipped_total", "Requests without an access-log record: a rule's share or their route left them out.";
        spans: Counter, "trace_spans_total", "Spans handed to the exporter.";
        spans_dropped: Counter, "trace_spans_dropped_total", "Spans dropped because the exporter was behind.";
        spliced_bytes: Counter, "spliced_bytes_total", "Bytes of bodies that passed through a pipe instead of being copied.";
        pipes: Gauge, "pipes", "Pipes open now, idle ones included.";
        wakeups: Counter, "control_wakeups_total", "Times the control thread woke the worker.";
    }
}

counter_set! {
    /// What is counted per listener.
    ListenerCounters {
        connections_total: Counter, "connections_total", "Connections accepted.";
        connections: Gauge, "connections", "Connections open now.";
        connections_active: Gauge, "connections_active", "Connections with a request in progress now.";
        requests: Counter, "requests_total", "Requests, refused ones and those whose head came too late included.";
        bad_requests: Counter, "bad_requests_total", "Requests refused with 400, 405, 408, 414, 431 or 505: they broke a rule or came too slowly.";
        head_timeouts: Counter, "head_timeouts_total", "Requests whose head did not arrive within head_timeout.";
        connections_waited: Counter, "connections_waited_total", "Times a worker left connections waiting because connections_max was reached.";
        connections_yielded: Counter, "connections_yielded_total", "Idle connections closed to make room for waiting ones.";
        connections_refused: Counter, "connections_refused_total", "Connections reset because the client had client_connections_max.";
        requests_max_reached: Counter, "requests_max_reached_total", "Connections closed after requests_max requests.";
        tunnels: Gauge, "tunnels", "Connections that are tunnels now.";
        tunnels_total: Counter, "tunnels_total", "Connections that became tunnels: a switch of protocols, or CONNECT.";
        pipeline_full: Counter, "pipeline_full_total", "Requests during which a client had pipelined pipeline_bytes_max.";
        keepalive_timeouts: Counter, "keepalive_timeouts_total", "Idle connections closed after keepalive_timeout.";
        client_aborts: Counter, "client_aborts_total", "Requests abandoned because the client went away.";
        received_bytes: Counter, "received_bytes_total", "Bytes received from clients.";
        sent_bytes: Counter, "sent_bytes_total", "Bytes sent to clients.";
        http2_connections: Counter, "http2_connections_total", "Connections that speak HTTP/2.";
        http2_refused: Counter, "http2_connections_refused_total", "HTTP/2 connections refused because of what their client's others did.";
        tls_handshaking: Gauge, "tls_handshakes_in_progress", "TLS handshakes in progress now.";
        tls_handshakes: Counter, "tls_handshakes_total" ["resumed" = "no"], "TLS handshakes completed with clients.";
        tls_resumed: Counter, "tls_handshakes_total" ["resumed" = "yes"], "TLS handshakes that continued an earlier session.";
    }
    by reason {
        failures: Reason, "failures_total", "Exchanges that Corelane itself ended with an error.";
        suspicious: Tripwire, "suspicious_total", "Exchanges with something suspicious that was no reason to refuse them.";
        http2_ended: Http2End, "http2_connections_ended_total", "HTTP/2 connections that have ended, by how.";
        tls_failures: TlsFailure, "tls_failures_total", "TLS connections of clients that failed, in the handshake or after it.";
        tls_alerts: Alert, "tls_alerts_total", "Fatal TLS alerts that clients sent.";
    }
}

counter_set! {
    /// What is counted per route.
    RouteCounters {
        requests: Counter, "requests_total", "Requests that took the route.";
        responses_1xx: Counter, "responses_total" ["code" = "1xx"], "Responses by the class of their status, interim ones included.";
        responses_2xx: Counter, "responses_total" ["code" = "2xx"], "Responses with a 2xx status.";
        responses_3xx: Counter, "responses_total" ["code" = "3xx"], "Responses with a 3xx status.";
        responses_4xx: Counter, "responses_total" ["code" = "4xx"], "Responses with a 4xx status.";
        responses_5xx: Counter, "responses_total" ["code" = "5xx"], "Responses with a 5xx status.";
    }
    by reason {
        failures: Reason, "failures_total", "Exchanges that Corelane itself ended with an error.";
        suspicious: Tripwire, "suspicious_total", "Exchanges with something suspicious that was no reason to refuse them.";
    }
    histograms RouteHistograms {
        duration: Durations, "request_duration_seconds", "From the request's first byte to the last byte of the response; without tunnels.";
        response_head: Durations, "response_head_seconds", "From the request's first byte to the head of the response.";
        request_body: Sizes, "request_body_bytes", "Bodies of requests, without their framing.";
        response_body: Sizes, "response_body_bytes", "Bodies of responses, without their framing; 0 for answers of Corelane's own.";
    }
}

counter_set! {
    /// What is counted per filter.
    FilterCounters {
        passed: Counter, "passed_total", "Requests that the filter had nothing to do with.";
        acted: Counter, "acted_total", "Requests and responses that the filter changed, and requests that it answered.";
        refused: Counter, "refused_total", "Requests that the filter refused.";
    }
}

counter_set! {
    /// What is counted per route that mirrors.
    MirrorCounters {
        requests: Counter, "requests_total", "Requests that were sent to the mirror's upstream, or were to be.";
        active: Gauge, "requests_active", "Requests that are being received for the mirror, or answered by it, now.";
    }
    by reason {
        skipped: MirrorSkip, "skipped_total", "Requests of the mirror's share that were not mirrored.";
        failures: Reason, "failures_total", "Mirrored requests that got no complete response.";
    }
}

counter_set! {
    /// What is counted per upstream.
    UpstreamCounters {
        requests: Counter, "requests_total", "Requests that were to go to the upstream.";
        retries: Counter, "retries_total", "Requests sent again on another connection or to another endpoint.";
        hedges: Counter, "hedges_total", "Requests that went to a second endpoint while the first had not answered.";
        hedges_won: Counter, "hedges_won_total", "Those of them that got the second endpoint's response.";
        retries_refused: Counter, "retries_refused_total" ["reason" = "budget"], "Requests not sent again because of a limit.";
        retries_refused_full: Counter, "retries_refused_total" ["reason" = "retries_max"], "Requests not sent again because there were retries_max retries.";
        refused_breaker: Counter, "refused_total" ["reason" = "breaker_open"], "Requests answered 503 because the upstream as a whole takes no more.";
        refused_full: Counter, "refused_total" ["reason" = "upstream_full"], "Requests answered 503 because there were requests_max requests.";
        breaker_opens: Counter, "breaker_opens_total", "Times the breaker has opened, after a failed probe too.";
        no_endpoint: Counter, "no_endpoint_total", "Requests answered 503 because no endpoint could be chosen.";
        waited: Counter, "requests_waited_total", "Requests that waited for a place at the upstream or an endpoint.";
        waiting: Gauge, "requests_waiting", "Requests that wait for a place at the upstream or an endpoint now.";
    }
    by reason {
        calls: Status, "grpc_calls_total" ["grpc_status"], "Calls (gRPC) by how they have ended for their clients.";
    }
    histograms UpstreamHistograms {
        connect: Durations, "connect_duration_seconds", "Opening a connection, of those that opened.";
        response_head: Durations, "response_head_seconds", "From when the request was sent to the head of the response.";
        duration: Durations, "request_duration_seconds", "From the first byte sent of the request to the last byte of the response; without tunnels.";
    }
}

counter_set! {
    /// What is counted per endpoint.
    EndpointCounters {
        requests: Counter, "requests_total", "Requests sent to the endpoint.";
        outstanding: Gauge, "requests_active", "Requests in progress now.";
        connects: Counter, "connects_total", "Connections opened.";
        connect_failures: Counter, "connect_failures_total", "Connections that could not be opened.";
        connect_timeouts: Counter, "connect_timeouts_total", "Connections that did not open within connect_timeout.";
        reused: Counter, "connection_reuses_total", "Requests sent on a pooled connection.";
        stale: Counter, "connections_stale_total", "Pooled connections found closed or with surplus bytes.";
        idle: Gauge, "connections_idle", "Idle connections in the pools now.";
        yielded: Counter, "connections_yielded_total", "Idle connections closed for requests that waited at another worker.";
        reuse_suspended: Gauge, "reuse_suspended", "Workers that do not reuse connections to the endpoint now.";
        reuse_suspensions: Counter, "reuse_suspensions_total", "Times a worker stopped reusing connections to the endpoint for quarantine_time.";
        response_timeouts: Counter, "response_timeouts_total", "Responses that did not arrive within response_head_timeout, retry.per_try_timeout or body_idle_timeout.";
        bad_responses: Counter, "bad_responses_total", "Exchanges that failed by the endpoint's fault in another way: its response broke a rule, it did not take the request, its status was one of retry.on, or request_timeout passed.";
        resets: Counter, "resets_total", "Connections that failed or ended in the middle of an exchange.";
        received_bytes: Counter, "received_bytes_total", "Bytes received from the endpoint.";
        sent_bytes: Counter, "sent_bytes_total", "Bytes sent to the endpoint.";
        tls_handshakes: Counter, "tls_handshakes_total" ["resumed" = "no"], "TLS handshakes completed with the endpoint.";
        tls_resumed: Counter, "tls_handshakes_total" ["resumed" = "yes"], "TLS handshakes that continued an earlier session.";
        http2_connections: Gauge, "http2_connections", "Connections that speak HTTP/2 and are open now.";
        http2_goaways: Counter, "http2_goaways_total", "HTTP/2 connections that the endpoint has told to end.";
        http2_pings: Counter, "http2_pings_total", "Times the endpoint was asked whether it is there.";
        http2_unprocessed: Counter, "http2_unprocessed_total", "Requests that the endpoint said it had not begun with.";
    }
    by reason {
        http2_ended: Http2End, "http2_connections_ended_total", "HTTP/2 connections that have ended, by how.";
        http2_resets: StreamReset, "http2_resets_total", "Requests whose stream the endpoint has reset, by its code.";
        failures: Reason, "failures_total", "Attempts that failed by the endpoint's fault, repeated ones included.";
        suspicious: Tripwire, "suspicious_total", "Suspicious things that the endpoint did.";
        tls_failures: TlsFailure, "tls_failures_total", "TLS connections to the endpoint that failed, in the handshake or in an exchange.";
        tls_alerts: Alert, "tls_alerts_total", "Fatal TLS alerts that the endpoint sent.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_workers() {
        let counters = PerWorker::<RouteCounters>::new(3);
        counters.of(0).requests.increment();
        counters.of(2).requests.add(4);
        assert_eq!((counters.sum(0), counters.sum(1)), (5, 0));
        assert_eq!(RouteCounters::METRICS[0].name, "requests_total");
        counters.of(1).responses_5xx.increment();
        assert_eq!((RouteCounters::METRICS[5].label, counters.sum(5)), (Some(("code", "5xx")), 1));
    }

    #[test]
    fn counts_by_reason_once_there_is_one() {
        let counters = PerWorker::<RouteCounters>::new(2);
        assert_eq!(counters.tally(0), BTreeMap::new());
        assert!(counters.of(0).failures.cells.get().is_none(), "no memory before the first failure");
        counters.of(0).failures.add(Reason::NoRoute);
        counters.of(1).failures.add(Reason::NoRoute);
        counters.of(1).failures.add(Reason::HeadTimeout);
        counters.of(1).suspicious.add(Tripwire::SurplusBytes);
        let failures = BTreeMap::from([("head_timeout", 1), ("no_route", 2)]);
        assert_eq!(counters.tally_of(|it| &it.failures), failures);
        assert_eq!(
            (counters.tally(0), counters.tally(1)),
            (failures, BTreeMap::from([("surplus_bytes", 1)]))
        );
        assert_eq!(RouteCounters::TALLIES[1].name, "suspicious_total");
        assert!(WorkerCounters::TALLIES.is_empty());
    }

    #[test]
    fn histograms_of_all_workers_once_there_is_a_value() {
        let counters = PerWorker::<RouteCounters>::new(3);
        assert_eq!(counters.distribution(0), None, "no memory before the first value");
        for (worker, bytes) in [(0, 10), (2, 2_000), (2, 20)] {
            counters.of(worker).histograms.get_or_init(Box::default).response_body.add(bytes);
        }
        let sizes = counters.distribution(3).unwrap();
        assert_eq!((&sizes.buckets[..3], sizes.sum), (&[2, 0, 1][..], 2_030));
        assert_eq!(counters.distribution(0).unwrap().count(), 0);
        assert_eq!(RouteCounters::HISTOGRAMS[3].name, "response_body_bytes");
        assert!(WorkerCounters::HISTOGRAMS.is_empty());
    }

    #[test]
    fn a_route_that_never_fails_stays_small() {
        // One pair of cache lines for each worker: 100 000 routes are 13 MB a worker.
        assert!(size_of::<Padded<RouteCounters>>() <= 128);
    }
}
