//! Hedged requests: a read whose response does not begin for long goes to a second endpoint too, and the response that
//! begins first is the one.
//!
//! ```text
//! first ── sent, nothing comes ── hedge_after ──────────────────────────┬─ begins ─▶ relayed; the other is closed
//!                                     └─▶ second: connect ── sent ──────┘  fails ──▶ the other goes on alone
//! ```
//!
//! It waits within the attempt of the first, before its relay. When the second wins, that attempt goes on with it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use corelane_semantics::{BodyFraming, Method};

use super::deadline::Progress;
use super::tracing::AttemptSpan;
use super::visit::Visit;
use super::{Connecting, Exchange, count_connect, count_endpoint_failure, note_tls_failure, response_limits};
use crate::alarms::Alarm;
use crate::core::{Core, Timer, due};
use crate::counters::EndpointCounters;
use crate::failure::Failure;
use crate::h1::H1Upstream;
use crate::io::{Dial, clock};
use crate::message::{BodyBatch, Downstream, Upstream};
use crate::reserved::Reserved;
use crate::retry::Retry;

/// What a hedged attempt works with.
pub(super) struct Sides<'r, S: Dial, D> {
    pub(super) timer: &'r mut Timer<S>,
    pub(super) down: &'r mut D,
    /// The first; the winner afterwards.
    pub(super) up: &'r mut H1Upstream<S>,
}

/// The wait for the first of two responses.
struct Race<'r, 'a, S: Dial, D> {
    core: &'r Core<S>,
    sides: Sides<'r, S, D>,
    visit: &'r mut Visit<'a, S>,
    /// When the second begins.
    alarm: Alarm<'r>,
    second: Option<Box<Second<'a, S>>>,
}

/// The second attempt.
struct Second<'a, S: Dial> {
    visit: Visit<'a, S>,
    stage: Stage<'a, S>,
    /// Behind the connection, so that it is given back when that is closed.
    reserved: Option<Box<Reserved<S>>>,
    mark: Mark,
}

/// What is told of it.
#[derive(Default)]
struct Mark {
    reused: bool,
    /// The name of its span.
    span_id: u64,
    started_ns: u64,
    sent_ns: u64,
    connect_ns: Option<u64>,
}

