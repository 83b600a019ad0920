//! A raw client: the bytes are the test's own.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::message::{Head, Response};
use super::sys;
use super::wire::{End, Neither, Stream, Wire};

/// A connection to the proxy.
#[derive(Debug)]
pub(crate) struct Client {
    wire: Wire,
}

impl Deref for Client {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

impl Client {
    /// Connects to `127.0.0.1:1`, `[::1]:1` or `unix:/path`.
    #[track_caller]
    pub(crate) fn connect(address: &str) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    pub(crate) fn try_connect(address: &str) -> io::Result<Self> {
        Ok(Self { wire: Wire::new(Stream::connect(address)?)? })
    }

    pub(crate) const fn over(wire: Wire) -> Self {
        Self { wire }
    }

    /// Connects to `127.0.0.1:1` from another address of this machine.
    #[track_caller]
    pub(crate) fn connect_from(source: &str, address: &str) -> Self {
        let stream = sys::connect_from(source.parse().unwrap(), address.parse().unwrap());
        Self { wire: Wire::new(Stream::Tcp(stream)).unwrap() }
    }

    /// Sends `request` and reads the response to it. Not for HEAD.
    #[track_caller]
    pub(crate) fn request(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.wire.send(request).expect("the request is taken");
        self.response()
    }

    /// A GET with nothing but a Host field.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.request(get(target))
    }

    /// Whether `address` answers a GET with 200 now.
    pub(crate) fn serves(address: &str) -> bool {
        let answer = Self::try_connect(address).and_then(|mut client| {
            client.send(get("/"))?;
            client.try_response(true)
        });
        answer.is_ok_and(|response| response.status() == 200)
    }

    /// The next final response and its body. Not for HEAD.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.try_response(true).unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// The next final response, to a HEAD request.
    #[track_caller]
    pub(crate) fn response_to_head(&mut self) -> Response {
        self.try_response(false).unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// The next final response; `body`: whether one may follow.
    pub(crate) fn try_response(&mut self, body: bool) -> io::Result<Response> {
        let mut interim = Vec::new();
        let head = loop {
            match self.wire.head()? {
                Some(head) if head.status() < 200 => interim.push(head),
                Some(head) => break head,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        if !body || matches!(head.status(), 204 | 304) {
            return Ok(Response { interim, head, body: Vec::new(), trailers: Vec::new() });
        }
        let body = self.wire.body(head.framing(), Neither::UntilClose)?;
        Ok(Response { interim, head, body: body.bytes, trailers: body.trailers })
    }

    /// The next head, interim or final.
    #[track_caller]
    pub(crate) fn next_head(&mut self) -> Head {
        self.wire.head().expect("a head").expect("a head before the connection ends")
    }

    /// Fails unless the proxy now closes without another byte; a reset is not a close.
    #[track_caller]
    pub(crate) fn expect_close(&mut self) {
        assert_eq!(self.wire.end().expect("the end"), End::Closed);
    }

    /// Fails unless the connection now ends, either way, without another byte.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        self.wire.end().expect("the end");
    }

    /// Fails if anything arrives within `time`.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, time: Duration) {
        assert!(self.wire.silent_for(time).expect("silence"), "something arrived within {time:?}");
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.wire.reset_on_close();
    }

    pub(crate) fn set_receive_buffer(&self, bytes: i32) {
        sys::set_receive_buffer(self.wire.stream(), bytes);
    }
}

/// The bytes of a GET with nothing but a Host field.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// The bytes of a POST with a Content-Length.
pub(crate) fn post(target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
