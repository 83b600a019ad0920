//! The life of one request, from top to bottom.
//!
//! ```text
//! ReadHead → Route → RequestFilters → Pick → CheckOut / Connect → SendHead
//!   → RelayRequestBody ‖ ReadResponseHead → ResponseFilters → RelayResponseBody
//!   → Finish (count, log, CheckIn or Close)
//! ```
//!
//! On the fast path (the whole head received, an idle connection in the pool) everything from ReadHead to SendHead
//! happens in one step on the worker's scratch buffer, without waiting and without a copy of the body.

mod counting;
mod deadline;
mod failing;
mod tries;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use corelane_http1::HeadLimits;
use corelane_semantics::{
    BodyFraming, Method, RequestHead, ResponseHead, Span, Version, request_framing, response_framing,
};

use self::counting::count_endpoint_failure;
use self::deadline::Progress;
use self::tries::{Excluded, Lease};
use crate::core::{Core, Timer, due};
use crate::counters::EndpointCounters;
use crate::failure::Failure;
use crate::h1::H1Upstream;
use crate::heads::{
    ClientAddress, ConnectionOptions, DownstreamHead, HeadWords, Persistence, UpstreamHead,
    connection_options,
};
use crate::io::{Check, Dial, Interest, clock};
use crate::listener::{ListenerSlot, is_exhausted};
use crate::local::Local;
use crate::message::{
    BodyStep, ClientSignal, Downstream, ReceiveError, RelayError, Upstream, may_send_again,
};
use crate::record::Record;
use crate::session::Session;
use crate::snapshot::{
    ClientHalfClose, Endpoint, HostPolicy, Listener, Snapshot, Upstream as UpstreamConfig,
};

/// Interim responses of one exchange at most.
pub(crate) const INTERIM_RESPONSES_MAX: u32 = 8;

/// A complete body up to this size is kept with the head of an idempotent request, so that the request can be sent again.
const RESEND_BODY_BYTES_MAX: usize = 16 * 1024;

/// What becomes of the client's connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It takes the next request.
    Keep,
    /// It closes.
    Close,
    /// It closes when the client has read the answer: bytes of its request are still unread.
    Linger,
    /// It is reset: what the client got must not look complete.
    Abort,
}

/// One request and its response.
pub(crate) struct Exchange<S: Dial> {
    /// The snapshot that the exchange began with; an `Rc`, because an `Arc` would be a write that all cores share.
    local: Rc<Local<S>>,
    listener: usize,
    /// The request head as it is sent upstream, and again where that is safe.
    pub(crate) head: Vec<u8>,
    /// Where it begins in there.
    head_start: usize,
    pub(crate) words: HeadWords,
    method: Method,
    version: Version,
    framing: BodyFraming,
    client_keeps: bool,
    /// The connection takes no further request after this one, however it ends.
    is_last: bool,
    slot: Rc<ListenerSlot<S>>,
    pub(crate) route: Option<usize>,
    pub(crate) endpoint: Option<usize>,
    pub(crate) reused: bool,
    pub(crate) attempts: u32,
    interims: u32,
    interims_sent: u32,
    phase: Phase,
    /// The upstream takes no more of the request; what it answers still counts.
    upload_over: bool,
    /// The whole request was received when the response head came.
    request_complete: bool,
    upstream_keeps: bool,
    persistence: Persistence,
    /// How the response is framed towards the client.
    response_framing: BodyFraming,
    /// When the request, and the response, last made progress ([`clock::coarse_ms`]).
    request_progress: Progress,
    response_progress: Progress,
    started_ms: u64,
    /// 0 without an access log.
    pub(crate) started_ns: u64,
    pub(crate) connect_ns: Option<u64>,
    pub(crate) response_head_ns: Option<u64>,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) status: u16,
    pub(crate) failure: Option<Failure>,
}

/// Where the response stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Body,
    Complete,
}

/// What a response head turned out to be.
enum Answer {
    Interim,
    Final { upstream: BodyFraming },
}

