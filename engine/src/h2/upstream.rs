//! One stream as the upstream's side of an exchange.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use corelane_http1::{HeadError, HeadLimits, HeadScanner, read_response};
use corelane_semantics::{BodyFraming, ResponseHead};
use h2::client::ResponseFuture;
use h2::ext::Protocol;
use h2::{Reason, SendStream};
use http::uri::Scheme;
use http::{Method, StatusCode, response};
use memchr::memmem;

use super::client::ClientConnection;
use super::head;
use super::intake::{Intake, receive_error, reset_by};
use super::piece::{Outbox, Piece};
use super::places::Place;
use super::websocket;
use crate::core::due;
use crate::io::clock;
use crate::message::{BodyBatch, BodyStep, Lent, Moved, ReceiveError, RelayError, Upstream};

/// A request that waited so long for an endpoint that said nothing at all takes its connection out of use.
const SILENCE: Duration = Duration::from_secs(1);

/// A stream of a connection to an endpoint, for one exchange.
pub(crate) struct H2Upstream {
    connection: Rc<ClientConnection>,
    limits: HeadLimits,
    scheme: Scheme,
    /// When the head has been sent.
    request: Option<SendStream<Piece>>,
    outbox: Rc<Outbox>,
    head_bytes: u64,
    asks: Asks,
    /// A client that asks for a tunnel by `Upgrade`.
    switch: Option<Box<Switch>>,
    response: Receiving,
    /// A response has begun.
    has_received: bool,
    /// The endpoint has not acted on the request, and says so.
    is_refused: bool,
    /// How the endpoint has reset the stream.
    reset_by: Option<Reason>,
    /// When the request was sent, and what the connection had received by then.
    sent_ms: u64,
    received_before: u64,
    _place: Place,
}

/// What a request asks for, as far as that matters for how its response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Body,
    Head,
    /// What follows the head is no body.
    Tunnel,
}

/// What is said to who asked for another protocol, when it is granted.
struct Switch {
    protocol: Protocol,
    /// The answer to the key, for a WebSocket.
    accept: Option<[u8; 28]>,
}

/// Where the response stands.
enum Receiving {
    /// Nothing was asked, or it could not be.
    Nothing,
    /// A request for a tunnel, until the endpoint has said whether it takes any.
    Waiting(Box<http::Request<()>>),
    Head(ResponseFuture),
    Body(Intake),
    Complete,
}

impl H2Upstream {
    pub(super) fn new(
        connection: Rc<ClientConnection>,
        place: Place,
        is_https: bool,
        limits: HeadLimits,
    ) -> Self {
        Self {
            received_before: connection.received_bytes(),
            connection,
            limits,
            scheme: if is_https { Scheme::HTTPS } else { Scheme::HTTP },
            request: None,
            outbox: Rc::default(),
            head_bytes: 0,
            asks: Asks::Body,
            switch: None,
            response: Receiving::Nothing,
            has_received: false,
            is_refused: false,
            reset_by: None,
            sent_ms: u64::MAX,
            _place: place,
        }
    }

    /// The exchange gives up waiting. A connection that has not brought a byte since the request takes no more of them.
    pub(crate) fn suspect(&self) {
        if self.is_silent() {
            self.connection.drain();
        }
    }

    fn is_silent(&self) -> bool {
        self.sent_ms != u64::MAX && self.connection.received_bytes() == self.received_before
    }

    /// Whether the endpoint has certainly not acted on the request: it may be sent again, whatever its method.
    pub(crate) fn was_not_processed(&self) -> bool {
        self.is_refused
    }

    /// The code by which the endpoint has reset the stream, if it has.
    pub(crate) fn reset_by(&self) -> Option<u32> {
        let of_body = match &self.response {
            Receiving::Body(body) => body.reset_by(),
            _ => None,
        };
        self.reset_by.or(of_body).map(u32::from)
    }

