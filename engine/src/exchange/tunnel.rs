//! What follows a switch of protocols: bytes both ways, until both sides have closed or one of them is gone.
//!
//! ```text
//! client ── received, also before the switch ──▶ upstream      each direction ends by itself: the end of one side's
//! client ◀── received, also with the 101 ─────── upstream      bytes closes the other side's sending side only
//! ```

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::Exchange;
use super::deadline::Progress;
use super::tries::Lease;
use crate::caller::Caller;
use crate::core::{Core, Timer, due};
use crate::counters::EndpointCounters;
use crate::failure::Failure;
use crate::io::{Dial, clock};
use crate::link::Link;
use crate::local::Local;
use crate::message::{BodyStep, Downstream, RelayError, Upstream};

/// Which directions have ended.
#[derive(Default)]
struct Ended {
    client: bool,
    upstream: bool,
}

/// One direction after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing happened.
    Idle,
    /// Bytes moved, or what was kept has gone out.
    Moved,
    /// It has ended: there is nothing more to receive, and what there was has gone out.
    Ended,
    /// The receiving side of it is gone.
    Unwanted,
}

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// Relays until the tunnel ends.
    pub(super) async fn tunnel(
        &mut self,
        caller: &mut Caller<'_, S, D>,
        mut up: Box<Link<S>>,
    ) -> Result<(), Failure> {
        self.settle_answered(caller.core);
        self.leave_snapshot();
        // Nor is the listener's place needed any more: one that is removed keeps its last snapshot.
        *caller.slot = Rc::new(caller.slot.leave(self.local.clone()));
        self.slot = caller.slot.clone();
        let local = self.local.clone();
        let (Some(upstream), Some(endpoint)) = (self.upstream, self.endpoint) else { return Ok(()) };
        let upstream = &local.snapshot().upstreams[upstream];
        let counters = upstream.endpoints[endpoint].counters.of(self.worker());
        let _lease = Lease::new(counters);
        let listener = self.listener().counters.clone();
        let listener = listener.of(self.worker());
        listener.tunnels.increment();
        listener.tunnels_total.increment();
        let (core, down, timer) = caller.parts();
        let relayed =
            self.relay_tunnel(core, timer, down, &mut *up, counters, upstream.tunnel_idle_timeout).await;
        listener.tunnels.decrement();
        match relayed {
            Err(Failure::ClientGone) => up.reset(),
            Err(Failure::UpstreamClosed) => down.reset(),
            Ok(()) | Err(_) => {}
        }
        relayed
    }

    /// A tunnel lives long: it keeps what it needs of its snapshot, so that control can free the rest.
    fn leave_snapshot(&mut self) {
        let (Some(route), Some(upstream), Some(endpoint)) = (self.route, self.upstream, self.endpoint) else {
            return;
        };
        self.local = Rc::new(Local::of_one(&self.local, self.listener, route, (upstream, endpoint)));
        (self.listener, self.route, self.upstream, self.endpoint) = (0, Some(0), Some(0), Some(0));
    }

    async fn relay_tunnel<U: Upstream>(
        &mut self,
        core: &Core<S>,
        timer: &mut Timer<S>,
        down: &mut D,
        up: &mut U,
        counters: &EndpointCounters,
        idle_timeout: std::time::Duration,
    ) -> Result<(), Failure> {
        down.start_tunnel();
        up.start_tunnel();
        let (mut ended, mut progress) = (Ended::default(), Progress::starting_at(clock::coarse_ms()));
        let relayed = poll_fn(|cx| {
            while self.step_tunnel(cx, core, down, up, &mut ended)? {
                progress.at_ms = clock::coarse_ms();
            }
            self.count_moved(down, up, counters);
            if ended.client && ended.upstream {
                return Poll::Ready(Ok(()));
            }
            // A side that reads slowly wakes nobody before a good part of its socket's buffer is free.
            let is_blocked = down.is_blocked() || up.is_blocked();
            progress.watch(is_blocked, || down.taken() + up.taken());
            loop {
                ready!(timer.poll_until(cx, due(progress.at_ms, idle_timeout)));
                if core.cutting.get() {
                    return Poll::Ready(Err(Failure::DrainTimeout));
                }
                if !is_blocked || !progress.see_taken(down.taken() + up.taken()) {
                    return Poll::Ready(Err(Failure::TunnelIdle));
                }
            }
        })
        .await;
        self.count_moved(down, up, counters);
        relayed
    }

    /// Returns whether anything moved.
    fn step_tunnel<U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        down: &mut D,
        up: &mut U,
        ended: &mut Ended,
    ) -> Result<bool, Failure> {
        let mut moved = false;
        if !ended.client {
            let step = self.step_to_upstream(cx, core, down, up)?;
            if step == Step::Ended {
                up.finish();
            }
            ended.client = matches!(step, Step::Ended | Step::Unwanted);
            moved |= step != Step::Idle;
        }
        if ended.client && !ended.upstream && down.poll_left(cx).is_ready() {
            return Err(Failure::ClientGone);
        }
        if !ended.upstream {
            let step = self.step_to_client(cx, core, down, up)?;
            if step == Step::Ended {
                down.finish();
            }
            ended.upstream = matches!(step, Step::Ended | Step::Unwanted);
            moved |= step != Step::Idle;
        }
        Ok(moved)
    }

    fn step_to_upstream<U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        down: &mut D,
        up: &mut U,
    ) -> Result<Step, Failure> {
        let lent = core.lent();
        if up.is_blocked() {
            return Ok(match up.poll_flush(cx, lent) {
                Poll::Pending => Step::Idle,
                Poll::Ready(Ok(())) => Step::Moved,
                // What the upstream still says is worth more than what it no longer hears.
                Poll::Ready(Err(_)) => Step::Unwanted,
            });
        }
        if down.is_request_complete() {
            return Ok(Step::Ended);
        }
        let mut received = 0;
        let step = down.poll_request_body(cx, lent.towards(up.takes_pipes()), &mut |batch| {
            received += batch.bytes;
            up.send_request(&[], batch, lent)
        });
        self.request_bytes += received;
        direction(step, Failure::ClientGone)
    }

    fn step_to_client<U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core<S>,
        down: &mut D,
        up: &mut U,
    ) -> Result<Step, Failure> {
        let lent = core.lent();
        if down.is_blocked() {
            return Ok(match down.poll_flush(cx, lent) {
                Poll::Pending => Step::Idle,
                Poll::Ready(Ok(())) => Step::Moved,
                Poll::Ready(Err(_)) => Step::Unwanted,
            });
        }
        if up.is_response_complete() {
            return Ok(Step::Ended);
        }
        let mut received = 0;
        let step = up.poll_response_body(cx, lent.towards(down.takes_pipes()), &mut |batch| {
            received += batch.bytes;
            down.send_response(&mut Vec::new(), batch, lent)
        });
        self.response_bytes += received;
        direction(step, Failure::UpstreamClosed)
    }
}

/// What a step of a body means for its direction; `gone` is what a sender that is lost means.
fn direction(step: Poll<Result<BodyStep, RelayError>>, gone: Failure) -> Result<Step, Failure> {
    match step {
        Poll::Pending => Ok(Step::Idle),
        // The end is told when what was kept before it has gone out.
        Poll::Ready(Ok(BodyStep::More | BodyStep::End)) => Ok(Step::Moved),
        Poll::Ready(Err(RelayError::Send)) => Ok(Step::Unwanted),
        Poll::Ready(Err(RelayError::Receive(_))) => Err(gone),
    }
}
