//! RequestFilters and ResponseFilters: what the route's chain makes of an exchange, and what it leaves behind.

use std::cell::RefMut;
use std::time::Duration;

use corelane_filters::{Carry, Chain, Context, Edits, Outcome, ResponseContext, Tls, Verdict};
use corelane_semantics::{BodyFraming, RequestHead, ResponseHead};

use super::Exchange;
use crate::failure::Failure;
use crate::heads::{ClientAddress, Sender};
use crate::io::{Dial, clock};
use crate::local::Local;
use crate::message::Downstream;
use crate::snapshot::{CAPTURES_MAX, Route};
use crate::tls::Secured;

/// What the filters of a request leave for the rest of its exchange.
#[derive(Default)]
pub(super) struct Filtered {
    /// They ran: those of the response do, too.
    has_run: bool,
    /// When they did ([`clock::monotonic_ns`]).
    at_ns: u64,
    carry: Carry,
}

/// A request as its filters see it, but for what the exchange knows itself.
pub(super) struct Filterable<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) bytes: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) canonical_path: &'a [u8],
    pub(super) forwarded_path: &'a [u8],
    pub(super) client: &'a ClientAddress,
    pub(super) sender: Sender,
    pub(super) request_id: &'a [u8],
}

/// TLS as filters see it.
fn tls(secured: &Secured) -> Tls<'_> {
    let (subject, fingerprint) =
        secured.client.as_ref().map_or(("", ""), |client| (&*client.subject, &*client.fingerprint));
    Tls {
        version: secured.version,
        cipher_suite: secured.cipher_suite,
        server_name: secured.server_name.as_deref().unwrap_or_default(),
        client_subject: subject.as_bytes(),
        client_fingerprint: fingerprint,
    }
}

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// Runs the filters of the request; what they change is in the worker's edits.
    pub(super) fn filter_request(
        &mut self,
        chain: &Chain,
        route: &Route,
        request: &Filterable<'_>,
        edits: &mut Edits,
    ) -> Result<(), Failure> {
        let snapshot = self.local.snapshot();
        let mut captures = [None; CAPTURES_MAX];
        let found =
            self.route.map_or(0, |route| self.local.captures(route, request.canonical_path, &mut captures));
        let context = Context {
            head: request.head,
            bytes: request.bytes,
            host: request.host,
            path: request.canonical_path,
            forwarded_path: request.forwarded_path,
            captures: &captures[..found],
            client: request.sender.client,
            peer: request.client.ip(),
            trusted: request.sender.is_trusted,
            tls: request.client.secured().map(tls),
            request_id: request.request_id,
            listener: &snapshot.listeners[self.listener].name,
            route: &route.name,
            upstream: self.upstream.map_or("", |upstream| &*snapshot.upstreams[upstream].name),
            now_ns: clock::monotonic_ns(),
            purpose: corelane_filters::Purpose::Serve,
        };
        let verdict = chain.request(&context, edits);
        let (carry, limits) = (edits.take_carry(), *edits.limits());
        self.filtered = Filtered { has_run: true, at_ns: context.now_ns, carry };
        self.timeouts = self.timeouts.with(&limits);
        self.count_filters(edits);
        if let Some(bytes_max) = limits.request_body_bytes_max
            && bytes_max < self.body_bytes_max
        {
            self.body_bytes_max = bytes_max;
        }
        match (verdict, edits.answer(), self.framing) {
            (Verdict::Answer, Some(answer), _) => Err(Failure::Filter(answer.status, answer.reason)),
            (_, _, BodyFraming::Length(length)) if length > self.body_bytes_max => Err(Failure::BodyTooLarge),
            _ => Ok(()),
        }
    }

    /// Runs the filters of an upstream's response, if those of its request ran.
    pub(super) fn filter_response<'a>(
        &self,
        local: &'a Local<S>,
        head: &ResponseHead,
        bytes: &[u8],
    ) -> Option<RefMut<'a, Edits>> {
        self.run_response_filters(local, head, bytes, |chain, context, edits| chain.response(context, edits))
    }

    /// The same for an answer of Corelane's own.
    pub(super) fn filter_own_response<'a>(
        &self,
        local: &'a Local<S>,
        failure: Failure,
    ) -> Option<RefMut<'a, Edits>> {
        let head = ResponseHead { status: self.status, ..ResponseHead::default() };
        self.run_response_filters(local, &head, b"", |chain, context, edits| {
            if !matches!(failure, Failure::Filter(..)) {
                edits.forget_answer();
            }
            chain.own_response(context, edits);
        })
    }

    fn run_response_filters<'a>(
        &self,
        local: &'a Local<S>,
        head: &ResponseHead,
        bytes: &[u8],
        run: impl FnOnce(&Chain, &ResponseContext<'_>, &mut Edits),
    ) -> Option<RefMut<'a, Edits>> {
        if !self.filtered.has_run {
            return None;
        }
        let snapshot = local.snapshot();
        let route = &snapshot.routes[self.route?];
        let chain = route.chain(self.listener, self.upstream)?;
        let upstream = self.upstream.map(|upstream| &snapshot.upstreams[upstream]);
        let endpoint = self.endpoint.zip(upstream).map(|(index, upstream)| &*upstream.endpoints[index].label);
        let duration_ns = clock::monotonic_ns().saturating_sub(self.filtered.at_ns);
        let context = ResponseContext {
            head,
            bytes,
            carry: &self.filtered.carry,
            endpoint: endpoint.unwrap_or_default(),
            duration: Duration::from_nanos(duration_ns),
        };
        let mut edits = local.edits().borrow_mut();
        run(chain, &context, &mut edits);
        self.count_filters(&edits);
        Some(edits)
    }

    fn count_filters(&self, edits: &Edits) {
        let (filters, worker) = (&self.snapshot().filters, self.worker());
        for event in edits.events() {
            let counters = filters[event.filter.index()].of(worker);
            match event.outcome {
                Outcome::Passed => counters.passed.increment(),
                Outcome::Acted => counters.acted.increment(),
                Outcome::Refused => counters.refused.increment(),
            }
        }
    }

    /// Gives back what the filters of the request took; twice is as good as once.
    pub(super) fn release_filters(&mut self) {
        if self.filtered.carry.is_empty() {
            return;
        }
        let mut carry = std::mem::take(&mut self.filtered.carry);
        let route = self.route.map(|route| &self.snapshot().routes[route]);
        if let Some(chain) = route.and_then(|route| route.chain(self.listener, self.upstream)) {
            chain.finish(&mut carry);
        }
        self.local.edits().borrow_mut().give_back(carry);
    }
}

/// However the exchange ends, its places in limits are free again.
impl<S: Dial, D: Downstream> Drop for Exchange<S, D> {
    fn drop(&mut self) {
        self.release_filters();
    }
}
