//! The configuration after every check: what cannot be wrong any more.

mod endpoint;
mod health;
mod places;
mod tls;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corelane_balancer::{BreakerRules, Policy};
use corelane_engine::action::{Action, MirrorRule, RouteTimeouts, StickyCookie};
use corelane_engine::affinity::KeyPart;
use corelane_engine::limits::QueueRules;
use corelane_engine::protocol::{Http2Limits, Http2Rules, UpstreamProtocol};
use corelane_engine::record::{LogFormat, SamplingRule};
use corelane_engine::retry::Retry;
use corelane_engine::snapshot::{
    Address, ClientHalfClose, ForwardedFields, HostPolicy, ListenerLimits, Quarantine, RequestRules,
};
use corelane_engine::tracing::Parents;
use corelane_filters::Settings;
use hyper::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

pub use endpoint::*;
pub use health::*;
pub use places::Places;
pub use tls::*;

/// A whole configuration file, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[process]`
    pub process: Process,
    /// `[admin]`; absent: off.
    pub admin: Option<Admin>,
    /// `[access_log]`; absent: off.
    pub access_log: Option<AccessLog>,
    /// `[tracing]`; absent: off.
    pub tracing: Option<Tracing>,
    /// `[resolver]`
    pub resolver: Resolver,
    /// `[[listeners]]`, at least one, names and addresses unique.
    pub listeners: Vec<Listener>,
    /// `[[routes]]`, names unique, every listener and upstream that they name exists.
    pub routes: Vec<Route>,
    /// `[upstreams.*]`, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// `[filters.*]`, in the order of the file.
    pub filters: Vec<Filter>,
    /// `[[error_pages]]`: no two for the same status of the same listener, or for the same status of all.
    pub error_pages: Vec<ErrorPage>,
}

/// `[process]`
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// `workers`: `None` is "auto", one per core that the process may run on.
    pub workers: Option<usize>,
    /// `driver`
    pub driver: DriverChoice,
    /// `drain_timeout`
    pub drain_timeout: Duration,
    /// `shutdown_delay`
    pub shutdown_delay: Duration,
}

/// `process.driver`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring, and epoll where it is refused.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// `address`
    pub address: Address,
    /// `histograms`
    pub histograms: bool,
}

/// `[access_log]`
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// `path`, with `syslog_facility` and `syslog_app_name`
    pub target: LogTarget,
    /// `format` and `fields`
    pub format: LogFormat,
    /// `redact_query`, and the parameters that `api_key` filters read.
    pub redacted: Vec<String>,
    /// `sampling`
    pub sampling: Vec<Sampling>,
}

/// One of `access_log.sampling`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// `routes`, as indices into [`Config::routes`], sorted; absent: every request.
    pub routes: Option<Vec<usize>>,
    /// The other conditions, and the share.
    pub rule: SamplingRule,
}

/// `access_log.path`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// "stdout"
    Stdout,
    /// "stderr"
    Stderr,
    /// A file, opened for appending.
    File(PathBuf),
    /// "syslog:..."
    Syslog(Syslog),
}

/// A syslog server, and what it is told of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Where it is.
    pub target: SyslogTarget,
    /// `syslog_facility` as its number (RFC 5424 §6.2.1).
    pub facility: u8,
    /// `syslog_app_name`
    pub app_name: String,
}

/// How a syslog server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogTarget {
    /// A datagram for each record (RFC 5426), to a host and port.
    Udp(String),
    /// A stream in which each record's length stands before it (RFC 6587 §3.4.1), to a host and port.
    Tcp(String),
    /// A datagram for each record to a Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Udp(server) => write!(f, "syslog:udp://{server}"),
            Self::Tcp(server) => write!(f, "syslog:tcp://{server}"),
            Self::Unix(path) => write!(f, "syslog:unix:{}", path.display()),
        }
    }
}

/// `[tracing]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// `endpoint`
    pub collector: Collector,
    /// `protocol`
    pub protocol: TracingProtocol,
    /// `sample`, of a million
    pub share: u32,
    /// `service_name`
    pub service_name: Arc<str>,
    /// `headers`
    pub fields: SecretFields,
    /// `parents`
    pub parents: Parents,
    /// `redact_query`, and the parameters that `api_key` filters read.
    pub redacted: Vec<String>,
    /// `timeout`
    pub timeout: Duration,
}

