//! The closed loop over HTTP/2: connections with several streams each, of which one that ends begins the next. `load.rs` says
//! what is told and counted.
//!
//! As much of RFC 9113 as that needs. Requests are the same bytes each time, compressed as a client's second one is; of
//! responses frame headers are read, and that the status is 200. What a proxy must not send here is an error: PING, GOAWAY,
//! RST_STREAM, padding, parts of heads.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::arguments::{Arguments, invalid};
use crate::load::{Counter, Counters, Order, STDIN};
use crate::net::{self, Epoll};
use crate::tls::{self, Received, Tls};

/// What a receive takes.
const SCRATCH_BYTES: usize = 128 << 10;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED_OR_PRIORITY: u8 = 0x28;

/// `:status: 200` in HPACK's static table.
const STATUS_200: u8 = 0x88;
/// What h2load announces of its windows.
const WINDOW: u32 = 1 << 30;
/// A client's at the beginning (RFC 9113 §6.9.2).
const WINDOW_DEFAULT: i64 = 65_535;
/// Frames are no longer unless their receiver says so (§4.2).
const FRAME_BYTES_MAX: usize = 16 << 10;

/// What is sent for a request.
struct Request {
    /// The first one's fields on a connection, which the proxy's decoder remembers, and all others'.
    first: Vec<u8>,
    next: Vec<u8>,
    body_bytes: usize,
}

impl Request {
    fn new(scheme: &str, path: &str, body_bytes: usize) -> Self {
        // RFC 7541: entries of the static table; literals that are added to the dynamic one (0x40), whose latest has index 62.
        let method = if body_bytes == 0 { 0x82 } else { 0x83 };
        let scheme = if scheme == "https" { 0x87 } else { 0x86 };
        let length = body_bytes.to_string();
        let mut literals = vec![(4, path), (1, "bench.example"), (58, "corelane-floor"), (19, "*/*")];
        if body_bytes > 0 {
            literals.extend([(31, "application/octet-stream"), (28, &*length)]);
        }
        let (mut first, mut next) = (vec![method, scheme], vec![method, scheme]);
        for (number, (name, value)) in literals.iter().enumerate() {
            first.extend([0x40 | name, value.len() as u8]);
            first.extend(value.as_bytes());
            next.push(0x80 | (62 + literals.len() - 1 - number) as u8);
        }
        Self { first, next, body_bytes }
    }

    fn write(&self, out: &mut Vec<u8>, stream: u32) {
        let fields = if stream == 1 { &self.first } else { &self.next };
        let end = if self.body_bytes == 0 { END_STREAM } else { 0 };
        write_frame(out, HEADERS, END_HEADERS | end, stream, fields);
        let mut left = self.body_bytes;
        while left > 0 {
            let part = &[b'x'; FRAME_BYTES_MAX][..left.min(FRAME_BYTES_MAX)];
            left -= part.len();
            write_frame(out, DATA, if left == 0 { END_STREAM } else { 0 }, stream, part);
        }
    }
}

fn write_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A frame as it comes: its header with the first bytes of what it carries, and how much of it is still to come.
#[derive(Default)]
struct Incoming {
    begin: [u8; 13],
    held: usize,
    left: usize,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    length: usize,
    /// The first of its payload.
    payload: [u8; 4],
}

