//! Requests on connections that are warm allocate nothing: a worker of its own, real sockets, and an allocator that counts.
//! Over TLS rustls allocates for each record, and nobody else does.
//!
//! Over real sockets, because over streams in memory the readiness set, the ring and the ticker would be missing. What the
//! allocator counts is the worker's thread alone: every other thread of this process excludes itself, so that one which is
//! forgotten fails the test instead of passing it. One test in this file, because libtest's own thread allocates, too.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

mod counting;
mod origin;
mod setup;
mod tls;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use corelane_engine::driver::DriverRequest;
use corelane_engine::record::AccessLog;

use counting::{IS_EXCLUDED, allocations, held_bytes};
use setup::{combined, json, start_worker};
use tls::{Stream, Wire};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Connections that are busy beside each other.
const CLIENTS: usize = 8;

/// Requests of each before anything is counted, and while it is.
const WARM_UP_ROUNDS: usize = 30;
const ROUNDS: usize = 50;

/// A client that is idle for longer than its memory is kept has it allocated anew, and on a machine with much else to do any may
/// be: of so many tries one must be good.
const TRIES: usize = 10;

/// Longer than a tick of the worker: its flush of the log and its sweep of the pools are within what is counted.
const PAUSE: Duration = Duration::from_millis(150);

/// Longer than a connection keeps the memory of an exchange.
const IDLE: Duration = Duration::from_millis(1_300);

const BODY_BYTES: usize = 16 * 1024;

/// What a client sends, and how the response ends that it gets.
struct Scenario {
    name: &'static str,
    request: Vec<u8>,
    ends_with: &'static [u8],
    /// Allocations that rustls makes of it: one for each record, received or sent. More where a large message may come in
    /// pieces.
    over_tls: u64,
}

