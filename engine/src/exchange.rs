//! The life of one request, from top to bottom.
//!
//! ```text
//! ReadHead → Route → RequestFilters → Pick → CheckOut / Connect → SendHead
//!   → RelayRequestBody ‖ ReadResponseHead → ResponseFilters → RelayResponseBody, or Tunnel
//!   → Finish (count, log, CheckIn or Close)
//! ```
//!
//! On the fast path (the whole head received, an idle connection in the pool) everything from ReadHead to SendHead
//! happens in one step on the worker's scratch buffer, without waiting and without a copy of the body.

mod calls;
mod connecting;
mod counting;
mod deadline;
mod destination;
mod failing;
mod filtering;
mod hedging;
mod held;
mod hygiene;
mod judging;
mod logging;
mod mirroring;
mod sharing;
mod telling;
mod times;
mod tracing;
mod trailers;
mod tries;
mod tunnel;
mod visit;
mod waiting;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use corelane_filters::Edits;
use corelane_http1::HeadLimits;
use corelane_routing::Request;
use corelane_semantics::{
    BodyFraming, Known, Method, PathError, RequestHead, ResponseHead, Span, TargetForm, Version,
    request_framing, response_framing,
};

use self::calls::Call;
pub(crate) use self::connecting::{Connecting, note_tls_failure};
pub(crate) use self::counting::{count_connect, count_endpoint_failure};
use self::deadline::{Pace, Progress};
use self::destination::{Asker, Assigned};
use self::filtering::{Filterable, Filtered};
use self::hedging::Sides;
use self::held::Held;
pub(crate) use self::held::{leave as leave_breaker, pass as pass_breaker};
use self::telling::FailedTries;
pub(crate) use self::telling::{Outcome, Try};
use self::times::Times;
use self::tracing::Traceable;
use self::trailers::TrailerFilter;
pub(crate) use self::tries::Lease;
use self::tries::Tries;
use self::visit::Visit;
use crate::action::Timeouts;
use crate::affinity::Wish;
use crate::caller::Caller;
use crate::core::{Core, Timer, due};
use crate::counters::EndpointCounters;
use crate::failure::Failure;
use crate::h1::{H1Upstream, Leftover};
use crate::heads::{
    ClientAddress, ConnectionOptions, DownstreamHead, HeadWords, Persistence, Sender, UpstreamHead,
    connection_options, hide_dropped, upgrades, wants_upgrade,
};
use crate::io::{Check, Dial, clock};
use crate::link::{Carrier, Link};
use crate::listener::ListenerSlot;
use crate::local::Local;
use crate::message::{
    BodyStep, ClientSignal, Downstream, ReceiveError, RelayError, Upstream, may_send_again,
};
use crate::mirror::MirrorCopy;
use crate::record::KeptWords;
use crate::request_id::RequestId;
use crate::reserved::Reserved;
use crate::snapshot::{
    ClientHalfClose, Endpoint, Listener, Snapshot, UnderscoreFields, Upstream as UpstreamConfig,
};
use crate::tracing::Trace;
use crate::tripwire::{Tripwire, Tripwires};

/// Interim responses of one exchange at most.
pub(crate) const INTERIM_RESPONSES_MAX: u32 = 8;

/// A complete body up to this size is kept with the head of an idempotent request, so that the request can be sent again.
pub(crate) const RESEND_BODY_BYTES_MAX: usize = 16 * 1024;

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
pub(crate) struct Exchange<S: Dial, D: Downstream> {
    /// The snapshot that the exchange began with; an `Rc`, because an `Arc` would be a write that all cores share.
    local: Rc<Local<S>>,
    listener: usize,
    /// Its number at the worker ([`crate::request_id`]).
    number: u64,
    /// Its id in `head`, where a filter gave it one.
    given_id: Span,
    /// The request head as it is sent upstream, and again where that is safe.
    pub(crate) head: Vec<u8>,
    /// Where it begins in there.
    head_start: usize,
    pub(crate) words: HeadWords,
    pub(crate) kept: KeptWords,
    /// What the client's socket had taken before.
    sent_before: u64,
    method: Method,
    version: Version,
    framing: BodyFraming,
    /// `u64::MAX`: no limit.
    body_bytes_max: u64,
    filtered: Filtered,
    call: Call,
    /// The client may wait for a 100 before it sends its body.
    expects_continue: bool,
    /// It is an HTTP/2 client's CONNECT for another protocol: to it any 2xx means that it is spoken now (RFC 8441 §5).
    is_connect: bool,
    /// One of the two sides speaks of a scheme that authenticates the connection, not the request.
    authenticates_connection: bool,
    request_trailers: TrailerFilter,
    response_trailers: TrailerFilter,
    client_keeps: bool,
    /// The connection takes no further request after this one, however it ends.
    is_last: bool,
    slot: Rc<ListenerSlot<S>>,
    pub(crate) route: Option<usize>,
    pub(crate) upstream: Option<usize>,
    timeouts: Timeouts,
    /// The client is told where it stays.
    assigned: Option<Assigned>,
    wish: Wish,
    /// The copy of the request for the mirror, until it is sent.
    mirror: Option<Box<MirrorCopy<S>>>,
    pub(crate) endpoint: Option<usize>,
    pub(crate) reused: bool,
    pub(crate) attempts: u32,
    tries: Tries,
    failed_tries: FailedTries,
    /// Where the endpoint has limits, until the attempt has failed or the exchange is over.
    reserved: Option<Box<Reserved<S>>>,
    /// Of the upstream as a whole, until the exchange is over.
    held: Held,
    interims: u32,
    interims_sent: u32,
    phase: Phase,
    /// The upstream takes no more of the request; what it answers still counts.
    upload_over: bool,
    /// The whole request was received when the response head came.
    request_complete: bool,
    /// The whole request was sent when the response head came.
    request_sent: bool,
    upstream_keeps: bool,
    persistence: Persistence,
    /// How the response is framed towards the client.
    response_framing: BodyFraming,
    /// When the request, and the response, last made progress ([`clock::coarse_ms`]).
    request_progress: Progress,
    response_progress: Progress,
    request_pace: Pace,
    response_pace: Pace,
    started_ms: u64,
    pub(crate) times: Times,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) status: u16,
    pub(crate) failure: Option<Failure>,
    pub(crate) tripwires: Tripwires,
    /// What is recorded of it, if it is sampled.
    trace: Option<Box<Trace>>,
    /// Its methods exist for each kind of client: each is called once, and so a part of its caller.
    downstream: PhantomData<D>,
}

