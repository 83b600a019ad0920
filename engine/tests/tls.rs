//! TLS of clients and to upstreams over real sockets, with rustls' own blocking stream at both ends.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_balancer::{Group, Policy as GroupPolicy};
use corelane_engine::action::{Action, RouteTimeouts};
use corelane_engine::command::{Command, Event, ListenSocket};
use corelane_engine::counters::{EndpointCounters, ListenerCounters, PerWorker};
use corelane_engine::driver::{DriverRequest, probe};
use corelane_engine::event::event_channel;
use corelane_engine::limits::{Peers, SharedLimits};
use corelane_engine::record::LogPolicy;
use corelane_engine::snapshot::{
    Address, Chains, ClientHalfClose, Endpoint, ForwardedFields, HostPolicy, Listener, ListenerLimits,
    RequestRules, Route, Snapshot, Upstream,
};
use corelane_engine::tls::rustls::pki_types::pem::PemObject as _;
use corelane_engine::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use corelane_engine::tls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use corelane_engine::tls::{ClientCertificate, ClientTls, Policy, ServerTls, provider};
use corelane_engine::worker::{WorkerConfig, WorkerHandle, spawn};
use corelane_routing::{PathPattern, Router, Rule};

const DEADLINE: Duration = Duration::from_secs(10);
const CERTIFICATE: &[u8] = include_bytes!("../testdata/localhost.pem");
const KEY: &[u8] = include_bytes!("../testdata/localhost.key");

#[derive(Debug)]
struct Anything;

impl Policy for Anything {
    fn covers(&self, _server_name: Option<&str>, host: &str) -> bool {
        host != "elsewhere.test"
    }

    fn client(&self, _certificate: &CertificateDer<'_>) -> ClientCertificate {
        ClientCertificate::default()
    }
}

fn server_config() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(
        builder.with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(KEY).unwrap()).unwrap(),
    )
}