    /// Sends the head, and returns what of `head` follows it: a small body.
    fn send_head<'a>(&mut self, head: &'a [u8], batch: &BodyBatch<'_>) -> io::Result<&'a [u8]> {
        let end = memmem::find(head, b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)? + 4;
        let (head, body) = head.split_at(end);
        let request = head::read_request(head, self.scheme.clone())?;
        self.asks = match *request.method() {
            Method::HEAD => Asks::Head,
            Method::CONNECT => Asks::Tunnel,
            _ => Asks::Body,
        };
        let has_no_body = body.is_empty() && batch.bytes == 0 && batch.trailers.is_empty();
        self.head_bytes = end as u64;
        if let Some(protocol) = request.extensions().get::<Protocol>() {
            let accept = head::field(head, websocket::KEY_FIELD.as_bytes()).map(websocket::accept_of);
            self.switch = Some(Box::new(Switch { protocol: protocol.clone(), accept }));
            self.response = Receiving::Waiting(Box::new(request));
            return Ok(body);
        }
        let ends = batch.end && has_no_body && self.asks != Asks::Tunnel;
        self.send(request, ends).map(|()| body)
    }

    fn send(&mut self, request: http::Request<()>, ends: bool) -> io::Result<()> {
        match self.connection.send(request, ends) {
            Some(Ok((response, request))) => {
                self.sent_ms = clock::coarse_ms();
                self.request = Some(request).filter(|_| !ends);
                self.response = Receiving::Head(response);
                Ok(())
            }
            // Nothing of it has left.
            Some(Err(_)) | None => {
                self.is_refused = true;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    /// Notes how a stream has failed.
    fn fail(&mut self, error: h2::Error) -> ReceiveError {
        // RFC 9113 §8.7: a stream above the last one of a GOAWAY, or refused.
        self.reset_by = reset_by(&error);
        self.is_refused =
            error.is_remote() && (error.is_go_away() || self.reset_by == Some(Reason::REFUSED_STREAM));
        // What h2 takes for malformed.
        if error.is_library() && error.is_reset() {
            return ReceiveError::Head(HeadError::NotOneHead);
        }
        receive_error(error)
    }

    /// Begins to receive the response that an HTTP/1.1 head would announce.
    fn accept_head(
        &mut self,
        parts: &response::Parts,
        body: Option<Intake>,
        lent: Lent<'_>,
        head: &mut ResponseHead,
        accept: &mut dyn FnMut(&ResponseHead, &[u8]),
    ) -> Result<(), ReceiveError> {
        // RFC 9113 §8.6.
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(HeadError::StatusLineInvalid.into());
        }
        let implied = match (&body, self.asks, parts.status) {
            (None, ..) | (_, Asks::Head, _) => BodyFraming::None,
            (_, _, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => BodyFraming::None,
            (_, Asks::Tunnel, status) if status.is_success() => BodyFraming::None,
            (Some(body), ..) if body.is_complete() => BodyFraming::Length(0),
            _ => BodyFraming::Chunked,
        };
        let mut bytes = lent.buffers.take();
        let written = match self.switch.as_deref().filter(|_| parts.status.is_success()) {
            Some(Switch { protocol, accept }) => {
                let accept = accept.as_ref().map(<[u8; 28]>::as_slice);
                head::write_switch(&parts.headers, protocol.as_str(), accept, &mut bytes)
            }
            None => head::write_response(parts, implied, &mut bytes),
        };
        let read = written
            .and_then(|()| read_response(&mut HeadScanner::for_response(), &bytes, &self.limits, head))
            .and_then(|place| place.ok_or(HeadError::NotOneHead));
        if read.is_ok() {
            accept(head, &bytes);
        }
        lent.buffers.give(bytes);
        match (read, body) {
            (Err(error), _) => return Err(error.into()),
            (Ok(_), Some(body)) => self.response = Receiving::Body(body),
            // More heads are to come.
            (Ok(_), None) => {}
        }
        Ok(())
    }
}

impl Upstream for H2Upstream {
    fn send_request(&mut self, head: &[u8], batch: &BodyBatch<'_>, lent: Lent<'_>) -> io::Result<()> {
        let body = if head.is_empty() { head } else { self.send_head(head, batch)? };
        let Some(request) = &mut self.request else { return Ok(()) };
        if !body.is_empty() {
            self.outbox.send(request, &BodyBatch::of(body, false, vec![]), lent)?;
        }
        // A tunnel ends when its client does.
        if self.asks == Asks::Tunnel && batch.bytes == 0 {
            return Ok(());
        }
        self.outbox.send(request, batch, lent)
    }

    fn takes_pipes(&self) -> bool {
        false
    }

    fn is_blocked(&self) -> bool {
        self.outbox.is_blocked()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<io::Result<()>> {
        if let Some(request) = &mut self.request
            && request.poll_reset(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.outbox.poll_empty(cx, lent).map(Ok)
    }

    fn poll_response_head(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        head: &mut ResponseHead,
        accept: &mut dyn FnMut(&ResponseHead, &[u8]),
    ) -> Poll<Result<(), ReceiveError>> {
        if let Receiving::Waiting(request) = &mut self.response {
            if !ready!(self.connection.poll_takes_tunnels(cx)) {
                return Poll::Ready(Err(ReceiveError::NoTunnel));
            }
            let request = std::mem::take(&mut **request);
            self.send(request, false)?;
        }
        let Receiving::Head(response) = &mut self.response else {
            return Poll::Ready(Err(ReceiveError::Closed));
        };
        let received = match ready!(response.poll_informational(cx)) {
            Some(interim) => interim.map(|interim| (interim.into_parts().0, None)),
            None => ready!(Pin::new(response).poll(cx)).map(|response| {
                let (parts, body) = response.into_parts();
                (parts, Some(Intake::new(body, self.connection.in_progress())))
            }),
        };
        Poll::Ready(match received {
            Ok((parts, body)) => {
                self.has_received = true;
                self.accept_head(&parts, body, lent, head, accept)
            }
            Err(error) => Err(self.fail(error)),
        })
    }

    /// Nothing is in the scratch buffer.
    fn settle(&mut self, _lent: Lent<'_>) {}

    /// Where the body ends h2 knows.
    fn start_body(&mut self, framing: BodyFraming) {
        if framing == BodyFraming::None {
            self.response = Receiving::Complete;
        }
    }

    fn lend_response_body(
        &mut self,
        _lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        match &mut self.response {
            Receiving::Body(body) => body.lend(accept),
            _ => accept(&BodyBatch::end()).map(|()| BodyStep::End).map_err(|_| RelayError::Send),
        }
    }

    fn poll_response_body(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>> {
        match &mut self.response {
            Receiving::Body(body) => body.poll(cx, accept),
            _ => Poll::Ready(self.lend_response_body(lent, accept)),
        }
    }

    fn is_response_complete(&self) -> bool {
        match &self.response {
            Receiving::Body(body) => body.is_complete(),
            Receiving::Nothing | Receiving::Waiting(_) | Receiving::Head(_) => false,
            Receiving::Complete => true,
        }
    }

    fn has_received(&self) -> bool {
        self.has_received
    }

    /// Of a body exactly, of a head all or nothing: whether it has left this worker is not known.
    fn accepted(&self) -> u64 {
        if self.is_refused { 0 } else { self.head_bytes + self.outbox.accepted() }
    }

    /// What the kernel still holds is the connection's, not the stream's.
    fn taken(&self) -> u64 {
        self.accepted()
    }

    fn start_tunnel(&mut self) {
        if let Receiving::Body(body) = &mut self.response {
            body.open_tunnel();
        }
    }

    fn finish(&mut self) {
        if let Some(request) = &mut self.request {
            self.outbox.finish(request);
        }
    }

    fn reset(&mut self) {
        if let Some(request) = &mut self.request {
            request.send_reset(Reason::CANCEL);
        }
    }

    /// Of the connection, whichever stream's it was.
    fn take_moved(&mut self) -> Moved {
        self.connection.take_moved()
    }
}

impl Drop for H2Upstream {
    /// What is not complete is reset by h2 (CANCEL).
    fn drop(&mut self) {
        if clock::coarse_ms() >= due(self.sent_ms, SILENCE) {
            self.suspect();
        }
    }
}
