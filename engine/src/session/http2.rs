//! A connection that speaks HTTP/2: each of its streams is an exchange in a task of its own.
//!
//! The session stays the connection's owner: its permit, its place among the idle ones, its timer. While the connection lasts
//! the stream is lent to `h2::Connection`; for the end it comes back.

use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use super::{OnDrop, SILENT_GRACE, Session};
use crate::admission::{Admission, Permit};
use crate::caller::Caller;
use crate::core::{Core, Timer, due};
use crate::exchange::{Next, serve};
use crate::h1::H1Downstream;
use crate::h2::{Connection, End, H2Downstream, Limits, PREFACE};
use crate::heads::ClientAddress;
use crate::io::{Dial, clock};
use crate::limits::ClientKey;
use crate::listener::ListenerSlot;
use crate::message::{BodyStep, Downstream};
use crate::protocol::Http2Limits;
use crate::task;

/// How long a client may go on with a request that was answered before its end.
const STREAM_LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// On a connection with more streams in progress it may not.
const LINGER_STREAMS_MAX: usize = 16;

/// What the tasks of a connection's streams share.
struct Shared<S: Dial> {
    core: Rc<Core<S>>,
    slot: Rc<ListenerSlot<S>>,
    client: ClientAddress,
}

/// A client whose misconduct is summed, and what of it is too much.
#[derive(Clone, Copy)]
struct Watched {
    client: ClientKey,
    sum_max: u32,
}

impl Watched {
    /// Whether it has done too much.
    fn is_bad(self, permit: &Permit) -> bool {
        permit.admission().http2_clients().is_bad(self.client, clock::coarse_ms(), self.sum_max)
    }

    /// Adds to what it has done; whether that is too much now.
    fn charge(self, permit: &Permit, price: u32, now_ms: u64) -> bool {
        permit.admission().http2_clients().charge(self.client, price, now_ms, self.sum_max)
    }
}

/// SETTINGS, which comes first, and GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 §3.4, §6.8).
const REFUSAL: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";

/// A connection has a request in progress. Its streams hold it.
struct Active(Rc<Admission>);

impl Active {
    fn new(admission: Rc<Admission>) -> Rc<Self> {
        admission.counters().connections_active.increment();
        Rc::new(Self(admission))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.counters().connections_active.decrement();
    }
}

impl<S: Dial> Session<S> {
    /// Serves a client that may speak HTTP/2 without having asked.
    pub(crate) async fn run_either(mut self: Box<Self>) {
        if !poll_fn(|cx| self.poll_request(cx)).await {
            return;
        }
        if Box::pin(self.begins_http2()).await {
            return Box::pin(self.run_http2()).await;
        }
        // What has come is still there.
        self.run().await;
    }

    /// Whether the client begins with HTTP/2. One that takes its time for the first bytes gets as long as for a head.
    async fn begins_http2(&mut self) -> bool {
        let (local, index) = self.slot.local(&self.core);
        let due_ms = due(clock::coarse_ms(), local.snapshot().listeners[index].head_timeout);
        poll_fn(|cx| match self.down.poll_begins_with(cx, PREFACE, self.core.lent()) {
            Poll::Ready(begins) => Poll::Ready(begins),
            Poll::Pending => self.timer.poll_until(cx, due_ms).map(|()| false),
        })
        .await
    }

    /// Serves the connection's streams until it ends.
    pub(crate) async fn run_http2(mut self: Box<Self>) {
        self.count_moved();
        let limits = self.http2_limits();
        let watched = self.watched_client(&limits.of_http2);
        if watched.is_some_and(|it| it.is_bad(&self.permit)) {
            self.counters().http2_refused.increment();
            // A socket that has been sent nothing yet has room for it.
            let _ = self.down.stream().try_send(&[IoSlice::new(REFUSAL)]);
            return self.linger().await;
        }
        self.counters().http2_connections.increment();
        self.client.note_http2();
        let (core, slot, client) = (self.core.clone(), self.slot.clone(), self.client.clone());
        let shared = Rc::new(Shared { core, slot, client });
        let (stream, early) = self.down.take_stream();
        let now_ms = clock::coarse_ms();
        let requests_max = limits.requests_max;
        let mut connection = Box::new(Connection::new(&self.core, stream, early, limits, now_ms));
        let mut active = Weak::new();
        let end = loop {
            match poll_fn(|cx| self.poll_stream(cx, &mut connection, watched)).await {
                Ok(down) => {
                    self.requests += 1;
                    self.counters().requests_max_reached.add(u64::from(self.requests == requests_max));
                    let is_active = active.upgrade().unwrap_or_else(|| Active::new(self.admission()));
                    active = Rc::downgrade(&is_active);
                    let stream = serve_stream(shared.clone(), down, self.requests, is_active);
                    task::spawn_aside(&self.core, stream);
                }
                Err(end) => break end,
            }
        };
        let in_progress = connection.in_progress();
        // What TLS has failed by is told when the session is dropped.
        self.down = H1Downstream::new(connection.into_stream());
        self.counters().http2_ended.add(end);
        self.counters().keepalive_timeouts.add(u64::from(end == End::Idle));
        if matches!(end, End::Timeout | End::Protocol | End::Misconduct) || self.slot.is_ending(&self.core) {
            // Over unread bytes a close would throw the GOAWAY away, and what the client has not read yet.
            self.linger().await;
        }
        // They hold its place.
        poll_fn(|cx| in_progress.poll_none(cx)).await;
    }

