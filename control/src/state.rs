//! The state of a running proxy at a glance: what `/status.json` says, and `/status` and `corelane top` show.
//!
//! One model for all of them, so that they cannot disagree. Totals are those of the counters; figures per second and
//! ratios are over the last [`State::interval_seconds`]. Says nothing about single requests.
//!
//! ```text
//! status, snapshot ─▶ sample ─▶ window (differences, problems) ─▶ sampler ─▶ /status.json ─▶ top, /status
//! ```
//!
//! Fields that are absent have their default, and words that are unknown are [`Health::Unknown`] and the like, so that one
//! version's `top` reads another version's proxy.

mod certificate;
pub(crate) mod page;
mod problems;
mod quantiles;
mod sample;
mod sampler;
mod source;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use certificate::Certificate;
pub(crate) use sampler::Sampler;
pub use source::Source;

/// What goes on in the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The version of Corelane.
    pub version: String,
    /// The name of the machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Starting, serving, draining.
    pub phase: Phase,
    /// When this was so, in seconds since 1970.
    pub time: f64,
    /// When the process started, in seconds since 1970.
    pub started: f64,
    /// What figures per second and ratios are over: 5 s, less while nobody has watched for so long.
    pub interval_seconds: f64,
    /// The configuration that every worker serves from.
    pub generation: u64,
    /// The last attempt to put a configuration in force, the start included.
    pub last_reload: Reload,
    /// Configurations in use.
    pub snapshots_alive: usize,
    /// Lookups of host names that failed.
    pub lookups_failed: Rate,
    /// Access-log records lost to failed writes.
    pub log_lost: Rate,
    /// Spans that were lost on their way to the collector.
    pub spans_lost: Rate,
    /// Exports of spans that failed.
    pub export_failures: Rate,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors in the fullest table; each worker has one.
    pub open_fds: u64,
    /// How many a table may have.
    pub max_fds: u64,
    /// What is wrong, the worst first; at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// Problems that are not in the list.
    pub problems_left_out: usize,
    /// Over all routes and listeners.
    pub totals: Totals,
    /// Workers that run.
    pub workers_running: usize,
    /// The workers, by number.
    pub workers: Vec<Worker>,
    /// The listeners, in the order of the file.
    pub listeners: Vec<Listener>,
    /// The routes, in the order of the file.
    pub routes: Vec<Route>,
    /// The upstreams, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// The endpoints of all upstreams.
    pub endpoints: Vec<Endpoint>,
    /// The certificates of all listeners and upstreams, and what goes with them.
    pub certificates: Vec<Certificate>,
}

/// Problems that are listed.
pub const PROBLEMS_MAX: usize = 100;

/// Where in its life the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Some worker does not serve yet.
    Starting,
    /// Every worker serves.
    Serving,
    /// A signal to stop has come.
    Draining,
    /// A word of another version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Unknown => "unknown",
        }
    }
}

/// How the last attempt to put a configuration in force ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reload {
    /// When, in seconds since 1970.
    pub time: u64,
    /// Its errors; 0: it is in force.
    pub errors: usize,
}

/// Something that an operator should know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// Which one: its name, or its upstream's and its address. Empty for the process.
    pub name: String,
    /// What is wrong, without the name.
    pub text: String,
}

/// How bad a problem is, the worse first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Clients feel it.
    Critical,
    /// It can wait until the morning.
    #[default]
    #[serde(other)]
    Warning,
}

/// What a problem is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each says it")]
pub enum Kind {
    Worker,
    Listener,
    Route,
    Upstream,
    Endpoint,
    #[default]
    #[serde(other)]
    Process,
}

impl Kind {
    /// As it stands before a name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Worker => "worker",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Endpoint => "endpoint",
        }
    }
}

/// A counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rate {
    /// Since the process started.
    pub total: u64,
    /// Over the interval.
    pub per_second: f64,
}

/// Counters by reason; the words are those of docs/observability.md. Those that have occurred.
pub type Reasons = BTreeMap<String, Rate>;

/// Responses by the first digit of their status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "each says it")]
pub struct Responses {
    #[serde(rename = "2xx")]
    pub of_2xx: Rate,
    #[serde(rename = "3xx")]
    pub of_3xx: Rate,
    #[serde(rename = "4xx")]
    pub of_4xx: Rate,
    #[serde(rename = "5xx")]
    pub of_5xx: Rate,
}

impl Responses {
    /// What there is to know about all of them, by the first digit.
    #[must_use]
    pub fn classes(&self) -> [(&'static str, Rate); 4] {
        [("2xx", self.of_2xx), ("3xx", self.of_3xx), ("4xx", self.of_4xx), ("5xx", self.of_5xx)]
    }
}

/// How long something takes; absent without anything in the interval, and with `[admin] histograms = false`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quantiles {
    /// Half of them take no longer.
    pub p50_seconds: Option<f64>,
    /// 99 of 100 take no longer.
    pub p99_seconds: Option<f64>,
    /// How many fell into each bucket: since the process started in a sample, in the interval once it is told.
    #[serde(skip)]
    buckets: Vec<u64>,
}

