//! What becomes of a request that a route takes: its filters, and where it goes.

use corelane_balancer::{Admission, Policy};
use corelane_engine::action::{Action, SHARE_ALL, Sticky};
use corelane_engine::counters::{EndpointCounters, PerWorker};
use corelane_engine::snapshot::{Chains, UnderscoreFields};
use corelane_engine::{hide_from_filters, monotonic_ns};
use corelane_filters::{
    Answer as Answered, Body, Context, Edits, FilterStep, Limits, Outcome, Purpose, Verdict,
};
use corelane_semantics::{BodyFraming, Span};

use super::request::Seen;
use super::{
    Answer, Candidate, Chosen, End, Filtered, Goal, Live, Mirrored, Running, Split, View, Way, shown,
};
use crate::config::{Route, Upstream};
use crate::health::State;

/// Stands for the id that a request will get.
const REQUEST_ID: &str = "0123456789abcdef0123456789abcdef";

/// What filters do that do not answer.
const PASSES: &str = "passes";
const CHANGES: &str = "changes";

/// The goal of a request that `route` takes.
pub(super) fn of(view: &View<'_>, route: usize, seen: &Seen<'_>) -> Goal {
    let on = OnRoute { view, route: &view.config.routes[route], index: route, seen };
    let name = |upstream: usize| view.config.upstreams[upstream].name.to_string();
    let (split, upstreams) = on.upstreams();
    let mirror = on.route.mirror.as_ref().map(|rule| Mirrored {
        upstream: name(rule.upstream),
        share: percent(rule.share.into(), SHARE_ALL.into()),
        body_bytes_max: rule.body_bytes_max as u64,
    });
    let ways = match on.exceeds(on.route.body_bytes_max) {
        true => vec![Way { towards: None, filters: Vec::new(), end: End::Answer(body_too_large()) }],
        false if upstreams.is_empty() => vec![on.way(None)],
        false => upstreams.into_iter().map(|upstream| on.way(Some(upstream))).collect(),
    };
    Goal::Taken { split, ways, mirror }
}

/// A request on its route.
struct OnRoute<'a> {
    view: &'a View<'a>,
    route: &'a Route,
    index: usize,
    seen: &'a Seen<'a>,
}

