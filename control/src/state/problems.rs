//! What is wrong, in the order in which one would look at it.
//!
//! Judged over the interval, so that a problem that is over is gone from the list some seconds later.

use std::time::Duration;

use corelane_engine::reason::{Reason, Word as _};

use super::{
    Certificate, Endpoint, Health, Kind, Listener, PROBLEMS_MAX, Phase, Problem, Reasons, Route, Severity,
    State, Upstream, Worker,
};
use crate::tls::{DAYS_LEFT_FEW, moment};

/// The problems, the worst first, and how many more there are.
pub(super) fn of(state: &State) -> (Vec<Problem>, usize) {
    let mut found = Found { state, problems: Vec::new() };
    found.process();
    state.workers.iter().for_each(|it| found.worker(it));
    state.listeners.iter().for_each(|it| found.listener(it));
    state.certificates.iter().for_each(|it| found.certificate(it));
    state.upstreams.iter().for_each(|it| found.upstream(it));
    state.endpoints.iter().for_each(|it| found.endpoint(it));
    state.routes.iter().for_each(|it| found.route(it));
    let mut problems = found.problems;
    // Stable: things that others follow from stand before them.
    problems.sort_by_key(|problem| problem.severity);
    let left_out = problems.len().saturating_sub(PROBLEMS_MAX);
    problems.truncate(PROBLEMS_MAX);
    (problems, left_out)
}

/// From here on failures are worth a look.
const SHARE_SEEN: f64 = 0.01;
/// From here on a route or an endpoint is broken, if it failed at least [`FAILURES_MANY`] times.
const SHARE_BROKEN: f64 = 0.1;
/// One failed request of three at night is no reason to get up.
const FAILURES_MANY: f64 = 5.0;
/// From here on what has an end is nearly full.
const SHARE_FULL: f64 = 0.9;
/// From here on a worker has no time left; its requests begin to wait.
const SHARE_BUSY: f64 = 0.95;

/// From here on a certificate must be renewed at once.
const DAYS_LEFT_NONE: u64 = 2;

