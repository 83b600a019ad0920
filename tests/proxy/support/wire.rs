//! One end of a connection: blocking calls with deadlines, and messages read off it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::message::{Body, Framing, Head, pattern_slice};
use super::sys;
use super::tls::Tls;

/// How much of what a connection received is kept to look at.
const RECORDED_BYTES_MAX: usize = 1 << 20;

/// A TCP or Unix stream, or TLS over TCP.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Tls>),
}

macro_rules! either {
    ($stream:expr, $inner:ident => $do:expr) => {
        match $stream {
            Stream::Tcp($inner) => $do,
            Stream::Unix($inner) => $do,
            Stream::Tls($inner) => $do,
        }
    };
}

/// The same of what is below TLS.
macro_rules! either_socket {
    ($stream:expr, $inner:ident => $do:expr) => {
        match $stream {
            Stream::Tcp($inner) => $do,
            Stream::Unix($inner) => $do,
            Stream::Tls(tls) => {
                let $inner = &tls.stream;
                $do
            }
        }
    };
}

impl Stream {
    /// Connects to `127.0.0.1:1`, `[::1]:1` or `unix:/path`.
    pub(crate) fn connect(address: &str) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            return Ok(Self::Unix(UnixStream::connect(path)?));
        }
        let address = address.parse().map_err(io::Error::other)?;
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Another handle: of TLS to the connection below.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tls(tls) => Self::Tcp(tls.stream.try_clone()?),
        })
    }

    /// 0 over a Unix socket.
    pub(crate) fn local_port(&self) -> u16 {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            Self::Tls(tls) => tls.stream.local_addr(),
            Self::Unix(_) => return 0,
        }
        .expect("the client's address")
        .port()
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        either_socket!(self, stream => stream.shutdown(how))
    }

    fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        either_socket!(self, stream => {
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))
        })
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        either_socket!(self, stream => stream.as_raw_fd())
    }
}

