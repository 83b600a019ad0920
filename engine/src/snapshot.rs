//! The immutable configuration that every worker works from.
//!
//! Control builds one [`Snapshot`], sends the same `Arc` to every worker and frees it when the last one has sent it
//! back. Nothing in it changes after it is built; what changes (pools, cursors) is the workers' own.

mod endpoint;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corelane_balancer::{Group, SlowStart};
use corelane_filters::Chain;
use corelane_routing::Router;
use corelane_semantics::{MethodSet, PathPolicies};
use ipnet::IpNet;

use crate::action::{Action, Mirror, RouteTimeouts};
use crate::affinity::Affinity;
use crate::counters::{FilterCounters, ListenerCounters, PerWorker, RouteCounters, UpstreamCounters};
use crate::error_page::ErrorPages;
use crate::limits::{QueueRules, RequestLimit, RetryLimit, SharedLimits, UpstreamBreaker, WaitingLine};
use crate::outlier::OutlierDetection;
use crate::protocol::{Http2Limits, Http2Rules, UpstreamProtocol};
use crate::record::{AccessLog, LogPolicy};
use crate::retry::Retry;
use crate::tls::ServerTls;
use crate::tracing::Tracing;

pub use self::endpoint::Endpoint;

/// Everything that a worker needs to know to serve.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with each snapshot sent, whatever caused it (a reload or a new DNS answer).
    pub serial: u64,
    /// Grows with each configuration that was put in force.
    pub generation: u64,
    /// The listeners; [`Router`] names them by their index here.
    pub listeners: Vec<Listener>,
    /// The routes; [`Router`] answers with an index into them.
    pub routes: Vec<Route>,
    /// Decides which route a request takes.
    pub router: Router,
    /// The upstreams; an [`Action`] names them by their index here.
    pub upstreams: Vec<Upstream>,
    /// The counters of the filters; [`corelane_filters::FilterId`] is an index into them.
    pub filters: Vec<PerWorker<FilterCounters>>,
    /// The access log, if there is one.
    pub access_log: Option<Arc<AccessLog>>,
    /// Which exchanges are traced; absent: none, and what requests say of traces passes.
    pub tracing: Option<Tracing>,
    /// Whether the histograms of routes and upstreams are kept.
    pub histograms: bool,
    /// Whether an upstream chooses by how long its endpoints take.
    pub chooses_by_latency: bool,
}

impl Snapshot {
    /// Whether somebody wants to know how long exchanges take, so that the exact clock is read for them.
    pub(crate) fn is_timed(&self) -> bool {
        let is_told = self.access_log.is_some() || self.histograms || self.tracing.is_some();
        is_told || self.chooses_by_latency
    }
}

/// Where a socket listens or an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What a client that closes its sending side after a complete request gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientHalfClose {
    /// The request is abandoned, as in nginx.
    #[default]
    Abort,
    /// The response is still delivered.
    Finish,
}

/// Which fields tell the upstream where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedFields {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// `Via` (RFC 9110 §7.6.3).
    pub via: bool,
}

/// How much a client may ask of a listener. What a limit answers is in docs/configuration.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// The first line of a request without its CRLF, in bytes. Default 8 KiB.
    pub request_line_bytes_max: usize,
    /// One field line without its CRLF, in bytes. Default 8 KiB.
    pub field_bytes_max: usize,
    /// Bytes of further requests that are received while one is in progress, 1 KiB to 64 KiB: with one receive they fit
    /// the scratch buffer. Default 16 KiB.
    pub pipeline_bytes_max: usize,
    /// Requests on one connection. Default 0: no limit.
    pub requests_max: u64,
    /// Bytes per second that a request body must bring on average, after [`RATE_GRACE`]. Default 240; 0: no limit.
    pub body_rate_min: u64,
    /// Bytes per second that a client must take of a response that waits for it, after [`RATE_GRACE`]. Default 240; 0: no
    /// limit.
    pub send_rate_min: u64,
    /// Connections open at once, over all workers. Default 50 000.
    pub connections_max: usize,
    /// Connections open at once from one client address (IPv6: /64 network), over all workers. Default 0: no limit.
    pub client_connections_max: u32,
}

/// How long a slow client is not measured.
pub const RATE_GRACE: Duration = Duration::from_secs(5);

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            request_line_bytes_max: 8 * 1024,
            field_bytes_max: 8 * 1024,
            pipeline_bytes_max: 16 * 1024,
            requests_max: 0,
            body_rate_min: 240,
            send_rate_min: 240,
            connections_max: 50_000,
            client_connections_max: 0,
        }
    }
}

/// What becomes of request fields with `_` in their name: many servers cannot tell them from those with `-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderscoreFields {
    /// They are left out.
    #[default]
    Drop,
    /// They are forwarded.
    Pass,
    /// The request is refused with 400.
    Reject,
}