impl OnRoute<'_> {
    /// Those that it may go to.
    fn upstreams(&self) -> (Option<Split>, Vec<usize>) {
        let split = match &self.route.action {
            Action::Upstream(upstream) => return (None, vec![*upstream]),
            Action::Answer => return (None, Vec::new()),
            Action::Split(split) => split,
        };
        let request = &self.seen.request;
        let name = |upstream: usize| self.view.config.upstreams[upstream].name.to_string();
        let home = split.home(request.head, request.bytes, request.client).map(|it| it.upstream);
        let how = match (&split.sticky, home) {
            (None, _) => "in turn by these shares".to_owned(),
            (Some(Sticky::Client), Some(home)) => format!("{}, by the client's address", name(home)),
            (Some(Sticky::Client), None) => "in turn: the client has no address".to_owned(),
            (Some(Sticky::Cookie(cookie)), Some(home)) => {
                format!("{}, by the cookie {}", name(home), cookie.name)
            }
            (Some(Sticky::Cookie(cookie)), None) => {
                format!("in turn by these shares; then the client stays, by the cookie {}", cookie.name)
            }
        };
        let sum = split.destinations.iter().map(|it| u64::from(it.weight)).sum();
        let shares = split.destinations.iter().map(|it| (name(it.upstream), percent(it.weight.into(), sum)));
        let shares = shares.collect();
        let taking = split.destinations.iter().filter(|it| it.weight > 0).map(|it| it.upstream);
        let upstreams = home.map_or_else(|| taking.collect(), |home| vec![home]);
        (Some(Split { shares, how }), upstreams)
    }

    fn exceeds(&self, body_bytes_max: u64) -> bool {
        matches!(self.seen.framing, BodyFraming::Length(length) if body_bytes_max != 0 && length > body_bytes_max)
    }

    fn way(&self, upstream: Option<usize>) -> Way {
        let routed = (self.view.filters)(self.index);
        let mut edits = Edits::default();
        let (filters, verdict) = self.run(&routed.chains, &routed.captures, upstream, &mut edits);
        let limit = match (self.route.body_bytes_max, edits.limits().request_body_bytes_max) {
            (0, Some(filters)) => filters,
            (route, filters) => filters.map_or(route, |filters| filters.min(route)),
        };
        let end = match (verdict, edits.answer(), upstream) {
            (Verdict::Answer, Some(given), _) => End::Answer(answer(&given, &edits)),
            (Verdict::Continue, _, Some(_)) if self.exceeds(limit) => End::Answer(body_too_large()),
            (_, _, Some(upstream)) => End::Upstream(Box::new(self.chosen(upstream, &edits, limit))),
            // A route without an upstream ends with a filter that answers.
            (_, _, None) => End::Answer(Answer { status: 404, reason: "no_route", ..body_too_large() }),
        };
        let towards = upstream.map(|upstream| self.view.config.upstreams[upstream].name.to_string());
        Way { towards, filters, end }
    }

    fn run(
        &self,
        chains: &Chains,
        groups: &[usize],
        upstream: Option<usize>,
        edits: &mut Edits,
    ) -> (Vec<Filtered>, Verdict) {
        let (request, config) = (&self.seen.request, self.view.config);
        let Some(chain) = chains.of(request.listener, upstream) else {
            return (Vec::new(), Verdict::Continue);
        };
        let mut scratch = self.view.router.scratch();
        let found = self.view.router.captures(self.index, request.path, &mut scratch);
        let capture = |&group: &usize| found.get(group).map(|range| Span::new(range.start, range.end));
        let captures: Vec<Option<Span>> = groups.iter().map(capture).collect();
        let context = Context {
            head: request.head,
            bytes: request.bytes,
            host: request.host,
            path: request.path,
            forwarded_path: self.seen.forwarded_path,
            captures: &captures,
            client: request.client,
            peer: Some(self.seen.peer),
            trusted: self.seen.is_trusted,
            tls: self.seen.tls,
            request_id: REQUEST_ID.as_bytes(),
            listener: &config.listeners[request.listener].name,
            route: &self.route.name,
            upstream: upstream.map_or("", |upstream| &*config.upstreams[upstream].name),
            now_ns: monotonic_ns(),
            purpose: Purpose::Explain,
        };
        let rules = &config.listeners[request.listener].rules;
        let drops_underscores = rules.underscore_fields == UnderscoreFields::Drop;
        hide_from_filters(request.head, request.bytes, context.trusted, drops_underscores, edits);
        let mut filters: Vec<Filtered> = Vec::new();
        let (mut known, mut known_response): (Vec<String>, Vec<String>) = Default::default();
        let verdict = chain.explain(&context, edits, &mut |step| {
            if !step.is_response {
                let now = changes(step.edits, &context);
                filters.push(self.filtered(step, added(&known, &now)));
                known = now;
            }
            // The fields of an answer are told with it.
            let now = fields(step.edits.response.added()).map(|(name, value)| format!("{name}: {value}"));
            let now: Vec<String> = now.collect();
            if let Some(filter) = filters.get_mut(step.place).filter(|_| step.is_response) {
                filter.response = added(&known_response, &now);
                if step.outcome == Outcome::Acted && filter.outcome == PASSES {
                    filter.outcome = CHANGES;
                }
            }
            known_response = now;
        });
        if self.route.answer.is_some()
            && verdict == Verdict::Answer
            && filters.len() == chain.filters().count()
        {
            // It is the route's own answer, which no list names.
            filters.pop();
        }
        (filters, verdict)
    }

    fn filtered(&self, step: &FilterStep<'_>, changes: Vec<String>) -> Filtered {
        let outcome = match (step.outcome, step.reason) {
            (Outcome::Passed, _) => PASSES,
            (Outcome::Refused, _) => "refuses",
            (Outcome::Acted, Some(_)) => "answers",
            (Outcome::Acted, None) => CHANGES,
        };
        let has_remark = self.view.live.is_some() && !step.remark.is_empty();
        Filtered {
            name: step.name.to_owned(),
            kind: step.kind,
            outcome,
            reason: step.edits.answer().map(|answer| (answer.status, answer.reason.name())),
            remark: has_remark.then(|| step.remark.to_owned()),
            changes,
            response: Vec::new(),
        }
    }

    fn chosen(&self, index: usize, edits: &Edits, body_bytes_max: u64) -> Chosen {
        let upstream = &self.view.config.upstreams[index];
        let endpoints: Vec<Candidate> = match self.view.live {
            None => upstream.endpoints.iter().map(configured).collect(),
            Some(Running { snapshot, healths }) => {
                let endpoints = snapshot.upstreams[index].endpoints.iter();
                let candidate = |it: &corelane_engine::snapshot::Endpoint| Candidate {
                    address: it.label.to_string(),
                    weight: it.weight,
                    priority: it.priority,
                    requests_max: it.limit.as_ref().map_or(0, |limit| limit.requests_max),
                    connections_max: it.connections.as_ref().map_or(0, |limit| limit.connections_max),
                    live: Some(live(&it.counters, healths.state(&upstream.name, &it.address))),
                };
                endpoints.map(candidate).collect()
            }
        };
        let (of, limits) = (&self.route.timeouts, edits.limits());
        Chosen {
            name: upstream.name.to_string(),
            policy: upstream.policy.name(),
            how: how(upstream, &endpoints),
            has_endpoint: use_of(upstream.panic_percent, &endpoints) != Use::None,
            breaker: self.view.live.and_then(|live| {
                let breaker = live.snapshot.upstreams[index].breaker.as_ref();
                breaker.map(|breaker| breaker.shared.state())
            }),
            endpoints,
            sends: self.sends(upstream, edits),
            timeouts: timeouts(of, limits, upstream),
            body_bytes_max,
        }
    }

    /// The first line of what the upstream gets, and the host.
    fn sends(&self, upstream: &Upstream, edits: &Edits) -> String {
        let request = &self.seen.request;
        let path = edits.path().unwrap_or(self.seen.forwarded_path);
        let received = request.head.query.map(|query| query.bytes(request.bytes));
        let query = edits.query().unwrap_or(received);
        let query = query.map_or_else(String::new, |query| format!("?{}", shown(query)));
        let host = edits.host().or_else(|| self.route.host.set()).unwrap_or(request.host);
        let method = shown(request.head.method_token.bytes(request.bytes));
        let secured = upstream.endpoints.iter().filter(|it| it.tls).count();
        let over = match secured {
            0 => "",
            _ if secured < upstream.endpoints.len() => ", to some endpoints over TLS",
            _ => ", over TLS",
        };
        format!("{method} {}{query}, Host: {}{over}", shown(path), shown(host))
    }
}

