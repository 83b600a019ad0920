//! Why a request takes a route: every rule of its listener, looked at one by one, without the index.
//!
//! For people: takes time for each rule, and memory.

use std::net::IpAddr;

use crate::conditions::{Condition, Conditions, Place, is_within};
use crate::host::{HostBuffer, comparable};
use crate::{HostPattern, PathPattern, Request, Router, Rule};

/// A rule and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// The index of its route.
    pub route: usize,
    /// The rule.
    pub rule: &'a Rule,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The request takes it; by this of its hosts, if it has some.
    Matched(Option<&'a HostPattern>),
    /// It does not match.
    Failed(Mismatch<'a>),
    /// Another matched before it.
    NotTried,
}

/// The first condition of a rule that does not hold, and what was seen instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// None of its hosts is this one; `None` if this is no host that a pattern can hold.
    Host(Option<Box<[u8]>>),
    /// Its path is not this one.
    Path(Box<[u8]>),
    /// None of its methods is this one.
    Method(Box<[u8]>),
    /// A field has another value, or is there or not there against the condition.
    Header(&'a Condition, Option<Box<[u8]>>),
    /// The same for a query parameter, decoded.
    Query(&'a Condition, Option<Box<[u8]>>),
    /// The same for a cookie.
    Cookie(&'a Condition, Option<Box<[u8]>>),
    /// The client is in none of its networks.
    Client(Option<IpAddr>),
    /// It came over TLS, or not, against the rule.
    Tls(bool),
}

impl Router {
    /// Tells every rule of the request's listener in the order of precedence.
    pub fn explain<'a>(&'a self, request: &Request<'_>, see: &mut dyn FnMut(Step<'a>)) {
        let mut buffer: HostBuffer = [0; size_of::<HostBuffer>()];
        let name = comparable(request.host, &mut buffer);
        let rules = self.rules().iter().enumerate();
        let mut ranked: Vec<_> = rules
            .filter(|(_, rule)| rule.listeners.contains(&request.listener))
            .filter_map(|(route, rule)| {
                // The best of the hosts that match; where none does, the best.
                let best = rule.hosts_or_any().min_by(|one, other| {
                    let place = |host| (!matches_host(host, name), rule.precedence(host, route));
                    place(*one).cmp(&place(*other))
                })?;
                Some((rule.precedence(best, route), route, rule, best))
            })
            .collect();
        ranked.sort_by(|one, other| one.0.cmp(&other.0));
        let mut is_over = false;
        for (_, route, rule, host) in ranked {
            let outcome = match is_over {
                true => Outcome::NotTried,
                false => rule.judge(host, name, request),
            };
            is_over |= matches!(outcome, Outcome::Matched(_));
            see(Step { route, rule, outcome });
        }
    }
}

impl Rule {
    fn judge<'a>(
        &'a self,
        host: Option<&'a HostPattern>,
        name: Option<&[u8]>,
        request: &Request<'_>,
    ) -> Outcome<'a> {
        if !matches_host(host, name) {
            return Outcome::Failed(Mismatch::Host(name.map(Box::from)));
        }
        if !self.path.matches(request.path_or_root()) {
            return Outcome::Failed(Mismatch::Path(request.path_or_root().into()));
        }
        match self.conditions.mismatch(request) {
            Some(mismatch) => Outcome::Failed(mismatch),
            None => Outcome::Matched(host),
        }
    }
}

impl Conditions {
    fn mismatch(&self, request: &Request<'_>) -> Option<Mismatch<'_>> {
        let method = request.method();
        if !self.methods.is_empty() && !self.methods.iter().any(|it| it.as_bytes() == method) {
            return Some(Mismatch::Method(method.into()));
        }
        for (place, condition) in self.placed() {
            let mut buffer = Vec::new();
            let seen = place.value(condition.name.as_bytes(), request, &mut buffer);
            if !condition.test.holds(seen) {
                let seen = seen.map(Box::from);
                return Some(match place {
                    Place::Header => Mismatch::Header(condition, seen),
                    Place::Query => Mismatch::Query(condition, seen),
                    Place::Cookie => Mismatch::Cookie(condition, seen),
                });
            }
        }
        if !self.clients.is_empty() && !is_within(&self.clients, request.client) {
            return Some(Mismatch::Client(request.client));
        }
        match self.tls {
            Some(tls) if tls != request.tls => Some(Mismatch::Tls(request.tls)),
            _ => None,
        }
    }
}

impl PathPattern {
    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == path,
            Self::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                let below = path.strip_prefix(prefix.as_bytes());
                prefix.is_empty() || below.is_some_and(|below| matches!(below, [] | [b'/', ..]))
            }
            Self::Regex(pattern) => pattern.is_match(path, &mut pattern.cache()),
        }
    }
}