/// Where spans are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Both as they stand in a URL.
    pub authority: String,
    /// What is asked for there.
    pub path: String,
}

/// `tracing.protocol`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TracingProtocol {
    /// OTLP over HTTP/1.1, in protocol buffers.
    #[default]
    Http,
    /// OTLP over gRPC.
    Grpc,
}

/// Fields whose values are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretFields(pub Vec<(HeaderName, HeaderValue)>);

impl std::fmt::Debug for SecretFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// `[resolver]`
#[derive(Clone, Debug, PartialEq)]
pub struct Resolver {
    /// `servers`: empty means the system's. The port is 53 unless given.
    pub servers: Vec<(IpAddr, u16)>,
    /// `ttl_min`
    pub ttl_min: Duration,
    /// `ttl_max`
    pub ttl_max: Duration,
}

/// One of `[[listeners]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// `name`
    pub name: Arc<str>,
    /// `address`
    pub address: Address,
    /// `head_timeout`
    pub head_timeout: Duration,
    /// `body_idle_timeout`
    pub body_idle_timeout: Duration,
    /// `keepalive_timeout`
    pub keepalive_timeout: Duration,
    /// `send_timeout`
    pub send_timeout: Duration,
    /// `head_bytes_max`
    pub head_bytes_max: usize,
    /// `fields_max`
    pub fields_max: usize,
    /// `trusted_proxies`
    pub trusted_proxies: Vec<IpNet>,
    /// `forwarded_fields`
    pub forwarded: ForwardedFields,
    /// `client_half_close`
    pub client_half_close: ClientHalfClose,
    /// `http2` and the keys that begin so; where it is spoken over TLS, `h2` stands in `alpn`.
    pub http2: Option<Http2Limits>,
    /// `request_line_bytes_max`, `field_bytes_max`, `pipeline_bytes_max`, `requests_max`, `body_rate_min`,
    /// `send_rate_min`, `connections_max`, `client_connections_max`
    pub limits: ListenerLimits,
    /// `methods_refused`, `underscore_fields`, `trailers`, `paths`
    pub rules: RequestRules,
    /// `filters`, as indices into [`Config::filters`].
    pub filters: Vec<usize>,
    /// `tls`; `None`: clear text.
    pub tls: Option<ListenerTls>,
}

/// One of `[[routes]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `name`
    pub name: Arc<str>,
    /// `listeners`, as indices into [`Config::listeners`]; all of them when the key is absent.
    pub listeners: Vec<usize>,
    /// `hosts`; empty: any.
    pub hosts: Vec<corelane_routing::HostPattern>,
    /// `path`
    pub path: corelane_routing::PathPattern,
    /// `methods`, `headers`, `queries`, `cookies`, `clients`, `tls`
    pub conditions: corelane_routing::Conditions,
    /// `priority`
    pub priority: i32,
    /// `upstream` or `split`, with indices into [`Config::upstreams`], and `sticky`.
    pub action: Action,
    /// `redirect`, `respond` or `maintenance`: what [`Action::Answer`] answers.
    pub answer: Option<Settings>,
    /// `filters`, as indices into [`Config::filters`].
    pub filters: Vec<usize>,
    /// `mirror`
    pub mirror: Option<MirrorRule>,
    /// `request_timeout`, `response_head_timeout`, `body_idle_timeout`
    pub timeouts: RouteTimeouts,
    /// `host`: "preserve" or a name.
    pub host: HostPolicy,
    /// `body_bytes_max`
    pub body_bytes_max: u64,
    /// `upgrades`, in lower case
    pub upgrades: Vec<Box<str>>,
    /// `grpc_web`
    pub grpc_web: bool,
    /// `access_log`
    pub access_log: bool,
}

impl Route {
    /// What a request must look like to take it.
    #[must_use]
    pub fn rule(&self) -> corelane_routing::Rule {
        corelane_routing::Rule {
            listeners: self.listeners.clone(),
            hosts: self.hosts.clone(),
            path: self.path.clone(),
            conditions: self.conditions.clone(),
            priority: self.priority,
        }
    }
}