impl Incoming {
    /// Takes bytes from the front of `bytes`; a frame when it is complete.
    fn take(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        loop {
            if self.held < 9 || self.held < self.wanted() {
                let wanted = if self.held < 9 { 9 } else { self.wanted() };
                let taken = (wanted - self.held).min(bytes.len());
                self.begin[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
                self.held += taken;
                *bytes = &bytes[taken..];
                if self.held < wanted {
                    return None;
                }
                self.left = self.length() - (self.held - 9);
                if self.held < self.wanted() {
                    continue;
                }
            }
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            *bytes = &bytes[skipped..];
            if self.left > 0 {
                return None;
            }
            self.held = 0;
            let [_, _, _, kind, flags, a, b, c, d, payload @ ..] = self.begin;
            let stream = u32::from_be_bytes([a, b, c, d]);
            return Some(Frame { kind, flags, stream, length: self.length(), payload });
        }
    }

    fn length(&self) -> usize {
        u32::from_be_bytes([0, self.begin[0], self.begin[1], self.begin[2]]) as usize
    }

    /// Of the header and the payload that is looked at.
    fn wanted(&self) -> usize {
        9 + self.length().min(4)
    }
}

/// What HTTP/2 knows of a connection.
struct Protocol {
    incoming: Incoming,
    /// To be sent.
    out: Vec<u8>,
    next_stream: u32,
    /// Streams that are open.
    open: usize,
    /// Ended streams that are not counted yet.
    done: usize,
    /// What may be sent of bodies, and what has come of them since the proxy was last told.
    window: i64,
    received: u32,
    /// Sent and received.
    moved: usize,
}

impl Protocol {
    fn new() -> Self {
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // No push, and large windows: 2 is ENABLE_PUSH, 4 INITIAL_WINDOW_SIZE.
        let [a, b, c, d] = WINDOW.to_be_bytes();
        write_frame(&mut out, SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 0, 0, 4, a, b, c, d]);
        write_frame(&mut out, WINDOW_UPDATE, 0, 0, &(WINDOW - WINDOW_DEFAULT as u32).to_be_bytes());
        Self {
            incoming: Incoming::default(),
            out,
            next_stream: 1,
            open: 0,
            done: 0,
            window: WINDOW_DEFAULT,
            received: 0,
            moved: 0,
        }
    }

    /// Begins streams until so many are open, as the window of the connection allows. That of a stream is never less than a
    /// body here.
    fn begin(&mut self, request: &Request, streams: usize) {
        while self.open < streams && self.window >= request.body_bytes as i64 {
            request.write(&mut self.out, self.next_stream);
            self.window -= request.body_bytes as i64;
            self.next_stream += 2;
            self.open += 1;
        }
    }

    fn came(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.moved += bytes.len();
        while let Some(frame) = self.incoming.take(&mut bytes) {
            self.meet(&frame)?;
        }
        Ok(())
    }

    fn meet(&mut self, frame: &Frame) -> io::Result<()> {
        match frame.kind {
            DATA => {
                self.received += frame.length as u32;
                if self.received > WINDOW / 2 {
                    write_frame(&mut self.out, WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes());
                    self.received = 0;
                }
            }
            HEADERS => {
                // A change of the dynamic table's size may come first.
                let mut fields = frame.payload.iter().skip_while(|&byte| byte & 0xe0 == 0x20);
                if fields.next() != Some(&STATUS_200) {
                    return Err(invalid("another status"));
                }
                if frame.flags & PADDED_OR_PRIORITY != 0 || frame.flags & END_HEADERS == 0 {
                    return Err(invalid("a head that is not plain"));
                }
            }
            SETTINGS if frame.flags & ACKNOWLEDGEMENT == 0 => {
                write_frame(&mut self.out, SETTINGS, ACKNOWLEDGEMENT, 0, &[])
            }
            WINDOW_UPDATE if frame.stream == 0 => {
                self.window += i64::from(u32::from_be_bytes(frame.payload));
            }
            SETTINGS | WINDOW_UPDATE => {}
            kind => return Err(invalid(format!("a frame of type {kind}"))),
        }
        if frame.kind <= HEADERS && frame.flags & END_STREAM != 0 {
            self.open = self.open.checked_sub(1).ok_or_else(|| invalid("a stream that is not open"))?;
            self.done += 1;
        }
        Ok(())
    }
}

struct Connection {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
    protocol: Protocol,
}

impl Connection {
    /// Sends what there is, as far as the kernel takes it; the event that there is room brings the next call.
    fn send(&mut self) -> io::Result<()> {
        let out = &mut self.protocol.out;
        let length = out.len();
        if let Some(tls) = &mut self.tls {
            let mut unsent = &out[..];
            tls.send(&self.stream, &mut unsent)?;
            let taken = length - unsent.len();
            out.drain(..taken);
        } else {
            while !out.is_empty() {
                let Some(count) = net::unless_blocked((&self.stream).write(out))? else { break };
                out.drain(..count);
            }
        }
        self.protocol.moved += length - self.protocol.out.len();
        Ok(())
    }