/// The whole proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Requests on all listeners, refused ones included.
    pub requests: Rate,
    /// Responses on all routes.
    pub responses: Responses,
    /// The share of 5xx among the responses; absent without any.
    pub error_ratio: Option<f64>,
    /// From a request's first byte to the last byte of its response, on all routes.
    pub duration: Quantiles,
    /// Client connections open now.
    pub connections: u64,
    /// Client connections with a request in progress now.
    pub connections_active: u64,
    /// Bytes from clients.
    pub received_bytes: Rate,
    /// Bytes to clients.
    pub sent_bytes: Rate,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// Its number, as in the label of metrics.
    pub name: String,
    /// The share of a core that it takes; absent once it is gone.
    pub cpu_ratio: Option<f64>,
    /// CPU time until now, on the proxy's side; it is not told.
    #[serde(skip)]
    pub cpu_ns: Option<u64>,
    /// Requests, refused ones included.
    pub requests: Rate,
    /// Client connections open now.
    pub connections: u64,
    /// Client connections with a request in progress now.
    pub connections_active: u64,
    /// Bytes from clients.
    pub received_bytes: Rate,
    /// Bytes to clients.
    pub sent_bytes: Rate,
    /// Access-log records dropped because the writer was behind.
    pub log_dropped: Rate,
    /// Times accepting paused because descriptors or memory ran out.
    pub accept_pauses: Rate,
    /// Connection tasks that panicked: a bug in Corelane.
    pub task_panics: Rate,
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: String,
    /// Connections open now.
    pub connections: u64,
    /// Connections with a request in progress now.
    pub connections_active: u64,
    /// How many may be open.
    pub connections_max: usize,
    /// Connections that are tunnels now.
    pub tunnels: u64,
    /// Connections accepted.
    pub accepted: Rate,
    /// Times a worker left connections waiting because `connections_max` was reached.
    pub waited: Rate,
    /// Connections reset because their client had `client_connections_max`.
    pub refused: Rate,
    /// Requests, refused ones included.
    pub requests: Rate,
    /// Requests refused because they broke a rule or came too slowly.
    pub bad_requests: Rate,
    /// Requests abandoned because the client went away.
    pub client_aborts: Rate,
    /// Bytes from clients.
    pub received_bytes: Rate,
    /// Bytes to clients.
    pub sent_bytes: Rate,
    /// Exchanges that Corelane ended.
    pub failures: Reasons,
    /// Exchanges with something suspicious.
    pub suspicious: Reasons,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// The upstreams that its requests may go to; none if it answers them itself.
    pub upstreams: Vec<Arc<str>>,
    /// Requests.
    pub requests: Rate,
    /// Responses.
    pub responses: Responses,
    /// The share of 5xx among the responses; absent without any.
    pub error_ratio: Option<f64>,
    /// From a request's first byte to the last byte of its response.
    pub duration: Quantiles,
    /// From a request's first byte to the head of its response.
    pub response_head: Quantiles,
    /// Exchanges that Corelane ended.
    pub failures: Reasons,
}

/// An upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// How an endpoint is chosen.
    pub policy: String,
    /// Endpoints.
    pub endpoints: usize,
    /// Those that take requests.
    pub endpoints_usable: usize,
    /// Whether so few are up that all are used, up or down.
    pub panic: bool,
    /// Where its breaker is: `closed`, `open` or `half_open`; empty without one.
    pub breaker: String,
    /// Requests that were to go there.
    pub requests: Rate,
    /// Those that its breaker refused.
    pub breaker_refused: Rate,
    /// Those that were refused because it had `requests_max`.
    pub full: Rate,
    /// Requests in progress now.
    pub requests_active: u64,
    /// Requests sent again.
    pub retries: Rate,
    /// Requests answered 503 because no endpoint could be chosen.
    pub no_endpoint: Rate,
    /// Requests that wait for a place now.
    pub requests_waiting: u64,
    /// Requests that waited for a place.
    pub waited: Rate,
    /// Attempts that failed by an endpoint's fault.
    pub failures: Rate,
    /// Their share of all attempts; absent without any.
    pub failure_ratio: Option<f64>,
    /// Opening a connection.
    pub connect: Quantiles,
    /// From when a request was sent to the head of its response.
    pub response_head: Quantiles,
    /// From the first byte sent of a request to the last byte of its response.
    pub duration: Quantiles,
    /// The share of requests sent on a pooled connection; absent without any.
    pub reuse_ratio: Option<f64>,
    /// Idle connections now.
    pub connections_idle: u64,
}

