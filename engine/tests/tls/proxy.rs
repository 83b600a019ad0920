//! A worker of its own, and the origins behind it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_balancer::{Group, Policy as GroupPolicy};
use corelane_engine::action::{Action, RouteTimeouts};
use corelane_engine::command::{Command, Event, ListenSocket};
use corelane_engine::counters::{EndpointCounters, ListenerCounters, PerWorker};
use corelane_engine::driver::{DriverRequest, probe};
use corelane_engine::event::{EventReceiver, event_channel};
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
use corelane_engine::tls::{ClientCertificate, ClientTls, Policy, ServerTls, TlsReport, provider};
use corelane_engine::worker::{WorkerConfig, WorkerHandle, spawn};
use corelane_routing::{PathPattern, Router, Rule};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
pub(crate) const CERTIFICATE: &[u8] = include_bytes!("../../testdata/localhost.pem");
pub(crate) const KEY: &[u8] = include_bytes!("../../testdata/localhost.key");

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

pub(crate) fn server_config() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(
        builder.with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(KEY).unwrap()).unwrap(),
    )
}

pub(crate) fn client_config(is_known: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if is_known {
        roots.add(CertificateDer::from_pem_slice(CERTIFICATE).unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A worker with one listener, and an origin behind it that answers each request with its head.
pub(crate) struct Proxy {
    worker: Option<WorkerHandle>,
    events: EventReceiver,
    port: SocketAddr,
    pub(crate) listener: PerWorker<ListenerCounters>,
    pub(crate) endpoint: PerWorker<EndpointCounters>,
}

impl Proxy {
    pub(crate) fn start(change: impl FnOnce(&mut ServerTls), upstream_tls: Option<ClientTls>) -> Self {
        Self::before(change, upstream(vec![origin(upstream_tls, Duration::ZERO)]))
    }

    pub(crate) fn before(change: impl FnOnce(&mut ServerTls), upstream: Upstream) -> Self {
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
        let listener = PerWorker::new(1);
        let endpoint = upstream.endpoints[0].counters.clone();
        let snapshot = snapshot(address.clone(), tls, upstream, &peers, listener.clone());
        let sockets = vec![ListenSocket { address, fd: socket.into() }];
        worker.send(Command::Apply { snapshot: Arc::new(snapshot), sockets }).unwrap();
        let start = Instant::now();
        while !events.try_recv().is_some_and(|event| matches!(event, Event::Applied { .. })) {
            assert!(start.elapsed() < DEADLINE, "the snapshot is not applied");
            std::thread::yield_now();
        }
        Self { worker: Some(worker), events, port, listener, endpoint }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.port).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    pub(crate) fn client(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let tls = ClientConnection::new(client_config(true), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(tls, self.connect())
    }

    /// The next that the control thread is told of TLS that failed.
    pub(crate) fn report(&self) -> TlsReport {
        let start = Instant::now();
        loop {
            if let Some(Event::TlsFailed(report)) = self.events.try_recv() {
                return report;
            }
            assert!(start.elapsed() < DEADLINE, "nothing is told");
            std::thread::yield_now();
        }
    }

    pub(crate) fn failures(&self) -> Vec<(&'static str, u64)> {
        self.listener.of(0).tls_failures.counted().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.worker.take().unwrap().join();
    }
}

/// A server that answers each request with its head, after this time.
pub(crate) fn origin(tls: Option<ClientTls>, delay: Duration) -> Endpoint {
    origin_of(server_config(), tls, delay)
}

pub(crate) fn origin_of(config: Arc<ServerConfig>, tls: Option<ClientTls>, delay: Duration) -> Endpoint {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(origin.local_addr().unwrap());
    let is_tls = tls.is_some();
    std::thread::spawn(move || {
        for stream in origin.incoming().flatten() {
            let config = is_tls.then(|| config.clone());
            std::thread::spawn(move || answer_heads(stream, config, delay));
        }
    });
    let mut endpoint = Endpoint::new(address, "origin".into(), PerWorker::new(1));
    endpoint.tls = tls.map(Arc::new);
    endpoint
}

pub(crate) fn upstream(endpoints: Vec<Endpoint>) -> Upstream {
    let weights = vec![1; endpoints.len()];
    let attempts_max = u32::try_from(endpoints.len()).unwrap();
    let group = Group::of_weights(GroupPolicy::RoundRobin, &weights);
    Upstream { attempts_max, ..Upstream::new("origin".into(), group, endpoints, 1) }
}

fn snapshot(
    address: Address,
    tls: ServerTls,
    upstream: Upstream,
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
            http2: None,
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
            grpc_web: false,
            captures: vec![],
            chains: Chains::default(),
            log: LogPolicy::default(),
            counters: PerWorker::new(1),
        }],
        router: Router::build(&[rule], 1).unwrap(),
        upstreams: vec![upstream],
        ..Snapshot::default()
    }
}

/// Reads a message: its head, and a body of the length that it says.
pub(crate) fn read_message(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
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
fn answer_heads(stream: TcpStream, tls: Option<Arc<ServerConfig>>, delay: Duration) {
    fn answer(mut stream: impl Read + Write, delay: Duration) {
        while let Some((head, body)) = read_message(&mut stream) {
            std::thread::sleep(delay);
            let length = head.len() + body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}");
            if stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
                return;
            }
        }
    }
    match tls {
        Some(config) => answer(StreamOwned::new(ServerConnection::new(config).unwrap(), stream), delay),
        None => answer(stream, delay),
    }
}

pub(crate) fn get(stream: &mut (impl Read + Write), host: &str) -> (String, String) {
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    let (head, body) = read_message(stream).unwrap();
    (head, String::from_utf8(body).unwrap())
}
