//! Attempts at endpoints that may speak HTTP/2: over a connection that is there, or one that is opened for all who wait.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use super::connecting::{note_failure_of, peer};
use super::visit::Visit;
use super::{Connecting, Done, Exchange, poll_gone};
use crate::caller::Caller;
use crate::core::{Core, Timer, due};
use crate::counters::{EndpointCounters, PerWorker};
use crate::failure::Failure;
use crate::h2::{ClientConnection, ClientLimits};
use crate::io::{Dial, clock};
use crate::limits::Permit;
use crate::link::{Link, Way};
use crate::local::Local;
use crate::message::Downstream;
use crate::pool::{Opener, Pooled, Waiting};
use crate::protocol::UpstreamProtocol;
use crate::snapshot::{Endpoint, Upstream};
use crate::task;
use crate::tls::TlsPeer;

/// How an attempt ended; an error says whether another one is safe.
type Attempted<S> = Result<Done<S>, (Failure, bool)>;

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// As the loop of `forward` does for HTTP/1. Boxed and behind a table of functions, because the future of every exchange
    /// would hold it, and its code keep that of others from being inlined.
    #[cold]
    #[inline(never)]
    pub(super) fn attempt_either<'a>(
        &'a mut self,
        caller: &'a mut Caller<'_, S, D>,
        visit: &'a mut Visit<'_, S>,
    ) -> Pin<Box<dyn Future<Output = Attempted<S>> + 'a>> {
        Box::pin(async move {
            let core = caller.core.clone();
            let mut tries = 0;
            loop {
                tries += 1;
                let mut way = self.way_there(visit);
                self.reused = way.is_some();
                self.begin_attempt(&core);
                let way = match way.take() {
                    Some(way) => way,
                    None => self.open_way(caller, visit).await.map_err(|failure| {
                        let waits = matches!(failure, Failure::TryTimeout | Failure::EndpointsFull);
                        (failure, waits || failure.is_of_connecting())
                    })?,
                };
                let attempt = self.attempt::<Link<S>>(caller, way, visit).await;
                visit.pool.shared().trim(visit.upstream.idle_connections_max);
                call_waiting(visit.endpoint());
                match attempt {
                    // The connection was closed meanwhile, or takes no more: again, to the same endpoint.
                    Err((Failure::UpstreamClosed, true))
                        if tries < TRIES_MAX && (self.reused || self.tries.was_unprocessed) =>
                    {
                        self.fail_attempt(Failure::UpstreamClosed);
                        let is_unprocessed = std::mem::take(&mut self.tries.was_unprocessed);
                        visit.counters().stale.add(u64::from(!is_unprocessed));
                        visit.upstream.counters.of(core.index).retries.increment();
                    }
                    attempt => return attempt,
                }
            }
        })
    }

    /// A connection that is there: one in HTTP/2 with room, or an idle one in HTTP/1.1.
    fn way_there(&mut self, visit: &Visit<'_, S>) -> Option<Way<S>> {
        if let Some(connection) = visit.pool.shared().busiest() {
            if let Some(reserved) = &mut self.reserved {
                drop(reserved.take_permit());
            }
            return Some(Way::H2(connection, visit.endpoint().tls.is_some()));
        }
        if visit.upstream.protocol != UpstreamProtocol::Negotiated {
            return None;
        }
        visit.check_out(&mut self.reserved).map(Way::H1)
    }

    /// Waits for a connection that is being opened, or has one opened.
    async fn open_way(
        &mut self,
        caller: &mut Caller<'_, S, D>,
        visit: &Visit<'_, S>,
    ) -> Result<Way<S>, Failure> {
        caller.down.settle(caller.core.lent());
        let started_ns = clock::monotonic_ns();
        loop {
            let mut waiting = match visit.pool.shared().join() {
                Some(waiting) => waiting,
                None => self.begin_opening(caller.core, visit)?,
            };
            let opened = self.wait_for_opening(caller, &mut waiting).await;
            self.times.connect_ns = Some(clock::monotonic_ns() - started_ns);
            if let Err(failure) = opened {
                if failure.is_of_connecting() || failure == Failure::TryTimeout {
                    visit.counters().failures.add(failure.reason());
                }
                return Err(failure);
            }
            if let Some(Pooled { stream, permit }) = waiting.take_http1() {
                if let Some(reserved) = &mut self.reserved {
                    reserved.set_permit(permit);
                }
                return Ok(Way::H1(stream));
            }
            if let Some(way) = self.way_there(visit) {
                return Ok(way);
            }
        }
    }

    async fn wait_for_opening(
        &mut self,
        caller: &mut Caller<'_, S, D>,
        waiting: &mut Waiting<S>,
    ) -> Result<(), Failure> {
        let finishes = self.client_may_finish();
        let (core, down, timer) = caller.parts();
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = waiting.poll(cx) {
                return Poll::Ready(outcome);
            }
            if poll_gone(cx, core, down, finishes).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            loop {
                // The time to connect is that of the connection.
                let (due_ms, failure) = self.connect_deadline(core, u64::MAX);
                ready!(timer.poll_until(cx, due_ms));
                if failure != Failure::TryTimeout || self.gives_up(true) {
                    return Poll::Ready(Err(failure));
                }
            }
        })
        .await
    }

    fn begin_opening(&mut self, core: &Rc<Core<S>>, visit: &Visit<'_, S>) -> Result<Waiting<S>, Failure> {
        let permit = match (&visit.endpoint().connections, &mut self.reserved) {
            (None, _) => None,
            (Some(limit), reserved) => {
                let reserved = reserved.as_mut().and_then(|reserved| reserved.take_permit());
                // One that it was to share has closed.
                Some(reserved.or_else(|| limit.try_take()).ok_or(Failure::EndpointsFull)?)
            }
        };
        let Some(upstream) = self.upstream else { return Err(Failure::NoEndpoint) };
        let (opener, waiting) = visit.pool.shared().begin(visit.upstream.http2.streams_max as usize);
        let place = Place { local: self.local.clone(), upstream, endpoint: visit.index };
        task::spawn_aside(core, open(core.clone(), place, opener, permit));
        Ok(waiting)
    }
}

