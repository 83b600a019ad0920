//! A call of gRPC-Web as a call of gRPC: the upstream's side of its exchange, which translates on the way.
//!
//! Towards the upstream the request's `Content-Type` is that of gRPC, and text is decoded. Towards the client the response's is
//! the one that it asked for, the trailers are the end of the body, and all of it is text for who wants text. A response that
//! is no answer of gRPC, as a page of a proxy behind us, passes as it is; so does one that is only a head, where a client of
//! gRPC-Web finds the status as well.

use std::io;
use std::task::{Context, Poll};

use corelane_grpc::web::{Frames, TextDecoder, TextEncoder, write_trailers};
use corelane_grpc::{Dialect, Status};
use corelane_http1::{HeadError, HeadLimits, HeadScanner, read_response, write_field};
use corelane_semantics::{BodyFraming, ResponseHead};

use crate::message::{BodyBatch, BodyStep, Lent, Moved, ReceiveError, RelayError, Upstream};

/// What a client sends, and what it wants to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialects {
    pub(crate) request: Dialect,
    pub(crate) response: Dialect,
}

/// See the module.
pub(crate) struct GrpcWeb<U> {
    upstream: U,
    limits: HeadLimits,
    /// Where the request is text.
    decoder: Option<TextDecoder>,
    is_broken: bool,
    response: Response,
    head: ResponseHead,
}

/// The response as its client sees it.
struct Response {
    dialect: Dialect,
    /// It is an answer of gRPC, with a body.
    has_messages: bool,
    frames: Frames,
    encoder: TextEncoder,
    status: Option<Status>,
}

impl<U: Upstream> GrpcWeb<U> {
    /// Before anything of the request is sent.
    pub(crate) fn new(upstream: U, dialects: Dialects, limits: HeadLimits) -> Self {
        Self {
            upstream,
            limits,
            decoder: (dialects.request == Dialect::WebText).then(TextDecoder::default),
            is_broken: false,
            response: Response {
                dialect: dialects.response,
                has_messages: false,
                frames: Frames::default(),
                encoder: TextEncoder::default(),
                status: None,
            },
            head: ResponseHead::default(),
        }
    }

    /// Whether the request's text is none.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// How the call has ended, if its trailers have come.
    pub(crate) fn status(&self) -> Option<Status> {
        self.response.status
    }

    /// Whether another frame may follow what was handed on of the response's body.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.response.has_messages && self.response.frames.is_between()
    }

    pub(crate) fn inner(&self) -> &U {
        &self.upstream
    }

    /// Sends a head as that of a call (or nothing), and bytes of its body as they are to be sent.
    fn send(&mut self, head: &[u8], text: &[u8], batch: &BodyBatch<'_>, lent: Lent<'_>) -> io::Result<()> {
        let Some(decoder) = &mut self.decoder else {
            return self.upstream.send_request(head, batch, lent);
        };
        let mut bytes = lent.buffers.take();
        let mut decoded = Ok(());
        for slice in [text].into_iter().chain(batch.slices()) {
            decoded = decoded.and_then(|()| decoder.decode(slice, &mut bytes));
        }
        if batch.end {
            decoded = decoded.and_then(|()| decoder.end());
        }
        self.is_broken = decoded.is_err();
        let sent = match decoded {
            Ok(()) => self.upstream.send_request(head, &BodyBatch::of(&bytes, batch.end, Vec::new()), lent),
            Err(_) => Err(io::ErrorKind::InvalidData.into()),
        };
        lent.buffers.give(bytes);
        sent
    }
}

/// Writes a request's head as that of a call.
fn write_request(head: &[u8], is_text: bool, out: &mut Vec<u8>) {
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        match named(line) {
            (b"", _) if line == b"\r\n" => write_field(out, b"te", b"trailers"),
            (name, value) if name.eq_ignore_ascii_case(b"content-type") => {
                write_content_type(Dialect::Grpc, value, out);
                continue;
            }
            (name, _) if name.eq_ignore_ascii_case(b"te") => continue,
            // Of the text, not of what it stands for.
            (name, _) if is_text && name.eq_ignore_ascii_case(b"content-length") => continue,
            _ => {}
        }
        out.extend_from_slice(line);
    }
}