struct Found<'a> {
    state: &'a State,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, severity: Severity, kind: Kind, name: &str, text: String) {
        self.problems.push(Problem { severity, kind, name: name.to_owned(), text });
    }

    fn process(&mut self) {
        let state = self.state;
        let mut add = |severity, text: String| self.add(severity, Kind::Process, "", text);
        match state.phase {
            Phase::Starting => add(Severity::Warning, "some worker does not serve yet".to_owned()),
            Phase::Draining => {
                add(Severity::Warning, "draining: told to stop, new connections are refused".to_owned());
            }
            Phase::Serving | Phase::Unknown => {}
        }
        let lost = state.workers.len().saturating_sub(state.workers_running);
        if lost > 0 {
            let text =
                format!("{lost} of {} workers have failed: restart; the log says why", state.workers.len());
            add(Severity::Critical, text);
        }
        let errors = state.last_reload.errors;
        if errors > 0 {
            let text = format!(
                "the last reload was refused with {}: what is on disk is not what serves",
                counted(errors as u64, "error")
            );
            add(Severity::Warning, text);
        }
        if state.max_fds > 0 && state.open_fds as f64 >= SHARE_FULL * state.max_fds as f64 {
            let text =
                format!("{} of {} file descriptors are open (LimitNOFILE)", state.open_fds, state.max_fds);
            add(Severity::Warning, text);
        }
        if state.log_lost.per_second > 0.0 {
            let text =
                format!("{} access-log records cannot be written", per_second(state.log_lost.per_second));
            add(Severity::Critical, text);
        }
        if state.export_failures.per_second + state.spans_lost.per_second > 0.0 {
            let lost = per_second(state.spans_lost.per_second);
            add(Severity::Warning, format!("exports of spans fail; {lost} are lost"));
        }
        if state.lookups_failed.per_second > 0.0 {
            add(Severity::Warning, "lookups of host names fail; earlier answers still hold".to_owned());
        }
    }

    fn worker(&mut self, it: &Worker) {
        let mut add = |severity, text: String| self.add(severity, Kind::Worker, &it.name, text);
        if it.accept_pauses.per_second > 0.0 {
            let text = "accepting pauses: out of file descriptors or memory (LimitNOFILE)";
            add(Severity::Critical, text.to_owned());
        }
        if let Some(busy) = it.cpu_ratio.filter(|busy| *busy >= SHARE_BUSY) {
            add(Severity::Warning, format!("its core is busy for {} of the time", percent(busy)));
        }
        if it.task_panics.total > 0 {
            let text = format!("{}: a bug in Corelane, see the log", counted(it.task_panics.total, "panic"));
            add(Severity::Critical, text);
        }
        if it.log_dropped.per_second > 0.0 {
            let text = format!(
                "{} access-log records are dropped: the log's writer is behind",
                per_second(it.log_dropped.per_second)
            );
            add(Severity::Warning, text);
        }
    }

    fn listener(&mut self, it: &Listener) {
        let mut add = |severity, text: String| self.add(severity, Kind::Listener, &it.name, text);
        if it.waited.per_second > 0.0 {
            let text = format!("clients wait: connections_max ({}) are open", it.connections_max);
            add(Severity::Critical, text);
        } else if it.connections as f64 >= SHARE_FULL * it.connections_max as f64 {
            let text = format!("{} of {} connections are open", it.connections, it.connections_max);
            add(Severity::Warning, text);
        }
        if it.refused.per_second > 0.0 {
            let text = format!(
                "{} connections refused: their clients have client_connections_max",
                per_second(it.refused.per_second)
            );
            add(Severity::Warning, text);
        }
    }

    fn certificate(&mut self, it: &Certificate) {
        let now = Duration::try_from_secs_f64(self.state.time).unwrap_or_default().as_secs();
        let (kind, name) = match &*it.upstream {
            "" => (Kind::Listener, &*it.listener),
            name => (Kind::Upstream, name),
        };
        let what = match &*it.role {
            "ca" => "authorities",
            "crl" => "revoked certificates",
            "ocsp" => "OCSP response",
            _ => "certificate",
        };
        let mut add = |severity, text: String| {
            self.add(severity, kind, name, format!("{what} {}: {text}", it.file));
        };
        if !it.problem.is_empty() {
            let (severity, serves) = match (it.expires, what) {
                (0, "certificate") => (Severity::Critical, "it is left out"),
                (0, _) => (Severity::Warning, "it is left out"),
                _ => (Severity::Warning, "the one before it serves"),
            };
            add(severity, format!("it cannot be used, {serves}: {}", it.problem));
        }
        if it.expires == 0 {
            return;
        }
        let end = moment(it.expires);
        // Lists and responses live for days, and are no less good afterwards, or not sent.
        let is_renewed_by_day = matches!(&*it.role, "crl" | "ocsp");
        match it.expires.saturating_sub(now) / 86_400 {
            _ if it.expires <= now && is_renewed_by_day => {
                add(Severity::Warning, format!("a newer one was due at {end}"));
            }
            _ if it.expires <= now => add(Severity::Critical, format!("it expired at {end}")),
            days if days < DAYS_LEFT_FEW && !is_renewed_by_day => {
                let severity = if days < DAYS_LEFT_NONE { Severity::Critical } else { Severity::Warning };
                add(severity, format!("it expires in {}, at {end}", counted(days, "day")));
            }
            _ => {}
        }
    }

    fn upstream(&mut self, it: &Upstream) {
        let mut add = |severity, text: String| self.add(severity, Kind::Upstream, &it.name, text);
        if it.no_endpoint.per_second > 0.0 {
            let text =
                format!("{} requests get 503: no endpoint to choose", per_second(it.no_endpoint.per_second));
            add(Severity::Critical, text);
        } else if it.endpoints_usable == 0 {
            add(Severity::Warning, "no endpoint takes requests".to_owned());
        }
        let refused = per_second(it.breaker_refused.per_second);
        match &*it.breaker {
            _ if it.breaker_refused.per_second > 0.0 => {
                add(Severity::Critical, format!("{refused} requests get 503: its breaker is open"));
            }
            "open" => add(Severity::Critical, "its breaker is open: nothing is sent".to_owned()),
            "half_open" => {
                add(Severity::Warning, "its breaker is half open: only probes are sent".to_owned())
            }
            _ => {}
        }
        if it.full.per_second > 0.0 {
            let full = per_second(it.full.per_second);
            add(Severity::Critical, format!("{full} requests get 503: there are requests_max of them"));
        }
        if it.requests_waiting > 0 || it.waited.per_second > 0.0 {
            let text = format!(
                "requests wait for a place ({}, {} now)",
                per_second(it.waited.per_second),
                it.requests_waiting
            );
            add(Severity::Warning, text);
        }
        if it.panic {
            add(Severity::Critical, "too few endpoints are up: all are used, up or down".to_owned());
        }
    }

    fn endpoint(&mut self, it: &Endpoint) {
        let interval = self.state.interval_seconds;
        let mut add = |severity, text: String| self.add(severity, Kind::Endpoint, &it.full_name(), text);
        match it.health {
            Health::Down if it.down_reason.is_empty() => {
                add(Severity::Warning, "it was not checked yet".to_owned());
            }
            Health::Down => add(Severity::Warning, format!("its checks fail: {}", it.down_reason)),
            Health::Ejected => {
                let text = format!("it is ejected for {} s more: {}", it.ejected_seconds, it.down_reason);
                add(Severity::Warning, text);
            }
            Health::Unresolved => add(Severity::Warning, "its name has no address".to_owned()),
            Health::Suspended => {
                let text = "its responses get out of step: connections are not reused for a while";
                add(Severity::Warning, text.to_owned());
            }
            Health::Ok | Health::Drained | Health::Unknown => {}
        }
        let failed: f64 = it.failures.values().map(|rate| rate.per_second).sum();
        if let Some(severity) = severity(it.failure_ratio, failed * interval) {
            let share = percent(it.failure_ratio.unwrap_or_default());
            let text = format!("{share} of attempts fail{}", mostly(&it.failures));
            add(severity, text);
        }
    }

    fn route(&mut self, it: &Route) {
        // Maintenance is meant to be answered with 503.
        let meant = it.failures.get(Reason::Maintenance.name()).map_or(0.0, |rate| rate.per_second);
        let errors = (it.responses.of_5xx.per_second - meant).max(0.0);
        let ratio = it.error_ratio.filter(|_| errors > 0.0);
        if let Some(severity) = severity(ratio, errors * self.state.interval_seconds) {
            let share = percent(ratio.unwrap_or_default());
            let text = format!("{share} are 5xx ({}){}", per_second(errors), cause(it, errors));
            self.add(severity, Kind::Route, &it.name, text);
        }
    }
}

