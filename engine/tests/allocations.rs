//! Requests on connections that are warm allocate nothing: a worker of its own, real sockets, and an allocator that counts.
//!
//! Over real sockets, because over streams in memory the readiness set, the ring and the ticker would be missing, which
//! are as much a part of a request. What the allocator counts is the worker's thread alone: every other thread of this
//! process excludes itself, so that one which is forgotten fails the test instead of passing it. One test in this file,
//! because libtest's own thread allocates when a test ends beside another.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corelane_balancer::{BreakerRules, Group, Policy};
use corelane_engine::access_log::{LogBatch, LogSource, log_channel};
use corelane_engine::action::{Action, RouteTimeouts};
use corelane_engine::command::{Command, Event, ListenSocket};
use corelane_engine::counters::PerWorker;
use corelane_engine::driver::{DriverRequest, probe};
use corelane_engine::limits::{Peers, RequestLimit, SharedLimits, UpstreamBreaker, WaitingLine};
use corelane_engine::record::{
    AccessLog, COMBINED, LogFormat, LogPolicy, Redaction, SamplingRule, Surroundings,
};
use corelane_engine::snapshot::{
    Address, Chains, ClientHalfClose, Endpoint, ForwardedFields, HostPolicy, Listener, ListenerLimits,
    RequestRules, Route, Snapshot, Upstream,
};
use corelane_engine::tracing::{Parents, Tracing};
use corelane_engine::worker::{WorkerConfig, WorkerHandle, spawn};
use corelane_filters::filter::{concurrency_limit, rate_limit, request_fields, request_id, respond, rewrite};
use corelane_filters::{Filters, Scope, Settings};
use corelane_routing::{PathPattern, Router, Rule};

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_EXCLUDED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if !IS_EXCLUDED.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

#[allow(unsafe_code, reason = "counting is done in an allocator")]
// SAFETY: every call goes on to the system's allocator as it came, and counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

fn spawn_excluded(run: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        IS_EXCLUDED.set(true);
        run();
    });
}

const TIMEOUT: Duration = Duration::from_secs(60);

/// Connections that are busy beside each other.
const CLIENTS: usize = 8;

/// Requests of each before anything is counted, and while it is.
const WARM_UP_ROUNDS: usize = 30;
const ROUNDS: usize = 100;

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
}