/// Which trailer fields are forwarded, both ways; those that must never stand in a trailer section never are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trailers {
    /// All.
    #[default]
    All,
    /// These, by their names in lower case; possibly none.
    Only(Vec<Box<str>>),
}

/// What a listener accepts of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRules {
    /// Methods that are answered with 405. Default CONNECT and TRACE.
    pub methods_refused: MethodSet,
    /// Fields with `_`. Default: dropped.
    pub underscore_fields: UnderscoreFields,
    /// Trailer fields. Default: all.
    pub trailers: Trailers,
    /// Ambiguous paths.
    pub paths: PathPolicies,
}

impl Default for RequestRules {
    fn default() -> Self {
        Self {
            methods_refused: MethodSet::new([&b"CONNECT"[..], b"TRACE"]),
            underscore_fields: UnderscoreFields::default(),
            trailers: Trailers::default(),
            paths: PathPolicies::default(),
        }
    }
}

/// When connections to an endpoint that desynchronises are no longer reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Surplus bytes, short bodies and the like on one worker within `time` that begin it. Default 3; 0: never.
    pub strikes_max: u32,
    /// How long it lasts. Default 1 minute.
    pub time: Duration,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { strikes_max: 3, time: Duration::from_secs(60) }
    }
}

/// One listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The configured name.
    pub name: Arc<str>,
    /// Where it listens; the identity of its sockets over reloads.
    pub address: Address,
    /// How its clients speak TLS. Absent: they do not.
    pub tls: Option<Arc<ServerTls>>,
    /// What a client that speaks HTTP/2 may do. Absent: without TLS nobody may; with TLS what was agreed on counts.
    pub http2: Option<Http2Limits>,
    /// The whole request head must arrive within this time of its first byte. Zero: no limit.
    pub head_timeout: Duration,
    /// A request body may make no progress for so long. Zero: no limit.
    pub body_idle_timeout: Duration,
    /// An idle connection is closed after this time. Zero: no limit.
    pub keepalive_timeout: Duration,
    /// A response may make no progress towards the client for so long. Zero: no limit.
    pub send_timeout: Duration,
    /// Largest request head in bytes, 1 KiB to 64 KiB.
    pub head_bytes_max: usize,
    /// Most field lines in a request head.
    pub fields_max: usize,
    /// Clients whose forwarding fields are kept and added to.
    pub trusted_proxies: Vec<IpNet>,
    /// Which forwarding fields are sent upstream.
    pub forwarded: ForwardedFields,
    /// What a half-closing client gets.
    pub client_half_close: ClientHalfClose,
    /// How much a client may ask of it.
    pub limits: ListenerLimits,
    /// What it accepts of a request.
    pub rules: RequestRules,
    /// Its connections over all workers; they belong to its name, as the counters do.
    pub shared_limits: Arc<SharedLimits>,
    /// The bodies of answers of Corelane's own, where they are not the built-in ones.
    pub error_pages: Arc<ErrorPages>,
    /// Its counters.
    pub counters: PerWorker<ListenerCounters>,
}

/// Which Host field the upstream gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// The one that the client sent.
    Preserve,
    /// This one.
    Set(Arc<str>),
}

impl HostPolicy {
    /// The host, unless it is the client's.
    #[must_use]
    pub fn set(&self) -> Option<&[u8]> {
        match self {
            Self::Preserve => None,
            Self::Set(host) => Some(host.as_bytes()),
        }
    }
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The configured name.
    pub name: Arc<str>,
    /// Where its requests go.
    pub action: Action,
    /// Which of them go to another upstream too.
    pub mirror: Option<Mirror>,
    /// The timeouts that it sets itself.
    pub timeouts: RouteTimeouts,
    /// The Host field towards the upstream.
    pub host: HostPolicy,
    /// The largest request body in bytes. Default 0: no limit.
    pub body_bytes_max: u64,
    /// Protocols that a client may switch to, in lower case. Default `websocket`.
    pub upgrades: Vec<Box<str>>,
    /// Whether calls of gRPC-Web are translated for its upstreams. Default: not.
    pub grpc_web: bool,
    /// The groups of its path's regex that its filters may ask for, by number; at most [`CAPTURES_MAX`].
    pub captures: Vec<usize>,
    /// The filters of its requests.
    pub chains: Chains,
    /// Which of its requests have a record.
    pub log: LogPolicy,
    /// Its counters.
    pub counters: PerWorker<RouteCounters>,
}

/// Named groups of a route's path at most.
pub const CAPTURES_MAX: usize = 16;

impl Route {
    /// The filters of requests that come in by a listener and are for an upstream; `None` if there are none.
    pub fn chain(&self, listener: usize, upstream: Option<usize>) -> Option<&Chain> {
        self.chains.of(listener, upstream)
    }
}

