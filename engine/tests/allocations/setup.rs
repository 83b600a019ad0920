//! A worker with routes, filters and logs of every kind.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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

use super::TIMEOUT;
use super::counting::spawn_excluded;
use super::origin::start_origin;
use super::tls::{Wire, of_endpoint, of_listener};

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
    wire: Wire,
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
        grpc_web: false,
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
    let mut endpoint = Endpoint::new(Address::Tcp(origin), "origin".into(), PerWorker::new(1));
    endpoint.tls = of_endpoint(wire);
    Snapshot {
        serial: 1,
        generation: 1,
        listeners: vec![Listener {
            name: "web".into(),
            address,
            tls: of_listener(wire),
            http2: None,
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

pub(crate) fn json() -> Arc<AccessLog> {
    let mut format = LogFormat::default();
    let fields = ["header.user-agent", "client.ip", "target", "response.header.content-length", "duration_s"];
    for (index, name) in fields.into_iter().enumerate() {
        format.add_field(&index.to_string(), name, &AROUND).unwrap();
    }
    access_log(format)
}

pub(crate) fn combined() -> Arc<AccessLog> {
    access_log(LogFormat::text(COMBINED, &AROUND).unwrap())
}

pub(crate) fn start_worker(
    request: DriverRequest,
    access_log: Option<Arc<AccessLog>>,
    wire: Wire,
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
    let snapshot = Arc::new(snapshot(address.clone(), start_origin(wire), &peers, access_log, wire));
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