fn timeouts(
    of: &corelane_engine::action::RouteTimeouts,
    limits: &Limits,
    upstream: &Upstream,
) -> [(&'static str, std::time::Duration); 3] {
    [
        ("request", limits.request_timeout.or(of.request).unwrap_or(upstream.request_timeout)),
        (
            "response head",
            limits.response_head_timeout.or(of.response_head).unwrap_or(upstream.response_head_timeout),
        ),
        ("body idle", limits.body_idle_timeout.or(of.body_idle).unwrap_or(upstream.body_idle_timeout)),
    ]
}

fn configured(endpoint: &crate::config::Endpoint) -> Candidate {
    Candidate {
        address: endpoint.target.to_string(),
        weight: endpoint.weight,
        priority: endpoint.priority,
        requests_max: endpoint.requests_max,
        connections_max: endpoint.connections_max,
        live: None,
    }
}

fn live(counters: &PerWorker<EndpointCounters>, health: Option<State>) -> Live {
    // A gauge may be counted up on one worker and down on none; only the sum has a meaning.
    let sum = |of: fn(&EndpointCounters) -> u64| counters.iter().map(of).fold(0, u64::wrapping_add);
    Live {
        requests: sum(|it| it.outstanding.value()),
        idle: sum(|it| it.idle.value()),
        is_up: health.as_ref().map(State::is_up),
        ejected: health.and_then(|health| health.ejected).map(|ejected| ejected.left),
    }
}

/// How one of the endpoints is chosen.
fn how(upstream: &Upstream, endpoints: &[Candidate]) -> String {
    let used = use_of(upstream.panic_percent, endpoints);
    let how = by_policy(upstream, endpoints, used);
    if endpoints.is_empty() || used == Use::None {
        return how;
    }
    let is_one = endpoints.iter().all(|it| it.priority == endpoints[0].priority);
    let order = if is_one { "" } else { "; the lowest priority first" };
    match &upstream.sticky {
        Some(sticky) if endpoints.len() > 1 => {
            format!("where the cookie {} says, else {how}{order}", sticky.cookie.name)
        }
        _ => how + order,
    }
}

/// Which endpoints are chosen from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Up,
    /// Too few are up.
    All,
    None,
}

fn use_of(panic_percent: u8, endpoints: &[Candidate]) -> Use {
    let is_up = |it: &Candidate| it.live.and_then(|live| live.is_up) != Some(false);
    let each = endpoints.iter().map(|it| (it.priority, it.weight > 0, is_up(it)));
    match Admission::of(each, panic_percent) {
        Admission { is_panicking: true, .. } => Use::All,
        Admission { priority: None, .. } => Use::None,
        Admission { priority: Some(_), .. } => Use::Up,
    }
}