/// Where the response stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Body,
    Complete,
    /// Both sides speak another protocol now.
    Switched,
}

/// What a response head turned out to be.
enum Answer {
    Interim,
    Final { upstream: BodyFraming },
    Switch,
}

/// How much more of a request's body the route takes.
struct BodyRoom {
    left: u64,
    is_exceeded: bool,
}

impl BodyRoom {
    fn new(bytes_max: u64, received: u64) -> Self {
        Self { left: bytes_max.saturating_sub(received), is_exceeded: false }
    }

    /// Fails before any byte above the limit is handed on.
    fn take(&mut self, bytes: u64) -> io::Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                self.is_exceeded = true;
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(())
    }
}

/// How the attempt that succeeded ended.
enum Done<S> {
    /// With a response.
    Answered(Leftover<S>),
    /// With a tunnel.
    Switched(Box<Link<S>>),
}

/// Serves one request on a connection that has something to read.
pub(crate) async fn serve<S: Dial, D: Downstream>(caller: &mut Caller<'_, S, D>) -> Next {
    let mut exchange = Exchange::new(caller);
    let outcome = match exchange.read_head(caller).await {
        Ok(Some(())) => exchange.forward(caller).await,
        Ok(None) => return exchange.discard(caller),
        Err(failure) => Err(failure),
    };
    let outcome = match outcome {
        // Boxed: the future of every exchange would be as large as that of a tunnel.
        Ok(Some(upstream)) => Box::pin(exchange.tunnel(caller, upstream)).await,
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    let next = match outcome {
        Ok(()) => exchange.after_response(caller),
        Err(failure) => exchange.fail(caller, failure).await,
    };
    exchange.finish(caller);
    next
}

impl<S: Dial, D: Downstream> Exchange<S, D> {
    fn new(caller: &Caller<'_, S, D>) -> Self {
        let (local, listener) = caller.slot.local(caller.core);
        let times = Times::starting(local.snapshot());
        let requests_max = local.snapshot().listeners[listener].limits.requests_max;
        let is_last = requests_max > 0 && caller.requests >= requests_max;
        let now_ms = clock::coarse_ms();
        let progress = Progress::starting_at(now_ms);
        Self {
            local,
            listener,
            number: caller.core.request_ids.take(),
            given_id: Span::default(),
            head: caller.core.buffers.take(),
            head_start: 0,
            words: HeadWords::default(),
            kept: KeptWords::default(),
            sent_before: caller.down.accepted(),
            method: Method::Get,
            version: Version::Http11,
            framing: BodyFraming::None,
            body_bytes_max: u64::MAX,
            filtered: Filtered::default(),
            call: Call::default(),
            expects_continue: false,
            is_connect: false,
            authenticates_connection: false,
            request_trailers: TrailerFilter::default(),
            response_trailers: TrailerFilter::default(),
            client_keeps: false,
            is_last,
            slot: caller.slot.clone(),
            route: None,
            upstream: None,
            timeouts: Timeouts::default(),
            assigned: None,
            wish: Wish::default(),
            mirror: None,
            endpoint: None,
            reused: false,
            attempts: 0,
            tries: Tries::default(),
            failed_tries: FailedTries::default(),
            reserved: None,
            held: Held::default(),
            interims: 0,
            interims_sent: 0,
            phase: Phase::Head,
            upload_over: false,
            request_complete: false,
            request_sent: false,
            upstream_keeps: false,
            persistence: Persistence::Close,
            response_framing: BodyFraming::None,
            request_progress: progress,
            response_progress: progress,
            request_pace: Pace::default(),
            response_pace: Pace::default(),
            started_ms: now_ms,
            times,
            request_bytes: 0,
            response_bytes: 0,
            status: 0,
            failure: None,
            tripwires: Tripwires::default(),
            trace: None,
            downstream: PhantomData,
        }
    }

    /// The listener that the request came in by.
    pub(crate) fn listener(&self) -> &Listener {
        &self.snapshot().listeners[self.listener]
    }

    /// Whether a client that has closed its sending side still gets its answer.
    fn client_may_finish(&self) -> bool {
        self.listener().client_half_close == ClientHalfClose::Finish
    }

    /// Its index in the snapshot.
    pub(crate) fn listener_index(&self) -> usize {
        self.listener
    }

    /// The snapshot that the exchange began with.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.local.snapshot()
    }

    // ReadHead, Route, RequestFilters: one step, once the head is complete.

    /// `Ok(None)`: the client closed the connection without a request.
    async fn read_head(&mut self, caller: &mut Caller<'_, S, D>) -> Result<Option<()>, Failure> {
        let received = poll_fn(|cx| self.poll_head(cx, caller)).await;
        let (core, down, _) = caller.parts();
        match received {
            Some(Ok(verdict)) => {
                down.start_body(self.framing);
                verdict.map(Some)
            }
            Some(Err(ReceiveError::Closed | ReceiveError::Io(_))) => {
                if down.has_surplus() {
                    self.count_listener(|counters| counters.client_aborts.increment());
                }
                Ok(None)
            }
            Some(Err(error)) => Err(Failure::from_request(&error)),
            None if !down.has_surplus() => Ok(None),
            None if core.cutting.get() => Err(Failure::DrainTimeout),
            None => {
                self.count_listener(|counters| counters.head_timeouts.increment());
                Err(Failure::HeadTimeout)
            }
        }
    }

    /// Waits for a whole head, and judges it; `None`: it has not come in time.
    // No closure of `read_head`: what that holds would be kept in the memory of its future.
    #[inline(always)]
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        caller: &mut Caller<'_, S, D>,
    ) -> Poll<Option<Result<Result<(), Failure>, ReceiveError>>> {
        let client = caller.client;
        let (core, down, timer) = caller.parts();
        let core = &**core;
        let local = self.local.clone();
        let listener = &local.snapshot().listeners[self.listener];
        let limits = HeadLimits {
            head_bytes_max: listener.head_bytes_max,
            request_line_bytes_max: listener.limits.request_line_bytes_max.min(listener.head_bytes_max - 2),
            field_bytes_max: listener.limits.field_bytes_max,
            fields_max: listener.fields_max,
        };
        down.limit_pipeline(listener.limits.pipeline_bytes_max);
        let mut verdict = Err(Failure::HeadTimeout);
        let head = &mut *core.request_head.borrow_mut();
        let read = down.poll_request_head(cx, core.lent(), &limits, head, &mut |head, bytes| {
            verdict = self.admit(core, head, bytes, listener, client);
        });
        match read {
            Poll::Ready(received) => Poll::Ready(Some(received.map(|()| verdict))),
            Poll::Pending => {
                let due_ms = due(self.started_ms, listener.head_timeout);
                timer.poll_until(cx, due_ms).map(|()| None)
            }
        }
    }

    /// Judges a request head, finds its route and writes the head that goes upstream.
    fn admit(
        &mut self,
        core: &Core<S>,
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
        let mut buffers = core.paths.borrow_mut();
        let paths = buffers.canonicalise(head.path.bytes(bytes), &listener.rules.paths);
        let path = paths.map_or(head.path.bytes(bytes), |paths| paths.forwarded);
        let sender = Sender::new(client, &listener.trusted_proxies, head, bytes);
        let canonical = paths.map(|paths| paths.canonical);
        let mut verdict = self.judge(head, bytes, host, options, canonical, &sender);
        if let Some(secured) = client.secured()
            && verdict.is_ok()
            && listener.tls.as_ref().is_some_and(|tls| !tls.covers(secured, host.unwrap_or_default()))
        {
            // Nor does it get to the filters of a route that its connection is not for.
            self.route = None;
            verdict = Err(Failure::Misdirected);
        }
        if let Some(route) = self.route {
            let asker = Asker { head, bytes, host: host.unwrap_or_default(), path: canonical, sender };
            self.choose_upstream(&local, route, verdict.is_ok(), &asker);
        }
        let route = self.route.map(|route| &local.snapshot().routes[route]);
        let mut edits = None;
        // A request that its route refuses passes the filters too: its answer has the fields of the route's answers.
        if let Some(route) = route
            && let Some(chain) = route.chain(self.listener, self.upstream)
        {
            let request = Filterable {
                head,
                bytes,
                host: host.unwrap_or_default(),
                canonical_path: canonical.unwrap_or_default(),
                forwarded_path: path,
                client,
                sender,
                request_id: &core.request_ids.text(self.number),
            };
            let mut made = local.edits().borrow_mut();
            let drops_underscores = listener.rules.underscore_fields == UnderscoreFields::Drop;
            hide_dropped(head, bytes, options, (sender.is_trusted, drops_underscores), &mut made);
            verdict = self.filter_request(chain, route, &request, &mut made).and(verdict);
            edits = Some(made);
        }
        // What comes over HTTP/1 is looked at only where calls are translated: nobody else sends one there.
        if head.method == Method::Post
            && let is_translated = route.is_some_and(|route| route.grpc_web)
            && (is_translated || client.is_http2())
        {
            self.note_call(head, bytes, is_translated);
        }
        let edits = edits.as_deref();
        let trace = local.snapshot().tracing.as_ref().map(|tracing| {
            let host = host.unwrap_or_default();
            self.begin_trace(core, tracing, &Traceable { head, bytes, host, client, sender })
        });
        let set_host = match route {
            // RFC 9110 §7.2: the Host of a CONNECT is its target.
            Some(route) if head.method != Method::Connect => {
                edits.and_then(Edits::host).or_else(|| route.host.set())
            }
            _ => None,
        };
        // The log tells what the client asked for; where that is not what is sent, it stands before the head.
        let asked_host = set_host.map(|_| self.keep_word(host.unwrap_or_default()));
        let changes_target = edits.is_some_and(Edits::changes_target);
        let asked_target = changes_target.then(|| self.keep_word(head.target.bytes(bytes)));
        if let Some(id) = edits.and_then(Edits::request_id) {
            self.given_id = self.keep_word(id);
        }
        self.keep_request_words(head, bytes, (client, sender), edits);
        let written = UpstreamHead {
            head,
            bytes,
            host: host.unwrap_or_default(),
            framing: self.framing,
            options,
            client,
            trusted: sender.is_trusted,
            forwarded: listener.forwarded,
            set_host,
            path,
            edits,
            max_forwards: max_forwards(head, bytes),
            upgrades: route.map_or(&[], |route| &route.upgrades),
            drops_underscores: listener.rules.underscore_fields == UnderscoreFields::Drop
                && head.fields.has_underscore(),
            tells_attempt: self
                .upstream
                .is_some_and(|upstream| local.snapshot().upstreams[upstream].retry.attempt_header),
            dropped_underscore: Cell::default(),
            trace,
        };
        // A refused request is written too: the access log finds its words there.
        self.words = written.write(&mut self.head);
        if written.dropped_underscore.get() {
            self.note(Tripwire::UnderscoreFieldDropped);
        }
        if head.fields.has(Known::Upgrade) {
            self.is_connect = client.is_http2();
            verdict = verdict.and_then(|()| self.judge_upgrade(head, bytes));
        }
        self.words.host = asked_host.unwrap_or(self.words.host);
        self.words.target = asked_target.unwrap_or(self.words.target);
        if self.framing == BodyFraming::Chunked {
            self.request_trailers = TrailerFilter::of_request(options, bytes);
        }
        verdict
    }

    /// What becomes of a request to switch protocols, when the head for the upstream has been written.
    #[cold]
    fn judge_upgrade(&mut self, head: &RequestHead, bytes: &[u8]) -> Result<(), Failure> {
        if self.words.upgrade.is_empty() {
            // It means nothing else.
            if self.is_connect {
                return Err(Failure::UpgradeRefused);
            }
            let asks_h2c = head.fields.list(Known::Upgrade, bytes).any(|it| it.eq_ignore_ascii_case(b"h2c"));
            self.note(if asks_h2c { Tripwire::H2cUpgradeStripped } else { Tripwire::UpgradeStripped });
        }
        Ok(())
    }

    /// Keeps a word in front of the head.
    fn keep_word(&mut self, word: &[u8]) -> Span {
        self.head.extend_from_slice(word);
        self.end_kept()
    }

    /// What was appended stays in front of the head.
    fn end_kept(&mut self) -> Span {
        let start = self.head_start;
        self.head_start = self.head.len();
        Span::new(start, self.head_start)
    }

    fn judge(
        &mut self,
        head: &RequestHead,
        bytes: &[u8],
        host: Result<&[u8], corelane_semantics::HostError>,
        options: &ConnectionOptions,
        path: Result<&[u8], PathError>,
        sender: &Sender,
    ) -> Result<(), Failure> {
        self.framing = request_framing(head, bytes).map_err(Failure::RequestFraming)?;
        let host = host.map_err(Failure::RequestHost)?;
        if options.excess {
            return Err(Failure::RequestOptions);
        }
        if options.protected {
            return Err(Failure::RequestNomination);
        }
        let rules = &self.listener().rules;
        if rules.methods_refused.contains(head.method, head.method_token.bytes(bytes)) {
            return Err(Failure::MethodRefused);
        }
        if rules.underscore_fields == UnderscoreFields::Reject && head.fields.has_underscore() {
            return Err(Failure::UnderscoreField);
        }
        let expects = head.version == Version::Http11 && head.fields.count(Known::Expect) > 0;
        if expects && !is_100_continue(head, bytes) {
            return Err(Failure::ExpectationUnsupported);
        }
        if head.form == TargetForm::Absolute
            && !sender.is_tls
            && !sender.is_trusted
            && is_https(head.target.bytes(bytes))
        {
            return Err(Failure::SchemeMismatch);
        }
        let path = path.map_err(Failure::RequestPath)?;
        if max_forwards(head, bytes) == Some(0) {
            return Err(Failure::MaxForwards);
        }
        self.authenticates_connection = head.fields.count(Known::Authorization) > 0
            && head.fields.all(Known::Authorization, bytes).any(authenticates_connection);
        let (listener, client, tls) = (self.listener, sender.client, sender.is_tls);
        let request = Request { listener, host, path, head, bytes, client, tls };
        self.route = self.local.find_route(&request);
        let Some(route) = self.route.map(|route| &self.snapshot().routes[route]) else {
            return Err(Failure::NoRoute);
        };
        let has_body = !matches!(self.framing, BodyFraming::None | BodyFraming::Length(0));
        if has_body {
            // Behind the switch it would be read as the other protocol's bytes, by whoever takes the switch for granted.
            if wants_upgrade(head, options) && upgrades(head, bytes, &route.upgrades).next().is_some() {
                return Err(Failure::UpgradeWithBody);
            }
            let bytes_max = if route.body_bytes_max == 0 { u64::MAX } else { route.body_bytes_max };
            if let BodyFraming::Length(length) = self.framing
                && length > bytes_max
            {
                return Err(Failure::BodyTooLarge);
            }
            self.body_bytes_max = bytes_max;
            self.expects_continue = expects;
        }
        Ok(())
    }

    // Pick, CheckOut or Connect, SendHead; then the relay. A failed attempt goes round again where that is safe.

    /// `Ok(Some)`: the response switched protocols on this connection.
    async fn forward(&mut self, caller: &mut Caller<'_, S, D>) -> Result<Option<Box<Link<S>>>, Failure> {
        let core = caller.core.clone();
        let local = self.local.clone();
        let snapshot = local.snapshot();
        let (Some(route), Some(upstream_index)) = (self.route, self.upstream) else {
            return Err(Failure::NoRoute);
        };
        let upstream = &snapshot.upstreams[upstream_index];
        let upstream_counters = upstream.counters.of(core.index);
        upstream_counters.requests.increment();
        self.pass_breaker(&core, upstream)?;
        let Some(local_upstream) = local.upstream(upstream_index) else { return Err(Failure::NoEndpoint) };
        self.make_resendable(caller, upstream);
        if snapshot.routes[route].mirror.is_some() {
            self.begin_mirror(&core, route, self.tries.is_resendable);
        }
        loop {
            if self.attempts > 0 {
                self.back_off(caller, upstream).await?;
            }
            // Pick. A retry has its endpoint already.
            let index = match self.take_endpoint(upstream, local_upstream) {
                Ok(index) => index,
                Err(why) => self.without_endpoint(caller, upstream, local_upstream, why).await?,
            };
            let Some(pool) = local_upstream.pool(index) else { return Err(Failure::NoEndpoint) };
            if self.attempts > 0 {
                upstream_counters.retries.increment();
                self.tell_attempt(self.attempts + 1);
            }
            self.attempts += 1;
            self.endpoint = Some(index);
            self.start_try(&upstream.retry);
            let mut visit = Visit::new(upstream, local_upstream, pool, index, core.index);

            // CheckOut or Connect. A stale connection is replaced by a fresh one to the same endpoint.
            let is_http1 = !upstream.protocol.may_be_http2();
            let mut pooled = if is_http1 { visit.check_out(&mut self.reserved) } else { None };
            let attempt = loop {
                if !is_http1 {
                    break self.attempt_either(caller, &mut visit).await;
                }
                self.reused = pooled.is_some();
                self.begin_attempt(&core);
                let stream = match pooled.take() {
                    Some(stream) => stream,
                    None => match self.connect(caller, upstream, visit.endpoint()).await {
                        Ok(stream) => stream,
                        // Nothing was sent; but for what is not the endpoint's fault, another one is no better.
                        Err(failure) => {
                            let gave_up = failure == Failure::TryTimeout;
                            break Err((failure, gave_up || failure.is_of_connecting()));
                        }
                    },
                };
                let attempt = self.attempt::<H1Upstream<S>>(caller, stream, &mut visit).await;
                match attempt {
                    Ok(leftover) => break Ok(leftover),
                    Err((Failure::UpstreamClosed, true)) if self.reused => {
                        self.fail_attempt(Failure::UpstreamClosed);
                        visit.counters().stale.increment();
                        upstream_counters.retries.increment();
                    }
                    Err(failed) => break Err(failed),
                }
            };
            // It may have ended elsewhere than it began.
            let (tried, pool) = (visit.attempt(), visit.pool);
            match attempt {
                Ok(Done::Answered(leftover)) => {
                    self.note_answer(upstream, local_upstream, tried);
                    self.retire(&core, pool, upstream, leftover);
                    return Ok(None);
                }
                Ok(Done::Switched(switched)) => {
                    self.note_answer(upstream, local_upstream, tried);
                    return Ok(Some(switched));
                }
                Err((failure, may_try_again)) => {
                    self.release();
                    self.note_failure(upstream, local_upstream, tried, failure);
                    self.fail_attempt(failure);
                    self.note_try(failure);
                    self.judge_endpoint(&core, pool, upstream, failure);
                    // What it was to share has closed: it waits for the next one.
                    let has_next = failure == Failure::EndpointsFull || self.tries.next.is_some();
                    if !may_try_again || !(has_next || self.plan_retry(failure)) {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Makes sure, where it costs little, that the request can be sent again.
    #[inline(always)]
    fn make_resendable(&mut self, caller: &mut Caller<'_, S, D>, upstream: &UpstreamConfig) {
        self.tries.may_repeat =
            upstream.retry.may_repeat(self.method, || self.words.method.bytes(&self.head));
        let may_take = match self.framing {
            BodyFraming::None | BodyFraming::Length(0) => {
                self.tries.is_resendable = true;
                return;
            }
            BodyFraming::Length(_) => self.tries.may_repeat || upstream.protocol.may_be_http2(),
            // In HTTP/1 it would have to go in chunks.
            BodyFraming::Chunked => upstream.protocol.is_http2() && !self.is_mirrored(),
            BodyFraming::UntilClose => false,
        };
        let head_bytes = self.head.len();
        self.tries.is_resendable = may_take
            && caller.down.take_small_body(caller.core.lent(), RESEND_BODY_BYTES_MAX, &mut self.head);
        self.request_bytes = (self.head.len() - head_bytes) as u64;
    }

    async fn connect(
        &mut self,
        caller: &mut Caller<'_, S, D>,
        upstream: &UpstreamConfig,
        endpoint: &Endpoint,
    ) -> Result<S, Failure> {
        let counters = endpoint.counters.of(caller.core.index);
        // The task is going to wait: what is left of the request leaves the scratch buffer.
        caller.down.settle(caller.core.lent());
        let started_ns = clock::monotonic_ns();
        let connect_due_ms = due(clock::coarse_ms(), upstream.connect_timeout);
        let (core, down, timer) = caller.parts();
        let finishes = self.client_may_finish();
        let connected = match Connecting::start(upstream, endpoint) {
            Ok(mut connecting) => {
                poll_fn(|cx| {
                    if let Poll::Ready(opened) = connecting.poll(cx, core) {
                        return Poll::Ready(opened);
                    }
                    if poll_gone(cx, core, down, finishes).is_ready() {
                        return Poll::Ready(Err(Failure::ClientGone));
                    }
                    loop {
                        let (due_ms, failure) = self.connect_deadline(core, connect_due_ms);
                        ready!(timer.poll_until(cx, due_ms));
                        if failure != Failure::TryTimeout || self.gives_up(true) {
                            return Poll::Ready(Err(self.ended_by(failure)));
                        }
                    }
                })
                .await
            }
            Err(failure) => Err(failure),
        };
        let connect_ns = clock::monotonic_ns() - started_ns;
        self.times.connect_ns = Some(connect_ns);
        count_connect(counters, &connected);
        if connected.is_ok() && self.snapshot().histograms {
            let histograms = &upstream.counters.of(core.index).histograms;
            histograms.get_or_init(Box::default).connect.add(connect_ns);
        }
        connected
    }

    /// SendHead and the relay over one connection. `Err` says whether another attempt is safe.
    async fn attempt<U: Carrier<S>>(
        &mut self,
        caller: &mut Caller<'_, S, D>,
        way: U::Way,
        visit: &mut Visit<'_, S>,
    ) -> Result<Done<S>, (Failure, bool)> {
        let (core, down, timer) = caller.parts();
        let core = &**core;
        let counters = visit.counters();
        counters.requests.increment();
        if self.reused {
            counters.reused.increment();
        }
        let mut up = U::begin(way, self.framing, response_limits(visit.upstream), self.call.translation());
        let mut relayed = self.send_head(core, down, &mut up);
        if self.tries.hedge_due_ns != u64::MAX
            && relayed.is_ok()
            && !self.upload_over
            && let Some(up) = up.as_racer()
        {
            relayed = self.race(core, Sides { timer, down, up }, visit).await;
        }
        let counters = visit.counters();
        if relayed.is_ok() {
            relayed = self.relay(core, timer, down, &mut up, counters).await;
        }
        if let Some(web) = up.as_grpc_web() {
            relayed = self.note_translated(web).and(relayed);
        }
        match relayed {
            Ok(()) if self.phase == Phase::Switched => Ok(Done::Switched(Box::new(up.into_link()))),
            Ok(()) => Ok(Done::Answered(up.into_leftover())),
            Err(failure) => {
                // What was handed on of a body is gone, be it only its end with the trailers.
                let complete =
                    self.tries.is_resendable || (self.request_bytes == 0 && !down.is_request_complete());
                if let Some(code) = up.reset_by() {
                    counters.http2_resets.add(code);
                    // Its connection is not what has failed.
                    self.reused = false;
                }
                if up.was_not_processed() {
                    counters.http2_unprocessed.increment();
                    self.tries.was_unprocessed = true;
                    return Err((failure, complete));
                }
                count_endpoint_failure(counters, failure);
                note_tls_failure(core, visit.upstream, visit.endpoint(), up.tls_failure());
                let unanswered = match failure {
                    Failure::UpstreamClosed | Failure::UpstreamStalled | Failure::ResponseHeadTimeout => {
                        !up.has_received()
                    }
                    // It was decided when the time was over, or the response's head there.
                    Failure::TryTimeout | Failure::StatusRetried(_) => return Err((failure, true)),
                    _ => false,
                };
                let may_repeat = may_send_again(self.tries.may_repeat, up.accepted());
                Err((failure, unanswered && complete && may_repeat))
            }
        }
    }

    /// Sends the head with what has arrived of the body, in one step.
    // No part of `attempt`: what that holds would be kept in the memory of its future.
    #[inline(always)]
    fn send_head<U: Upstream>(&mut self, core: &Core<S>, down: &mut D, up: &mut U) -> Result<(), Failure> {
        let mut mirror = self.mirror.take();
        let (head, mut handed_on) = (&self.head[self.head_start..], 0);
        let (trailers, rules) = (&self.request_trailers, &self.listener().rules);
        let mut room = BodyRoom::new(self.body_bytes_max, self.request_bytes);
        let sent = down.lend_body(core.lent(), &mut |batch| {
            room.take(batch.bytes)?;
            trailers.filter(rules, batch, |batch| up.send_request(head, batch, core.lent()))?;
            handed_on = batch.bytes;
            mirror.take_if(|copy| !copy.add(batch));
            Ok(())
        });
        if mirror.is_some() {
            self.mirror = mirror;
            self.send_mirror();
        }
        self.request_bytes += handed_on;
        self.times.start_attempt();
        self.request_progress = Progress::starting_at(clock::coarse_ms());
        self.request_pace = Pace::default();
        self.response_pace = Pace::starting_at(down.accepted());
        if room.is_exceeded {
            return Err(Failure::BodyTooLarge);
        }
        // Where nothing has gone out, an answer may be waiting all the same; only a silent connection is stale.
        self.upload_over = matches!(sent, Err(RelayError::Send));
        match sent {
            Err(RelayError::Receive(error)) => Err(Failure::from_request(&error)),
            Ok(_) | Err(RelayError::Send) => Ok(()),
        }
    }

    // RelayRequestBody ‖ ReadResponseHead, ResponseFilters, RelayResponseBody: one loop over both directions.

    async fn relay<U: Upstream>(
        &mut self,
        core: &Core<S>,
        timer: &mut Timer<S>,
        down: &mut D,
        up: &mut U,
        counters: &EndpointCounters,
    ) -> Result<(), Failure> {
        let relayed = poll_fn(|cx| {
            let relayed = self.poll_relay(cx, core, timer, down, up);
            // A long transfer shows in the counters while it runs.
            self.count_moved(down, up, counters);
            relayed
        });
        relayed.await
    }

    fn poll_relay<U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        timer: &mut Timer<S>,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Result<(), Failure>> {
        loop {
            let mut moved = self.step_request(cx, core, down, up)?;
            moved |= self.step_response(cx, core, down, up)?;
            if self.phase == Phase::Switched || (self.phase == Phase::Complete && !down.is_blocked()) {
                return Poll::Ready(Ok(()));
            }
            // The client is looked at when there is nothing else to do: what has come is handed on all the same.
            if !moved && !self.watch_client(cx, core, down)? {
                break;
            }
        }
        loop {
            let (due_ms, failure) = self.deadline(core, down, up);
            ready!(timer.poll_until(cx, due_ms));
            if !self.is_reprieved(failure, down, up) {
                return Poll::Ready(Err(self.ended_by(failure)));
            }
        }
    }

    /// Moves the request. Returns whether anything moved.
    // Hedged requests call it, too: for all others it stays a part of the relay.
    #[inline(always)]
    fn step_request<U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        down: &mut D,
        up: &mut U,
    ) -> Result<bool, Failure> {
        let lent = core.lent();
        if up.is_blocked() && !self.upload_over {
            match up.poll_flush(cx, lent) {
                Poll::Ready(Ok(())) => self.times.note_sent(),
                // Read first: an early response may be waiting.
                Poll::Ready(Err(_)) => self.upload_over = true,
                Poll::Pending => return Ok(false),
            }
        }
        if down.is_request_complete() || self.upload_over {
            return Ok(false);
        }
        self.step_request_body(cx, core, down, up)
    }

    // A function of its own: most requests have no body, or bring it with the head.
    #[inline(never)]
    fn step_request_body<U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        down: &mut D,
        up: &mut U,
    ) -> Result<bool, Failure> {
        let lent = core.lent();
        let mut handed_on = 0;
        let mut mirror = self.mirror.take();
        let (trailers, rules) = (&self.request_trailers, &self.listener().rules);
        let mut room = BodyRoom::new(self.body_bytes_max, self.request_bytes);
        // What passes through a pipe cannot be copied.
        let takes_pipes = up.takes_pipes() && mirror.is_none();
        let step = down.poll_request_body(cx, lent.towards(takes_pipes), &mut |batch| {
            room.take(batch.bytes)?;
            handed_on += batch.bytes;
            mirror.take_if(|copy| !copy.add(batch));
            trailers.filter(rules, batch, |batch| up.send_request(&[], batch, lent))
        });
        if mirror.is_some() {
            self.mirror = mirror;
            self.send_mirror();
        }
        self.request_bytes += handed_on;
        if room.is_exceeded {
            return Err(Failure::BodyTooLarge);
        }
        match step {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(_)) => {
                self.request_progress.at_ms = clock::coarse_ms();
                self.times.note_sent();
                Ok(true)
            }
            Poll::Ready(Err(RelayError::Receive(error))) => Err(Failure::from_request(&error)),
            Poll::Ready(Err(RelayError::Send)) => {
                self.upload_over = true;
                Ok(true)
            }
        }
    }

    /// Watches a client whose request is complete and whose response is not. Returns whether it is to be watched for something
    /// else from now on.
    #[inline(always)]
    fn watch_client(&self, cx: &mut Context<'_>, core: &Core<S>, down: &mut D) -> Result<bool, Failure> {
        if !down.is_request_complete() || matches!(self.phase, Phase::Complete | Phase::Switched) {
            return Ok(false);
        }
        match poll_client(cx, core, down) {
            Poll::Pending => Ok(false),
            // For a reset.
            Poll::Ready(ClientSignal::HalfClosed) if self.client_may_finish() => Ok(true),
            Poll::Ready(_) => Err(Failure::ClientGone),
        }
    }

    /// Moves the response. Returns whether anything moved.
    fn step_response<U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        down: &mut D,
        up: &mut U,
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
            Phase::Complete | Phase::Switched => return Ok(false),
            Phase::Head => {
                let out = &mut *core.written_head.borrow_mut();
                out.clear();
                self.request_complete = down.is_request_complete();
                self.request_sent = self.request_complete && !up.is_blocked();
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
                let upstream = match answer? {
                    Answer::Final { upstream } => upstream,
                    Answer::Interim => {
                        // HTTP/1.0 has no interim responses (RFC 9110 §15.2).
                        if self.version == Version::Http11 {
                            down.send_interim(out, lent).map_err(|_| Failure::ClientGone)?;
                            self.interims_sent += 1;
                        }
                        // What follows the interim response stays, for the next turn.
                        up.settle(lent);
                        return Ok(true);
                    }
                    Answer::Switch => {
                        self.keep_response_words(out);
                        down.send_interim(out, lent).map_err(|error| match error.kind() {
                            // The answer to a key of ours.
                            io::ErrorKind::InvalidData => Failure::SwitchMismatch,
                            _ => Failure::ClientGone,
                        })?;
                        up.settle(lent);
                        self.phase = Phase::Switched;
                        return Ok(true);
                    }
                };
                self.keep_response_words(out);
                if !self.request_sent {
                    self.note_early_response();
                }
                up.start_body(upstream);
                down.start_response(self.response_framing, !self.persistence.stays());
                let (trailers, rules) = (&self.response_trailers, &self.listener().rules);
                let begun = up.lend_response_body(lent, &mut |batch| {
                    received += batch.bytes;
                    trailers.filter(rules, batch, |batch| down.send_response(out, batch, lent))
                });
                // A body that breaks a rule at once has not let the head out: the client can still be told.
                if !matches!(begun, Err(RelayError::Receive(_))) {
                    self.phase = Phase::Body;
                }
                Poll::Ready(begun)
            }
            Phase::Body => self.step_response_body(cx, core, down, up),
        };
        self.response_bytes += received;
        match step {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(BodyStep::End)) => {
                self.phase = Phase::Complete;
                self.times.note_response_end();
            }
            Poll::Ready(Ok(BodyStep::More)) => {}
            Poll::Ready(Err(RelayError::Receive(error))) => return Err(Failure::from_response(&error, true)),
            Poll::Ready(Err(RelayError::Send)) => return Err(Failure::ClientGone),
        }
        (self.response_progress.accepted, self.response_progress.at_ms) =
            (down.accepted(), clock::coarse_ms());
        Ok(true)
    }

    // As `step_request_body`.
    #[inline(never)]
    fn step_response_body<U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Result<BodyStep, RelayError>> {
        let lent = core.lent();
        let mut received = 0;
        let (trailers, rules) = (&self.response_trailers, &self.listener().rules);
        let step = up.poll_response_body(cx, lent.towards(down.takes_pipes()), &mut |batch| {
            received += batch.bytes;
            trailers.filter(rules, batch, |batch| down.send_response(&mut Vec::new(), batch, lent))
        });
        self.response_bytes += received;
        step
    }

    /// Judges a response head and writes the one that goes to the client.
    #[inline(always)]
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
        if options.protected {
            self.note(Tripwire::ConnectionNominationIgnored);
        }
        let upstream = response_framing(head, bytes, self.method).map_err(Failure::ResponseFraming)?;
        let mut written = DownstreamHead {
            head,
            bytes,
            options,
            framing: BodyFraming::None,
            persistence: Persistence::Keep,
            edits: None,
            set_cookies: [None; 2],
        };
        let is_interim = matches!(head.status, 100 | 102..=199);
        if !is_interim {
            self.times.note_response_head();
        }
        if matches!(head.status, 100..=199) {
            if head.status == 101 {
                return self.switch(&written, out);
            }
            if self.interims == INTERIM_RESPONSES_MAX {
                return Err(Failure::InterimFlood);
            }
            self.interims += 1;
            if head.status == 100 {
                // Now it is the client that is waited for.
                self.expects_continue = false;
                self.request_progress.at_ms = clock::coarse_ms();
            }
            written.write_interim(out);
            return Ok(Answer::Interim);
        }
        if self.method == Method::Connect && matches!(head.status, 200..=299) {
            self.status = head.status;
            let local = self.local.clone();
            let edits = self.filter_response(&local, head, bytes);
            written.edits = edits.as_deref().map(|edits| &edits.response);
            // RFC 9110 §9.3.6: Content-Length and Transfer-Encoding mean nothing in it.
            written.write_interim(out);
            return Ok(Answer::Switch);
        }
        if head.status >= 400 && self.retries_status(head.status) {
            return Err(Failure::StatusRetried(head.status));
        }
        if self.is_connect && head.status < 300 {
            return Err(Failure::UpgradeUnsupported);
        }
        if self.call.is_some() {
            self.note_call_head(head, bytes)?;
        }
        self.status = head.status;
        self.settle_probe(core);
        if head.status == 401 {
            self.authenticates_connection |= head.fields.lines().iter().any(|field| {
                field.name.bytes(bytes).eq_ignore_ascii_case(b"www-authenticate")
                    && authenticates_connection(field.value.bytes(bytes))
            });
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
        if self.response_framing == BodyFraming::Chunked {
            self.response_trailers = TrailerFilter::of_response(options, bytes, self.call.is_some());
        }
        written.framing = self.response_framing;
        written.persistence = self.persistence;
        written.set_cookies = self.set_cookies();
        let edits = self.filter_response(&self.local, head, bytes);
        written.edits = edits.as_deref().map(|edits| &edits.response);
        core.with_date(|date| written.write(date, out));
        Ok(Answer::Final { upstream })
    }

    /// A 101 is obeyed only where it grants what was forwarded (RFC 9110 §15.2.2).
    fn switch(&mut self, written: &DownstreamHead<'_>, out: &mut Vec<u8>) -> Result<Answer, Failure> {
        if self.words.upgrade.is_empty() {
            return Err(Failure::UnexpectedSwitch);
        }
        let (head, bytes) = (written.head, written.bytes);
        let mut protocols = head.fields.list(Known::Upgrade, bytes);
        let (Some(protocol), None) = (protocols.next(), protocols.next()) else {
            return Err(Failure::SwitchMismatch);
        };
        let asked = self.words.upgrade.bytes(&self.head).split(|&byte| byte == b',');
        if !written.options.upgrade
            || !asked.map(<[u8]>::trim_ascii).any(|asked| asked.eq_ignore_ascii_case(protocol))
        {
            return Err(Failure::SwitchMismatch);
        }
        self.status = 101;
        let local = self.local.clone();
        let edits = self.filter_response(&local, head, bytes);
        let edits = edits.as_deref().map(|edits| &edits.response);
        DownstreamHead { set_cookies: self.set_cookies(), edits, ..*written }.write_switch(protocol, out);
        Ok(Answer::Switch)
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

    fn after_response(&mut self, caller: &mut Caller<'_, S, D>) -> Next {
        if self.phase == Phase::Switched {
            return Next::Close;
        }
        if !caller.down.is_request_complete() {
            return Next::Linger;
        }
        match self.persistence {
            Persistence::Close if caller.down.has_surplus() => Next::Linger,
            // A client that did not ask for the close may have sent more while the end of the response went out: closing
            // over that would reset the connection.
            Persistence::Close if self.client_keeps && !caller.down.is_silent(Check::Events) => Next::Linger,
            Persistence::Close => Next::Close,
            Persistence::Keep | Persistence::KeepSaid => Next::Keep,
        }
    }

    /// The connection ended without a request: there is nothing to count or log.
    fn discard(&mut self, caller: &Caller<'_, S, D>) -> Next {
        caller.core.buffers.give(std::mem::take(&mut self.head));
        Next::Close
    }

    /// Counts and logs.
    fn finish(&mut self, caller: &mut Caller<'_, S, D>) {
        self.count_listener(|counters| {
            counters.requests.increment();
            // A connection of HTTP/2 may have more streams on their way; it counts itself.
            let is_reached = self.is_last && self.client_keeps && !caller.client.is_http2();
            counters.requests_max_reached.add(u64::from(is_reached));
        });
        caller.core.counters().requests.increment();
        if self.mirror.is_some() {
            self.end_mirror();
        }
        if self.call.is_some() {
            self.count_call();
        }
        self.note_trailers();
        self.settle_answered(caller.core);
        if !self.tripwires.is_empty() {
            self.count_tripwires();
        }
        if let Some(route) = self.route {
            let counters = self.snapshot().routes[route].counters.of(self.worker());
            counters.requests.increment();
            counters.responses_1xx.add(u64::from(self.interims_sent));
            match self.status {
                101 => counters.responses_1xx.increment(),
                200..=299 => counters.responses_2xx.increment(),
                300..=399 => counters.responses_3xx.increment(),
                400..=499 => counters.responses_4xx.increment(),
                _ => counters.responses_5xx.increment(),
            }
        }
        let moved = caller.down.take_moved();
        self.count_listener(|counters| {
            counters.received_bytes.add(moved.received);
            counters.sent_bytes.add(moved.sent);
        });
        self.times.end();
        if self.snapshot().histograms {
            self.observe();
        }
        if self.snapshot().access_log.is_some() {
            self.log(caller);
        }
        if self.trace.is_some() {
            self.end_trace(caller.core);
        }
        self.release_filters();
        caller.core.buffers.give(std::mem::take(&mut self.head));
    }

    /// As logs and answers name the request.
    fn request_id(&self, core: &Core<S>) -> RequestId<'_> {
        match self.given_id.bytes(&self.head) {
            [] => RequestId::Made(core.request_ids.text(self.number)),
            given => RequestId::Given(given),
        }
    }
}

