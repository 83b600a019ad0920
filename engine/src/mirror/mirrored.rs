//! A complete request on its way to a mirror's upstream, and its response, which is dropped.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use corelane_semantics::{BodyFraming, Method, Version, response_framing};

use super::Place;
use crate::affinity::Wish;
use crate::core::{Core, Timer, due};
use crate::exchange::{
    Connecting, INTERIM_RESPONSES_MAX, Lease, count_connect, count_endpoint_failure, leave_breaker,
    note_tls_failure, pass_breaker, response_limits,
};
use crate::failure::Failure;
use crate::h1::{H1Upstream, Leftover};
use crate::heads::connection_options;
use crate::io::{Dial, clock};
use crate::limits::Passing;
use crate::local::{Attempt, LocalUpstream};
use crate::message::{BodyBatch, BodyStep, RelayError, Upstream};
use crate::pool::Pool;
use crate::reputation::Offence;
use crate::reserved::Reserved;
use crate::snapshot::{Endpoint, Upstream as UpstreamConfig};

/// Of a body so much is handed to the socket at once: what it does not take is copied.
pub(crate) const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Steps without waiting after which the others of the worker get a turn: 256 KiB of a body.
const STEPS_A_TURN: u32 = 4;

/// A complete request on its way to the mirror's upstream.
pub(super) struct Mirrored<S: Dial> {
    pub(super) place: Place<S>,
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) method: Method,
    /// It speaks of a scheme that authenticates the connection, which nobody else may use after it then.
    pub(super) is_of_connection: bool,
}

/// Where the request and its response stand.
struct State {
    /// Bytes of the body that were handed to the connection; the head went with the first.
    handed_on: usize,
    has_begun: bool,
    /// The upstream takes no more of it; what it answers still counts.
    upload_over: bool,
    phase: Phase,
    interims: u32,
    /// Of the response, once its head is there.
    status: u16,
    /// The response allows that the connection is used again.
    keeps: bool,
    progress_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Body,
    Complete,
}

impl<S: Dial> Mirrored<S> {
    pub(super) async fn run(mut self) {
        self.place.settings().counters.of(self.place.core.index).requests.increment();
        let sent = self.relay().await;
        let core = &self.place.core;
        if let Err(failure) = sent {
            self.place.settings().counters.of(core.index).failures.add(failure.reason());
        }
        core.buffers.give(std::mem::take(&mut self.head));
        core.buffers.give(std::mem::take(&mut self.body));
    }

    async fn relay(&self) -> Result<(), Failure> {
        let Place { core, local, .. } = &self.place;
        let upstream_index = self.place.settings().rule.upstream;
        let upstream = &local.snapshot().upstreams[upstream_index];
        let upstream_counters = upstream.counters.of(core.index);
        upstream_counters.requests.increment();
        let local_upstream = local.upstream(upstream_index).ok_or(Failure::NoEndpoint)?;
        let mut passing = pass_breaker(core, upstream)?;
        let sent = self.exchange(upstream, local_upstream, &mut passing).await;
        leave_breaker(core, upstream, local_upstream, passing, sent);
        sent.map(drop)
    }

