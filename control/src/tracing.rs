//! Sending the workers' spans to a collector (OpenTelemetry Protocol, OTLP 1.x), from the control thread.
//!
//! ```text
//! workers ─ SpanBatch, bounded ─▶ every second: one request of up to 1 MiB ─▶ collector
//!                                        ▲                              │
//!                                        └── the same again, later ◀────┘ 429, 502, 503, 504 and what is like them
//! ```
//!
//! One request is on its way at a time. While it is tried again, batches wait in the channel; when that is full, workers
//! drop spans and count them. So what a collector does costs no request of a client anything.

mod answer;
mod client;
mod message;

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::fmt::Display;
use std::hash::BuildHasher as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelane_engine::record::Redaction;
use corelane_engine::tracing::{SpanSource, Tracing};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use self::answer::Answer;
use self::client::Client;
use crate::config;
use crate::log;

/// Batches of about 64 KiB that may wait for the exporter: at most 16 MiB.
pub(crate) const SPAN_BATCHES_MAX: usize = 256;

/// So many batches are one request: about 1 MiB, where collectors take 4 MiB (gRPC) or more.
const BATCHES_OF_A_REQUEST: usize = 16;

/// Between two looks at what has come; spans are seen that much later.
const PAUSE: Duration = Duration::from_secs(1);

/// The same while there was more than one request could take.
const PAUSE_UNDER_LOAD: Duration = Duration::from_millis(50);

/// Before a request is sent again for the first time, and at most; doubled each time.
const BACKOFF: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(16);

/// A request that was not taken after this time is given up, so that newer spans have their turn.
const RETRY_TIME_MAX: Duration = Duration::from_secs(60);

/// A collector that is gone is worth a line, not a line a request.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// What the workers are told.
pub(crate) fn of_workers(tracing: &config::Tracing) -> Tracing {
    let redaction = Redaction::new(tracing.redacted.iter().map(String::as_str));
    Tracing::new(tracing.share, tracing.parents, redaction)
}

/// What has become of spans.
#[derive(Debug, Default)]
pub(crate) struct ExportCounters {
    /// Spans that a collector took.
    pub(crate) exported: Cell<u64>,
    /// Spans that it did not take, in the end.
    pub(crate) lost: Cell<u64>,
    /// Requests that failed, those that were sent again included.
    pub(crate) failures: Cell<u64>,
}

fn add(counter: &Cell<u64>, count: u64) {
    counter.set(counter.get() + count);
}

/// The supervisor's end of the exporter.
#[derive(Debug)]
pub(crate) struct Exporter {
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Order {
    /// `None`: what comes is dropped.
    target: Option<Arc<config::Tracing>>,
    /// Send what waits and end.
    finish: bool,
}

impl Exporter {
    /// Starts the task.
    pub(crate) fn start(source: SpanSource, counters: Rc<ExportCounters>) -> Self {
        let (orders, received) = watch::channel(Order::default());
        let task = Task { source, orders: received, counters, client: Client::default(), reported: None };
        Self { orders, task: spawn_local(task.run()) }
    }

    /// Sends to another collector from now on, or none.
    pub(crate) fn configure(&self, target: Option<config::Tracing>) {
        self.orders.send_modify(|order| order.target = target.map(Arc::new));
    }

