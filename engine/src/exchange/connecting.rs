//! Connect: a fresh connection to an endpoint, with TLS where it is spoken to so.

use std::task::{Context, Poll, ready};

use crate::counters::EndpointCounters;
use crate::failure::Failure;
use crate::io::{Dial, Interest};
use crate::listener::is_exhausted;
use crate::snapshot::Endpoint;
use crate::tls::{ClientTls, TlsFailure};

/// A connection that is being opened.
pub(crate) struct Connecting<'a, S> {
    /// `None` once it is handed on.
    stream: Option<S>,
    tls: Option<&'a ClientTls>,
    counters: &'a EndpointCounters,
    /// It is open, and the handshake has begun, if there is one.
    is_open: bool,
}

impl<'a, S: Dial> Connecting<'a, S> {
    pub(crate) fn start(endpoint: &'a Endpoint, counters: &'a EndpointCounters) -> Result<Self, Failure> {
        match S::dial(&endpoint.address) {
            Ok(stream) => {
                Ok(Self { stream: Some(stream), tls: endpoint.tls.as_deref(), counters, is_open: false })
            }
            Err(error) if is_exhausted(&error) => Err(Failure::Exhausted),
            Err(_) => Err(Failure::ConnectFailed),
        }
    }

    /// Ready once, with the connection or why there is none.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<S, Failure>> {
        if !self.is_open {
            let Some(stream) = &mut self.stream else { return Poll::Pending };
            let ready = ready!(stream.poll_ready(cx, Interest::Write));
            ready.and_then(|()| stream.take_error()).map_err(|_| Failure::ConnectFailed)?;
            self.is_open = true;
            if let Some(tls) = self.tls {
                let begun = self.stream.take().map(|stream| stream.start_tls(tls)).transpose();
                self.stream = begun.map_err(|_| fail(self.counters, TlsFailure::Internal))?;
            }
        }
        if self.tls.is_some() {
            let Some(stream) = &mut self.stream else { return Poll::Pending };
            let counters = self.counters;
            let shaken = ready!(stream.poll_handshake(cx, None, &mut |_| Poll::Ready(())));
            shaken.map_err(|failure| fail(counters, failure))?;
            let is_resumed = stream.take_secured().is_some_and(|secured| secured.is_resumed);
            let counter = if is_resumed { &counters.tls_resumed } else { &counters.tls_handshakes };
            counter.increment();
        }
        self.stream.take().map_or(Poll::Pending, |stream| Poll::Ready(Ok(stream)))
    }
}

fn fail(counters: &EndpointCounters, failure: TlsFailure) -> Failure {
    counters.tls_failures.add(failure);
    if failure.is_certificate() { Failure::UpstreamCertificate } else { Failure::UpstreamTls }
}