/// Whether a pattern, `None` for any host, matches a name in the form that is compared.
fn matches_host(pattern: Option<&HostPattern>, name: Option<&[u8]>) -> bool {
    let Some(pattern) = pattern else { return true };
    name.is_some_and(|name| match pattern {
        HostPattern::Exact(exact) => exact.as_bytes() == name,
        HostPattern::Wildcard(suffix) => {
            let labels = name.strip_suffix(suffix.as_bytes()).and_then(|name| name.strip_suffix(b"."));
            labels.is_some_and(|labels| !labels.is_empty())
        }
        HostPattern::Regex(pattern) => pattern.is_match(name, &mut pattern.cache()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Test;
    use crate::fixtures::{get, head};

    fn rule(hosts: &[&str], prefix: &str, conditions: Conditions) -> Rule {
        let hosts = hosts.iter().map(|host| HostPattern::parse(host).expect("a valid host")).collect();
        let path = PathPattern::prefix(prefix).expect("a valid prefix");
        Rule { conditions, ..Rule::new(vec![0], hosts, path) }
    }

    fn exact(name: &str, value: &str) -> Condition {
        Condition { name: name.into(), test: Test::Exact(value.into()) }
    }

    #[test]
    fn says_of_each_rule_what_failed_first() {
        let methods = Conditions { methods: vec!["POST".into()], ..Conditions::default() };
        let header = Conditions { headers: vec![exact("X-Env", "beta")], ..Conditions::default() };
        let query = Conditions { queries: vec![exact("v", "2")], ..Conditions::default() };
        let cookie = Conditions { cookies: vec![exact("group", "b")], ..Conditions::default() };
        let client = "10.0.0.0/8".parse().expect("a network");
        let clients = Conditions { clients: vec![client], ..Conditions::default() };
        let tls = Conditions { tls: Some(true), ..Conditions::default() };
        let none = Conditions::default;
        let rules = [
            rule(&[], "/", none()),
            rule(&["*.example"], "/", tls),
            rule(&["*.example"], "/", clients),
            rule(&["a.example"], "/", cookie),
            rule(&["a.example"], "/", query),
            rule(&["a.example"], "/", header),
            rule(&["a.example"], "/", methods),
            rule(&["a.example"], "/b", none()),
            rule(&["b.example", "a.example"], "/c", none()),
            rule(&["b.example"], "/", none()),
            rule(&["b.example", "*.example"], "/d", none()),
            rule(&["c.example"], "/", Conditions { tls: Some(false), ..none() }),
        ];
        let router = Router::build(&rules, 1).expect("no conflict");
        let (parsed, bytes) =
            head("GET /x?v=%31 HTTP/1.1", &["Host: A.example:80", "x-env: a", "Cookie: group=a"]);
        let client = Some("192.0.2.1".parse().expect("an address"));
        let request = Request { host: b"A.example:80", path: b"/x", client, ..get(&parsed, &bytes) };
        let mut steps = Vec::new();
        router.explain(&request, &mut |step| steps.push((step.route, step.outcome)));
        let seen = |value: &str| Some(value.as_bytes().into());
        let condition = |condition: &[Condition]| condition[0].clone();
        let of = |route: usize| &rules[route].conditions;
        let headers = condition(&of(5).headers);
        let queries = condition(&of(4).queries);
        let cookies = condition(&of(3).cookies);
        let path = || Outcome::Failed(Mismatch::Path(b"/x"[..].into()));
        let host = || Outcome::Failed(Mismatch::Host(seen("a.example")));
        assert_eq!(
            steps,
            [
                (7, path()),
                (8, path()),
                (6, Outcome::Failed(Mismatch::Method(b"GET"[..].into()))),
                (5, Outcome::Failed(Mismatch::Header(&headers, seen("a")))),
                (4, Outcome::Failed(Mismatch::Query(&queries, seen("1")))),
                (3, Outcome::Failed(Mismatch::Cookie(&cookies, seen("a")))),
                (11, host()),
                (9, host()),
                (10, path()),
                (2, Outcome::Failed(Mismatch::Client(client))),
                (1, Outcome::Failed(Mismatch::Tls(false))),
                (0, Outcome::Matched(None)),
            ]
        );
    }

    #[test]
    fn nothing_is_tried_behind_the_match() {
        let rules = [rule(&[], "/", Conditions::default()), rule(&["a"], "/", Conditions::default())];
        let router = Router::build(&rules, 2).expect("no conflict");
        let (parsed, bytes) = head("GET / HTTP/1.1", &[]);
        let mut steps = Vec::new();
        let request = Request { host: b"a", ..get(&parsed, &bytes) };
        router.explain(&request, &mut |step| steps.push((step.route, step.outcome)));
        assert_eq!(steps, [(1, Outcome::Matched(Some(&rules[1].hosts[0]))), (0, Outcome::NotTried)]);
        router.explain(&Request { listener: 1, ..request }, &mut |step| panic!("{step:?}"));
    }
}