/// Why most of a route's answers are 5xx, as far as its reasons tell.
fn cause(it: &Route, errors: f64) -> String {
    let own = it.failures.iter().filter(|(reason, _)| SERVER_REASONS.iter().any(|it| it.name() == **reason));
    let own: Reasons = own.map(|(reason, rate)| (reason.clone(), *rate)).collect();
    let explained: f64 = own.values().map(|rate| rate.per_second).sum();
    let failed: f64 = it.failures.values().map(|rate| rate.per_second).sum();
    if explained >= errors / 2.0 {
        mostly(&own)
    } else if failed < errors / 2.0 {
        ": the upstream's own answers".to_owned()
    } else {
        String::new()
    }
}

/// Reasons that end in a 5xx, whoever is at fault.
const SERVER_REASONS: [Reason; 16] = [
    Reason::ConnectFailed,
    Reason::ConnectTimeout,
    Reason::UpstreamClosed,
    Reason::UpstreamSendTimeout,
    Reason::ResponseHeadTimeout,
    Reason::ResponseBodyTimeout,
    Reason::RequestTimeout,
    Reason::NoEndpoint,
    Reason::NoHealthyEndpoint,
    Reason::EndpointsFull,
    Reason::UpstreamFull,
    Reason::BreakerOpen,
    Reason::QueueFull,
    Reason::QueueTimeout,
    Reason::DescriptorsExhausted,
    Reason::DrainTimeout,
];

/// How bad it is that this share of something fails, so many times in the interval.
fn severity(share: Option<f64>, failures: f64) -> Option<Severity> {
    let share = share.filter(|share| *share >= SHARE_SEEN)?;
    let is_broken = share >= SHARE_BROKEN && failures >= FAILURES_MANY;
    Some(if is_broken { Severity::Critical } else { Severity::Warning })
}