/// Watches a client whose request is complete: from the next tick on, if it is new.
fn poll_client<S: Dial, D: Downstream>(
    cx: &mut Context<'_>,
    core: &Core<S>,
    down: &mut D,
) -> Poll<ClientSignal> {
    core.keep_ticking();
    down.poll_client(cx, core.lent())
}

/// Watches the client beside a wait for something else: ready when it has left. `finishes`: to have closed its sending side
/// is not that.
fn poll_gone<S: Dial, D: Downstream>(
    cx: &mut Context<'_>,
    core: &Core<S>,
    down: &mut D,
    finishes: bool,
) -> Poll<()> {
    if down.is_request_complete()
        && let Poll::Ready(signal) = poll_client(cx, core, down)
        && (signal == ClientSignal::Gone || !finishes)
    {
        return Poll::Ready(());
    }
    Poll::Pending
}

/// How much of a response head is taken.
pub(crate) fn response_limits(upstream: &UpstreamConfig) -> HeadLimits {
    HeadLimits {
        head_bytes_max: upstream.head_bytes_max,
        request_line_bytes_max: upstream.head_bytes_max,
        field_bytes_max: upstream.head_bytes_max,
        ..HeadLimits::default()
    }
}

/// RFC 9110 §10.1.1: the only expectation there is. Another spelling is what one side obeys and the other does not.
fn is_100_continue(head: &RequestHead, bytes: &[u8]) -> bool {
    let value = head.fields.first(Known::Expect, bytes).unwrap_or_default();
    head.fields.count(Known::Expect) == 1 && value.eq_ignore_ascii_case(b"100-continue")
}

/// RFC 9110 §7.4: what asks for https has not come by it.
fn is_https(target: &[u8]) -> bool {
    target.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https:"))
}

/// How many more hops an OPTIONS or TRACE request may take (RFC 9110 §7.6.2).
fn max_forwards(head: &RequestHead, bytes: &[u8]) -> Option<u32> {
    if !matches!(head.method, Method::Options | Method::Trace) {
        return None;
    }
    std::str::from_utf8(head.fields.first(Known::MaxForwards, bytes)?).ok()?.parse().ok()
}

/// NTLM and Negotiate make one connection the user's: whoever uses it next would be taken for that user.
fn authenticates_connection(credentials: &[u8]) -> bool {
    credentials.split(|&byte| byte == b',').any(|member| {
        let scheme = member.trim_ascii_start().split(|&byte| byte == b' ').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}
