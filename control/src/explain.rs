//! `corelane explain`: which route a request would take, why the others would not, and what would become of it.
//!
//! Answered from a file, or by a running proxy from what it serves from; nothing is sent, and nothing counted.

mod goal;
mod json;
pub(crate) mod page;
mod query;
mod remote;
mod request;
mod written;

use std::ffi::OsStr;
use std::net::IpAddr;
use std::time::Duration;

use corelane_balancer::BreakerState;
use corelane_engine::snapshot::Snapshot;

use corelane_routing::{Conditions, HostPattern, Mismatch, Outcome, PathPattern, Router, Rule, Test};

use crate::config::Config;
use crate::filters::{Compiled, RouteFilters};
use crate::health::Healths;
use crate::remote::Admin;
use crate::{ConfigSource, snapshot_builder};
use request::Asked;

/// What is asked: a request in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The method.
    pub method: String,
    /// `http://host/path?query`, or a path alone.
    pub url: String,
    /// Field lines, `name: value`.
    pub fields: Vec<String>,
    /// The address that the connection comes from.
    pub from: IpAddr,
    /// The listener; without it the one of the URL's port, or the only one.
    pub listener: Option<String>,
    /// The subject of the certificate that the client shows (RFC 4514); without it, it shows none.
    pub client_subject: Option<String>,
}

/// Where a question's connection comes from if it does not say.
pub const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// An explanation as it was asked for: text or JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// It.
    pub text: String,
    /// [`Explanation::is_taken`].
    pub is_taken: bool,
}

/// What would become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Of the configuration in force, if a running proxy tells.
    generation: Option<u64>,
    method: String,
    url: String,
    listener: String,
    client: String,
    host: String,
    path: String,
    steps: Vec<Tried>,
    goal: Goal,
}

/// What becomes of a request whose route is known, or that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Goal {
    /// 404.
    NoRoute,
    /// One of the ways.
    Taken {
        split: Option<Split>,
        /// At least one; several only of a split.
        ways: Vec<Way>,
        mirror: Option<Mirrored>,
    },
}

/// How one of several upstreams is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Split {
    /// Each upstream with its share in percent.
    shares: Vec<(String, String)>,
    how: String,
}

/// These filters run, and then it is answered or goes to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    /// The upstream that was chosen before the filters run; none where the route answers itself.
    towards: Option<String>,
    filters: Vec<Filtered>,
    end: End,
}

/// A filter and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filtered {
    name: String,
    kind: &'static str,
    outcome: &'static str,
    /// Why it answers, with the status.
    reason: Option<(u16, &'static str)>,
    /// How a limit of a running proxy stands.
    remark: Option<String>,
    /// What it changes in the request.
    changes: Vec<String>,
    /// What it changes in the response.
    response: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Corelane answers itself.
    Answer(Answer),
    Upstream(Box<Chosen>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    reason: &'static str,
    is_refusal: bool,
    fields: Vec<(String, String)>,
    body: String,
}

/// A share of the requests goes to another upstream too.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirrored {
    upstream: String,
    share: String,
    body_bytes_max: u64,
}

/// A route and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tried {
    route: String,
    verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// By these conditions, in words, and with these captures.
    Matched {
        by: String,
        captures: Vec<(String, String)>,
    },
    /// What was compared, what it had to be, what it was.
    Failed {
        condition: String,
        expected: String,
        seen: Option<String>,
    },
    NotTried,
}

/// Where the request would go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chosen {
    name: String,
    policy: &'static str,
    /// How one of the endpoints is chosen, in words.
    how: String,
    endpoints: Vec<Candidate>,
    /// Whether one of them can be chosen.
    has_endpoint: bool,
    /// Where the breaker of a running proxy is.
    breaker: Option<BreakerState>,
    /// The request line and the host that it gets.
    sends: String,
    /// Each with its name; zero: no limit.
    timeouts: [(&'static str, Duration); 3],
    /// Zero: no limit.
    body_bytes_max: u64,
}

/// An endpoint that may be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    address: String,
    weight: u32,
    priority: u32,
    /// Requests at once; 0: no limit.
    requests_max: u32,
    /// Connections at once; 0: no limit.
    connections_max: u32,
    live: Option<Live>,
}