/// The reason that there is most of now.
fn mostly(reasons: &Reasons) -> String {
    let most = reasons.iter().max_by(|(_, a), (_, b)| a.per_second.total_cmp(&b.per_second));
    let most = most.filter(|(_, rate)| rate.per_second > 0.0);
    most.map_or_else(String::new, |(reason, rate)| format!(": {reason} {}", per_second(rate.per_second)))
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 10.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

fn per_second(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

fn counted(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Rate, Reload};

    fn rate(per_second: f64) -> Rate {
        Rate { total: 1000, per_second }
    }

    /// What is told of a state, in which everything is well but for what is set.
    fn told(state: State) -> Vec<String> {
        let state = State { phase: Phase::Serving, interval_seconds: 5.0, ..state };
        let line = |it: Problem| format!("{:?} {} {}: {}", it.severity, it.kind.name(), it.name, it.text);
        of(&state).0.into_iter().map(line).collect()
    }

    fn route(fives: f64, all: f64, failures: &[(&str, f64)]) -> State {
        let failures = failures.iter().map(|(reason, per_second)| ((*reason).to_owned(), rate(*per_second)));
        let mut route = Route { name: "api".into(), failures: failures.collect(), ..Route::default() };
        route.responses.of_5xx = rate(fives);
        route.responses.of_2xx = rate(all - fives);
        route.error_ratio = Some(fives / all);
        State { routes: vec![route], ..State::default() }
    }

    #[test]
    fn nothing_is_told_of_a_proxy_that_is_well() {
        let endpoint = Endpoint { health: Health::Ok, failure_ratio: Some(0.009), ..Endpoint::default() };
        let upstream = Upstream { endpoints: 1, endpoints_usable: 1, ..Upstream::default() };
        let listener = Listener { connections: 899, connections_max: 1000, ..Listener::default() };
        let state = State {
            workers: vec![Worker::default()],
            workers_running: 1,
            listeners: vec![listener],
            upstreams: vec![upstream],
            endpoints: vec![endpoint, Endpoint { health: Health::Drained, ..Endpoint::default() }],
            ..route(0.9, 100.0, &[])
        };
        assert_eq!(told(state), [""; 0]);
    }

    #[test]
    fn errors_of_a_route_have_a_cause_and_a_size() {
        for (state, line) in [
            (
                route(9.0, 12.0, &[("connect_failed", 6.0), ("client_gone", 50.0)]),
                "Critical route api: 75 % are 5xx (9.0/s): connect_failed 6.0/s",
            ),
            (
                route(20.0, 1000.0, &[("client_gone", 1.0)]),
                "Warning route api: 2.0 % are 5xx (20/s): the upstream's own answers",
            ),
            (route(2.0, 4.0, &[("length_invalid", 2.0)]), "Critical route api: 50 % are 5xx (2.0/s)"),
            // One of three in five seconds.
            (route(0.2, 0.6, &[]), "Warning route api: 33 % are 5xx (0.2/s): the upstream's own answers"),
        ] {
            assert_eq!(told(state), [line]);
        }
        assert_eq!(told(route(9.0, 9.0, &[("maintenance", 9.0)])), [""; 0]);
    }

    #[test]
    fn certificates_are_told_of_before_they_end() {
        let now = 1_800_000_000;
        let certificate = |expires: u64, problem: &str| Certificate {
            listener: "web".into(),
            file: "a.pem".to_owned(),
            expires,
            problem: problem.to_owned(),
            ..Certificate::default()
        };
        let told_of = |it| told(State { time: now as f64, certificates: vec![it], ..State::default() });
        assert_eq!(told_of(certificate(now + 14 * 86_400, "")), [""; 0]);
        for (expires, problem, lines) in [
            (
                now + 14 * 86_400 - 1,
                "",
                ["Warning listener web: certificate a.pem: it expires in 13 days, at 2027-01-29T07:59:59Z"],
            ),
            (
                now + 86_400,
                "",
                ["Critical listener web: certificate a.pem: it expires in 1 day, at 2027-01-16T08:00:00Z"],
            ),
            (now, "", ["Critical listener web: certificate a.pem: it expired at 2027-01-15T08:00:00Z"]),
            (0, "x", ["Critical listener web: certificate a.pem: it cannot be used, it is left out: x"]),
            (
                u64::MAX,
                "x",
                ["Warning listener web: certificate a.pem: it cannot be used, the one before it serves: x"],
            ),
        ] {
            assert_eq!(told_of(certificate(expires, problem)), lines);
        }
    }

    #[test]
    fn endpoints_that_fail_are_named_with_their_upstream() {
        let endpoint = |health, failures: Reasons, failure_ratio| Endpoint {
            upstream: "app".into(),
            endpoint: "10.0.0.1:80".into(),
            health,
            failures,
            failure_ratio,
            ..Endpoint::default()
        };
        let refused = Reasons::from([("connect_failed".into(), rate(12.0)), ("x".into(), rate(0.0))]);
        let endpoints = vec![
            endpoint(Health::Unresolved, Reasons::new(), None),
            endpoint(Health::Ok, refused, Some(1.0)),
            endpoint(Health::Suspended, Reasons::new(), Some(0.0)),
            Endpoint {
                ejected_seconds: 7,
                down_reason: "failures in a row: connect_failed".into(),
                ..endpoint(Health::Ejected, Reasons::new(), None)
            },
        ];
        let at = |name: &str, breaker: &str| Upstream {
            name: name.into(),
            breaker: breaker.to_owned(),
            ..Upstream::default()
        };
        let upstreams = vec![
            Upstream { name: "app".into(), endpoints_usable: 1, ..Upstream::default() },
            Upstream { name: "b".into(), no_endpoint: rate(3.0), ..Upstream::default() },
            Upstream { name: "c".into(), ..Upstream::default() },
            Upstream { endpoints_usable: 1, requests_waiting: 2, full: rate(2.0), ..at("d", "half_open") },
            Upstream { endpoints_usable: 1, ..at("e", "open") },
            Upstream { endpoints_usable: 1, breaker_refused: rate(4.0), ..at("f", "half_open") },
            Upstream { endpoints_usable: 1, ..at("g", "closed") },
        ];
        assert_eq!(
            told(State { endpoints, upstreams, ..State::default() }),
            [
                "Critical upstream b: 3.0/s requests get 503: no endpoint to choose",
                "Critical upstream d: 2.0/s requests get 503: there are requests_max of them",
                "Critical upstream e: its breaker is open: nothing is sent",
                "Critical upstream f: 4.0/s requests get 503: its breaker is open",
                "Critical endpoint app 10.0.0.1:80: 100 % of attempts fail: connect_failed 12/s",
                "Warning upstream c: no endpoint takes requests",
                "Warning upstream d: its breaker is half open: only probes are sent",
                "Warning upstream d: requests wait for a place (0.0/s, 2 now)",
                "Warning endpoint app 10.0.0.1:80: its name has no address",
                "Warning endpoint app 10.0.0.1:80: its responses get out of step: connections are not reused for a while",
                "Warning endpoint app 10.0.0.1:80: it is ejected for 7 s more: failures in a row: connect_failed",
            ]
        );
    }

    #[test]
    fn the_process_its_workers_and_listeners_are_looked_at() {
        let worker =
            Worker { name: "1".into(), task_panics: rate(0.0), cpu_ratio: Some(0.97), ..Worker::default() };
        let busy = Worker { accept_pauses: rate(1.0), log_dropped: rate(20.0), ..Worker::default() };
        let listener = |connections| Listener {
            name: "web".into(),
            connections,
            connections_max: 10,
            ..Listener::default()
        };
        let full = Listener { waited: rate(1.0), refused: rate(0.5), ..listener(10) };
        let state = State {
            last_reload: Reload { time: 1, errors: 2 },
            lookups_failed: rate(1.0),
            log_lost: rate(100.0),
            export_failures: rate(0.2),
            workers_running: 1,
            open_fds: 900,
            max_fds: 1000,
            workers: vec![worker, Worker { name: "2".into(), ..busy }],
            listeners: vec![full, listener(9)],
            ..State::default()
        };
        assert_eq!(
            told(state),
            [
                "Critical process : 1 of 2 workers have failed: restart; the log says why",
                "Critical process : 100/s access-log records cannot be written",
                "Critical worker 1: 1000 panics: a bug in Corelane, see the log",
                "Critical worker 2: accepting pauses: out of file descriptors or memory (LimitNOFILE)",
                "Critical listener web: clients wait: connections_max (10) are open",
                "Warning process : the last reload was refused with 2 errors: what is on disk is not what serves",
                "Warning process : 900 of 1000 file descriptors are open (LimitNOFILE)",
                "Warning process : exports of spans fail; 0.0/s are lost",
                "Warning process : lookups of host names fail; earlier answers still hold",
                "Warning worker 1: its core is busy for 97 % of the time",
                "Warning worker 2: 20/s access-log records are dropped: the log's writer is behind",
                "Warning listener web: 0.5/s connections refused: their clients have client_connections_max",
                "Warning listener web: 9 of 10 connections are open",
            ]
        );
    }

    #[test]
    fn the_list_has_an_end() {
        let endpoint = Endpoint { health: Health::Unresolved, ..Endpoint::default() };
        let state = State { endpoints: vec![endpoint; PROBLEMS_MAX + 7], ..State::default() };
        let (problems, left_out) = of(&state);
        assert_eq!((problems.len(), left_out), (PROBLEMS_MAX, 7));
    }
}
