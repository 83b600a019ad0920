//! Connect: a fresh connection to an endpoint, with TLS where it is spoken to so.

use std::task::{Context, Poll, ready};

use crate::core::Core;
use crate::counters::EndpointCounters;
use crate::failure::Failure;
use crate::io::{Dial, Interest};
use crate::listener::is_exhausted;
use crate::protocol::UpstreamProtocol;
use crate::snapshot::{Endpoint, Upstream};
use crate::tls::{Alert, TlsFailure, TlsPeer, TlsReport};

/// A connection that is being opened.
pub(crate) struct Connecting<'a, S> {
    /// `None` once it is handed on.
    stream: Option<S>,
    upstream: &'a Upstream,
    endpoint: &'a Endpoint,
    /// It is open, and the handshake has begun, if there is one.
    is_open: bool,
    is_http2: bool,
}

impl<'a, S: Dial> Connecting<'a, S> {
    pub(crate) fn start(upstream: &'a Upstream, endpoint: &'a Endpoint) -> Result<Self, Failure> {
        match S::dial(&endpoint.address) {
            Ok(stream) => {
                Ok(Self { stream: Some(stream), upstream, endpoint, is_open: false, is_http2: false })
            }
            Err(error) if is_exhausted(&error) => Err(Failure::Exhausted),
            Err(_) => Err(Failure::ConnectFailed),
        }
    }

    /// Ready once, with the connection or why there is none.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, core: &Core<S>) -> Poll<Result<S, Failure>> {
        let tls = self.endpoint.tls.as_deref();
        if !self.is_open {
            let Some(stream) = &mut self.stream else { return Poll::Pending };
            let ready = ready!(stream.poll_ready(cx, Interest::Write));
            ready.and_then(|()| stream.take_error()).map_err(|_| Failure::ConnectFailed)?;
            self.is_open = true;
            if let Some(tls) = tls {
                let begun = self.stream.take().map(|stream| stream.start_tls(tls)).transpose();
                self.stream = begun.map_err(|_| self.fail(core, (TlsFailure::Internal, None)))?;
            }
        }
        if tls.is_some() {
            let Some(stream) = &mut self.stream else { return Poll::Pending };
            let poll_turn = &mut |cx: &mut Context<'_>, work| core.handshake_turns.poll_turn(cx, work);
            if let Err(failure) = ready!(stream.poll_handshake(cx, None, poll_turn)) {
                let failed = stream.tls_failure().unwrap_or((failure, None));
                return Poll::Ready(Err(self.fail(core, failed)));
            }
            let counters = self.endpoint.counters.of(core.index);
            let secured = stream.take_secured();
            let is_resumed = secured.as_ref().is_some_and(|secured| secured.is_resumed);
            let counter = if is_resumed { &counters.tls_resumed } else { &counters.tls_handshakes };
            counter.increment();
            self.is_http2 = secured.is_some_and(|secured| secured.is_http2);
        }
        if !self.is_http2 {
            match self.upstream.protocol {
                UpstreamProtocol::Http1 | UpstreamProtocol::Negotiated => {}
                UpstreamProtocol::Http2ClearText => self.is_http2 = true,
                UpstreamProtocol::Http2 => {
                    return Poll::Ready(Err(self.fail(core, (TlsFailure::NoSharedProtocol, None))));
                }
            }
        }
        self.stream.take().map_or(Poll::Pending, |stream| Poll::Ready(Ok(stream)))
    }

    /// Whether HTTP/2 is to be spoken.
    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2
    }

    fn fail(&self, core: &Core<S>, failed: (TlsFailure, Option<Alert>)) -> Failure {
        note_tls_failure(core, self.upstream, self.endpoint, Some(failed));
        if failed.0.is_certificate() { Failure::UpstreamCertificate } else { Failure::UpstreamTls }
    }
}

/// Counts why TLS with an endpoint failed, if it did, and has the log told of it.
#[cold]
pub(crate) fn note_tls_failure<S: Dial>(
    core: &Core<S>,
    upstream: &Upstream,
    endpoint: &Endpoint,
    failed: Option<(TlsFailure, Option<Alert>)>,
) {
    let peer = || peer(upstream, endpoint);
    note_failure_of(core, endpoint.counters.of(core.index), peer, failed);
}

/// An endpoint as reports of failures name it.
pub(super) fn peer(upstream: &Upstream, endpoint: &Endpoint) -> TlsPeer {
    TlsPeer::Endpoint { upstream: upstream.name.clone(), endpoint: endpoint.label.clone() }
}

/// The same for who does not have them any more.
pub(super) fn note_failure_of<S: Dial>(
    core: &Core<S>,
    counters: &EndpointCounters,
    peer: impl FnOnce() -> TlsPeer,
    failed: Option<(TlsFailure, Option<Alert>)>,
) {
    let Some((failure, alert)) = failed else { return };
    counters.tls_failures.add(failure);
    if let Some(alert) = alert {
        counters.tls_alerts.add(alert);
    }
    core.report_tls(TlsReport { peer: peer(), failure, alert });
}
