//! What an attempt goes over: a connection of its own in HTTP/1, or a stream of a shared one in HTTP/2.
//!
//! Exchanges with upstreams that speak HTTP/1 alone are compiled for [`H1Upstream`]; those that may meet either for [`Link`].

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use corelane_http1::HeadLimits;
use corelane_semantics::{BodyFraming, ResponseHead};

use crate::grpc_web::{Dialects, GrpcWeb};
use crate::h1::{H1Upstream, Leftover};
use crate::h2::{ClientConnection, H2Upstream};
use crate::io::ByteStream;
use crate::message::{BodyBatch, BodyStep, Lent, Moved, ReceiveError, RelayError, Upstream};
use crate::protocol::StreamReset;
use crate::tls::{Alert, Secure, TlsFailure};

/// The upstream's side of an attempt, beyond what its relay asks of it.
pub(crate) trait Carrier<S>: Upstream {
    /// What it is made of.
    type Way;

    /// Begins an exchange whose request's body is framed so. `call`: what its client speaks, where that is translated for an
    /// endpoint of gRPC.
    fn begin(
        way: Self::Way,
        request_framing: BodyFraming,
        limits: HeadLimits,
        call: Option<Dialects>,
    ) -> Self;

    /// What translates its call, if it is one.
    fn as_grpc_web(&self) -> Option<&GrpcWeb<H2Upstream>>;

    /// For a race of two attempts; `None`: it takes part in none.
    fn as_racer(&mut self) -> Option<&mut H1Upstream<S>>;

    /// Why TLS with the endpoint failed, if it did, and by which alert.
    fn tls_failure(&self) -> Option<(TlsFailure, Option<Alert>)>;

    /// Whether the endpoint says that it has not begun with the request (RFC 9113 §8.7): it may be sent again, whatever it is.
    fn was_not_processed(&self) -> bool;

    /// How the endpoint has reset the stream, if it has.
    fn reset_by(&self) -> Option<StreamReset>;

    /// What is left of the connection after a response.
    fn into_leftover(self) -> Leftover<S>;

    /// For a tunnel.
    fn into_link(self) -> Link<S>;
}

impl<S: Secure> Carrier<S> for H1Upstream<S> {
    type Way = S;

    #[inline(always)]
    fn begin(stream: S, request_framing: BodyFraming, limits: HeadLimits, _call: Option<Dialects>) -> Self {
        Self::new(stream, request_framing, limits)
    }

    #[inline(always)]
    fn as_grpc_web(&self) -> Option<&GrpcWeb<H2Upstream>> {
        None
    }

    #[inline(always)]
    fn as_racer(&mut self) -> Option<&mut Self> {
        Some(self)
    }

    fn tls_failure(&self) -> Option<(TlsFailure, Option<Alert>)> {
        self.tls_failure()
    }

    fn was_not_processed(&self) -> bool {
        false
    }

    fn reset_by(&self) -> Option<StreamReset> {
        None
    }

    #[inline(always)]
    fn into_leftover(self) -> Leftover<S> {
        self.into_leftover()
    }

    fn into_link(self) -> Link<S> {
        Link::H1(self)
    }
}

/// See the module.
pub(crate) enum Link<S> {
    H1(H1Upstream<S>),
    H2(H2Upstream),
    GrpcWeb(Box<GrpcWeb<H2Upstream>>),
}

/// How an endpoint is reached that may speak either.
pub(crate) enum Way<S> {
    H1(S),
    /// With whether that is over TLS.
    H2(Rc<ClientConnection>, bool),
}

impl<S: Secure> Carrier<S> for Link<S> {
    type Way = Way<S>;

    fn begin(way: Way<S>, request_framing: BodyFraming, limits: HeadLimits, call: Option<Dialects>) -> Self {
        match way {
            Way::H1(stream) => Self::H1(H1Upstream::new(stream, request_framing, limits)),
            Way::H2(connection, is_https) => {
                let up = connection.open(is_https, limits);
                match call {
                    None => Self::H2(up),
                    Some(dialects) => Self::GrpcWeb(Box::new(GrpcWeb::new(up, dialects, limits))),
                }
            }
        }
    }