/// An address of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The address; the name while that has none.
    pub endpoint: Arc<str>,
    /// Its share.
    pub weight: u32,
    /// Whether it takes requests.
    pub health: Health,
    /// What is wrong, while it is down or ejected.
    pub down_reason: String,
    /// For how long it is still ejected; 0: it is not.
    pub ejected_seconds: u64,
    /// How often it was.
    pub ejections: Rate,
    /// Requests sent.
    pub requests: Rate,
    /// Requests in progress now.
    pub requests_active: u64,
    /// How many there may be; 0: no limit.
    pub requests_max: u32,
    /// Connections opened.
    pub connects: Rate,
    /// Connections that could not be opened.
    pub connect_failures: Rate,
    /// Connections that did not open in time.
    pub connect_timeouts: Rate,
    /// Requests sent on a pooled connection.
    pub reused: Rate,
    /// Their share of the requests; absent without any.
    pub reuse_ratio: Option<f64>,
    /// Pooled connections found closed.
    pub stale: Rate,
    /// Idle connections now.
    pub connections_idle: u64,
    /// Connections open now, where they are limited.
    pub connections: Option<u32>,
    /// How many there may be; 0: no limit.
    pub connections_max: u32,
    /// Attempts that failed by its fault, by reason.
    pub failures: Reasons,
    /// The share of attempts that failed by its fault; absent without any.
    pub failure_ratio: Option<f64>,
    /// Bytes from it.
    pub received_bytes: Rate,
    /// Bytes to it.
    pub sent_bytes: Rate,
}

impl Endpoint {
    /// As problems name it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{} {}", self.upstream, self.endpoint)
    }
}

/// Whether an endpoint takes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It does.
    Ok,
    /// It does; some worker does not reuse connections to it.
    Suspended,
    /// Its weight is 0.
    Drained,
    /// Its checks have failed.
    Down,
    /// Requests have failed there, so that it takes none for a while.
    Ejected,
    /// Its name has no address.
    Unresolved,
    /// A word of another version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Health {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Suspended => "suspended",
            Self::Drained => "drained",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Unresolved => "unresolved",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it takes requests.
    #[must_use]
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Ok | Self::Suspended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_another_version_says() {
        let text = r#"{"phase":"dreaming","new":1,"endpoints":[{"endpoint":"a","health":"asleep","requests":{"total":3}}],
            "problems":[{"severity":"odd","kind":"certificate","name":"x","text":"y"}]}"#;
        let state: State = serde_json::from_str(text).expect("is read");
        assert_eq!(state.phase, Phase::Unknown);
        assert_eq!((&*state.endpoints[0].endpoint, state.endpoints[0].health), ("a", Health::Unknown));
        assert_eq!(state.endpoints[0].requests, Rate { total: 3, per_second: 0.0 });
        let problem = &state.problems[0];
        assert_eq!((problem.severity, problem.kind), (Severity::Warning, Kind::Process));
    }

    #[test]
    fn every_field_is_documented_and_nothing_else_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/top.md");
        let docs = std::fs::read_to_string(path).expect("the page");
        let documented = |heading: &str| {
            let (_, section) = docs.split_once(&format!("\n### {heading}\n")).expect("the heading");
            let section = section.split("\n### ").next().unwrap_or_default();
            let cells = section
                .lines()
                .filter(|line| line.starts_with("| `"))
                .filter_map(|line| line.split('|').nth(1));
            let names =
                cells.flat_map(|cell| cell.split(',')).map(|name| name.trim().trim_matches('`').to_owned());
            names.collect::<Vec<_>>()
        };
        let state = State {
            problems: vec![Problem::default()],
            workers: vec![Worker::default()],
            listeners: vec![Listener::default()],
            routes: vec![Route::default()],
            upstreams: vec![Upstream::default()],
            endpoints: vec![Endpoint::default()],
            certificates: vec![Certificate::default()],
            ..State::default()
        };
        let state = serde_json::to_value(&state).expect("is said");
        let fields =
            |of: &serde_json::Value| of.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(sorted(documented("The object")), sorted(fields(&state)));
        assert_eq!(sorted(documented("totals")), sorted(fields(&state["totals"])));
        for of in ["problems", "workers", "listeners", "routes", "upstreams", "endpoints", "certificates"] {
            assert_eq!(sorted(documented(of)), sorted(fields(&state[of][0])), "{of}");
        }
    }

    #[test]
    fn says_and_reads_the_same() {
        let endpoint = Endpoint { health: Health::Drained, failure_ratio: Some(0.5), ..Endpoint::default() };
        let state = State { phase: Phase::Draining, endpoints: vec![endpoint], ..State::default() };
        let text = serde_json::to_string(&state).expect("is said");
        assert!(text.contains("\"phase\":\"draining\"") && text.contains("\"health\":\"drained\""), "{text}");
        assert_eq!(serde_json::from_str::<State>(&text).expect("is read"), state);
    }
}
