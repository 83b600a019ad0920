//! A closed loop of requests, cheaper than wrk, that moves from target to target when it is told.
//!
//! Each target (a port) has its connections, opened when it is first used and then kept; only one target has load at a
//! time. Finished requests and errors are counted in shared memory, where the harness reads them in the same instant as
//! the proxy's clocks. Bodies are thrown away in the kernel; over TLS, once they are decrypted.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::ClientConfig;

use crate::arguments::{Arguments, invalid};
use crate::http;
use crate::net::{self, Epoll};
use crate::tls::{self, Received, Tls};

/// What a receive takes when the head of an answer is expected.
const SCRATCH_BYTES: usize = 64 << 10;
/// Thrown away in one call.
const DISCARD_BYTES: usize = 1 << 20;
/// The end of a chunked body; the bodies of the workloads do not contain it.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// The token of stdin; connections have theirs by target and number.
pub(crate) const STDIN: u64 = u64::MAX;

/// Counters of a target, in this order.
const COUNTERS: usize = 3;

/// What is shared with the harness: the counters of each target.
pub(crate) struct Counters {
    base: *const AtomicU64,
    targets: usize,
}

impl Counters {
    /// Maps a file that is long enough.
    pub(crate) fn map(path: &str, targets: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let bytes = targets * COUNTERS * size_of::<u64>();
        file.set_len(bytes as u64)?;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, rights, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { base: at.cast(), targets })
        }
    }

    pub(crate) fn add(&self, target: usize, which: Counter, count: usize) {
        debug_assert!(target < self.targets, "a counter outside of the mapping");
        // SAFETY: the mapping holds so many counters for each target, is aligned to a page and lives as long as the process.
        let counter = unsafe { &*self.base.add(COUNTERS * target + which as usize) };
        // Only this thread writes.
        counter.store(counter.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Counter {
    Requests,
    Errors,
    /// Sent and received, of requests that are not done too.
    Bytes,
}

/// What the harness wants: it writes one line and waits for its answer.
pub(crate) enum Order {
    /// Load for this target.
    Go(usize),
    Stop,
    End,
}

impl Order {
    /// # Errors
    /// A line that means nothing.
    pub(crate) fn read(lines: &mut impl BufRead) -> io::Result<Self> {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        match line.trim_end() {
            "" | "end" => Ok(Self::End),
            "stop" => Ok(Self::Stop),
            line => {
                let target = line.strip_prefix("go ").and_then(|index| index.parse().ok());
                target.map(Self::Go).ok_or_else(|| invalid(format!("what is {line:?}?")))
            }
        }
    }
}

/// What is still to come of an answer.
enum Awaited {
    /// The connection is idle.
    Nothing,
    Head,
    Bytes(u64),
    /// Up to the last chunk; the last bytes that came.
    Chunks([u8; 5]),
    /// The end of a connection that serves one request.
    End,
}

struct Connection {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
    /// How much of the request is sent.
    sent: usize,
    awaited: Awaited,
    /// Bytes sent and received that are not counted yet.
    moved: usize,
}

struct Load {
    epoll: Epoll,
    request: Vec<u8>,
    /// A new connection for each request.
    is_closing: bool,
    counters: Counters,
    ports: Vec<u16>,
    /// Of each target, if TLS is spoken.
    configs: Option<Vec<Arc<ClientConfig>>>,
    /// How many full handshakes each target may still have; no limit where that is the workload.
    full_left: Option<Vec<usize>>,
    /// Of each target.
    connections: Vec<Vec<Connection>>,
    per_target: usize,
    scratch: Vec<u8>,
    /// The target with load, and how many of its connections are busy.
    active: Option<usize>,
    is_stopping: bool,
    busy: usize,
}

/// Obeys the lines on stdin until it ends.
///
/// # Errors
/// A line or an option that means nothing, or the kernel refuses a call that it must not refuse.
pub(crate) fn run(arguments: &mut Arguments) -> io::Result<()> {
    let ports: Vec<u16> = arguments.numbers()?;
    let per_target: usize = arguments.value("connections")?;
    let resumes = arguments.flag("resume");
    let config = if resumes { tls::with_resumption } else { tls::without_resumption };
    let mut load = Load {
        epoll: Epoll::new()?,
        request: std::fs::read(arguments.value::<String>("request")?)?,
        is_closing: arguments.flag("close"),
        counters: Counters::map(&arguments.value::<String>("counters")?, ports.len())?,
        configs: arguments.flag("tls").then(|| ports.iter().map(|_| config()).collect()),
        // The first connections have no tickets.
        full_left: resumes.then(|| vec![2 * per_target; ports.len()]),
        connections: ports.iter().map(|_| Vec::new()).collect(),
        ports,
        per_target,
        scratch: vec![0; SCRATCH_BYTES],
        active: None,
        is_stopping: false,
        busy: 0,
    };
    let mut stdin = io::stdin().lock();
    load.epoll.add(&stdin, STDIN, libc::EPOLLIN)?;
    loop {
        for number in 0..load.epoll.wait(-1)? {
            let event = load.epoll.event(number);
            if event.token != STDIN {
                load.step((event.token >> 32) as usize, event.token as u32 as usize, event.is_hung_up())?;
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
            self.busy += 1;
            self.begin(target, index)?;
        }
        println!("going");
        Ok(())
    }

    fn tell_when_idle(&mut self) {
        if self.is_stopping && self.busy == 0 {
            self.is_stopping = false;
            self.active = None;
            println!("stopped");
        }
    }

    fn connect(&self, target: usize, index: usize) -> io::Result<Connection> {
        let stream = net::connect(self.ports[target])?;
        let token = (target as u64) << 32 | index as u64;
        self.epoll.add(&stream, token, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP)?;
        let tls =
            self.configs.as_ref().map(|configs| Tls::new(&configs[target]).map(Box::new)).transpose()?;
        Ok(Connection { stream, tls, sent: 0, awaited: Awaited::Nothing, moved: 0 })
    }

    /// Sends the next request on a connection, a new one if that is the workload.
    fn begin(&mut self, target: usize, index: usize) -> io::Result<()> {
        if self.is_closing {
            self.connections[target][index] = self.connect(target, index)?;
        }
        let connection = &mut self.connections[target][index];
        connection.sent = 0;
        connection.awaited = Awaited::Head;
        self.step(target, index, false)
    }

    /// A request is done, or failed: the next one.
    fn next(&mut self, target: usize, index: usize, done: Counter) -> io::Result<()> {
        self.counters.add(target, done, 1);
        self.connections[target][index].awaited = Awaited::Nothing;
        if matches!(done, Counter::Errors) {
            self.connections[target][index] = self.connect(target, index)?;
        }
        if self.is_stopping || self.active != Some(target) {
            self.busy -= 1;
            self.tell_when_idle();
            return Ok(());
        }
        self.begin(target, index)
    }

    fn step(&mut self, target: usize, index: usize, is_hung_up: bool) -> io::Result<()> {
        let connection = &mut self.connections[target][index];
        if matches!(connection.awaited, Awaited::Nothing) {
            // An idle connection that ends is opened anew; it is not the proxy's fault.
            if is_hung_up && !self.is_closing {
                self.connections[target][index] = self.connect(target, index)?;
            }
            return Ok(());
        }
        let done = connection.advance(&self.request, &mut self.scratch, is_hung_up, self.is_closing);
        self.counters.add(target, Counter::Bytes, std::mem::take(&mut connection.moved));
        if let (Some(left), Some(tls), Ok(true)) = (&mut self.full_left, &connection.tls, &done)
            && tls.is_full()
        {
            left[target] = left[target].checked_sub(1).ok_or_else(|| invalid("sessions are not resumed"))?;
        }
        match done {
            Ok(true) => self.next(target, index, Counter::Requests),
            Ok(false) => Ok(()),
            Err(_) => self.next(target, index, Counter::Errors),
        }
    }
}

impl Connection {
    /// Sends and receives what can be; whether the answer is complete.
    fn advance(
        &mut self,
        request: &[u8],
        scratch: &mut [u8],
        is_hung_up: bool,
        is_closing: bool,
    ) -> io::Result<bool> {
        if self.tls.is_some() {
            return self.advance_secured(request, scratch, is_hung_up, is_closing);
        }
        if self.sent < request.len() {
            while self.sent < request.len() {
                match net::unless_blocked((&self.stream).write(&request[self.sent..]))? {
                    None => return Ok(false),
                    Some(count) => {
                        self.sent += count;
                        self.moved += count;
                    }
                }
            }
            if !is_hung_up {
                return Ok(false);
            }
        }
        loop {
            let (received, room) = match &self.awaited {
                Awaited::Bytes(left) => {
                    let room = (*left).min(DISCARD_BYTES as u64) as usize;
                    (net::discard(&self.stream, room)?, room)
                }
                _ => (net::unless_blocked((&self.stream).read(scratch))?, scratch.len()),
            };
            let Some(count) = received else { return Ok(false) };
            self.moved += count;
            self.awaited.came(&scratch[..count.min(scratch.len())], count)?;
            match &self.awaited {
                Awaited::Nothing if is_closing && count > 0 && !is_hung_up => self.awaited = Awaited::End,
                Awaited::Nothing => return Ok(true),
                _ => {}
            }
            // Short: there is no more. The end of the connection is an event of its own.
            if count < room && !is_hung_up {
                return Ok(false);
            }
        }
    }

    /// The same through TLS.
    fn advance_secured(
        &mut self,
        request: &[u8],
        scratch: &mut [u8],
        is_hung_up: bool,
        is_closing: bool,
    ) -> io::Result<bool> {
        let Self { stream, tls: Some(tls), sent, awaited, moved } = self else { return Ok(false) };
        let mut unsent = &request[*sent..];
        tls.send(stream, &mut unsent)?;
        loop {
            let received = tls.receive(stream, scratch, &mut unsent, |bytes| {
                *moved += bytes.len();
                awaited.came(bytes, bytes.len())?;
                if is_closing && matches!(awaited, Awaited::Nothing) {
                    *awaited = Awaited::End;
                }
                Ok(())
            })?;
            *moved += request.len() - *sent - unsent.len();
            *sent = request.len() - unsent.len();
            if matches!(received, Received::End) {
                awaited.came(&[], 0)?;
            }
            match received {
                _ if matches!(awaited, Awaited::Nothing) => return Ok(true),
                Received::Nothing => return Ok(false),
                // The end of the connection is an event of its own.
                Received::All if !is_hung_up => return Ok(false),
                _ => {}
            }
        }
    }
}

impl Awaited {
    /// So many bytes came; `bytes` are they, unless they were thrown away.
    fn came(&mut self, bytes: &[u8], count: usize) -> io::Result<()> {
        if matches!(self, Self::End) && count == 0 {
            *self = Self::Nothing;
            return Ok(());
        }
        if count == 0 {
            return Err(invalid("the connection ended within an answer"));
        }
        *self = match *self {
            Awaited::Nothing | Awaited::End => return Err(invalid("bytes that nobody asked for")),
            Awaited::Bytes(left) => awaiting(left - count as u64),
            Awaited::Chunks(tail) => chunks_after(tail, bytes),
            Awaited::Head => {
                if !bytes.starts_with(b"HTTP/1.1 200 ") {
                    return Err(invalid("another status"));
                }
                // A head in parts would be an error here; none of the proxies sends one.
                let end = http::head_end(bytes).ok_or_else(|| invalid("half a head"))?;
                match http::content_length(&bytes[..end]) {
                    Some(length) => awaiting(length.saturating_sub((count - end) as u64)),
                    None => chunks_after([0; 5], &bytes[end..]),
                }
            }
        };
        Ok(())
    }
}

fn awaiting(left: u64) -> Awaited {
    if left == 0 { Awaited::Nothing } else { Awaited::Bytes(left) }
}

/// What is awaited when these bytes of a chunked body follow those.
fn chunks_after(tail: [u8; 5], bytes: &[u8]) -> Awaited {
    let mut last = tail;
    for &byte in &bytes[bytes.len().saturating_sub(last.len())..] {
        last.rotate_left(1);
        last[4] = byte;
    }
    if last == LAST_CHUNK { Awaited::Nothing } else { Awaited::Chunks(last) }
}