/// Those that wait for room at an endpoint may have some now.
fn call_waiting(endpoint: &Endpoint) {
    if let Some(limit) = &endpoint.connections
        && limit.is_awaited()
    {
        limit.line().call();
    }
}

/// Where a connection is opened to.
struct Place<S> {
    local: Rc<Local<S>>,
    upstream: usize,
    endpoint: usize,
}

/// Opens a connection for all who wait for it.
async fn open<S: Dial>(core: Rc<Core<S>>, place: Place<S>, opener: Opener<S>, permit: Option<Permit>) {
    let upstream = &place.local.snapshot().upstreams[place.upstream];
    let endpoint = &upstream.endpoints[place.endpoint];
    let mut timer = Timer::new(&core);
    let started_ns = clock::monotonic_ns();
    let due_ms = due(clock::coarse_ms(), upstream.connect_timeout);
    let opened = match Connecting::start(upstream, endpoint) {
        Ok(mut connecting) => {
            poll_fn(|cx| {
                if let Poll::Ready(opened) = connecting.poll(cx, &core) {
                    return Poll::Ready(opened.map(|stream| (stream, connecting.is_http2())));
                }
                ready!(timer.poll_until(cx, due_ms));
                let failure =
                    if core.cutting.get() { Failure::DrainTimeout } else { Failure::ConnectTimeout };
                Poll::Ready(Err(failure))
            })
            .await
        }
        Err(failure) => Err(failure),
    };
    let counters = endpoint.counters.of(core.index);
    match opened {
        Ok((stream, is_http2)) => {
            counters.connects.increment();
            if place.local.snapshot().histograms {
                let histograms = &upstream.counters.of(core.index).histograms;
                histograms.get_or_init(Box::default).connect.add(clock::monotonic_ns() - started_ns);
            }
            if is_http2 {
                counters.http2_connections.increment();
                let open = Open {
                    core: core.clone(),
                    counters: endpoint.counters.clone(),
                    peer: peer(upstream, endpoint),
                    _permit: permit,
                };
                let end = move |connection: &ClientConnection| open.end(connection);
                opener.complete(ClientConnection::start(&core, stream, limits_of(upstream), end));
                call_waiting(endpoint);
            } else {
                opener.complete_http1(Pooled { stream, permit });
            }
        }
        Err(failure) => {
            match failure {
                Failure::ConnectTimeout => counters.connect_timeouts.increment(),
                _ if failure.is_of_connecting() => counters.connect_failures.increment(),
                _ => {}
            }
            opener.fail(failure);
        }
    }
}

fn limits_of(upstream: &Upstream) -> ClientLimits {
    let rules = upstream.http2;
    ClientLimits {
        streams_max: rules.streams_max,
        // What is never reused has one request.
        requests_max: if upstream.idle_connections_max == 0 { 1 } else { REQUESTS_MAX },
        stream_window: rules.stream_window,
        connection_window: rules.connection_window,
        head_bytes_max: u32::try_from(upstream.head_bytes_max).unwrap_or(u32::MAX / 2),
        fields_max: FIELDS_MAX,
        ping_interval: rules.ping_interval,
        ping_timeout: rules.ping_timeout,
        idle_timeout: upstream.idle_timeout,
        // It takes nothing for any of its requests.
        send_timeout: upstream.response_head_timeout,
    }
}

/// An HTTP/2 connection that is open, without its snapshot.
struct Open<S: Dial> {
    core: Rc<Core<S>>,
    counters: PerWorker<EndpointCounters>,
    peer: TlsPeer,
    _permit: Option<Permit>,
}

impl<S: Dial> Open<S> {
    /// Counts how it was.
    fn end(&self, connection: &ClientConnection) {
        let counters = self.counters.of(self.core.index);
        if let Some(end) = connection.end() {
            counters.http2_ended.add(end);
        }
        counters.http2_goaways.add(u64::from(connection.is_told_to_end()));
        counters.http2_pings.add(connection.pings());
        let moved = connection.take_moved();
        counters.received_bytes.add(moved.received);
        counters.sent_bytes.add(moved.sent);
        note_failure_of(&self.core, counters, || self.peer.clone(), connection.tls_failure());
    }
}

impl<S: Dial> Drop for Open<S> {
    fn drop(&mut self) {
        self.counters.of(self.core.index).http2_connections.decrement();
    }
}

/// As of responses in HTTP/1.1.
const FIELDS_MAX: u32 = 100;

/// Connections of one endpoint that a request may meet that close or take no more. One that says so has as many requests on their
/// way as it has streams, and all of them may meet the next one's end together.
const TRIES_MAX: u32 = 4;

/// Streams are numbered by every other number below 2^31 (RFC 9113 §5.1.1).
const REQUESTS_MAX: u64 = 1 << 29;