/// Serves one request on a connection that has something to read.
pub(crate) async fn serve<S: Dial>(session: &mut Session<S>) -> Next {
    let mut exchange = Exchange::new(session);
    let outcome = match exchange.read_head(session).await {
        Ok(Some(())) => exchange.forward(session).await,
        Ok(None) => return exchange.discard(session),
        Err(failure) => Err(failure),
    };
    let next = match outcome {
        Ok(()) => exchange.after_response(session),
        Err(failure) => exchange.fail(session, failure).await,
    };
    exchange.finish(session);
    next
}

impl<S: Dial> Exchange<S> {
    fn new(session: &Session<S>) -> Self {
        let (local, listener) = session.slot.local(&session.core);
        let access_log = local.snapshot().access_log;
        let is_last = session.is_last_request(&local.snapshot().listeners[listener].limits);
        let now_ms = clock::coarse_ms();
        let progress = Progress { accepted: 0, at_ms: now_ms };
        Self {
            local,
            listener,
            head: session.core.buffers.take(),
            head_start: 0,
            words: HeadWords::default(),
            method: Method::Get,
            version: Version::Http11,
            framing: BodyFraming::None,
            client_keeps: false,
            is_last,
            slot: session.slot.clone(),
            route: None,
            endpoint: None,
            reused: false,
            attempts: 0,
            interims: 0,
            interims_sent: 0,
            phase: Phase::Head,
            upload_over: false,
            request_complete: false,
            upstream_keeps: false,
            persistence: Persistence::Close,
            response_framing: BodyFraming::None,
            request_progress: progress,
            response_progress: progress,
            started_ms: now_ms,
            started_ns: if access_log { clock::monotonic_ns() } else { 0 },
            connect_ns: None,
            response_head_ns: None,
            request_bytes: 0,
            response_bytes: 0,
            status: 0,
            failure: None,
        }
    }

    /// The listener that the request came in by.
    pub(crate) fn listener(&self) -> &Listener {
        &self.snapshot().listeners[self.listener]
    }

