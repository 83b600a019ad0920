//! `corelane explain`: which route a request would take, and why the others would not.

mod request;
mod written;

use std::net::IpAddr;

use corelane_balancer::PolicyKind;
use corelane_engine::action::{Action, SHARE_ALL, Sticky};
use corelane_routing::{
    Conditions, HostPattern, Mismatch, Outcome, PathPattern, Request, Router, Rule, Test,
};

use crate::config::{Config, Target};
use crate::{ConfigSource, snapshot_builder};
use request::Asked;

/// What is asked: a request in words.
#[derive(Clone, Debug)]
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
}

/// What would become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    method: String,
    url: String,
    listener: String,
    client: String,
    host: String,
    path: String,
    steps: Vec<Tried>,
    /// Where the request would go: `None` without a route.
    action: Option<Taken>,
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

/// What the route does with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    /// One, or those that share the route's requests.
    upstreams: Vec<Chosen>,
    /// How a client stays at one of them.
    sticky: Option<String>,
    /// The upstream that gets a share too, and which.
    mirror: Option<(Chosen, String)>,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chosen {
    name: String,
    /// In a split.
    weight: Option<u32>,
    policy: &'static str,
    /// Each with its weight.
    endpoints: Vec<(String, u32)>,
}

impl Explanation {
    /// Whether a route takes the request.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.action.is_some()
    }
}

/// Loads a configuration as `check` does and follows a request through its routes.
///
/// # Errors
///
/// Every error of the configuration, one line each; or why there is no such request, or why it would be refused before any
/// route is looked at.
pub fn explain(source: &ConfigSource, question: &Question) -> Result<Explanation, String> {
    let config = crate::check(source)?;
    let router = snapshot_builder::router(&config).map_err(|lines| lines.join("\n"))?;
    let asked = Asked::new(&config, question)?;
    asked.with(&config, |request| explanation(&config, &router, question, request))?
}

fn explanation(
    config: &Config,
    router: &Router,
    question: &Question,
    request: &Request<'_>,
) -> Result<Explanation, String> {
    let mut steps = Vec::new();
    let mut taken = None;
    router.explain(request, &mut |step| {
        let verdict = match step.outcome {
            Outcome::Matched(host) => {
                taken = Some(step.route);
                let captures = captures(router, step.route, request.path);
                Verdict::Matched { by: conditions(step.rule, host), captures }
            }
            Outcome::Failed(mismatch) => failed(step.rule, &mismatch),
            Outcome::NotTried => Verdict::NotTried,
        };
        steps.push(Tried { route: config.routes[step.route].name.to_string(), verdict });
    });
    Ok(Explanation {
        method: question.method.clone(),
        url: question.url.clone(),
        listener: config.listeners[request.listener].name.to_string(),
        client: client(request.client),
        host: shown(request.host),
        path: shown(request.path),
        steps,
        action: taken.map(|route| action(config, route)),
    })
}

fn action(config: &Config, route: usize) -> Taken {
    let route = &config.routes[route];
    let (upstreams, sticky) = match &route.action {
        Action::Upstream(upstream) => (vec![chosen(config, *upstream, None)], None),
        Action::Split(split) => {
            let shares = split.destinations.iter().map(|it| chosen(config, it.upstream, Some(it.weight)));
            let sticky = split.sticky.as_ref().map(|sticky| match sticky {
                Sticky::Cookie(cookie) => format!("cookie {}", cookie.name),
                Sticky::Client => "client".to_owned(),
            });
            (shares.collect(), sticky)
        }
    };
    let mirror = route.mirror.as_ref();
    let mirror = mirror.map(|rule| (chosen(config, rule.upstream, None), percent(rule.share)));
    Taken { upstreams, sticky, mirror }
}

/// `10%`, `0.5%`.
fn percent(share: u32) -> String {
    let one = SHARE_ALL / 100;
    let text = format!("{}.{:04}", share / one, share % one);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn chosen(config: &Config, upstream: usize, weight: Option<u32>) -> Chosen {
    let upstream = &config.upstreams[upstream];
    let endpoints = upstream.endpoints.iter().map(|endpoint| {
        let target = match &endpoint.target {
            Target::Address(address) => address.to_string(),
            Target::Name { host, port } => format!("{host}:{port}"),
        };
        (target, endpoint.weight)
    });
    let policy = match upstream.policy {
        PolicyKind::RoundRobin => "round_robin",
        PolicyKind::Weighted => "weighted",
        PolicyKind::LeastConnections => "least_connections",
    };
    Chosen { name: upstream.name.to_string(), weight, policy, endpoints: endpoints.collect() }
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
