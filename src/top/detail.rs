//! Everything about one row, line by line.

use corelane_control::state::{
    Endpoint, Health, Listener, Quantiles, Rate, Reasons, Responses, Route, State, Upstream, Worker,
};

use super::figures::{count, number, seconds, share};
use super::pane::Pane;

/// What stands on the left of a line, and what on the right.
pub(super) type Line = (String, String);

/// About the row of a pane with this name; nothing if it is gone.
pub(super) fn lines(pane: Pane, name: &str, state: &State) -> Vec<Line> {
    match pane {
        Pane::Routes => state.routes.iter().find(|it| *it.name == *name).map(route),
        Pane::Upstreams => state.upstreams.iter().find(|it| *it.name == *name).map(upstream),
        Pane::Endpoints => state.endpoints.iter().find(|it| it.full_name() == name).map(endpoint),
        Pane::Listeners => state.listeners.iter().find(|it| *it.name == *name).map(listener),
        Pane::Workers => state.workers.iter().find(|it| it.name == name).map(worker),
    }
    .unwrap_or_default()
}

fn route(it: &Route) -> Vec<Line> {
    let upstreams =
        if it.upstreams.is_empty() { "none, it answers itself".to_owned() } else { it.upstreams.join(", ") };
    let mut lines = vec![line("upstream", upstreams), rate("requests", it.requests)];
    lines.extend(responses(&it.responses));
    lines.push(line("5xx of responses", share(it.error_ratio)));
    lines.push(times("whole exchange", &it.duration));
    lines.push(times("head of the response", &it.response_head));
    lines.extend(reasons("failures", &it.failures));
    lines
}

fn responses(it: &Responses) -> impl Iterator<Item = Line> {
    it.classes().into_iter().map(|(class, responses)| rate(&format!("responses {class}"), responses))
}

fn upstream(it: &Upstream) -> Vec<Line> {
    vec![
        line("policy", it.policy.clone()),
        line("endpoints that take requests", format!("{} of {}", it.endpoints_usable, it.endpoints)),
        rate("requests", it.requests),
        line("requests active", count(it.requests_active)),
        rate("attempts that failed", it.failures),
        line("of all attempts", share(it.failure_ratio)),
        rate("sent again", it.retries),
        rate("503, no endpoint", it.no_endpoint),
        line("breaker", if it.breaker.is_empty() { "none".to_owned() } else { it.breaker.clone() }),
        rate("503, breaker open", it.breaker_refused),
        rate("503, requests_max", it.full),
        rate("waited for a place", it.waited),
        line("wait for a place now", count(it.requests_waiting)),
        times("opening a connection", &it.connect),
        times("head of the response", &it.response_head),
        times("whole exchange", &it.duration),
        line("sent on a pooled connection", share(it.reuse_ratio)),
        line("idle connections", count(it.connections_idle)),
    ]
}

fn endpoint(it: &Endpoint) -> Vec<Line> {
    let mut lines = vec![
        line("upstream", it.upstream.to_string()),
        line("health", it.health.name().to_owned()),
        line("weight", it.weight.to_string()),
        rate("requests", it.requests),
        line("requests active", limited(it.requests_active, it.requests_max)),
        line("attempts that failed", share(it.failure_ratio)),
        rate("ejections", it.ejections),
        rate("connections opened", it.connects),
        rate("connects that failed", it.connect_failures),
        rate("connects that timed out", it.connect_timeouts),
        rate("sent on a pooled connection", it.reused),
        line("of all requests", share(it.reuse_ratio)),
        rate("pooled connections stale", it.stale),
        line("idle connections", count(it.connections_idle)),
        line("connections", open(it)),
        rate("bytes received", it.received_bytes),
        rate("bytes sent", it.sent_bytes),
    ];
    if !it.down_reason.is_empty() {
        let what = if it.health == Health::Ejected { "ejected because" } else { "down because" };
        lines.insert(2, line(what, it.down_reason.clone()));
    }
    lines.extend(reasons("failures", &it.failures));
    lines
}

/// They are counted where they are limited.
fn open(it: &Endpoint) -> String {
    it.connections.map_or_else(|| "-".to_owned(), |open| limited(open.into(), it.connections_max))
}

/// `3`, or `3 of 100`.
fn limited(number: u64, max: u32) -> String {
    if max == 0 { count(number) } else { format!("{number} of {max}") }
}

fn listener(it: &Listener) -> Vec<Line> {
    let mut lines = vec![
        line("address", it.address.clone()),
        line("connections", format!("{} of {}", it.connections, it.connections_max)),
        line("connections active", count(it.connections_active)),
        line("tunnels", count(it.tunnels)),
        rate("connections accepted", it.accepted),
        rate("waits for a free connection", it.waited),
        rate("connections refused", it.refused),
        rate("requests", it.requests),
        rate("requests that broke a rule", it.bad_requests),
        rate("requests abandoned by clients", it.client_aborts),
        rate("bytes received", it.received_bytes),
        rate("bytes sent", it.sent_bytes),
    ];
    lines.extend(reasons("failures", &it.failures));
    lines.extend(reasons("suspicious", &it.suspicious));
    lines
}

fn worker(it: &Worker) -> Vec<Line> {
    vec![
        line("of a core", share(it.cpu_ratio)),
        rate("requests", it.requests),
        line("connections", count(it.connections)),
        line("connections active", count(it.connections_active)),
        rate("bytes received", it.received_bytes),
        rate("bytes sent", it.sent_bytes),
        rate("log records dropped", it.log_dropped),
        rate("pauses of accepting", it.accept_pauses),
        rate("panics", it.task_panics),
    ]
}

fn line(name: &str, value: String) -> Line {
    (name.to_owned(), value)
}

fn rate(name: &str, rate: Rate) -> Line {
    line(name, format!("{:>8}/s {:>10} in all", number(rate.per_second), count(rate.total)))
}

fn times(name: &str, times: &Quantiles) -> Line {
    let (half, most) = (seconds(times.p50_seconds), seconds(times.p99_seconds));
    line(name, format!("{half:>8} p50 {most:>9} p99"))
}

/// The most frequent one now first.
fn reasons(kind: &str, reasons: &Reasons) -> Vec<Line> {
    let mut reasons: Vec<_> = reasons.iter().collect();
    reasons.sort_by(|(_, a), (_, b)| b.per_second.total_cmp(&a.per_second).then(b.total.cmp(&a.total)));
    reasons.into_iter().map(|(reason, it)| rate(&format!("{kind}: {reason}"), *it)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_with_the_most_frequent_first() {
        let rate = |total, per_second| Rate { total, per_second };
        let failures = Reasons::from([
            ("a".into(), rate(9, 0.0)),
            ("b".into(), rate(10, 0.0)),
            ("c".into(), rate(1, 0.2)),
        ]);
        let route = Route { name: "api".into(), failures, ..Route::default() };
        let state = State { routes: vec![route], ..State::default() };
        let lines = lines(Pane::Routes, "api", &state);
        let failures: Vec<&str> =
            lines.iter().filter_map(|(name, _)| name.strip_prefix("failures: ")).collect();
        assert_eq!(failures, ["c", "b", "a"]);
        assert_eq!(lines[1], ("requests".to_owned(), "       0/s          0 in all".to_owned()));
        assert!(super::lines(Pane::Upstreams, "api", &state).is_empty());
    }
}