fn by_policy(upstream: &Upstream, endpoints: &[Candidate], used: Use) -> String {
    let policy = upstream.policy;
    let is_even = endpoints.iter().all(|it| it.weight == endpoints[0].weight);
    match (endpoints, policy) {
        ([], _) => "no name has resolved, the answer is 503 no_endpoint".to_owned(),
        _ if endpoints.iter().all(|it| it.weight == 0) => {
            "no endpoint has a weight, the answer is 503 no_endpoint".to_owned()
        }
        _ if used == Use::None => "every endpoint is down, the answer is 503 no_healthy_endpoint".to_owned(),
        _ if used == Use::All => {
            let how = by_policy(upstream, endpoints, Use::Up);
            format!("{how}, up or down, as too few are up")
        }
        ([_], _) => "the only endpoint".to_owned(),
        (_, Policy::RoundRobin) => "in turn".to_owned(),
        (_, Policy::Weighted) => {
            let weights: Vec<String> = endpoints.iter().map(|it| it.weight.to_string()).collect();
            format!("by weight {}", weights.join(":"))
        }
        (_, Policy::LeastConnections) if is_even => "the one with the fewest requests in progress".to_owned(),
        (_, Policy::LeastConnections) => {
            "the one with the fewest requests in progress for its weight".to_owned()
        }
        (_, Policy::Random) => "by chance, in proportion to the weights".to_owned(),
        (_, Policy::P2c) => "of two by chance the one with fewer requests in progress".to_owned(),
        (_, Policy::Ewma) => "of two by chance the one that is expected to answer first".to_owned(),
        (_, Policy::LeastBandwidth) => "the one with the fewest bytes per second".to_owned(),
        (_, Policy::Hash) => {
            let parts: Vec<String> = upstream.key.iter().map(ToString::to_string).collect();
            format!("the one that the hash of {} belongs to", parts.join(", "))
        }
    }
}

/// A share in percent, to a ten-thousandth.
fn percent(part: u64, of: u64) -> String {
    let hundredths = (part * 1_000_000 + of / 2) / of.max(1);
    let text = format!("{}.{:04}", hundredths / 10_000, hundredths % 10_000);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn body_too_large() -> Answer {
    Answer {
        status: 413,
        reason: "body_too_large",
        is_refusal: true,
        fields: Vec::new(),
        body: "an error page".to_owned(),
    }
}

fn answer(given: &Answered<'_>, edits: &Edits) -> Answer {
    let body = match given.body {
        Body::Page => "an error page".to_owned(),
        Body::Empty => "empty".to_owned(),
        Body::Text(text) if text.len() <= TEXT_BYTES_MAX => format!("\"{}\"", shown(text)),
        Body::Text(text) => format!("{} bytes", text.len()),
    };
    Answer {
        status: given.status,
        reason: given.reason.name(),
        is_refusal: given.reason.is_refusal(),
        fields: fields(edits.response.added()).collect(),
        body,
    }
}

/// Those that were not known.
fn added(known: &[String], now: &[String]) -> Vec<String> {
    now.iter().filter(|it| !known.contains(it)).cloned().collect()
}

/// Fields as they may be shown: a secret that the configuration adds is kept.
fn fields<'a>(added: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> impl Iterator<Item = (String, String)> {
    added.map(|(name, value)| {
        let name = shown(name);
        let lower = name.to_ascii_lowercase();
        let is_secret = SECRETS.iter().any(|word| lower.contains(word));
        let value = if is_secret { "(not shown)".to_owned() } else { shown(value) };
        (name, value.replace(REQUEST_ID, "(a new id)"))
    })
}

/// All that has changed in the request so far, in words.
fn changes(edits: &Edits, context: &Context<'_>) -> Vec<String> {
    let mut all = Vec::new();
    let mut say = |what: &str, value: Option<&[u8]>| {
        all.extend(value.map(|value| format!("{what} {}", shown(value)).replace(REQUEST_ID, "(a new id)")));
    };
    say("path", edits.path());
    say("query", edits.query().map(|query| query.unwrap_or(b"(none)")));
    say("host", edits.host());
    say("request id", edits.request_id());
    say("user", Some(edits.user()).filter(|user| !user.is_empty()));
    say("API key of", Some(edits.api_key()).filter(|key| !key.is_empty()));
    for (index, line) in context.head.fields.lines().iter().enumerate() {
        let name = line.name.bytes(context.bytes);
        let is_gone = edits.request.drops(index) && !edits.request.adds(name);
        say("without", Some(name).filter(|_| is_gone));
    }
    all.extend(fields(edits.request.added()).map(|(name, value)| format!("{name}: {value}")));
    let limits = edits.limits();
    let bytes = limits.request_body_bytes_max.map(crate::config::shown::bytes);
    all.extend(bytes.map(|bytes| format!("body at most {bytes}")));
    for (what, timeout) in [
        ("request", limits.request_timeout),
        ("response head", limits.response_head_timeout),
        ("body idle", limits.body_idle_timeout),
    ] {
        let timeout = timeout.map(crate::config::shown::duration);
        all.extend(timeout.map(|timeout| format!("{what} timeout {timeout}")));
    }
    all
}

/// In the names of fields whose values are not told.
const SECRETS: [&str; 6] = ["authorization", "cookie", "key", "token", "secret", "password"];

/// A body that is longer is counted instead of shown.
const TEXT_BYTES_MAX: usize = 60;