fn client_config(is_known: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if is_known {
        roots.add(CertificateDer::from_pem_slice(CERTIFICATE).unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A worker with one listener, and an origin behind it that answers each request with its head.
struct Proxy {
    worker: Option<WorkerHandle>,
    port: SocketAddr,
    listener: PerWorker<ListenerCounters>,
    endpoint: PerWorker<EndpointCounters>,
}

impl Proxy {
    fn start(change: impl FnOnce(&mut ServerTls), upstream_tls: Option<ClientTls>) -> Self {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin_port = origin.local_addr().unwrap();
        let is_tls = upstream_tls.is_some();
        std::thread::spawn(move || {
            for stream in origin.incoming().flatten() {
                std::thread::spawn(move || answer_heads(stream, is_tls));
            }
        });
        let mut tls = ServerTls {
            config: server_config(),
            handshake_timeout: Duration::from_secs(1),
            handshakes_max: 0,
            client_handshakes_max: 0,
            policy: Arc::new(Anything),
        };
        change(&mut tls);
        let (sender, events) = event_channel().unwrap();
        let peers = Peers::new(1).unwrap();
        let worker = spawn(WorkerConfig {
            index: 0,
            peers: peers.clone(),
            core: None,
            driver: probe(DriverRequest::Auto).unwrap().driver,
            counters: PerWorker::new(1),
            events: sender,
            log: None,
            spans: None,
            trim: || {},
        })
        .unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let port = socket.local_addr().unwrap();
        let address = Address::Tcp(port);
        let (listener, endpoint) = (PerWorker::new(1), PerWorker::new(1));
        let mut end = Endpoint::new(Address::Tcp(origin_port), "origin".into(), endpoint.clone());
        end.tls = upstream_tls.map(Arc::new);
        let snapshot = snapshot(address.clone(), tls, end, &peers, listener.clone());
        let sockets = vec![ListenSocket { address, fd: socket.into() }];
        worker.send(Command::Apply { snapshot: Arc::new(snapshot), sockets }).unwrap();
        let start = Instant::now();
        while !events.try_recv().is_some_and(|event| matches!(event, Event::Applied { .. })) {
            assert!(start.elapsed() < DEADLINE, "the snapshot is not applied");
            std::thread::yield_now();
        }
        Self { worker: Some(worker), port, listener, endpoint }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.port).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn client(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let tls = ClientConnection::new(client_config(true), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(tls, self.connect())
    }

    fn failures(&self) -> Vec<(&'static str, u64)> {
        self.listener.of(0).tls_failures.counted().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.worker.take().unwrap().join();
    }
}

fn snapshot(
    address: Address,
    tls: ServerTls,
    endpoint: Endpoint,
    peers: &Peers,
    counters: PerWorker<ListenerCounters>,
) -> Snapshot {
    let rule = Rule::new(vec![0], vec![], PathPattern::prefix("/").unwrap());
    Snapshot {
        serial: 1,
        listeners: vec![Listener {
            name: "web".into(),
            address,
            tls: Some(Arc::new(tls)),
            head_timeout: DEADLINE,
            body_idle_timeout: DEADLINE,
            keepalive_timeout: DEADLINE,
            send_timeout: DEADLINE,
            head_bytes_max: 16 * 1024,
            fields_max: 100,
            trusted_proxies: vec![],
            forwarded: ForwardedFields { x_forwarded: true, forwarded: true, via: false },
            client_half_close: ClientHalfClose::Abort,
            limits: ListenerLimits::default(),
            rules: RequestRules::default(),
            shared_limits: Arc::new(SharedLimits::new(peers)),
            error_pages: Arc::default(),
            counters,
        }],
        routes: vec![Route {
            name: "all".into(),
            action: Action::Upstream(0),
            mirror: None,
            timeouts: RouteTimeouts::default(),
            host: HostPolicy::Preserve,
            body_bytes_max: 0,
            upgrades: vec![],
            captures: vec![],
            chains: Chains::default(),
            log: LogPolicy::default(),
            counters: PerWorker::new(1),
        }],
        router: Router::build(&[rule], 1).unwrap(),
        upstreams: vec![Upstream {
            connect_timeout: DEADLINE,
            response_head_timeout: DEADLINE,
            body_idle_timeout: DEADLINE,
            idle_timeout: DEADLINE,
            request_timeout: Duration::ZERO,
            idle_connections_max: 8,
            attempts_max: 1,
            tunnel_idle_timeout: DEADLINE,
            ..Upstream::new(
                "origin".into(),
                Group::of_weights(GroupPolicy::RoundRobin, &[1]),
                vec![endpoint],
                1,
            )
        }],
        ..Snapshot::default()
    }
}

/// Reads a message: its head, and a body of the length that it says.
fn read_message(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// The origin: the head and the body of the request come back as the body of the answer.
fn answer_heads(stream: TcpStream, is_tls: bool) {
    fn answer(mut stream: impl Read + Write) {
        while let Some((head, body)) = read_message(&mut stream) {
            let length = head.len() + body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}");
            if stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
                return;
            }
        }
    }
    if is_tls {
        answer(StreamOwned::new(ServerConnection::new(server_config()).unwrap(), stream));
    } else {
        answer(stream);
    }
}

fn get(stream: &mut (impl Read + Write), host: &str) -> (String, String) {
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    let (head, body) = read_message(stream).unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn requests_come_through_and_say_https() {
    let proxy = Proxy::start(|_| {}, None);
    let mut client = proxy.client();
    for _ in 0..3 {
        let (head, body) = get(&mut client, "localhost");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(body.contains("X-Forwarded-Proto: https\r\n") && body.contains(";proto=https\r\n"), "{body}");
    }
    // Larger than every buffer on the way, both ways.
    let body: Vec<u8> = (0..12_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut client = proxy.client();
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&body).unwrap();
    let (_, answer) = read_message(&mut client).unwrap();
    assert!(answer.ends_with(&body));
    drop(client);
    assert_eq!(proxy.failures(), []);
    assert_eq!(proxy.listener.of(0).tls_handshakes.value(), 2);
}

#[test]
fn a_host_that_the_connection_is_not_for_is_misdirected() {
    let proxy = Proxy::start(|_| {}, None);
    for (host, status) in [("LOCALHOST:443", "200"), ("a.test", "200"), ("elsewhere.test", "421")] {
        let (head, _) = get(&mut proxy.client(), host);
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
    }
    assert_eq!(proxy.listener.of(0).failures.counted().collect::<Vec<_>>(), [("misdirected", 1)]);
}

#[test]
fn what_fails_after_the_handshake_is_counted() {
    let proxy = Proxy::start(|_| {}, None);
    let mut client = proxy.client();
    get(&mut client, "localhost");
    client.sock.write_all(&[&[0x17, 3, 3, 0, 30][..], &[1; 30]].concat()).unwrap();
    assert!(client.read_to_end(&mut Vec::new()).is_err(), "an alert says so");
    let start = Instant::now();
    while proxy.failures().is_empty() {
        assert!(start.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
    assert_eq!(proxy.failures(), [("record_undecipherable", 1)]);
}

#[test]
fn a_worker_that_ends_says_so_to_its_clients() {
    let proxy = Proxy::start(|_| {}, None);
    let mut idle = proxy.client();
    get(&mut idle, "localhost");
    let mut busy = proxy.client();
    busy.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n").unwrap();
    let mut shaking = proxy.connect();
    shaking.write_all(&[0x16, 3]).unwrap();
    let start = Instant::now();
    while proxy.listener.of(0).tls_handshaking.value() < 1 {
        assert!(start.elapsed() < DEADLINE);
    }
    drop(proxy);
    // With close_notify: otherwise this is an error.
    assert_eq!(idle.read_to_end(&mut Vec::new()).unwrap(), 0);
    let mut answer = Vec::new();
    busy.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 503 "));
    assert_eq!(shaking.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn plain_http_gets_a_clear_answer() {
    let proxy = Proxy::start(|_| {}, None);
    let mut client = proxy.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("plain HTTP request to a TLS port"),
        "{answer}"
    );
    assert_eq!(proxy.failures(), [("plain_http", 1)]);
}

#[test]
fn a_handshake_has_a_deadline_and_a_place() {
    let proxy = Proxy::start(|tls| tls.handshakes_max = 2, None);
    let mut slow = [proxy.connect(), proxy.connect()];
    for slow in &mut slow {
        slow.write_all(&[0x16, 3]).unwrap();
    }
    let start = Instant::now();
    while proxy.listener.of(0).tls_handshaking.value() < 2 {
        assert!(start.elapsed() < DEADLINE);
    }
    let mut third = proxy.connect();
    let refused = third.read_exact(&mut [0]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionReset);
    for slow in &mut slow {
        assert_eq!(slow.read_to_end(&mut Vec::new()).unwrap(), 0, "the deadline closes it");
    }
    assert_eq!(get(&mut proxy.client(), "localhost").0.split(' ').nth(1), Some("200"));
    let mut failures = proxy.failures();
    failures.sort_unstable();
    assert_eq!(failures, [("handshake_timeout", 2), ("handshakes_excess", 1)]);
}

#[test]
fn upstreams_are_spoken_to_over_tls() {
    let tls = ClientTls {
        config: client_config(true),
        server_name: "a.test".try_into().unwrap(),
        identity: "a".into(),
    };
    let proxy = Proxy::start(|_| {}, Some(tls));
    for _ in 0..3 {
        let mut client = proxy.client();
        assert_eq!(get(&mut client, "localhost").0.split(' ').nth(1), Some("200"));
    }
    let counters = proxy.endpoint.of(0);
    assert_eq!((counters.tls_handshakes.value(), counters.reused.value()), (1, 2), "it is pooled");
    assert_eq!(counters.tls_failures.counted().count(), 0);
}

#[test]
fn an_upstream_must_prove_its_name_and_issuer() {
    let cases =
        [("other.test", true, "certificate_other_name"), ("localhost", false, "certificate_unknown_issuer")];
    for (name, is_known, reason) in cases {
        let (config, server_name) = (client_config(is_known), name.try_into().unwrap());
        let proxy = Proxy::start(|_| {}, Some(ClientTls { config, server_name, identity: "a".into() }));
        let (head, _) = get(&mut proxy.client(), "localhost");
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        let counters = proxy.endpoint.of(0);
        assert_eq!(counters.tls_failures.counted().collect::<Vec<_>>(), [(reason, 1)]);
        assert_eq!(counters.failures.counted().collect::<Vec<_>>(), [("upstream_certificate", 1)]);
    }
}