impl Scenario {
    fn all() -> Vec<Self> {
        let get = |name, target: &str, ends_with| Self {
            name,
            request: format!(
                "GET {target} HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test \"1\"\r\nAccept: */*\r\n\r\n"
            )
            .into(),
            ends_with,
        };
        let mut post =
            format!("POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
        post.push_str(&"x".repeat(BODY_BYTES));
        vec![
            get("GET", "/1k?lang=en", b"end of 1k"),
            get("a chunked response", "/chunked", b"\r\n0\r\n\r\n"),
            get("a target in absolute-form", "http://a.example/1k?lang=en", b"end of 1k"),
            get("a path that is rewritten", "/a/./b/../../1k?lang=en", b"end of 1k"),
            get("a chain of filters", "/api/1k?lang=en", b"end of 1k"),
            get("a secret and what is escaped", "/?a=~&token=abc\"", b"what was that?"),
            get("a filter's answer", "/fixed/a", b"for /fixed/a by a.example"),
            Self { name: "POST", request: post.into(), ends_with: b"16384 bytes taken" },
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

/// Answers on each connection until it ends, by what the request line names.
fn serve(mut stream: TcpStream) {
    let (mut received, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let body = "x".repeat(1015) + "end of 1k";
    let fixed = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(BODY_BYTES / 4096)
    );
    loop {
        let Some(head) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => received.extend_from_slice(&buffer[..count]),
                _ => return,
            }
            continue;
        };
        let head: Vec<u8> = received.drain(..head + 4).collect();
        if head.windows(6).any(|window| window == b"X-Slow") {
            std::thread::sleep(PAUSE);
        }
        let answer = if head.starts_with(b"GET /1k?lang=en HTTP/1.1\r\n") {
            fixed(&body)
        } else if head.starts_with(b"GET /chunked ") {
            chunked.clone()
        } else if head.starts_with(b"POST /upload ") {
            while received.len() < BODY_BYTES {
                let count = stream.read(&mut buffer).unwrap();
                assert!(count > 0, "the body is cut");
                received.extend_from_slice(&buffer[..count]);
            }
            received.drain(..BODY_BYTES);
            fixed(&format!("{BODY_BYTES} bytes taken"))
        } else {
            fixed("what was that?")
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn start_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn_excluded(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            spawn_excluded(move || serve(stream));
        }
    });
    address
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What requests to `/api` meet.
fn changing() -> Vec<Settings> {
    let pattern = rewrite::PathChange::Regex { pattern: "^/api/(.*)$".into(), with: "/{match.1}".into() };
    vec![
        Settings::RequestId(request_id::Settings::default()),
        Settings::RateLimit(rate_limit::Settings {
            requests: 1_000_000_000,
            ..rate_limit::Settings::default()
        }),
        Settings::ConcurrencyLimit(concurrency_limit::Settings {
            requests_max: 100,
            ..concurrency_limit::Settings::default()
        }),
        Settings::RequestFields(request_fields::Settings {
            set: pairs(&[("X-Id", "{path.id} {query.lang} {client.ip}"), ("X-Forwarded-For", "{client.ip}")]),
            remove: vec!["User-Agent".into()],
            append: pairs(&[("Accept", "{header.Accept}")]),
            ..request_fields::Settings::default()
        }),
        Settings::Rewrite(rewrite::Settings { path: Some(pattern), host: Some("{host}.internal".into()) }),
        Settings::ResponseFields(request_fields::Settings {
            set: pairs(&[("X-Answer", "{status} {duration_ms} {endpoint} {path.id} {host}")]),
            ..request_fields::Settings::default()
        }),
    ]
}

/// What requests to `/fixed` meet.
fn answering() -> Vec<Settings> {
    let body = "for {path} by {host}".to_owned();
    vec![Settings::Respond(respond::Settings { body, ..respond::Settings::default() })]
}

/// A chain of these filters.
fn chain(filters: &mut Filters, settings: Vec<Settings>) -> Chains {
    let ids: Vec<_> =
        settings.into_iter().map(|it| filters.define(it.kind(), it.clone(), &|_| None).unwrap()).collect();
    let chain = filters.chain(&ids, &Scope { captures: &["id"] }, &|_| None).unwrap();
    Chains { chains: [chain].into(), ..Chains::default() }
}

fn snapshot(
    address: Address,
    origin: SocketAddr,
    peers: &Peers,
    access_log: Option<Arc<AccessLog>>,
) -> Snapshot {
    let api = PathPattern::regex("^/api/(?<id>[0-9a-z]+)$").unwrap();
    let captures = vec![api.group("id").unwrap()];
    let paths = [PathPattern::prefix("/").unwrap(), api, PathPattern::prefix("/fixed").unwrap()];
    let rules = paths.map(|path| Rule::new(vec![0], vec![], path));
    let mut filters = Filters::default();
    let chains = [changing(), answering()].map(|settings| chain(&mut filters, settings));
    let is_observed = access_log.is_some();
    let has_rules = access_log.as_ref().is_some_and(|log| !log.sampling.is_empty());
    let plain = Route {
        name: "all".into(),
        action: Action::Upstream(0),
        mirror: None,
        timeouts: RouteTimeouts::default(),
        host: HostPolicy::Preserve,
        body_bytes_max: 1 << 20,
        upgrades: vec![],
        captures: vec![],
        chains: Chains::default(),
        log: LogPolicy::Rules(if has_rules { vec![0] } else { vec![] }),
        counters: PerWorker::new(1),
    };
    let mut routes = vec![plain.clone()];
    routes.extend(chains.map(|chains| Route { chains, captures: captures.clone(), ..plain.clone() }));
    let limit =
        RequestLimit { requests_max: 10, places: Arc::default(), line: Arc::new(WaitingLine::new(peers)) };
    let breaker = UpstreamBreaker {
        rules: BreakerRules::default(),
        statuses: [(500, 599)].into(),
        shared: Arc::default(),
    };
    let endpoint = Endpoint::new(Address::Tcp(origin), "origin".into(), PerWorker::new(1));
    Snapshot {
        serial: 1,
        generation: 1,
        listeners: vec![Listener {
            name: "web".into(),
            address,
            head_timeout: TIMEOUT,
            body_idle_timeout: TIMEOUT,
            keepalive_timeout: TIMEOUT,
            send_timeout: TIMEOUT,
            head_bytes_max: 16 * 1024,
            fields_max: 100,
            trusted_proxies: vec![],
            forwarded: ForwardedFields { x_forwarded: true, forwarded: true, via: true },
            client_half_close: ClientHalfClose::Abort,
            limits: ListenerLimits { client_connections_max: 1000, ..ListenerLimits::default() },
            rules: RequestRules::default(),
            shared_limits: Arc::new(SharedLimits::new(peers)),
            error_pages: Arc::default(),
            counters: PerWorker::new(1),
        }],
        routes,
        router: Router::build(&rules, 1).unwrap(),
        upstreams: vec![Upstream {
            connect_timeout: TIMEOUT,
            response_head_timeout: TIMEOUT,
            body_idle_timeout: TIMEOUT,
            idle_timeout: TIMEOUT,
            idle_connections_max: 64,
            limit: Some(limit),
            breaker: Some(breaker),
            ..Upstream::new("origin".into(), Group::of_weights(Policy::RoundRobin, &[1]), vec![endpoint], 1)
        }],
        filters: std::iter::repeat_with(|| PerWorker::new(1)).take(7).collect(),
        histograms: is_observed,
        tracing: is_observed.then(|| Tracing::new(1_000_000, Parents::All, Redaction::new(["lang"]))),
        access_log,
        chooses_by_latency: false,
    }
}

/// As the log writer and the exporter do: takes batches and gives them back. There are enough of them from the start.
fn take_batches(source: &LogSource, records: &AtomicU64) {
    for _ in 0..32 {
        source.recycle(LogBatch::of(vec![0; 128 * 1024], 0));
    }
    while let Some(batch) = source.recv() {
        records.fetch_add(batch.records(), Ordering::Relaxed);
        source.recycle(batch);
    }
}

/// JSON with further fields, or a line of text: every way in which words of heads are kept and written.
fn access_log(format: LogFormat) -> Arc<AccessLog> {
    let rule = SamplingRule {
        statuses: vec![200..=299],
        methods: None,
        duration_min_ns: 0,
        failed: None,
        share: 900_000,
    };
    let unrouted = LogPolicy::default();
    Arc::new(AccessLog { format, redaction: Redaction::new(["token"]), sampling: vec![rule], unrouted })
}

const AROUND: Surroundings<'_> =
    Surroundings { environment: &|_| None, hostname: "a", pid: 1, key_fields: &[] };

fn json() -> Arc<AccessLog> {
    let mut format = LogFormat::default();
    let fields = ["header.user-agent", "client.ip", "target", "response.header.content-length", "duration_s"];
    for (index, name) in fields.into_iter().enumerate() {
        format.add_field(&index.to_string(), name, &AROUND).unwrap();
    }
    access_log(format)
}

fn combined() -> Arc<AccessLog> {
    access_log(LogFormat::text(COMBINED, &AROUND).unwrap())
}

fn start_worker(
    request: DriverRequest,
    access_log: Option<Arc<AccessLog>>,
    [records, spans]: [Arc<AtomicU64>; 2],
) -> (WorkerHandle, SocketAddr, Arc<Snapshot>) {
    let (events, receiver) = corelane_engine::event::event_channel().unwrap();
    let peers = Peers::new(1).unwrap();
    let [log, spans] = [records, spans].map(|count| {
        let (sink, source) = log_channel(64);
        spawn_excluded(move || take_batches(&source, &count));
        sink
    });
    let worker = spawn(WorkerConfig {
        index: 0,
        core: None,
        driver: probe(request).unwrap().driver,
        peers: peers.clone(),
        counters: PerWorker::new(1),
        events,
        log: Some(log),
        spans: Some(spans),
        trim: || {},
    })
    .unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let port = socket.local_addr().unwrap();
    let address = Address::Tcp(port);
    let snapshot = Arc::new(snapshot(address.clone(), start_origin(), &peers, access_log));
    worker
        .send(Command::Apply {
            snapshot: snapshot.clone(),
            sockets: vec![ListenSocket { address, fd: socket.into() }],
        })
        .unwrap();
    let start = Instant::now();
    while !receiver.try_recv().is_some_and(|event| matches!(event, Event::Applied { .. })) {
        assert!(start.elapsed() < TIMEOUT, "the snapshot is not applied");
        std::thread::yield_now();
    }
    (worker, port, snapshot)
}

fn connect(port: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(port).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client
}

/// One request on each connection, all in flight together.
fn exchange(clients: &mut [TcpStream], scenario: &Scenario) {
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

/// What the worker allocated while `run` ran.
fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    run();
    ALLOCATIONS.load(Ordering::SeqCst) - before
}

/// With an access log, there are histograms and spans too.
fn allocates_nothing(request: DriverRequest, access_log: Option<Arc<AccessLog>>) {
    let counts = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let observed = access_log.is_some();
    let (worker, port, snapshot) = start_worker(request, access_log, counts.clone());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(port)).collect();
    let mut failed = Vec::new();
    for scenario in Scenario::all() {
        let rounds = |clients: &mut Vec<TcpStream>, count| {
            for round in 0..count {
                exchange(clients, &scenario);
                if round % 50 == 0 {
                    std::thread::sleep(PAUSE);
                }
            }
        };
        // A time in a field is as long then as it is on a machine that has much else to do.
        exchange(&mut clients[..1], &scenario.slow());
        rounds(&mut clients, WARM_UP_ROUNDS);
        let made = allocations(|| rounds(&mut clients, ROUNDS));
        if made > 0 {
            failed.push(format!("{}: {made} in {} requests", scenario.name, ROUNDS * CLIENTS));
        }
    }
    assert!(failed.is_empty(), "{request:?}, observed {observed}: {failed:#?}");
    let requests = (Scenario::all().len() * ((WARM_UP_ROUNDS + ROUNDS) * CLIENTS + 1)) as u64;
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
    assert!(allocations(|| exchange(&mut [connect(port)], get)) >= 3, "a session, its task and an exchange");
    worker.join();
}

#[test]
fn a_request_on_warm_connections_allocates_nothing() {
    IS_EXCLUDED.set(true);
    allocates_nothing(DriverRequest::Auto, None);
    allocates_nothing(DriverRequest::Auto, Some(Arc::default()));
    allocates_nothing(DriverRequest::Auto, Some(combined()));
    allocates_nothing(DriverRequest::Epoll, Some(json()));
}
