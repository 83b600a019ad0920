//! What becomes of a request that a route takes: its filters, and where it goes.

use std::cell::Cell;

use corelane_balancer::PolicyKind;
use corelane_engine::action::{Action, Sticky};
use corelane_engine::hide_from_filters;
use corelane_engine::snapshot::UnderscoreFields;
use corelane_filters::{Context, Edits, FilterStep, Outcome, Purpose, Tls, Verdict};
use corelane_routing::{Request, Router};
use corelane_semantics::Span;

use super::{Chosen, End, Filtered, Goal, shown};
use crate::config::{Config, Target};
use crate::filters::Compiled;

/// The goal of a request that `route` takes.
pub(super) fn of(
    config: &Config,
    router: &Router,
    route: usize,
    request: &Request<'_>,
) -> Result<Goal, String> {
    let compiled = Compiled::new(config, &Compiled::default())
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let routed = compiled.of_route(route);
    let of = &config.routes[route];
    let upstream = of.action.upstreams().next();
    let end = upstreams(config, &of.action);
    let Some(chain) = routed.chains.of(request.listener, upstream) else {
        return Ok(Goal::Taken { filters: Vec::new(), end });
    };
    let mut scratch = router.scratch();
    let found = router.captures(route, request.path, &mut scratch);
    let captures: Vec<Option<Span>> = routed
        .captures
        .iter()
        .map(|&group| Some(Span::new(found.get(group)?.start, found.get(group)?.end)))
        .collect();
    let context = Context {
        head: request.head,
        bytes: request.bytes,
        host: request.host,
        path: request.path,
        forwarded_path: request.head.path.bytes(request.bytes),
        captures: &captures,
        client: request.client,
        peer: request.client,
        trusted: false,
        tls: request.tls.then(Tls::default),
        request_id: b"0123456789abcdef0123456789abcdef",
        listener: &config.listeners[request.listener].name,
        route: &of.name,
        upstream: upstream.map_or("", |upstream| &*config.upstreams[upstream].name),
        now_ns: 1,
        purpose: Purpose::Explain,
    };
    let mut edits = Edits::default();
    let rules = &config.listeners[request.listener].rules;
    let drops_underscores = rules.underscore_fields == UnderscoreFields::Drop;
    hide_from_filters(request.head, request.bytes, context.trusted, drops_underscores, &mut edits);
    let (mut filters, before) = (Vec::new(), Cell::new(Vec::new()));
    let verdict = chain.explain(&context, &mut edits, &mut |step| {
        let known = before.take();
        let now = changes(step.edits);
        let new = now.iter().filter(|change| !known.contains(*change)).cloned().collect();
        filters.push(filtered(step, new));
        before.set(now);
    });
    let end = match (verdict, edits.answer()) {
        (Verdict::Answer, Some(answer)) => {
            End::Answer { status: answer.status, reason: answer.reason.name() }
        }
        _ => end,
    };
    Ok(Goal::Taken { filters, end })
}

fn filtered(step: &FilterStep<'_>, changes: Vec<String>) -> Filtered {
    let outcome = match (step.outcome, step.reason) {
        (Outcome::Passed, _) => "nothing to do",
        (Outcome::Refused, _) => "refuses",
        (Outcome::Acted, Some(_)) => "answers",
        (Outcome::Acted, None) => "acts",
    };
    Filtered { name: step.name.to_owned(), kind: step.kind, outcome, changes }
}

/// All that has changed so far, in words.
fn changes(edits: &Edits) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(edits.path().map(|path| format!("path {}", shown(path))));
    all.extend(edits.query().map(|query| match query {
        Some(query) => format!("query {}", shown(query)),
        None => "no query".to_owned(),
    }));
    all.extend(edits.host().map(|host| format!("host {}", shown(host))));
    all.extend(edits.request.added().map(|(name, value)| format!("{}: {}", shown(name), shown(value))));
    let limits = edits.limits();
    all.extend(limits.request_body_bytes_max.map(|bytes| format!("body of at most {bytes} bytes")));
    for (what, timeout) in [
        ("request_timeout", limits.request_timeout),
        ("response_head_timeout", limits.response_head_timeout),
        ("body_idle_timeout", limits.body_idle_timeout),
    ] {
        all.extend(timeout.map(|timeout| format!("{what} {timeout:?}")));
    }
    let answered = edits.response.added();
    all.extend(answered.map(|(name, value)| format!("answers {}: {}", shown(name), shown(value))));
    all
}

fn upstreams(config: &Config, action: &Action) -> End {
    let split = match action {
        Action::Upstream(_) | Action::Answer => None,
        Action::Split(split) => Some(match &split.sticky {
            None => "each request by weight".to_owned(),
            Some(Sticky::Client) => "by weight; a client stays where its address puts it".to_owned(),
            Some(Sticky::Cookie(cookie)) => {
                format!("by weight; a client stays where its cookie {} says", cookie.name)
            }
        }),
    };
    let weight = |upstream: usize| match action {
        Action::Split(split) => {
            split.destinations.iter().find(|it| it.upstream == upstream).map_or(0, |it| it.weight)
        }
        Action::Upstream(_) | Action::Answer => 1,
    };
    let chosen = action.upstreams().map(|upstream| chosen(config, upstream, weight(upstream)));
    End::Upstreams { split, chosen: chosen.collect() }
}

fn chosen(config: &Config, upstream: usize, weight: u32) -> Chosen {
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