    fn as_grpc_web(&self) -> Option<&GrpcWeb<H2Upstream>> {
        match self {
            Self::GrpcWeb(up) => Some(up),
            Self::H1(_) | Self::H2(_) => None,
        }
    }

    fn as_racer(&mut self) -> Option<&mut H1Upstream<S>> {
        None
    }

    fn tls_failure(&self) -> Option<(TlsFailure, Option<Alert>)> {
        match self {
            Self::H1(up) => up.tls_failure(),
            // The connection tells it, once for all of its requests.
            Self::H2(_) | Self::GrpcWeb(_) => None,
        }
    }

    fn was_not_processed(&self) -> bool {
        match self {
            Self::H1(_) => false,
            Self::H2(up) => up.was_not_processed(),
            Self::GrpcWeb(up) => up.inner().was_not_processed(),
        }
    }

    fn reset_by(&self) -> Option<StreamReset> {
        match self {
            Self::H1(_) => None,
            Self::H2(up) => up.reset_by().map(StreamReset::of_code),
            Self::GrpcWeb(up) => up.inner().reset_by().map(StreamReset::of_code),
        }
    }

    fn into_leftover(self) -> Leftover<S> {
        match self {
            Self::H1(up) => up.into_leftover(),
            Self::H2(_) | Self::GrpcWeb(_) => Leftover::Unfit,
        }
    }

    fn into_link(self) -> Self {
        self
    }
}

/// Calls the same method of whichever it is.
macro_rules! each {
    ($link:expr, $up:ident => $call:expr) => {
        match $link {
            Link::H1($up) => $call,
            Link::H2($up) => $call,
            Link::GrpcWeb($up) => $call,
        }
    };
}

impl<S: ByteStream> Upstream for Link<S> {
    fn send_request(&mut self, head: &[u8], batch: &BodyBatch<'_>, lent: Lent<'_>) -> io::Result<()> {
        each!(self, up => up.send_request(head, batch, lent))
    }

    fn takes_pipes(&self) -> bool {
        each!(self, up => up.takes_pipes())
    }

    fn is_blocked(&self) -> bool {
        each!(self, up => up.is_blocked())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<io::Result<()>> {
        each!(self, up => up.poll_flush(cx, lent))
    }

    fn poll_response_head(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        head: &mut ResponseHead,
        accept: &mut dyn FnMut(&ResponseHead, &[u8]),
    ) -> Poll<Result<(), ReceiveError>> {
        each!(self, up => up.poll_response_head(cx, lent, head, accept))
    }

    fn settle(&mut self, lent: Lent<'_>) {
        each!(self, up => up.settle(lent));
    }

    fn start_body(&mut self, framing: BodyFraming) {
        each!(self, up => up.start_body(framing));
    }

    fn lend_response_body(
        &mut self,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        each!(self, up => up.lend_response_body(lent, accept))
    }

    fn poll_response_body(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>> {
        each!(self, up => up.poll_response_body(cx, lent, accept))
    }

    fn is_response_complete(&self) -> bool {
        each!(self, up => up.is_response_complete())
    }

    fn has_received(&self) -> bool {
        each!(self, up => up.has_received())
    }

    fn accepted(&self) -> u64 {
        each!(self, up => up.accepted())
    }

    fn taken(&self) -> u64 {
        each!(self, up => up.taken())
    }

    fn start_tunnel(&mut self) {
        each!(self, up => up.start_tunnel());
    }

    fn finish(&mut self) {
        each!(self, up => up.finish());
    }

    fn reset(&mut self) {
        each!(self, up => up.reset());
    }

    fn take_moved(&mut self) -> Moved {
        each!(self, up => up.take_moved())
    }
}
