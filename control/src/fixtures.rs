//! Configurations for unit tests, without the parser.

use std::net::SocketAddr;
use std::time::Duration;

use corelane_balancer::Policy;
use corelane_engine::action::{Action, MirrorRule, RouteTimeouts};
use corelane_engine::limits::Peers;
use corelane_engine::protocol::{Http2Rules, UpstreamProtocol};
use corelane_engine::record::LogFormat;
use corelane_engine::retry::Retry;
use corelane_engine::snapshot::{
    Address, ClientHalfClose, ForwardedFields, HostPolicy, ListenerLimits, Quarantine, RequestRules,
};
use corelane_engine::tracing::Parents;
use corelane_routing::{Conditions, PathPattern};

use crate::config::{
    AccessLog, Collector, Config, DriverChoice, Endpoint, Listener, ListenerTls, LogTarget, Outlier, Places,
    Process, Resolver, Route, SecretFields, Target, TlsVersion, Tracing, TracingProtocol, UnknownNames,
    Upstream, UpstreamLimits, UpstreamTls, UpstreamTrust,
};
use crate::registry::Registry;

/// One listener "web" on a free port, one route "all", one upstream "app".
pub(crate) fn config() -> Config {
    Config {
        process: Process {
            workers: Some(2),
            driver: DriverChoice::Auto,
            drain_timeout: Duration::from_secs(30),
            shutdown_delay: Duration::ZERO,
        },
        admin: None,
        access_log: None,
        tracing: None,
        resolver: Resolver {
            servers: Vec::new(),
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(300),
        },
        listeners: vec![listener("web", "127.0.0.1:0")],
        routes: vec![Route {
            name: "all".into(),
            listeners: vec![0],
            hosts: Vec::new(),
            path: PathPattern::prefix("/").expect("a path"),
            conditions: Conditions::default(),
            priority: 0,
            action: Action::Upstream(0),
            answer: None,
            filters: Vec::new(),
            mirror: None,
            timeouts: RouteTimeouts::default(),
            host: HostPolicy::Preserve,
            body_bytes_max: 0,
            upgrades: vec!["websocket".into()],
            grpc_web: false,
            access_log: true,
        }],
        upstreams: vec![upstream("app", vec![endpoint("127.0.0.1:1", 1)])],
        error_pages: Vec::new(),
        filters: Vec::new(),
    }
}

/// Everything to a collector on this machine.
pub(crate) fn tracing() -> Tracing {
    Tracing {
        collector: Collector {
            host: "127.0.0.1".to_owned(),
            port: 4318,
            authority: "127.0.0.1:4318".to_owned(),
            path: "/v1/traces".to_owned(),
        },
        protocol: TracingProtocol::Http,
        share: 1_000_000,
        service_name: "corelane".into(),
        fields: SecretFields::default(),
        parents: Parents::Trusted,
        redacted: Vec::new(),
        timeout: Duration::from_secs(10),
    }
}

/// JSON to standard output.
pub(crate) fn access_log() -> AccessLog {
    let format = LogFormat::default();
    AccessLog { target: LogTarget::Stdout, format, redacted: Vec::new(), sampling: Vec::new() }
}

/// A registry for so many workers, none of which runs.
pub(crate) fn registry(workers: usize) -> Registry {
    Registry::new(&Peers::new(workers).expect("a descriptor for each"))
}

/// A listener with the usual limits.
pub(crate) fn listener(name: &str, address: &str) -> Listener {
    Listener {
        name: name.into(),
        address: tcp(address),
        head_timeout: Duration::from_secs(10),
        body_idle_timeout: Duration::from_secs(30),
        keepalive_timeout: Duration::from_secs(60),
        send_timeout: Duration::from_secs(30),
        head_bytes_max: 16 * 1024,
        fields_max: 100,
        trusted_proxies: Vec::new(),
        forwarded: ForwardedFields { x_forwarded: true, forwarded: false, via: true },
        client_half_close: ClientHalfClose::Abort,
        http2: None,
        limits: ListenerLimits::default(),
        rules: RequestRules::default(),
        filters: Vec::new(),
        tls: None,
    }
}

/// An upstream with the usual limits.
pub(crate) fn listener_tls() -> ListenerTls {
    ListenerTls {
        certificates: vec![],
        directory: Some("/etc/corelane/certs".into()),
        unknown_names: UnknownNames::Default,
        min_version: TlsVersion::V1_2,
        cipher_suites: None,
        groups: vec![],
        alpn: vec![],
        handshake_timeout: Duration::from_secs(10),
        handshakes_max: 0,
        client_handshakes_max: 0,
        tickets: None,
        client_auth: None,
        places: Places::default(),
    }
}

pub(crate) fn upstream_tls() -> UpstreamTls {
    UpstreamTls {
        server_name: None,
        trust: UpstreamTrust::System,
        certificate: None,
        min_version: TlsVersion::V1_2,
        alpn: vec![b"http/1.1"[..].into()],
        places: Places::default(),
    }
}

pub(crate) fn upstream(name: &str, endpoints: Vec<Endpoint>) -> Upstream {
    Upstream {
        name: name.into(),
        policy: Policy::RoundRobin,
        key: Vec::new(),
        sticky: None,
        slow_start: Duration::ZERO,
        endpoints,
        connect_timeout: Duration::from_secs(2),
        response_head_timeout: Duration::from_secs(30),
        body_idle_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        request_timeout: Duration::ZERO,
        idle_connections_max: 32,
        attempts_max: 3,
        retry: Retry::default(),
        head_bytes_max: 16 * 1024,
        tunnel_idle_timeout: Duration::from_secs(600),
        quarantine: Quarantine::default(),
        health: None,
        panic_percent: 0,
        protocol: UpstreamProtocol::default(),
        http2: Http2Rules::default(),
        tls: None,
        outlier: Outlier::default(),
        limits: UpstreamLimits::default(),
        breaker: None,
        queue: None,
        filters: Vec::new(),
    }
}

/// A mirror of everything.
pub(crate) fn mirror(upstream: usize) -> MirrorRule {
    MirrorRule { upstream, share: 1_000_000, body_bytes_max: 1 << 20, mirrors_max: 64 }
}

/// An endpoint with an address.
pub(crate) fn endpoint(address: &str, weight: u32) -> Endpoint {
    Endpoint { weight, ..Endpoint::new(Target::Address(tcp(address))) }
}

/// An endpoint with a host name.
pub(crate) fn name_endpoint(host: &str, port: u16, weight: u32) -> Endpoint {
    Endpoint { weight, ..Endpoint::new(Target::Name { host: host.into(), port }) }
}

fn tcp(text: &str) -> Address {
    Address::Tcp(text.parse::<SocketAddr>().expect("an address"))
}