    /// Receives until nothing more is there, and begins a stream for each that ended.
    fn advance(&mut self, request: &Request, streams: usize, scratch: &mut [u8]) -> io::Result<()> {
        self.send()?;
        loop {
            let protocol = &mut self.protocol;
            let received = match &mut self.tls {
                Some(tls) => {
                    tls.receive(&self.stream, scratch, &mut &[][..], |bytes| protocol.came(bytes))?
                }
                None => match net::unless_blocked((&self.stream).read(scratch))? {
                    None => Received::Nothing,
                    Some(0) => Received::End,
                    Some(count) => {
                        protocol.came(&scratch[..count])?;
                        if count < scratch.len() { Received::All } else { Received::Some }
                    }
                },
            };
            protocol.begin(request, streams);
            self.send()?;
            match received {
                Received::Some => {}
                Received::Nothing | Received::All => return Ok(()),
                Received::End => return Err(invalid("the connection ended")),
            }
        }
    }
}

struct Load {
    epoll: Epoll,
    request: Request,
    counters: Counters,
    ports: Vec<u16>,
    config: Option<Arc<ClientConfig>>,
    /// Of each target.
    connections: Vec<Vec<Connection>>,
    per_target: usize,
    /// Of each connection, while there is load.
    streams: usize,
    scratch: Vec<u8>,
    /// The target with load.
    active: Option<usize>,
    is_stopping: bool,
}

/// Obeys the lines on stdin until it ends.
///
/// # Errors
/// A line or an option that means nothing, a connection fails, or a proxy says what it must not say.
pub(crate) fn run(arguments: &mut Arguments) -> io::Result<()> {
    let ports: Vec<u16> = arguments.numbers()?;
    let config = arguments.flag("tls").then(tls::for_http2);
    let scheme = if config.is_some() { "https" } else { "http" };
    let path: String = arguments.value("path")?;
    let mut load = Load {
        epoll: Epoll::new()?,
        request: Request::new(scheme, &path, arguments.value("body-bytes")?),
        counters: Counters::map(&arguments.value::<String>("counters")?, ports.len())?,
        config,
        connections: ports.iter().map(|_| Vec::new()).collect(),
        ports,
        per_target: arguments.value("connections")?,
        streams: arguments.value("streams")?,
        scratch: vec![0; SCRATCH_BYTES],
        active: None,
        is_stopping: false,
    };
    let mut stdin = io::stdin().lock();
    load.epoll.add(&stdin, STDIN, libc::EPOLLIN)?;
    loop {
        for number in 0..load.epoll.wait(-1)? {
            let event = load.epoll.event(number);
            if event.token != STDIN {
                load.step((event.token >> 32) as usize, event.token as u32 as usize)?;
                continue;
            }
            match Order::read(&mut stdin)? {
                Order::End => return Ok(()),
                Order::Stop => {
                    load.is_stopping = true;
                    load.tell_when_idle();
                }
                Order::Go(target) => load.go(target)?,
            }
        }
    }
}

impl Load {
    fn go(&mut self, target: usize) -> io::Result<()> {
        self.active = Some(target);
        self.is_stopping = false;
        for index in 0..self.per_target {
            if self.connections[target].len() == index {
                let connection = self.connect(target, index)?;
                self.connections[target].push(connection);
            }
            self.connections[target][index].protocol.begin(&self.request, self.streams);
            self.step(target, index)?;
        }
        println!("going");
        Ok(())
    }

    fn connect(&self, target: usize, index: usize) -> io::Result<Connection> {
        let stream = net::connect(self.ports[target])?;
        let token = (target as u64) << 32 | index as u64;
        self.epoll.add(&stream, token, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP)?;
        let tls = self.config.as_ref().map(|config| Tls::new(config).map(Box::new)).transpose()?;
        Ok(Connection { stream, tls, protocol: Protocol::new() })
    }

    fn step(&mut self, target: usize, index: usize) -> io::Result<()> {
        let has_load = self.active == Some(target) && !self.is_stopping;
        let connection = &mut self.connections[target][index];
        let streams = if has_load { self.streams } else { 0 };
        connection.advance(&self.request, streams, &mut self.scratch)?;
        let Protocol { done, moved, .. } = &mut connection.protocol;
        self.counters.add(target, Counter::Requests, std::mem::take(done));
        self.counters.add(target, Counter::Bytes, std::mem::take(moved));
        self.tell_when_idle();
        Ok(())
    }

    fn tell_when_idle(&mut self) {
        let Some(target) = self.active.filter(|_| self.is_stopping) else { return };
        if self.connections[target].iter().all(|connection| connection.protocol.open == 0) {
            self.is_stopping = false;
            self.active = None;
            println!("stopped");
        }
    }
}