    /// Sends what waits, for at most so long. The workers have ended.
    pub(crate) async fn finish(self, within: Duration) {
        self.orders.send_modify(|order| order.finish = true);
        if tokio::time::timeout(within, self.task).await.is_err() {
            log::warning!("the last spans are lost, the collector does not take them in time");
        }
    }
}

struct Task {
    source: SpanSource,
    orders: watch::Receiver<Order>,
    counters: Rc<ExportCounters>,
    client: Client,
    /// When a failure was last reported, as long as it lasts.
    reported: Option<Instant>,
}

/// What is on its way to the collector.
struct Request {
    message: Vec<u8>,
    spans: u64,
}

impl Task {
    async fn run(mut self) {
        loop {
            let order = self.orders.borrow_and_update().clone();
            let Some(target) = order.target else {
                while let Ok(batch) = self.source.try_recv() {
                    add(&self.counters.lost, batch.records());
                    self.source.recycle(batch);
                }
                // The sender's drop is an end, too.
                if order.finish || self.orders.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let (request, more) = self.collect(&target);
            let waits = match request {
                Some(request) => {
                    self.export(request).await;
                    more
                }
                None => false,
            };
            // What came during an export is taken before the end.
            if order.finish && !waits {
                return;
            }
            let finish = self.orders.borrow().finish;
            let pause = if waits { PAUSE_UNDER_LOAD } else { PAUSE };
            tokio::select! {
                changed = self.orders.changed() => if changed.is_err() { return },
                () = sleep(pause), if !finish => {}
                () = std::future::ready(()), if finish => {}
            }
        }
    }

    /// Takes what waits, and says whether there was more.
    fn collect(&self, target: &config::Tracing) -> (Option<Request>, bool) {
        let mut batches = Vec::new();
        while batches.len() < BATCHES_OF_A_REQUEST
            && let Ok(batch) = self.source.try_recv()
        {
            batches.push(batch);
        }
        let more = batches.len() == BATCHES_OF_A_REQUEST;
        let spans = batches.iter().map(|batch| batch.records()).sum();
        let request = (spans > 0).then(|| {
            let written: Vec<&[u8]> = batches.iter().map(|batch| batch.lines()).collect();
            Request { message: message::request(&target.service_name, &written), spans }
        });
        batches.into_iter().for_each(|batch| self.source.recycle(batch));
        (request, more)
    }

    /// Sends a request until it is taken, refused or given up.
    async fn export(&mut self, request: Request) {
        let Request { message, spans } = request;
        let message = hyper::body::Bytes::from(message);
        let start = Instant::now();
        let mut backoff = BACKOFF;
        loop {
            let order = self.orders.borrow_and_update().clone();
            let Some(target) = order.target else { return add(&self.counters.lost, spans) };
            let (reason, wait) = match self.client.send(&target, message.clone()).await {
                Answer::Taken { rejected, message } => {
                    let rejected = rejected.min(spans);
                    add(&self.counters.exported, spans - rejected);
                    add(&self.counters.lost, rejected);
                    if rejected > 0 || !message.is_empty() {
                        self.report(&target, &message, rejected);
                    } else if self.reported.take().is_some() {
                        log::info!("spans can be exported again", collector = target.collector.authority);
                    }
                    return;
                }
                Answer::Refused(reason) => {
                    add(&self.counters.failures, 1);
                    add(&self.counters.lost, spans);
                    return self.report(&target, &reason, spans);
                }
                Answer::Later(reason, wait) => (reason, wait),
            };
            add(&self.counters.failures, 1);
            // A collector may ask for more patience, not for less.
            let wait = wait.unwrap_or_default().max(jittered(backoff));
            if order.finish || start.elapsed() + wait > RETRY_TIME_MAX {
                add(&self.counters.lost, spans);
                return self.report(&target, &reason, spans);
            }
            self.report(&target, &reason, 0);
            backoff = (backoff * 2).min(BACKOFF_MAX);
            tokio::select! {
                () = sleep(wait) => {}
                changed = self.orders.changed() => if changed.is_err() { return },
            }
        }
    }

    /// At once, and then once a minute.
    fn report(&mut self, target: &config::Tracing, reason: &dyn Display, lost: u64) {
        let now = Instant::now();
        if self.reported.is_none_or(|at| now.duration_since(at) >= REPORT_INTERVAL) {
            self.reported = Some(now);
            let url = format!("http://{}{}", target.collector.authority, target.collector.path);
            log::error!("spans cannot be exported", url = url, error = reason, lost = lost);
        }
    }
}

/// Between half of it and all, so that many proxies do not come back at once.
fn jittered(backoff: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1024;
    backoff / 2 + backoff / 2 * u32::try_from(random).unwrap_or_default() / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_differ_and_are_bounded() {
        let waits: Vec<Duration> = (0..100).map(|_| jittered(BACKOFF_MAX)).collect();
        assert!(waits.iter().all(|wait| (BACKOFF_MAX / 2..=BACKOFF_MAX).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