    /// Sends the request and receives its response, whose status it returns. The response's head settles a probe.
    async fn exchange(
        &self,
        upstream: &UpstreamConfig,
        local_upstream: &LocalUpstream<S>,
        passing: &mut Passing,
    ) -> Result<u16, Failure> {
        let core = &self.place.core;
        let upstream_counters = upstream.counters.of(core.index);
        // Requests of clients come first.
        if upstream.queue.as_ref().is_some_and(|queue| queue.line.is_awaited()) {
            return Err(Failure::EndpointsFull);
        }
        let _place = match &upstream.limit {
            Some(limit) => Some(limit.try_take().ok_or_else(|| {
                upstream_counters.refused_full.increment();
                Failure::UpstreamFull
            })?),
            None => None,
        };
        let choice = local_upstream.choice();
        let index = choice.pick(upstream, &Wish::default(), &[]).map_err(|why| {
            upstream_counters.no_endpoint.increment();
            choice.no_endpoint(upstream, why)
        })?;
        let (endpoint, Some(pool)) = (&upstream.endpoints[index], local_upstream.pool(index)) else {
            return Err(Failure::NoEndpoint);
        };
        let counters = endpoint.counters.of(core.index);
        let _lease = Lease::new(counters);
        let mut reserved = Reserved::take(endpoint, pool, upstream).ok_or(Failure::EndpointsFull)?;
        let mut timer = Timer::new(core);
        let end_ms = due(clock::coarse_ms(), upstream.request_timeout);
        let attempt = Attempt { endpoint: index, began_ms: clock::coarse_ms() };
        let pooled = reserved.check_out(pool, upstream);
        let is_reused = pooled.is_some();
        let stream = match pooled {
            Some(stream) => stream,
            None => {
                let connected = connect(&self.place.core, &mut timer, upstream, endpoint, end_ms).await;
                count_connect(counters, &connected);
                local_upstream.note_failed(upstream, attempt, connected.as_ref().err().copied());
                connected?
            }
        };
        counters.requests.increment();
        counters.reused.add(u64::from(is_reused));
        let framing = BodyFraming::Length(self.body.len() as u64);
        let mut up = H1Upstream::new(stream, framing, response_limits(upstream));
        let mut state = State::new();
        let relayed = poll_fn(|cx| {
            let relayed = self.poll_relay(cx, &mut timer, &mut up, &mut state, upstream, end_ms);
            if state.status != 0 && matches!(passing, Passing::Probe(_)) {
                let probe = std::mem::take(passing);
                leave_breaker(core, upstream, local_upstream, probe, Ok(state.status));
            }
            relayed
        })
        .await;
        let moved = up.take_moved();
        counters.received_bytes.add(moved.received);
        counters.sent_bytes.add(moved.sent);
        match relayed {
            Ok(()) => {
                local_upstream.note_answered(upstream, attempt, state.status);
                self.retire(pool, (upstream, endpoint), up, &state, reserved);
            }
            Err(failure) => {
                let is_stale = is_reused && failure == Failure::UpstreamClosed;
                if is_stale {
                    *passing = Passing::Settled;
                }
                local_upstream.note_failed(upstream, attempt, (!is_stale).then_some(failure));
                count_endpoint_failure(counters, failure);
                note_tls_failure(core, upstream, endpoint, up.tls_failure());
                if let Some(offence) = failure.offence() {
                    self.strike(pool, upstream, offence);
                }
            }
        }
        relayed.map(|()| state.status)
    }

    fn poll_relay(
        &self,
        cx: &mut Context<'_>,
        timer: &mut Timer<S>,
        up: &mut H1Upstream<S>,
        state: &mut State,
        upstream: &UpstreamConfig,
        end_ms: u64,
    ) -> Poll<Result<(), Failure>> {
        for steps in 0.. {
            let mut moved = self.step_request(cx, up, state);
            moved |= self.step_response(cx, up, state)?;
            if state.phase == Phase::Complete {
                return Poll::Ready(Ok(()));
            }
            if !moved {
                break;
            }
            state.progress_ms = clock::coarse_ms();
            if steps == STEPS_A_TURN {
                // Others first.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let (timeout, failure) = match state.phase {
            Phase::Head if up.is_blocked() => (upstream.response_head_timeout, Failure::UpstreamStalled),
            Phase::Head => (upstream.response_head_timeout, Failure::ResponseHeadTimeout),
            Phase::Body | Phase::Complete => (upstream.body_idle_timeout, Failure::ResponseBodyTimeout),
        };
        let idle_ms = due(state.progress_ms, timeout);
        ready!(timer.poll_until(cx, idle_ms.min(end_ms)));
        Poll::Ready(Err(if self.place.core.cutting.get() {
            Failure::DrainTimeout
        } else if end_ms < idle_ms {
            Failure::RequestTimeout
        } else {
            failure
        }))
    }

    /// Sends what the socket takes. Returns whether anything moved.
    fn step_request(&self, cx: &mut Context<'_>, up: &mut H1Upstream<S>, state: &mut State) -> bool {
        let lent = self.place.core.lent();
        if state.upload_over {
            return false;
        }
        if up.is_blocked() {
            return match up.poll_flush(cx, lent) {
                Poll::Pending => false,
                Poll::Ready(flushed) => {
                    state.upload_over = flushed.is_err();
                    true
                }
            };
        }
        let rest = &self.body[state.handed_on..];
        if state.has_begun && rest.is_empty() {
            return false;
        }
        let piece = &rest[..rest.len().min(PIECE_BYTES_MAX)];
        let head = if state.has_begun { &[][..] } else { &self.head };
        state.has_begun = true;
        state.handed_on += piece.len();
        let batch = BodyBatch::of(piece, state.handed_on == self.body.len(), Vec::new());
        state.upload_over = up.send_request(head, &batch, lent).is_err();
        true
    }

    /// Receives the response and forgets it. Returns whether anything moved.
    fn step_response(
        &self,
        cx: &mut Context<'_>,
        up: &mut H1Upstream<S>,
        state: &mut State,
    ) -> Result<bool, Failure> {
        let lent = self.place.core.lent().towards(false);
        let step = match state.phase {
            Phase::Complete => return Ok(false),
            Phase::Head => {
                let is_sent = !state.upload_over && state.handed_on == self.body.len() && !up.is_blocked();
                let mut framing = Err(Failure::UpstreamClosed);
                let head = &mut *self.place.core.response_head.borrow_mut();
                let read = up.poll_response_head(cx, lent, head, &mut |head, bytes| {
                    framing = self.judge(head, bytes, is_sent, state);
                });
                match read {
                    Poll::Pending => return Ok(false),
                    Poll::Ready(Err(error)) => return Err(Failure::from_response(&error, false)),
                    Poll::Ready(Ok(())) => {}
                }
                let Some(framing) = framing? else {
                    up.settle(lent);
                    return Ok(true);
                };
                state.phase = Phase::Body;
                up.start_body(framing);
                Poll::Ready(up.lend_response_body(lent, &mut |_| Ok(())))
            }
            Phase::Body => up.poll_response_body(cx, lent, &mut |_| Ok(())),
        };
        match step {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(BodyStep::End)) => state.phase = Phase::Complete,
            Poll::Ready(Ok(BodyStep::More)) => {}
            Poll::Ready(Err(RelayError::Receive(error))) => return Err(Failure::from_response(&error, true)),
            Poll::Ready(Err(RelayError::Send)) => unreachable!("forgetting a body does not fail"),
        }
        Ok(true)
    }