    fn http2_limits(&self) -> Limits {
        let (local, index) = self.slot.local(&self.core);
        let listener = &local.snapshot().listeners[index];
        Limits {
            // A reload may have taken HTTP/2 from the listener since it was agreed on.
            of_http2: listener.http2.clone().unwrap_or_default(),
            head_bytes_max: u32::try_from(listener.head_bytes_max).unwrap_or(u32::MAX / 2),
            fields_max: u32::try_from(listener.fields_max).unwrap_or(u32::MAX / 64),
            requests_max: listener.limits.requests_max,
            head_timeout: listener.head_timeout,
            idle_timeout: listener.keepalive_timeout,
            send_timeout: listener.send_timeout,
        }
    }

    /// The client, if the sum over its connections is limited. Who forwards the requests of others is not held responsible.
    fn watched_client(&self, limits: &Http2Limits) -> Option<Watched> {
        let (local, index) = self.slot.local(&self.core);
        let trusted = &local.snapshot().listeners[index].trusted_proxies;
        let ip = self.client.ip().filter(|ip| !trusted.iter().any(|network| network.contains(ip)))?;
        let sum_max = limits.client_misconduct_max;
        (sum_max > 0).then(|| Watched { client: ClientKey::new(ip), sum_max })
    }

    /// The next stream, or the end.
    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection<S>,
        watched: Option<Watched>,
    ) -> Poll<Result<Box<H2Downstream>, End>> {
        loop {
            let now_ms = clock::coarse_ms();
            let is_cutting = self.core.cutting.get();
            if is_cutting || self.slot.is_ending(&self.core) || (self.requests > 0 && self.slot.is_crowded())
            {
                connection.drain(now_ms);
            }
            let polled = connection.poll_request(cx, now_ms);
            let moved = connection.take_moved();
            self.counters().received_bytes.add(moved.received);
            self.counters().sent_bytes.add(moved.sent);
            let excess = connection.take_excess();
            let is_excessive =
                excess > 0 && watched.is_some_and(|it| it.charge(&self.permit, excess, now_ms));
            if is_excessive && !matches!(polled, Poll::Ready(Err(_))) {
                connection.refuse(now_ms);
                if polled.is_pending() {
                    continue;
                }
            }
            let is_idle = polled.is_pending() && connection.streams() == 0;
            if is_idle && self.is_called() && !self.permit.is_yielding() {
                self.permit.begin_yield();
                self.counters().connections_yielded.increment();
                connection.close(now_ms);
                continue;
            }
            if !is_idle {
                self.become_busy();
            }
            if polled.is_ready() {
                return polled;
            }
            if is_cutting {
                // Streams have been woken to end with an answer, where they have none, which is sent when the last of them wakes
                // this task.
                return if connection.streams() == 0 { Poll::Ready(Err(End::Io)) } else { Poll::Pending };
            }
            // As one that has sent nothing it is not closed for others at once.
            let silent_due_ms =
                if self.requests == 0 { due(self.idle_since_ms, SILENT_GRACE) } else { now_ms };
            let silent_due_ms = if silent_due_ms > now_ms { silent_due_ms } else { u64::MAX };
            if self.timer.poll_until(cx, connection.due_ms().min(silent_due_ms)).is_pending() {
                if is_idle && silent_due_ms == u64::MAX {
                    self.become_idle();
                }
                return Poll::Pending;
            }
        }
    }
}

/// Serves one stream.
async fn serve_stream<S: Dial>(
    shared: Rc<Shared<S>>,
    mut down: Box<H2Downstream>,
    requests: u64,
    _active: Rc<Active>,
) {
    let core = &shared.core;
    core.footprint.add_exchange();
    let _held = OnDrop(|| core.footprint.remove_exchange());
    let (mut slot, mut timer) = (shared.slot.clone(), Timer::new(core));
    let next = serve(&mut Caller {
        core,
        slot: &mut slot,
        client: &shared.client,
        timer: &mut timer,
        down: &mut *down,
        requests,
    })
    .await;
    // However else it ends: what is not complete is reset when the stream is dropped.
    match next {
        // At the worker's end nobody waits until an answer has gone; it goes all the same.
        Next::Abort if core.cutting.get() => {}
        Next::Abort => down.reset(),
        Next::Linger => linger(core, &mut down, &mut timer).await,
        Next::Keep | Next::Close => {}
    }
}

/// Lets a client that has its answer stop by itself. RFC 9113 §8.1 has it reset without an error, but there are those that forget
/// the answer when that comes right behind it, as curl 7.88 does. Not many streams wait for that at once: their places may be wanted.
async fn linger<S: Dial>(core: &Core<S>, down: &mut H2Downstream, timer: &mut Timer<S>) {
    if down.streams_in_progress() > LINGER_STREAMS_MAX {
        return;
    }
    let due_ms = due(clock::coarse_ms(), STREAM_LINGER_TIMEOUT);
    poll_fn(|cx| {
        loop {
            match down.poll_request_body(cx, core.lent(), &mut |_| Ok(())) {
                Poll::Ready(Ok(BodyStep::More)) => {}
                // It has stopped, or given up.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return timer.poll_until(cx, due_ms),
            }
        }
    })
    .await;
}