/// A stream with what was read too far.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    /// How long a read or a write may take.
    deadline: Duration,
    /// Received, not yet taken.
    buffer: Vec<u8>,
    /// Everything received, up to [`RECORDED_BYTES_MAX`].
    record: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> io::Result<Self> {
        stream.set_timeouts(DEADLINE)?;
        Ok(Self { stream, deadline: DEADLINE, buffer: Vec::new(), record: Arc::default() })
    }

    /// Another deadline than [`DEADLINE`].
    pub(crate) fn set_deadline(&mut self, deadline: Duration) -> io::Result<()> {
        self.deadline = deadline;
        self.stream.set_timeouts(deadline)
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// TLS, where it is spoken.
    #[track_caller]
    pub(crate) fn tls(&mut self) -> &mut Tls {
        match &mut self.stream {
            Stream::Tls(tls) => tls,
            other => panic!("no TLS: {other:?}"),
        }
    }

    pub(crate) fn record(&self) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.record)
    }

    pub(crate) fn has_received_nothing(&self) -> bool {
        self.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_empty()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        either!(&mut self.stream, stream => stream.write_all(bytes.as_ref()))
    }

    /// Sends all of it within `time`; false when the peer takes no more.
    pub(crate) fn send_within(&mut self, time: Duration, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.set_timeouts(time).unwrap();
        let sent = self.send(bytes).is_ok();
        self.stream.set_timeouts(DEADLINE).unwrap();
        sent
    }

    /// Sends `length` bytes of the test pattern from `start` on.
    pub(crate) fn send_pattern(&mut self, start: u64, length: u64) -> io::Result<()> {
        let mut sent = 0;
        while sent < length {
            let most = usize::try_from(length - sent).unwrap_or(usize::MAX).min(64 * 1024);
            let block = pattern_slice(start + sent, most);
            self.send(block)?;
            sent += block.len() as u64;
        }
        Ok(())
    }

    /// Takes `length` bytes and compares them with the test pattern from `start` on.
    pub(crate) fn expect_pattern(&mut self, start: u64, length: u64) -> io::Result<()> {
        let mut taken = 0;
        while taken < length {
            if self.buffer.is_empty() && self.fill()? == 0 {
                return Err(ended(&format!("after {taken} of {length} bytes")));
            }
            let size = usize::try_from(length - taken).unwrap_or(usize::MAX).min(self.buffer.len());
            let block = pattern_slice(start + taken, size);
            if self.buffer[..block.len()] != *block {
                return Err(io::Error::other(format!("other bytes than sent, {taken} bytes in")));
            }
            self.buffer.drain(..block.len());
            taken += block.len() as u64;
        }
        Ok(())
    }

    /// The next message head; `None` when the connection ends instead.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = Head::parse(&self.buffer[..end + 4]);
                self.buffer.drain(..end + 4);
                return Ok(Some(head));
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(ended(&format!("inside a head: {:?}", String::from_utf8_lossy(&self.buffer))))
                };
            }
        }
    }

    /// The body that `framing` describes; `neither` says what no framing at all means.
    pub(crate) fn body(&mut self, framing: Framing, neither: Neither) -> io::Result<Body> {
        match (framing, neither) {
            (Framing::Length(length), _) => Ok(Body { bytes: self.exactly(length)?, ..Body::default() }),
            (Framing::Chunked, _) => self.chunked(),
            (Framing::Neither, Neither::NoBody) => Ok(Body::default()),
            (Framing::Neither, Neither::UntilClose) => {
                Ok(Body { bytes: self.until_end()?, ..Body::default() })
            }
        }
    }

    pub(crate) fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.fill()? == 0 {
                return Err(ended(&format!("{} bytes into a body of {length}", self.buffer.len())));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Up to `length` bytes: fewer when the connection ends, or stands still, before.
    pub(crate) fn at_most(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            if !matches!(self.fill(), Ok(1..)) {
                break;
            }
        }
        let taken = self.buffer.len().min(length);
        self.buffer.drain(..taken).collect()
    }

    /// Everything until the peer closes; a reset is an error.
    pub(crate) fn until_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Takes and drops everything until the peer closes or resets; says how many bytes there were.
    pub(crate) fn drain(&mut self) -> io::Result<usize> {
        let mut taken = self.buffer.len();
        loop {
            self.buffer.clear();
            match self.fill() {
                Ok(0) => return Ok(taken),
                Ok(more) => taken += more,
                Err(error) if gone(&error) => return Ok(taken),
                Err(error) => return Err(error),
            }
        }
    }

    fn chunked(&mut self) -> io::Result<Body> {
        let mut body = Body::default();
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16)
                .map_err(|_| io::Error::other(format!("chunk size {line:?}")))?;
            if size == 0 {
                break;
            }
            body.bytes.extend(self.exactly(size)?);
            let end = self.line()?;
            if !end.is_empty() {
                return Err(io::Error::other(format!("{end:?} after a chunk")));
            }
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(body);
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            body.trailers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The next line without its CRLF.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer[..end].iter().map(|&byte| char::from(byte)).collect();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.fill()? == 0 {
                return Err(ended("inside a line"));
            }
        }
    }

    /// Whether nothing arrives and nothing ends for `time`.
    pub(crate) fn silent_for(&mut self, time: Duration) -> io::Result<bool> {
        if !self.buffer.is_empty() {
            return Ok(false);
        }
        self.stream.set_timeouts(time)?;
        let result = self.fill();
        self.stream.set_timeouts(self.deadline)?;
        match result {
            Ok(_) => Ok(false),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// How the connection ends; an error when bytes come or nothing happens until the deadline.
    pub(crate) fn end(&mut self) -> io::Result<End> {
        if self.buffer.is_empty() {
            match self.fill() {
                Ok(0) => return Ok(End::Closed),
                Ok(_) => {}
                Err(error) if gone(&error) => return Ok(End::Reset),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("not the end: {:?}", String::from_utf8_lossy(&self.buffer))))
    }

    pub(crate) fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Makes the close, which is the drop, a reset.
    pub(crate) fn reset_on_close(&self) {
        sys::reset_on_close(&self.stream);
    }

    /// Waits, and reads nothing, until the peer has reset the connection.
    pub(crate) fn await_reset(&self) -> io::Result<()> {
        let start = Instant::now();
        while either_socket!(&self.stream, stream => stream.take_error())?.is_none() {
            if start.elapsed() > self.deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What was received and not taken.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Receives once; 0 is the end.
    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        self.fill_with(&mut [0; 64 * 1024])
    }

    /// Receives once, at most so much, and keeps it.
    pub(crate) fn sip(&mut self, bytes_max: usize) -> io::Result<()> {
        match self.fill_with(&mut vec![0; bytes_max])? {
            0 => Err(ended("in between")),
            _ => Ok(()),
        }
    }

    fn fill_with(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = loop {
            match either!(&mut self.stream, stream => stream.read(bytes)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.buffer.extend_from_slice(&bytes[..count]);
        let mut record = self.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let room = RECORDED_BYTES_MAX - record.len();
        record.extend_from_slice(&bytes[..count.min(room)]);
        Ok(count)
    }
}

/// What no framing at all means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neither {
    NoBody,
    UntilClose,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

/// Whether the error says that the peer has gone.
pub(crate) fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

fn ended(what: &str) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, format!("the connection ended {what}"))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