#[allow(clippy::large_enum_variant, reason = "the attempt as a whole is boxed")]
enum Stage<'a, S> {
    /// Until when.
    Connecting(Connecting<'a, S>, u64),
    Sent(H1Upstream<S>),
    /// There is no connection.
    Failed,
}

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// When this attempt is to be hedged ([`clock::monotonic_ns`]); `u64::MAX` for never.
    #[cold]
    pub(super) fn hedge_due_ns(&self, retry: &Retry) -> u64 {
        let is_read = matches!(self.method, Method::Get | Method::Head | Method::Options);
        let has_body = !matches!(self.framing, BodyFraming::None | BodyFraming::Length(0));
        // What belongs to a connection, or to an endpoint, stays there.
        let is_bound =
            !self.words.upgrade.is_empty() || self.authenticates_connection || self.wish.seat.is_some();
        let may_be_hedged = is_read && !has_body && !is_bound && self.tries.may_repeat;
        let after_ns = u64::try_from(retry.hedge_after.as_nanos()).unwrap_or(u64::MAX);
        if may_be_hedged { clock::recent_ns().saturating_add(after_ns) } else { u64::MAX }
    }

    /// Waits until a response begins, or until it is for the relay to find out why none does. A failure is that of both.
    ///
    /// Boxed and behind a table of functions: the future of every exchange would hold it, and its code keep that of others
    /// from being inlined. So a request that may be hedged pays an allocation.
    #[cold]
    #[inline(never)]
    pub(super) fn race<'r, 'a: 'r>(
        &'r mut self,
        core: &'r Core<S>,
        sides: Sides<'r, S, D>,
        visit: &'r mut Visit<'a, S>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + 'r>> {
        let alarm = Alarm::new(&core.alarms, self.tries.hedge_due_ns);
        let mut race = Race { core, sides, visit, alarm, second: None };
        Box::pin(async move {
            let outcome = poll_fn(|cx| self.poll_race(cx, &mut race)).await;
            if let Some(second) = race.second.take() {
                // It had as long as the first, if that had too long.
                let is_of_both = |it: &Failure| matches!(it, Failure::TryTimeout | Failure::RequestTimeout);
                let failure = outcome.err().filter(is_of_both);
                self.end_second(core, *second, failure);
            }
            outcome
        })
    }

    fn poll_race(
        &mut self,
        cx: &mut Context<'_>,
        race: &mut Race<'_, '_, S, D>,
    ) -> Poll<Result<(), Failure>> {
        loop {
            while self.step_request(cx, race.core, race.sides.down, race.sides.up)?
                || self.watch_client(cx, race.core, race.sides.down)?
            {}
            self.request_complete = race.sides.down.is_request_complete();
            self.request_sent = self.request_complete && !race.sides.up.is_blocked();
            if let Poll::Ready(has_begun) = race.sides.up.poll_begun(cx) {
                if !has_begun && race.is_second_sent() {
                    self.take_second(race, Some(Failure::UpstreamClosed));
                }
                return Poll::Ready(Ok(()));
            }
            if let Some(second) = &mut race.second
                && let Poll::Ready(begun) = self.poll_second(cx, race.core, second)
            {
                match begun {
                    Ok(()) => {
                        self.take_second(race, None);
                        return Poll::Ready(Ok(()));
                    }
                    Err(failure) => self.fail_second(race, failure),
                }
            }
            if self.tries.hedge_due_ns != u64::MAX && race.alarm.poll(cx).is_ready() {
                race.second = self.begin_second(race);
                continue;
            }
            let (due_ms, failure) = self.deadline(race.core, race.sides.down, race.sides.up);
            let second_due_ms = race.second.as_ref().map_or(u64::MAX, |second| second.due_ms());
            if second_due_ms < due_ms {
                ready!(race.sides.timer.poll_until(cx, second_due_ms));
                // The end of the worker is a deadline of both.
                if !race.core.cutting.get() {
                    self.fail_second(race, Failure::ConnectTimeout);
                }
                continue;
            }
            ready!(race.sides.timer.poll_until(cx, due_ms));
            if self.is_reprieved(failure, race.sides.down, race.sides.up) {
                continue;
            }
            let is_of_first = matches!(failure, Failure::ResponseHeadTimeout | Failure::UpstreamStalled);
            if is_of_first && race.is_second_sent() {
                self.take_second(race, Some(failure));
                return Poll::Ready(Ok(()));
            }
            return Poll::Ready(Err(failure));
        }
    }

    /// Begins a second attempt, if there may be one: as many and where retries may be.
    fn begin_second<'a>(&mut self, race: &Race<'_, 'a, S, D>) -> Option<Box<Second<'a, S>>> {
        self.tries.hedge_due_ns = u64::MAX;
        let queue = race.visit.upstream.queue.as_ref();
        // Those that wait have no place at all yet.
        if queue.is_some_and(|queue| queue.line.is_awaited()) {
            return None;
        }
        if !self.plan_retry(Failure::TryTimeout) {
            return None;
        }
        let index = self.tries.next.take()?;
        let Visit { upstream, local, .. } = *race.visit;
        let (endpoint, pool) = (&upstream.endpoints[index], local.pool(index)?);
        let mut reserved = match endpoint.is_limited().then(|| Reserved::take(endpoint, pool, upstream)) {
            None => None,
            // Another worker may have been faster.
            Some(reserved) => Some(Box::new(reserved?)),
        };
        let now_ms = clock::coarse_ms();
        if !upstream.retry.per_try_timeout.is_zero() {
            // It is the time of both from now on.
            self.tries.due_ms = due(now_ms, upstream.retry.per_try_timeout);
        }
        upstream.counters.of(self.worker()).hedges.increment();
        let visit = Visit::new(upstream, local, pool, index, self.worker());
        let pooled = visit.check_out(&mut reserved);
        let mark = Mark { reused: pooled.is_some(), started_ns: clock::monotonic_ns(), ..Mark::default() };
        let mut second = Second { visit, stage: Stage::Failed, reserved, mark };
        match pooled {
            Some(stream) => self.send_second(race.core, &mut second, stream),
            None => match Connecting::start(upstream, endpoint) {
                Ok(connecting) => {
                    second.stage = Stage::Connecting(connecting, due(now_ms, upstream.connect_timeout));
                }
                Err(Failure::Exhausted) => return None,
                Err(failure) => {
                    self.end_second(race.core, second, Some(failure));
                    return None;
                }
            },
        }
        Some(Box::new(second))
    }

    /// Ready when its response begins.
    fn poll_second(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        second: &mut Second<'_, S>,
    ) -> Poll<Result<(), Failure>> {
        if let Stage::Connecting(connecting, _) = &mut second.stage {
            let opened = ready!(connecting.poll(cx, core));
            second.mark.connect_ns = Some(clock::monotonic_ns() - second.mark.started_ns);
            second.stage = Stage::Failed;
            let stream = opened?;
            second.visit.counters().connects.increment();
            self.send_second(core, second, stream);
        }
        let Stage::Sent(up) = &mut second.stage else { return Poll::Ready(Err(Failure::ConnectFailed)) };
        if up.is_blocked() && up.poll_flush(cx, core.lent()).is_pending() {
            return Poll::Pending;
        }
        let has_begun = ready!(up.poll_begun(cx));
        Poll::Ready(if has_begun { Ok(()) } else { Err(Failure::UpstreamClosed) })
    }

    /// Sends the request on the second connection.
    fn send_second(&mut self, core: &Core<S>, second: &mut Second<'_, S>, stream: S) {
        self.count_second(core, second.visit.index, &mut second.mark);
        self.tell_attempt(self.attempts);
        let counters = second.visit.counters();
        counters.requests.increment();
        counters.reused.add(u64::from(second.mark.reused));
        let mut up = H1Upstream::new(stream, self.framing, response_limits(second.visit.upstream));
        // What cannot be sent is found out by what is received next.
        let _ = up.send_request(&self.head[self.head_start..], &BodyBatch::end(), core.lent());
        second.mark.sent_ns = clock::recent_ns();
        second.stage = Stage::Sent(up);
    }

    fn count_second(&mut self, core: &Core<S>, endpoint: usize, mark: &mut Mark) {
        mark.span_id = self.name_attempt(core, self.attempts as usize);
        self.attempts += 1;
        self.tries.exclude(endpoint);
    }

    fn fail_second(&mut self, race: &mut Race<'_, '_, S, D>, failure: Failure) {
        if let Some(second) = race.second.take() {
            self.end_second(race.core, *second, Some(failure));
        }
    }

    /// Goes on with the second: its response begins, or the first has failed.
    fn take_second(&mut self, race: &mut Race<'_, '_, S, D>, failure: Option<Failure>) {
        let Some(second) = race.second.take() else { return };
        let Second { visit, stage, reserved, mark } = *second;
        let Stage::Sent(up) = stage else { return };
        let mut first = std::mem::replace(race.sides.up, up);
        let first_visit = std::mem::replace(race.visit, visit);
        count_moved(first_visit.counters(), &mut first);
        note_tls_failure(race.core, first_visit.upstream, first_visit.endpoint(), first.tls_failure());
        // Before what it has reserved is given back.
        drop(first);
        if failure.is_none() {
            // It would have taken longer still.
            first_visit.local.choice().note_answer(first_visit.index, self.times.try_ns());
        }
        self.count_end(&first_visit, failure, self.reused);
        let met = failure.unwrap_or(Failure::HedgeLost);
        self.note_try_at(first_visit.endpoint(), met, self.times.try_ns());
        self.fail_attempt(met);
        self.open_span(race.core, &mark.span(race.visit.index, self.attempts));
        self.endpoint = Some(race.visit.index);
        self.reserved = reserved;
        self.reused = mark.reused;
        self.times.take_over(mark.started_ns, mark.sent_ns, mark.connect_ns);
        self.request_progress = Progress::starting_at(clock::coarse_ms());
        self.upload_over = false;
        race.visit.upstream.counters.of(self.worker()).hedges_won.increment();
    }

    /// The first goes on alone. `failure`: what the second has met; none if it was only slower.
    fn end_second(&mut self, core: &Core<S>, second: Second<'_, S>, failure: Option<Failure>) {
        let Second { visit, stage, mut mark, .. } = second;
        match (stage, failure) {
            (Stage::Sent(mut up), _) => {
                count_moved(visit.counters(), &mut up);
                note_tls_failure(core, visit.upstream, visit.endpoint(), up.tls_failure());
                self.count_end(&visit, failure, mark.reused);
            }
            (Stage::Connecting(..) | Stage::Failed, Some(failure)) => {
                self.count_second(core, visit.index, &mut mark);
                count_connect::<S>(visit.counters(), &Err(failure));
                self.note_failure_of(&visit, failure);
            }
            // It got nothing of the request: it was no attempt.
            (Stage::Connecting(..) | Stage::Failed, None) => return,
        }
        let met = failure.unwrap_or(Failure::HedgeLost);
        self.note_try_at(visit.endpoint(), met, clock::monotonic_ns() - mark.started_ns);
        self.add_ended_span(core, &mark.span(visit.index, self.attempts), met);
    }

    /// Counts the failure of one of two that were sent.
    fn count_end(&self, visit: &Visit<'_, S>, failure: Option<Failure>, reused: bool) {
        match failure {
            None => {}
            Some(Failure::UpstreamClosed) if reused => visit.counters().stale.increment(),
            Some(failure) => {
                count_endpoint_failure(visit.counters(), failure);
                self.note_failure_of(visit, failure);
            }
        }
    }

    /// What the failure of one of two says of its endpoint.
    fn note_failure_of(&self, visit: &Visit<'_, S>, failure: Failure) {
        if failure == Failure::RequestTimeout && !self.has_waited_since(visit.began_ms) {
            return;
        }
        visit.local.choice().note_failure(visit.index);
        visit.local.note_failed(visit.upstream, visit.attempt(), Some(failure));
    }
}

impl<S: Dial, D> Race<'_, '_, S, D> {
    fn is_second_sent(&self) -> bool {
        self.second.as_ref().is_some_and(|second| matches!(second.stage, Stage::Sent(_)))
    }
}

impl<S: Dial> Second<'_, S> {
    /// When connecting has taken too long.
    fn due_ms(&self) -> u64 {
        match &self.stage {
            Stage::Connecting(_, due_ms) => *due_ms,
            Stage::Sent(_) | Stage::Failed => u64::MAX,
        }
    }
}

impl Mark {
    /// Of the last of so many attempts.
    fn span(&self, endpoint: usize, attempts: u32) -> AttemptSpan {
        let Self { span_id: id, reused, started_ns, .. } = *self;
        AttemptSpan { id, endpoint, reused, started_ns, before: attempts as usize - 1 }
    }
}

/// Adds what a connection has moved that is not used any more.
fn count_moved<S: Dial>(counters: &EndpointCounters, up: &mut H1Upstream<S>) {
    let moved = up.take_moved();
    counters.received_bytes.add(moved.received);
    counters.sent_bytes.add(moved.sent);
}