impl Scenario {
    fn all() -> Vec<Self> {
        let get = |name, target: &str, ends_with, over_tls| Self {
            name,
            request: format!(
                "GET {target} HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test \"1\"\r\nAccept: */*\r\n\r\n"
            )
            .into(),
            ends_with,
            over_tls,
        };
        let mut post =
            format!("POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
        post.push_str(&"x".repeat(BODY_BYTES));
        vec![
            get("GET", "/1k?lang=en", b"end of 1k", 4),
            get("a chunked response", "/chunked", b"\r\n0\r\n\r\n", 12),
            get("a target in absolute-form", "http://a.example/1k?lang=en", b"end of 1k", 4),
            get("a path that is rewritten", "/a/./b/../../1k?lang=en", b"end of 1k", 4),
            get("a chain of filters", "/api/1k?lang=en", b"end of 1k", 4),
            get("a secret and what is escaped", "/?a=~&token=abc\"", b"what was that?", 4),
            get("a filter's answer", "/fixed/a", b"for /fixed/a by a.example", 2),
            Self { name: "POST", request: post.into(), ends_with: b"16384 bytes taken", over_tls: 12 },
        ]
    }
}

impl Scenario {
    /// The same, which the origin lets wait.
    fn slow(&self) -> Self {
        let line = self.request.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let (line, rest) = self.request.split_at(line);
        Self { request: [line, b"X-Slow: 1\r\n", rest].concat(), ..*self }
    }
}

fn connect(port: SocketAddr, wire: Wire) -> Box<dyn Stream> {
    let client = TcpStream::connect(port).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    wire.client(client)
}

/// One request on each connection, all in flight together.
fn exchange(clients: &mut [Box<dyn Stream>], scenario: &Scenario) {
    for client in &mut *clients {
        client.write_all(&scenario.request).unwrap();
    }
    let mut buffer = vec![0; 64 * 1024];
    for client in clients {
        let mut length = 0;
        while !buffer[..length].ends_with(scenario.ends_with) {
            let count = match client.read(&mut buffer[length..]) {
                // The ring that `probe` has closed interrupts its thread once more.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            let text = String::from_utf8_lossy(&buffer[..length]);
            assert!(count > 0 && length < 60_000, "{}: {text}", scenario.name);
            length += count;
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", scenario.name);
    }
}

/// With an access log, there are histograms and spans too.
fn allocates_no_more(request: DriverRequest, access_log: Option<Arc<AccessLog>>, wire: Wire) {
    let counts = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let observed = access_log.is_some();
    let (worker, port, snapshot) = start_worker(request, access_log, wire, counts.clone());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(port, wire)).collect();
    let (mut failed, mut requests) = (Vec::new(), 0);
    for scenario in Scenario::all() {
        // A time in a field is as long then as it is on a machine that has much else to do.
        exchange(&mut clients[..1], &scenario.slow());
        requests += 1;
        let mut rounds = |count| {
            std::thread::sleep(PAUSE);
            (0..count).for_each(|_| exchange(&mut clients, &scenario));
            let made = (count * CLIENTS) as u64;
            requests += made;
            made
        };
        rounds(WARM_UP_ROUNDS);
        let made: Vec<_> = (0..TRIES)
            .map(|_| {
                let mut requests = 0;
                let made = allocations(|| requests = rounds(ROUNDS));
                (made, if wire == Wire::Tls { scenario.over_tls * requests } else { 0 })
            })
            .take_while(|(made, allowed)| made > allowed)
            .collect();
        if made.len() == TRIES {
            failed.push(format!("{}: {made:?} allocated and allowed", scenario.name));
        }
    }
    assert!(failed.is_empty(), "{request:?}, observed {observed}, {wire:?}: {failed:#?}");
    // All routes have the same counters here.
    let timed = snapshot.routes[0].counters.distribution(0).map_or(0, |durations| durations.count());
    // The last exchange of each client may not be over yet, and the last batches still be on their way.
    let is_timed = timed >= requests - CLIENTS as u64 && timed <= requests;
    assert!(if observed { is_timed } else { timed == 0 }, "{timed} of {requests} timed");
    for count in counts {
        let count = count.load(Ordering::Relaxed);
        assert!(if observed { count > requests / 2 } else { count == 0 }, "{count} for {requests} requests");
    }

    // The counter sees what is allocated: a box for the first exchange of each connection after a pause, and the buffers
    // that were given back meanwhile, for as many as are at work at once.
    let get = &Scenario::all()[0];
    let after_idling = allocations(|| {
        std::thread::sleep(IDLE);
        exchange(&mut clients, get);
    });
    assert!(after_idling >= CLIENTS as u64, "{after_idling} allocations");
    assert!(
        allocations(|| exchange(&mut [connect(port, wire)], get)) >= 3,
        "a session, its task and an exchange"
    );
    worker.join();
}

/// What a connection holds between two requests, with its share of what grows with their number.
fn idle_bytes(wire: Wire) -> i64 {
    const IDLE_CLIENTS: usize = 512;
    let (worker, port, _snapshot) = start_worker(DriverRequest::Auto, None, wire, Default::default());
    let get = &Scenario::all()[0];
    let connections = |count| {
        let mut clients: Vec<_> = (0..count).map(|_| connect(port, wire)).collect();
        clients.iter_mut().for_each(|client| exchange(std::slice::from_mut(client), get));
        std::thread::sleep(IDLE);
        clients
    };
    let warm = connections(CLIENTS);
    let before = held_bytes();
    let idle = connections(IDLE_CLIENTS);
    let bytes = (held_bytes() - before) / i64::try_from(IDLE_CLIENTS).unwrap();
    drop((warm, idle));
    worker.join();
    bytes
}

#[test]
fn a_request_on_warm_connections_allocates_nothing() {
    IS_EXCLUDED.set(true);
    allocates_no_more(DriverRequest::Auto, None, Wire::Plain);
    allocates_no_more(DriverRequest::Auto, Some(Arc::default()), Wire::Plain);
    allocates_no_more(DriverRequest::Auto, Some(combined()), Wire::Plain);
    allocates_no_more(DriverRequest::Epoll, Some(json()), Wire::Plain);
    allocates_no_more(DriverRequest::Auto, None, Wire::Tls);
    let [plain, tls] = [Wire::Plain, Wire::Tls].map(idle_bytes);
    println!("an idle connection holds {plain} bytes, over TLS {tls}");
    assert!(tls < 4096 && plain < 800, "{plain}, over TLS {tls}");
}