/// How an endpoint of a running proxy stands, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    requests: u64,
    idle: u64,
    /// `None`: nobody looks.
    is_up: Option<bool>,
    /// For how long it is still ejected.
    ejected: Option<Duration>,
}

/// What an explanation is made from.
struct View<'a> {
    config: &'a Config,
    router: &'a Router,
    filters: &'a dyn Fn(usize) -> RouteFilters,
    /// Of a running proxy.
    live: Option<Running<'a>>,
}

/// What a running proxy serves from, and what its checks say.
#[derive(Clone, Copy)]
pub(crate) struct Running<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) healths: &'a Healths,
}

impl Explanation {
    /// Whether a route takes the request, neither a filter nor a limit refuses it, and its upstream has endpoints and no open
    /// breaker.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        let is_served = |way: &Way| match &way.end {
            End::Answer(answer) => !answer.is_refusal,
            End::Upstream(chosen) => chosen.has_endpoint && chosen.breaker != Some(BreakerState::Open),
        };
        match &self.goal {
            Goal::NoRoute => false,
            Goal::Taken { ways, .. } => ways.iter().any(is_served),
        }
    }

    fn told(&self, json: bool) -> Told {
        let text = if json { self.json() + "\n" } else { self.to_string() };
        Told { text, is_taken: self.is_taken() }
    }
}

/// Asks what `place` names: `http://...` and `unix:/...` are admin addresses of running proxies, all else is a file.
///
/// # Errors
///
/// Those of [`explain`], and why no proxy could be asked.
pub fn tell(place: &OsStr, question: &Question, json: bool) -> Result<Told, String> {
    match place.to_str().and_then(Admin::named) {
        Some(admin) => remote::ask(&admin?, question, json),
        None => Ok(explain(&ConfigSource::File(place.into()), question)?.told(json)),
    }
}

/// Loads a configuration as `check` does and follows a request through its routes.
///
/// # Errors
///
/// Every error of the configuration, one line each; or why there is no such request, or why it would be refused before any
/// route is looked at.
pub fn explain(source: &ConfigSource, question: &Question) -> Result<Explanation, String> {
    let config = crate::load(source)?.config;
    let router = snapshot_builder::router(&config).map_err(|lines| lines.join("\n"))?;
    let compiled = Compiled::new(&config, &Compiled::default())
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let filters = |route| compiled.of_route(route);
    View { config: &config, router: &router, filters: &filters, live: None }.explain(question)
}

/// The same from what a running proxy serves from.
pub(crate) fn explain_running(
    config: &Config,
    running: Running<'_>,
    question: &Question,
) -> Result<Explanation, String> {
    let Running { snapshot, .. } = running;
    let filters = |route: usize| {
        let route = &snapshot.routes[route];
        RouteFilters { chains: route.chains.clone(), captures: route.captures.clone() }
    };
    View { config, router: &snapshot.router, filters: &filters, live: Some(running) }.explain(question)
}

impl View<'_> {
    fn explain(&self, question: &Question) -> Result<Explanation, String> {
        let asked = Asked::new(self.config, question)?;
        asked.with(self.config, |seen| self.explanation(question, seen))
    }

    fn explanation(&self, question: &Question, seen: &request::Seen<'_>) -> Explanation {
        let (config, request) = (self.config, &seen.request);
        let mut steps = Vec::new();
        let mut taken = None;
        self.router.explain(request, &mut |step| {
            let verdict = match step.outcome {
                Outcome::Matched(host) => {
                    taken = Some(step.route);
                    let captures = captures(self.router, step.route, request.path);
                    Verdict::Matched { by: conditions(step.rule, host), captures }
                }
                Outcome::Failed(mismatch) => failed(step.rule, &mismatch),
                Outcome::NotTried => Verdict::NotTried,
            };
            steps.push(Tried { route: config.routes[step.route].name.to_string(), verdict });
        });
        Explanation {
            generation: self.live.map(|running| running.snapshot.generation),
            method: question.method.clone(),
            url: question.url.clone(),
            listener: config.listeners[request.listener].name.to_string(),
            client: client(request.client),
            host: shown(request.host),
            path: shown(request.path),
            steps,
            goal: taken.map_or(Goal::NoRoute, |route| goal::of(self, route, seen)),
        }
    }
}