/// One of `[filters.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// The table's key.
    pub name: Arc<str>,
    /// `type`, and the keys of the type.
    pub settings: Settings,
}

/// One of `[upstreams.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The table's key.
    pub name: Arc<str>,
    /// `policy`
    pub policy: Policy,
    /// `hash.on`; empty unless that is the policy.
    pub key: Vec<KeyPart>,
    /// `sticky`
    pub sticky: Option<Seating>,
    /// `slow_start`
    pub slow_start: Duration,
    /// `endpoints`, at least one.
    pub endpoints: Vec<Endpoint>,
    /// `connect_timeout`
    pub connect_timeout: Duration,
    /// `response_head_timeout`
    pub response_head_timeout: Duration,
    /// `body_idle_timeout`
    pub body_idle_timeout: Duration,
    /// `idle_timeout`
    pub idle_timeout: Duration,
    /// `request_timeout`
    pub request_timeout: Duration,
    /// `idle_connections_max`
    pub idle_connections_max: usize,
    /// `attempts_max`
    pub attempts_max: u32,
    /// `retry`
    pub retry: Retry,
    /// `head_bytes_max`
    pub head_bytes_max: usize,
    /// `tunnel_idle_timeout`
    pub tunnel_idle_timeout: Duration,
    /// `quarantine_after`, `quarantine_time`
    pub quarantine: Quarantine,
    /// `health`; `None`: no checks, so that every endpoint is up.
    pub health: Option<Health>,
    /// `panic_threshold`, in percent; 0: never.
    pub panic_percent: u8,
    /// `protocol`: `h2` has TLS everywhere, `h2c` nowhere.
    pub protocol: UpstreamProtocol,
    /// `http2_streams_max`, `http2_stream_window`, `http2_connection_window`, `http2_ping_interval`, `http2_ping_timeout`
    pub http2: Http2Rules,
    /// `tls`; `None`: clear text.
    pub tls: Option<UpstreamTls>,
    /// `outlier`
    pub outlier: Outlier,
    /// `requests_max`, `retries_max`
    pub limits: UpstreamLimits,
    /// `breaker`
    pub breaker: Option<Breaker>,
    /// `queue`
    pub queue: Option<QueueRules>,
    /// `filters`, as indices into [`Config::filters`].
    pub filters: Vec<usize>,
}

/// How much an upstream takes at once; 0: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// `requests_max`
    pub requests_max: u32,
    /// `retries_max`
    pub retries_max: u32,
}

/// `breaker` of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// `consecutive_failures`, `failure_share`, `requests_min`, `window`, `open_time`, `probes_max`, `successes`
    pub rules: BreakerRules,
    /// `statuses`: the first and the last of each range.
    pub statuses: Vec<(u16, u16)>,
}

/// `sticky` of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Seating {
    /// `cookie`, `max_age`, `path`
    pub cookie: StickyCookie,
    /// `secret`
    pub secret: Secret,
}

/// What nobody else may know.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Box<[u8]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(not shown)")
    }
}

/// One of `[[error_pages]]`: the body of answers of Corelane's own.
///
/// Of several that fit an answer, an exact status goes before a class, whatever their listeners; after that, a page that
/// names the listener before one for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// `statuses`, at least one.
    pub statuses: Vec<StatusPattern>,
    /// `listeners`, as indices into [`Config::listeners`]; `None`: all.
    pub listeners: Option<Vec<usize>>,
    /// `content_type`: a field value of visible ASCII and spaces.
    pub content_type: Box<str>,
    /// The text of `file` or `body`; at most 64 KiB and 100 variables.
    pub segments: Vec<PageSegment>,
}

/// One of an error page's `statuses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusPattern {
    /// This one, 400 to 599.
    Exact(u16),
    /// Every one that begins with this digit, 4 or 5.
    Class(u8),
}

/// A piece of an error page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageSegment {
    /// Sent as it is; not empty.
    Text(Box<[u8]>),
    /// Known when the answer is.
    Variable(PageVariable),
}

/// What an error page says of the answer that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageVariable {
    /// `{status}`: 503
    Status,
    /// `{reason_phrase}`: Service Unavailable
    ReasonPhrase,
    /// `{reason}`: the word in the access log
    Reason,
    /// `{request_id}`
    RequestId,
}