    /// The snapshot that the exchange began with.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.local.snapshot()
    }

    // ReadHead, Route, RequestFilters: one step, once the head is complete.

    /// `Ok(None)`: the client closed the connection without a request.
    async fn read_head(&mut self, session: &mut Session<S>) -> Result<Option<()>, Failure> {
        let Session { core, down, timer, client, .. } = session;
        let core = &**core;
        let local = self.local.clone();
        let listener = &local.snapshot().listeners[self.listener];
        let limits = HeadLimits {
            head_bytes_max: listener.head_bytes_max,
            request_line_bytes_max: HeadLimits::default()
                .request_line_bytes_max
                .min(listener.head_bytes_max - 2),
            fields_max: listener.fields_max,
        };
        let due_ms = due(self.started_ms, listener.head_timeout);
        let mut verdict = Err(Failure::HeadTimeout);
        let received = poll_fn(|cx| {
            let head = &mut *core.request_head.borrow_mut();
            let read = down.poll_request_head(cx, core.lent(), &limits, head, &mut |head, bytes| {
                verdict = self.admit(head, bytes, listener, client);
            });
            match read {
                Poll::Ready(received) => Poll::Ready(Some(received)),
                Poll::Pending => timer.poll_until(cx, due_ms).map(|()| None),
            }
        })
        .await;
        match received {
            Some(Ok(())) => {}
            Some(Err(ReceiveError::Closed | ReceiveError::Io(_))) => {
                if down.has_surplus() {
                    self.count_listener(|counters| counters.client_aborts.increment());
                }
                return Ok(None);
            }
            Some(Err(error)) => return Err(Failure::from_request(&error)),
            None if !down.has_surplus() => return Ok(None),
            None => {
                self.count_listener(|counters| counters.head_timeouts.increment());
                return Err(Failure::HeadTimeout);
            }
        }
        down.start_body(self.framing);
        verdict.map(Some)
    }

    /// Judges a request head, finds its route and writes the head that goes upstream.
    fn admit(
        &mut self,
        head: &RequestHead,
        bytes: &[u8],
        listener: &Listener,
        client: &ClientAddress,
    ) -> Result<(), Failure> {
        self.method = head.method;
        self.version = head.version;
        let options = &connection_options(&head.fields, bytes);
        self.client_keeps = match head.version {
            Version::Http11 => !options.close,
            Version::Http10 => options.keep_alive && !options.close,
        };
        let local = self.local.clone();
        let host = head.host(bytes);
        let verdict = self.judge(head, bytes, host, options);
        let trusted = !listener.trusted_proxies.is_empty()
            && client.ip().is_some_and(|ip| listener.trusted_proxies.iter().any(|net| net.contains(&ip)));
        let host_policy = match self.route {
            Some(route) => &local.snapshot().routes[route].host,
            None => &HostPolicy::Preserve,
        };
        if let HostPolicy::Set(_) = host_policy {
            // The log tells the host that the client asked for; it stands before the head that is sent.
            self.head.extend_from_slice(host.unwrap_or_default());
            self.head_start = self.head.len();
        }
        let written = UpstreamHead {
            head,
            bytes,
            host: host.unwrap_or_default(),
            framing: self.framing,
            options,
            client,
            trusted,
            forwarded: listener.forwarded,
            host_policy,
        };
        // A refused request is written too: the access log finds its words there.
        self.words = written.write(&mut self.head);
        if matches!(host_policy, HostPolicy::Set(_)) {
            self.words.host = Span::new(0, self.head_start);
        }
        verdict
    }

    fn judge(
        &mut self,
        head: &RequestHead,
        bytes: &[u8],
        host: Result<&[u8], corelane_semantics::HostError>,
        options: &ConnectionOptions,
    ) -> Result<(), Failure> {
        self.framing = request_framing(head, bytes).map_err(Failure::RequestFraming)?;
        let host = host.map_err(Failure::RequestHost)?;
        if options.excess {
            return Err(Failure::RequestOptions);
        }
        if matches!(head.method, Method::Connect | Method::Trace) {
            return Err(Failure::MethodRefused);
        }
        let path = head.path.bytes(bytes);
        self.route = self.snapshot().router.route(self.listener, host, path);
        self.route.map(drop).ok_or(Failure::NoRoute)
    }

    // Pick, CheckOut or Connect, SendHead; then the relay. A failed attempt goes round again where that is safe.

    async fn forward(&mut self, session: &mut Session<S>) -> Result<(), Failure> {
        let core = session.core.clone();
        let local = self.local.clone();
        let snapshot = local.snapshot();
        let Some(route) = self.route else { return Err(Failure::NoRoute) };
        let upstream_index = snapshot.routes[route].upstream;
        let upstream = &snapshot.upstreams[upstream_index];
        let upstream_counters = upstream.counters.of(core.index);
        upstream_counters.requests.increment();
        let Some(local_upstream) = local.upstream(upstream_index) else { return Err(Failure::NoEndpoint) };
        let limits = HeadLimits {
            head_bytes_max: upstream.head_bytes_max,
            request_line_bytes_max: upstream.head_bytes_max,
            ..HeadLimits::default()
        };
        let resendable = self.make_resendable(session);
        // A request that may be sent again does not need the surest look at its connection.
        let check = if resendable && self.method.is_idempotent() { Check::Events } else { Check::Socket };
        let mut excluded = Excluded::default();
        let mut last_failure = Failure::NoEndpoint;
        loop {
            // Pick.
            let picked = if self.attempts < upstream.attempts_max {
                local_upstream.pick(upstream, excluded.indices())
            } else {
                None
            };
            let Some(index) = picked else {
                if last_failure == Failure::NoEndpoint {
                    upstream_counters.no_endpoint.increment();
                }
                return Err(last_failure);
            };
            let (endpoint, Some(pool)) = (&upstream.endpoints[index], local_upstream.pool(index)) else {
                return Err(Failure::NoEndpoint);
            };
            if self.attempts > 0 {
                upstream_counters.retries.increment();
            }
            self.attempts += 1;
            self.endpoint = Some(index);
            let _lease = Lease::new(endpoint.counters.of(core.index));

            // CheckOut or Connect. A stale connection is replaced by a fresh one to the same endpoint.
            let mut pooled = pool.check_out(clock::coarse_ms(), upstream.idle_timeout, check);
            let attempt = loop {
                self.reused = pooled.is_some();
                let stream = match pooled.take() {
                    Some(stream) => stream,
                    None => match self.connect(session, upstream, endpoint).await {
                        Ok(stream) => stream,
                        // Nothing was sent; but for what is not the endpoint's fault, another one is no better.
                        Err(failure) => {
                            let endpoint_failed =
                                matches!(failure, Failure::ConnectFailed | Failure::ConnectTimeout);
                            break Err((failure, endpoint_failed));
                        }
                    },
                };
                let attempt = self.attempt(session, stream, endpoint, limits, resendable).await;
                match attempt {
                    Ok(stream) => break Ok(stream),
                    Err((Failure::UpstreamClosed, true)) if self.reused => {
                        endpoint.counters.of(core.index).stale.increment();
                        upstream_counters.retries.increment();
                    }
                    Err(failed) => break Err(failed),
                }
            };
            match attempt {
                Ok(idle) => {
                    if let Some(stream) = idle {
                        pool.check_in(stream, clock::coarse_ms(), upstream.idle_connections_max);
                        core.keep_ticking();
                    }
                    return Ok(());
                }
                Err((failure, may_try_again)) => {
                    if !may_try_again {
                        return Err(failure);
                    }
                    last_failure = failure;
                    excluded.add(index);
                }
            }
        }
    }

    /// Makes sure, where it costs little, that the request can be sent again.
    fn make_resendable(&mut self, session: &mut Session<S>) -> bool {
        match self.framing {
            BodyFraming::None | BodyFraming::Length(0) => true,
            BodyFraming::Length(length) if self.method.is_idempotent() => {
                let lent = session.core.lent();
                let taken = session.down.take_small_body(lent, RESEND_BODY_BYTES_MAX, &mut self.head);
                if taken {
                    self.request_bytes = length;
                }
                taken
            }
            _ => false,
        }
    }

    async fn connect(
        &mut self,
        session: &mut Session<S>,
        upstream: &UpstreamConfig,
        endpoint: &Endpoint,
    ) -> Result<S, Failure> {
        let counters = endpoint.counters.of(session.core.index);
        // The task is going to wait: what is left of the request leaves the scratch buffer.
        session.down.settle(session.core.lent());
        let started_ns = clock::monotonic_ns();
        let connect_due_ms = due(clock::coarse_ms(), upstream.connect_timeout);
        let exchange_due_ms = due(self.started_ms, upstream.request_timeout);
        let Session { core, down, timer, .. } = session;
        let finishes = self.listener().client_half_close == ClientHalfClose::Finish;
        let connected = match S::dial(&endpoint.address) {
            Ok(mut stream) => {
                let opened = poll_fn(|cx| {
                    if let Poll::Ready(ready) = stream.poll_ready(cx, Interest::Write) {
                        let outcome = ready.and_then(|()| stream.take_error());
                        return Poll::Ready(outcome.map_err(|_| Failure::ConnectFailed));
                    }
                    if down.is_request_complete()
                        && let Poll::Ready(signal) = down.poll_client(cx, core.lent())
                        && (signal == ClientSignal::Gone || !finishes)
                    {
                        return Poll::Ready(Err(Failure::ClientGone));
                    }
                    let (due_ms, failure) = if exchange_due_ms < connect_due_ms {
                        (exchange_due_ms, Failure::RequestTimeout)
                    } else {
                        (connect_due_ms, Failure::ConnectTimeout)
                    };
                    timer.poll_until(cx, due_ms).map(|()| Err(failure))
                })
                .await;
                opened.map(|()| stream)
            }
            Err(error) if is_exhausted(&error) => Err(Failure::Exhausted),
            Err(_) => Err(Failure::ConnectFailed),
        };
        self.connect_ns = Some(clock::monotonic_ns() - started_ns);
        match &connected {
            Ok(_) => counters.connects.increment(),
            Err(Failure::ConnectTimeout) => counters.connect_timeouts.increment(),
            Err(Failure::ConnectFailed) => counters.connect_failures.increment(),
            // Not the endpoint's fault.
            Err(_) => {}
        }
        connected
    }

    /// SendHead and the relay over one connection. `Ok` has the connection if it can be used again; `Err` says whether
    /// another attempt is safe.
    async fn attempt(
        &mut self,
        session: &mut Session<S>,
        stream: S,
        endpoint: &Endpoint,
        limits: HeadLimits,
        resendable: bool,
    ) -> Result<Option<S>, (Failure, bool)> {
        let Session { core, down, timer, .. } = session;
        let core = &**core;
        let counters = endpoint.counters.of(core.index);
        counters.requests.increment();
        if self.reused {
            counters.reused.increment();
        }
        let mut up = H1Upstream::new(stream, self.framing, limits);
        let (head, mut handed_on) = (&self.head[self.head_start..], 0);
        let sent = down.lend_body(core.lent(), &mut |batch| {
            up.send_request(head, batch, core.lent())?;
            handed_on = batch.bytes;
            Ok(())
        });
        self.request_bytes += handed_on;
        self.request_progress = Progress { accepted: 0, at_ms: clock::coarse_ms() };
        self.upload_over = false;
        let relayed = match sent {
            Ok(_) => self.relay(core, timer, down, &mut up, counters).await,
            Err(RelayError::Receive(error)) => Err(Failure::from_request(&error)),
            // Nothing has gone out, but an answer may be waiting all the same; only a silent connection is stale.
            Err(RelayError::Send) => {
                self.upload_over = true;
                self.relay(core, timer, down, &mut up, counters).await
            }
        };
        match relayed {
            Ok(()) => {
                let reusable = self.upstream_keeps && !self.upload_over && down.is_request_complete();
                Ok(if reusable { up.into_idle() } else { None })
            }
            Err(failure) => {
                count_endpoint_failure(counters, failure);
                let unanswered = failure == Failure::UpstreamClosed && !up.has_received();
                // Bytes of a body that were handed on are gone.
                let complete = resendable || self.request_bytes == 0;
                Err((failure, unanswered && complete && may_send_again(self.method, up.accepted())))
            }
        }
    }

    // RelayRequestBody ‖ ReadResponseHead, ResponseFilters, RelayResponseBody: one loop over both directions.

    async fn relay<D: Downstream, U: Upstream>(
        &mut self,
        core: &Core<S>,
        timer: &mut Timer<S>,
        down: &mut D,
        up: &mut U,
        counters: &EndpointCounters,
    ) -> Result<(), Failure> {
        let mut out = core.buffers.take();
        let relayed = poll_fn(|cx| {
            loop {
                let mut moved = self.step_request(cx, core, down, up)?;
                moved |= self.step_response(cx, core, down, up, &mut out)?;
                if self.phase == Phase::Complete && !down.is_blocked() {
                    return Poll::Ready(Ok(()));
                }
                if !moved {
                    break;
                }
            }
            // A long transfer shows in the counters while it runs.
            self.count_moved(down, up, counters);
            let (due_ms, failure) = self.deadline(down, up);
            timer.poll_until(cx, due_ms).map(|()| Err(failure))
        })
        .await;
        self.count_moved(down, up, counters);
        core.buffers.give(out);
        relayed
    }

    /// Moves the request, and watches the client once it is complete. Returns whether anything moved.
    fn step_request<D: Downstream, U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        down: &mut D,
        up: &mut U,
    ) -> Result<bool, Failure> {
        let lent = core.lent();
        if up.is_blocked() && !self.upload_over {
            match up.poll_flush(cx, lent) {
                Poll::Ready(Ok(())) => {}
                // Read first: an early response may be waiting.
                Poll::Ready(Err(_)) => self.upload_over = true,
                Poll::Pending => return Ok(false),
            }
        }
        if !down.is_request_complete() {
            if self.upload_over {
                return Ok(false);
            }
            let mut handed_on = 0;
            let step = down.poll_request_body(cx, lent, &mut |batch| {
                handed_on += batch.bytes;
                up.send_request(&[], batch, lent)
            });
            self.request_bytes += handed_on;
            return match step {
                Poll::Pending => Ok(false),
                Poll::Ready(Ok(_)) => {
                    self.request_progress.at_ms = clock::coarse_ms();
                    Ok(true)
                }
                Poll::Ready(Err(RelayError::Receive(error))) => Err(Failure::from_request(&error)),
                Poll::Ready(Err(RelayError::Send)) => {
                    self.upload_over = true;
                    Ok(true)
                }
            };
        }
        if self.phase != Phase::Complete
            && let Poll::Ready(signal) = down.poll_client(cx, lent)
        {
            let finishes = self.listener().client_half_close == ClientHalfClose::Finish;
            if signal == ClientSignal::Gone || !finishes {
                return Err(Failure::ClientGone);
            }
            // It is watched for a reset from now on.
            return Ok(true);
        }
        Ok(false)
    }

    /// Moves the response. Returns whether anything moved.
    fn step_response<D: Downstream, U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        down: &mut D,
        up: &mut U,
        out: &mut Vec<u8>,
    ) -> Result<bool, Failure> {
        let lent = core.lent();
        if down.is_blocked() {
            match down.poll_flush(cx, lent) {
                Poll::Ready(Ok(())) => self.response_progress.at_ms = clock::coarse_ms(),
                Poll::Ready(Err(_)) => return Err(Failure::ClientGone),
                Poll::Pending => return Ok(false),
            }
        }
        let mut received = 0;
        let step = match self.phase {
            Phase::Complete => return Ok(false),
            Phase::Head => {
                out.clear();
                self.request_complete = down.is_request_complete();
                let head = &mut *core.response_head.borrow_mut();
                let mut answer = Err(Failure::UpstreamClosed);
                let read = up.poll_response_head(cx, lent, head, &mut |head, bytes| {
                    answer = self.answer(core, head, bytes, out);
                });
                match read {
                    Poll::Pending => return Ok(false),
                    Poll::Ready(Err(error)) => return Err(Failure::from_response(&error, false)),
                    Poll::Ready(Ok(())) => {}
                }
                let Answer::Final { upstream } = answer? else {
                    // HTTP/1.0 has no interim responses (RFC 9110 §15.2).
                    if self.version == Version::Http11 {
                        down.send_interim(out, lent).map_err(|_| Failure::ClientGone)?;
                        self.interims_sent += 1;
                    }
                    // What follows the interim response stays, for the next turn.
                    up.settle(lent);
                    return Ok(true);
                };
                up.start_body(upstream);
                down.start_response(self.response_framing);
                self.phase = Phase::Body;
                Poll::Ready(up.lend_response_body(lent, &mut |batch| {
                    received += batch.bytes;
                    down.send_response(out, batch, lent)
                }))
            }
            Phase::Body => up.poll_response_body(cx, lent, &mut |batch| {
                received += batch.bytes;
                down.send_response(&[], batch, lent)
            }),
        };
        self.response_bytes += received;
        match step {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(BodyStep::End)) => self.phase = Phase::Complete,
            Poll::Ready(Ok(BodyStep::More)) => {}
            Poll::Ready(Err(RelayError::Receive(error))) => return Err(Failure::from_response(&error, true)),
            Poll::Ready(Err(RelayError::Send)) => return Err(Failure::ClientGone),
        }
        self.response_progress = Progress { accepted: down.accepted(), at_ms: clock::coarse_ms() };
        Ok(true)
    }

    /// Judges a response head and writes the one that goes to the client.
    fn answer(
        &mut self,
        core: &Core<S>,
        head: &ResponseHead,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Answer, Failure> {
        let options = &connection_options(&head.fields, bytes);
        if options.excess {
            return Err(Failure::ResponseOptions);
        }
        let upstream = response_framing(head, bytes, self.method).map_err(Failure::ResponseFraming)?;
        let mut written = DownstreamHead {
            head,
            bytes,
            options,
            framing: BodyFraming::None,
            persistence: Persistence::Keep,
            date: b"",
        };
        if matches!(head.status, 100..=199) {
            if head.status == 101 {
                return Err(Failure::UnexpectedSwitch);
            }
            if self.interims == INTERIM_RESPONSES_MAX {
                return Err(Failure::InterimFlood);
            }
            self.interims += 1;
            written.write_interim(out);
            return Ok(Answer::Interim);
        }
        self.status = head.status;
        if self.started_ns != 0 {
            self.response_head_ns = Some(clock::monotonic_ns() - self.started_ns);
        }
        self.upstream_keeps =
            head.version == Version::Http11 && !options.close && upstream != BodyFraming::UntilClose;
        // A body without a length goes out in chunks, so that the client can tell its end from a truncation; an
        // HTTP/1.0 client can only be told by the close.
        self.response_framing = match (upstream, self.version) {
            (BodyFraming::Chunked | BodyFraming::UntilClose, Version::Http11) => BodyFraming::Chunked,
            (BodyFraming::Chunked | BodyFraming::UntilClose, Version::Http10) => BodyFraming::UntilClose,
            (framing, _) => framing,
        };
        self.persistence = self.persistence_with(core, self.response_framing != BodyFraming::UntilClose);
        written.framing = self.response_framing;
        written.persistence = self.persistence;
        core.with_date(|date| DownstreamHead { date, ..written }.write(out));
        Ok(Answer::Final { upstream })
    }

    /// What becomes of the client's connection, if the response allows it to stay.
    fn persistence_with(&self, core: &Core<S>, response_allows: bool) -> Persistence {
        let stays = self.client_keeps
            && response_allows
            // What is left of the request may never come: where the next one begins would not be known.
            && self.request_complete
            && !self.is_last
            && !self.slot.is_crowded()
            && !self.slot.is_ending(core);
        match (stays, self.version) {
            (false, _) => Persistence::Close,
            (true, Version::Http10) => Persistence::KeepSaid,
            (true, Version::Http11) => Persistence::Keep,
        }
    }

    // Finish.

    fn after_response(&mut self, session: &mut Session<S>) -> Next {
        if !session.down.is_request_complete() {
            return Next::Linger;
        }
        match self.persistence {
            Persistence::Close if session.down.has_surplus() => Next::Linger,
            // A client that did not ask for the close may have sent more: closing over that would reset the connection.
            Persistence::Close if self.client_keeps && !session.down.is_silent(Check::Socket) => Next::Linger,
            Persistence::Close => Next::Close,
            Persistence::Keep | Persistence::KeepSaid => Next::Keep,
        }
    }

    /// The connection ended without a request: there is nothing to count or log.
    fn discard(&mut self, session: &Session<S>) -> Next {
        session.core.buffers.give(std::mem::take(&mut self.head));
        Next::Close
    }

    /// Counts and logs.
    fn finish(&mut self, session: &mut Session<S>) {
        self.count_listener(|counters| {
            counters.requests.increment();
            counters.requests_max_reached.add(u64::from(self.is_last && self.client_keeps));
        });
        if let Some(route) = self.route {
            let counters = self.snapshot().routes[route].counters.of(self.worker());
            counters.requests.increment();
            counters.responses_1xx.add(u64::from(self.interims_sent));
            match self.status {
                200..=299 => counters.responses_2xx.increment(),
                300..=399 => counters.responses_3xx.increment(),
                400..=499 => counters.responses_4xx.increment(),
                _ => counters.responses_5xx.increment(),
            }
        }
        session.count_moved();
        if self.snapshot().access_log {
            session.core.log_record(|line| Record { exchange: self, client: &session.client }.write(line));
        }
        session.core.buffers.give(std::mem::take(&mut self.head));
    }
}