fn captures(router: &Router, route: usize, path: &[u8]) -> Vec<(String, String)> {
    let pattern = &router.rules()[route].path;
    let mut scratch = router.scratch();
    let captures = router.captures(route, path, &mut scratch);
    let found = pattern.group_names().filter_map(|name| {
        let value = captures.get(pattern.group(name)?)?;
        Some((name.to_owned(), shown(&path[value])))
    });
    found.collect()
}

/// What a rule asks for, in words: `host a.example, path prefix /api, method GET`.
fn conditions(rule: &Rule, host: Option<&HostPattern>) -> String {
    let mut all = vec![match host {
        Some(host) => format!("host {}", host_text(host)),
        None => "any host".to_owned(),
    }];
    all.push(match path_text(&rule.path) {
        text if text == "prefix /" => "any path".to_owned(),
        text => format!("path {text}"),
    });
    let Conditions { methods, headers, queries, cookies, clients, tls } = &rule.conditions;
    if !methods.is_empty() {
        all.push(format!("method {}", methods.join(" or ")));
    }
    for (what, conditions) in [("header", headers), ("query", queries), ("cookie", cookies)] {
        all.extend(conditions.iter().map(|it| format!("{what} {} {}", it.name, test_text(&it.test))));
    }
    if !clients.is_empty() {
        all.push(format!("client in {}", listed(clients)));
    }
    all.extend(tls.map(|tls| tls_text(tls).to_owned()));
    all.join(", ")
}

fn failed(rule: &Rule, mismatch: &Mismatch<'_>) -> Verdict {
    let hosts = || rule.hosts.iter().map(host_text).collect::<Vec<_>>().join(" or ");
    let of = |what: &str, condition: &corelane_routing::Condition, seen: &Option<Box<[u8]>>| {
        let seen = seen.as_ref().map(|seen| format!("\"{}\"", shown(seen)));
        (format!("{what} {}", condition.name), test_text(&condition.test), seen)
    };
    let (condition, expected, seen) = match mismatch {
        Mismatch::Host(seen) => ("host".to_owned(), hosts(), seen.as_ref().map(|seen| shown(seen))),
        Mismatch::Path(seen) => ("path".to_owned(), path_text(&rule.path), Some(shown(seen))),
        Mismatch::Method(seen) => {
            ("method".to_owned(), rule.conditions.methods.join(" or "), Some(shown(seen)))
        }
        Mismatch::Header(condition, seen) => of("header", condition, seen),
        Mismatch::Query(condition, seen) => of("query", condition, seen),
        Mismatch::Cookie(condition, seen) => of("cookie", condition, seen),
        Mismatch::Client(seen) => {
            ("client".to_owned(), listed(&rule.conditions.clients), Some(client(*seen)))
        }
        Mismatch::Tls(seen) => {
            ("tls".to_owned(), tls_text(!seen).to_owned(), Some(tls_text(*seen).to_owned()))
        }
    };
    Verdict::Failed { condition, expected, seen }
}

fn host_text(host: &HostPattern) -> String {
    match host {
        HostPattern::Regex(pattern) => format!("regex {pattern}"),
        other => other.to_string(),
    }
}

fn path_text(path: &PathPattern) -> String {
    let kind = match path {
        PathPattern::Exact(_) => "exact",
        PathPattern::Prefix(_) => "prefix",
        PathPattern::Regex(_) => "regex",
    };
    format!("{kind} {path}")
}

fn test_text(test: &Test) -> String {
    match test {
        Test::Exact(value) => format!("\"{}\"", shown(value.as_bytes())),
        Test::Regex(pattern) => format!("regex {pattern}"),
        Test::Present => "present".to_owned(),
        Test::Absent => "absent".to_owned(),
    }
}

fn tls_text(tls: bool) -> &'static str {
    if tls { "TLS" } else { "no TLS" }
}

fn listed(networks: &[ipnet::IpNet]) -> String {
    networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn client(client: Option<IpAddr>) -> String {
    client.map_or_else(|| "a Unix socket".to_owned(), |client| client.to_string())
}

/// Bytes as a terminal may show them.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests;