/// The filters of a route's requests: one chain for all of them, or one for each listener, or for each upstream that the
/// route may choose, or for each pair.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    /// A row for each listener, or one row for all of them.
    pub chains: Arc<[Chain]>,
    /// The upstreams that a row has a chain for; empty: one for all.
    pub upstreams: Arc<[usize]>,
    /// Whether there is a row for each listener.
    pub by_listener: bool,
}

impl Chains {
    /// The chain of requests that come in by a listener and are for an upstream; `None` if there are no filters.
    #[must_use]
    pub fn of(&self, listener: usize, upstream: Option<usize>) -> Option<&Chain> {
        let chain = match *self.chains {
            [] => return None,
            [ref chain] => chain,
            ref chains => {
                let row = if self.by_listener { listener } else { 0 };
                let place = self.upstreams.iter().position(|known| Some(*known) == upstream).unwrap_or(0);
                chains.get(row * self.upstreams.len().max(1) + place)?
            }
        };
        (!chain.is_empty()).then_some(chain)
    }

    /// One chain for whatever listener and upstream.
    pub(crate) fn only(chain: Option<&Chain>) -> Self {
        Self { chains: chain.into_iter().cloned().collect(), ..Self::default() }
    }
}

/// A named group of endpoints.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The configured name.
    pub name: Arc<str>,
    /// How an endpoint is chosen; its members are the endpoints.
    pub group: Group,
    /// What of a request decides that. Absent: nothing.
    pub affinity: Option<Affinity>,
    /// How endpoints begin that come, or come back. Default: with their full share.
    pub slow_start: SlowStart,
    /// The endpoints known now; empty when no name has resolved yet.
    pub endpoints: Vec<Endpoint>,
    /// A connection must open within this time. Zero: no limit.
    pub connect_timeout: Duration,
    /// The response head must arrive within this time after the request was sent. Zero: no limit.
    pub response_head_timeout: Duration,
    /// A response body may make no progress for so long. Zero: no limit.
    pub body_idle_timeout: Duration,
    /// A pooled connection is closed after it was idle for so long. Zero: no limit.
    pub idle_timeout: Duration,
    /// The whole exchange must end within this time. Zero: no limit.
    pub request_timeout: Duration,
    /// Most idle connections kept per endpoint and worker. Zero: no reuse.
    pub idle_connections_max: usize,
    /// How many endpoints a request may try, the first included.
    pub attempts_max: u32,
    /// When it tries the next one.
    pub retry: Retry,
    /// Largest response head in bytes, 1 KiB to 64 KiB.
    pub head_bytes_max: usize,
    /// A tunnel may carry nothing in either direction for so long. Zero: no limit. Default 10 minutes.
    pub tunnel_idle_timeout: Duration,
    /// When connections are no longer reused.
    pub quarantine: Quarantine,
    /// Where fewer than so many percent of the endpoints are up, all are used. Default 0: never.
    pub panic_percent: u8,
    /// When an endpoint is ejected because attempts at it fail.
    pub outlier: OutlierDetection,
    /// How many requests may be in progress there, over all workers. Absent: any number.
    pub limit: Option<RequestLimit>,
    /// How many of them may be retries. Absent: as many as `retry` allows.
    pub retry_limit: Option<RetryLimit>,
    /// What lets requests through, or not, when it fails as a whole. Absent: all go through.
    pub breaker: Option<UpstreamBreaker>,
    /// Who may wait while it, or all of its endpoints, are full. Absent: nobody.
    pub queue: Option<Queue>,
    /// What its endpoints speak.
    pub protocol: UpstreamProtocol,
    /// What bounds their HTTP/2 connections.
    pub http2: Http2Rules,
    /// Its counters.
    pub counters: PerWorker<UpstreamCounters>,
}

impl Upstream {
    /// With what holds where nothing is set.
    #[must_use]
    pub fn new(name: Arc<str>, group: Group, endpoints: Vec<Endpoint>, workers: usize) -> Self {
        Self {
            name,
            group,
            affinity: None,
            slow_start: SlowStart::default(),
            endpoints,
            connect_timeout: Duration::from_secs(2),
            response_head_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            request_timeout: Duration::ZERO,
            idle_connections_max: 256,
            attempts_max: 3,
            retry: Retry::default(),
            head_bytes_max: 16 * 1024,
            tunnel_idle_timeout: Duration::from_secs(600),
            quarantine: Quarantine::default(),
            panic_percent: 0,
            outlier: OutlierDetection::default(),
            limit: None,
            retry_limit: None,
            breaker: None,
            queue: None,
            protocol: UpstreamProtocol::default(),
            http2: Http2Rules::default(),
            counters: PerWorker::new(workers),
        }
    }
}

/// Where requests wait for a place.
#[derive(Clone, Debug)]
pub struct Queue {
    /// How many, and for how long.
    pub rules: QueueRules,
    /// Those that do.
    pub line: Arc<WaitingLine>,
}