/// Writes a response's head as its client expects it; whether messages follow, and the status if it is there. `None`: it is no
/// answer of gRPC.
fn write_response(head: &[u8], dialect: Dialect, out: &mut Vec<u8>) -> Option<(bool, Option<Status>)> {
    let lines = || head.split_inclusive(|&byte| byte == b'\n');
    let is_answer = lines().any(|line| {
        let (name, value) = named(line);
        name.eq_ignore_ascii_case(b"content-type") && Dialect::of(value) == Some(Dialect::Grpc)
    });
    if !is_answer {
        return None;
    }
    let status = Status::in_lines(head);
    for line in lines() {
        match named(line) {
            (b"", _) if line == b"\r\n" && status.is_none() => {
                write_field(out, b"transfer-encoding", b"chunked");
            }
            (name, value) if name.eq_ignore_ascii_case(b"content-type") => {
                write_content_type(dialect, value, out);
                continue;
            }
            // The trailers make it longer.
            (name, _)
                if status.is_none()
                    && (name.eq_ignore_ascii_case(b"content-length")
                        || name.eq_ignore_ascii_case(b"transfer-encoding")) =>
            {
                continue;
            }
            _ => {}
        }
        out.extend_from_slice(line);
    }
    Some((status.is_none(), status))
}

/// A field line's name and value; no name, if it is none.
fn named(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|&byte| byte == b':') {
        Some(colon) => (&line[..colon], line[colon + 1..].trim_ascii()),
        None => (b"", b""),
    }
}

/// With the form of the messages that `value` names; the protocol's own, which clients of gRPC-Web may insist on, if it names none.
fn write_content_type(dialect: Dialect, value: &[u8], out: &mut Vec<u8>) {
    let form = match Dialect::split(value) {
        Some((_, form @ [_, ..])) => form,
        _ if dialect == Dialect::Grpc => b"",
        _ => b"+proto",
    };
    write_field(out, b"content-type", &[dialect.content_type(), form].concat());
}

impl Response {
    /// Hands on a batch as the client wants it.
    fn hand_on(
        &mut self,
        batch: &BodyBatch<'_>,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let has_trailers = !batch.trailers.is_empty();
        if self.has_messages {
            batch.slices().for_each(|slice| self.frames.skip(slice));
        }
        if !self.has_messages || (self.dialect != Dialect::WebText && !has_trailers) {
            return accept(batch);
        }
        let mut bytes = lent.buffers.take();
        let mut trailers = Vec::new();
        if has_trailers {
            write_trailers(&batch.trailers, &mut trailers);
            self.status = Status::in_lines(&batch.trailers);
        }
        for slice in batch.slices().chain([&trailers[..]]) {
            if self.dialect == Dialect::WebText {
                self.encoder.encode(slice, &mut bytes);
            } else {
                bytes.extend_from_slice(slice);
            }
        }
        if batch.end {
            self.encoder.end(&mut bytes);
        }
        let accepted = accept(&BodyBatch::of(&bytes, batch.end, Vec::new()));
        lent.buffers.give(bytes);
        accepted
    }
}

impl<U: Upstream> Upstream for GrpcWeb<U> {
    fn send_request(&mut self, head: &[u8], batch: &BodyBatch<'_>, lent: Lent<'_>) -> io::Result<()> {
        if head.is_empty() {
            return self.send(head, &[], batch, lent);
        }
        // A small body may stand behind it.
        let end = memchr::memmem::find(head, b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)? + 4;
        let (head, body) = head.split_at(end);
        let (mut written, is_text) = (lent.buffers.take(), self.decoder.is_some());
        write_request(head, is_text, &mut written);
        if !is_text {
            written.extend_from_slice(body);
        }
        let sent = self.send(&written, body, batch, lent);
        lent.buffers.give(written);
        sent
    }

    fn takes_pipes(&self) -> bool {
        false
    }