    /// How the body of this response is framed; `None` for an interim one.
    fn judge(
        &self,
        head: &corelane_semantics::ResponseHead,
        bytes: &[u8],
        is_sent: bool,
        state: &mut State,
    ) -> Result<Option<BodyFraming>, Failure> {
        let options = connection_options(&head.fields, bytes);
        let framing = response_framing(head, bytes, self.method).map_err(Failure::ResponseFraming)?;
        match head.status {
            101 => Err(Failure::UnexpectedSwitch),
            100..=199 if state.interims == INTERIM_RESPONSES_MAX => Err(Failure::InterimFlood),
            100..=199 => {
                state.interims += 1;
                Ok(None)
            }
            status => {
                state.status = status;
                state.keeps = is_sent
                    && head.version == Version::Http11
                    && !options.close
                    && !options.excess
                    && framing != BodyFraming::UntilClose
                    // What is authenticated may be the connection.
                    && status != 401
                    && !self.is_of_connection;
                Ok(Some(framing))
            }
        }
    }

    /// After a complete response: the connection goes to the pool, or it closes.
    fn retire(
        &self,
        pool: &Pool<S>,
        (upstream, endpoint): (&UpstreamConfig, &Endpoint),
        up: H1Upstream<S>,
        state: &State,
        reserved: Reserved<S>,
    ) {
        match up.into_leftover() {
            Leftover::Idle(stream) if state.keeps => {
                let limit = endpoint.connections.as_ref();
                pool.check_in(reserved.with(stream), clock::coarse_ms(), upstream, limit);
                self.place.core.keep_ticking();
            }
            Leftover::Surplus => self.strike(pool, upstream, Offence::Surplus),
            Leftover::Idle(_) | Leftover::Unfit => {}
        }
    }

    fn strike(&self, pool: &Pool<S>, upstream: &UpstreamConfig, offence: Offence) {
        pool.strike(offence, clock::coarse_ms(), upstream);
        self.place.core.keep_ticking();
    }
}

impl State {
    fn new() -> Self {
        Self {
            handed_on: 0,
            has_begun: false,
            upload_over: false,
            phase: Phase::Head,
            interims: 0,
            status: 0,
            keeps: false,
            progress_ms: clock::coarse_ms(),
        }
    }
}

async fn connect<S: Dial>(
    core: &Core<S>,
    timer: &mut Timer<S>,
    upstream: &UpstreamConfig,
    endpoint: &Endpoint,
    end_ms: u64,
) -> Result<S, Failure> {
    let connect_due_ms = due(clock::coarse_ms(), upstream.connect_timeout);
    let mut connecting = Connecting::start(upstream, endpoint)?;
    poll_fn(|cx| {
        if let Poll::Ready(opened) = connecting.poll(cx, core) {
            return Poll::Ready(opened);
        }
        ready!(timer.poll_until(cx, connect_due_ms.min(end_ms)));
        Poll::Ready(Err(match core.cutting.get() {
            true => Failure::DrainTimeout,
            false if end_ms < connect_due_ms => Failure::RequestTimeout,
            false => Failure::ConnectTimeout,
        }))
    })
    .await
}