    fn is_blocked(&self) -> bool {
        self.upstream.is_blocked()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<io::Result<()>> {
        self.upstream.poll_flush(cx, lent)
    }

    fn poll_response_head(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        head: &mut ResponseHead,
        accept: &mut dyn FnMut(&ResponseHead, &[u8]),
    ) -> Poll<Result<(), ReceiveError>> {
        if self.is_broken {
            return Poll::Ready(Err(ReceiveError::Closed));
        }
        let Self { upstream, limits, response, head: written, .. } = self;
        let mut translated = Ok(());
        let polled = upstream.poll_response_head(cx, lent, head, &mut |head, bytes| {
            let mut out = lent.buffers.take();
            let answer = (head.status == 200).then(|| write_response(bytes, response.dialect, &mut out));
            let Some((has_messages, status)) = answer.flatten() else {
                lent.buffers.give(out);
                return accept(head, bytes);
            };
            (response.has_messages, response.status) = (has_messages, status);
            // Some bytes longer than what the limits have let pass.
            let limits = HeadLimits {
                head_bytes_max: limits.head_bytes_max + ADDED_BYTES_MAX,
                request_line_bytes_max: limits.request_line_bytes_max + ADDED_BYTES_MAX,
                field_bytes_max: limits.field_bytes_max + ADDED_BYTES_MAX,
                fields_max: limits.fields_max + 1,
            };
            let read = read_response(&mut HeadScanner::for_response(), &out, &limits, written);
            translated = read.and_then(|place| place.ok_or(HeadError::NotOneHead)).map(drop);
            if translated.is_ok() {
                accept(written, &out);
            }
            lent.buffers.give(out);
        });
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(translated.map_err(ReceiveError::from)),
            polled => polled,
        }
    }

    fn settle(&mut self, lent: Lent<'_>) {
        self.upstream.settle(lent);
    }

    fn start_body(&mut self, framing: BodyFraming) {
        self.upstream.start_body(framing);
    }

    fn lend_response_body(
        &mut self,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        let response = &mut self.response;
        self.upstream.lend_response_body(lent, &mut |batch| response.hand_on(batch, lent, accept))
    }

    fn poll_response_body(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>> {
        if self.is_broken {
            return Poll::Ready(Err(RelayError::Receive(ReceiveError::Closed)));
        }
        let response = &mut self.response;
        self.upstream.poll_response_body(cx, lent, &mut |batch| response.hand_on(batch, lent, accept))
    }

    fn is_response_complete(&self) -> bool {
        self.upstream.is_response_complete()
    }

    fn has_received(&self) -> bool {
        self.upstream.has_received()
    }

    fn accepted(&self) -> u64 {
        self.upstream.accepted()
    }

    fn taken(&self) -> u64 {
        self.upstream.taken()
    }

    fn start_tunnel(&mut self) {
        self.upstream.start_tunnel();
    }

    fn finish(&mut self) {
        self.upstream.finish();
    }

    fn reset(&mut self) {
        self.upstream.reset();
    }

    fn take_moved(&mut self) -> Moved {
        self.upstream.take_moved()
    }
}

/// What `application/grpc-web-text` and `transfer-encoding: chunked` add to a head.
const ADDED_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_becomes_one_of_grpc() {
        let head = "POST /a HTTP/1.1\r\nhost: a\r\nContent-Type: application/GRPC-Web-Text+json\r\n\
                    Content-Length: 8\r\nTE: gzip\r\nX-A: te\r\n\r\n";
        let written = |is_text| {
            let mut out = Vec::new();
            write_request(head.as_bytes(), is_text, &mut out);
            String::from_utf8(out).unwrap()
        };
        let text = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc+json\r\nX-A: te\r\nte: trailers\r\n\r\n";
        assert_eq!(written(true), text);
        assert_eq!(written(false), text.replace("X-A", "Content-Length: 8\r\nX-A"));
    }

    #[test]
    fn a_response_becomes_one_of_grpc_web() {
        let written = |fields: &str| {
            let mut out = Vec::new();
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            let answer = write_response(head.as_bytes(), Dialect::WebText, &mut out)?;
            Some((String::from_utf8(out).unwrap(), answer))
        };
        let is = |fields: &str, has_messages, status| {
            Some((format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), (has_messages, status)))
        };
        let text = "content-type: application/grpc-web-text+proto\r\n";
        let chunked = "transfer-encoding: chunked\r\n";
        for framing in ["", "content-length: 7\r\n", "Transfer-Encoding: chunked\r\n"] {
            let answer = written(&format!("content-type: application/grpc\r\n{framing}x-a: b\r\n"));
            assert_eq!(answer, is(&format!("{text}x-a: b\r\n{chunked}"), true, None));
        }
        let answer = written("content-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n");
        let expected = format!("{text}grpc-status: 5\r\ncontent-length: 0\r\n");
        assert_eq!(answer, is(&expected, false, Some(Status::NotFound)), "only a head");
        assert_eq!(written("content-type: text/html\r\n"), None);
        assert_eq!(written("content-type: application/grpc-web\r\n"), None);
        assert_eq!(written(""), None);
    }
}
