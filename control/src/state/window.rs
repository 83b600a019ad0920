//! What has happened since an earlier sample: figures per second, ratios, sums.

use std::collections::{HashMap, VecDeque};
use std::ops::Add;
use std::time::{Duration, Instant};

use super::{
    Endpoint, Listener, Quantiles, Rate, Reasons, Responses, Route, State, Totals, Upstream, Worker, problems,
};

/// The samples of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Window {
    samples: VecDeque<(Instant, State)>,
}

impl Window {
    /// Adds a sample. What is told compares it with the oldest one that is no older than [`SPAN`]; `None`: there is none.
    pub(super) fn push(&mut self, now: Instant, sample: State) -> Option<State> {
        while self.samples.front().is_some_and(|(then, _)| now.duration_since(*then) > SPAN) {
            self.samples.pop_front();
        }
        let told = self.samples.front().map(|(then, earlier)| {
            let mut state = sample.clone();
            state.since(earlier, now.duration_since(*then).as_secs_f64());
            (state.problems, state.problems_left_out) = problems::of(&state);
            state
        });
        self.samples.push_back((now, sample));
        told
    }
}

/// Short enough to follow what one does, long enough to read it. A little more than five sampling times, which may be late.
const SPAN: Duration = Duration::from_millis(5_500);

/// The rates of these fields, from those of an earlier sample.
macro_rules! since {
    ($now:expr, $before:expr, $seconds:expr; $($field:ident)+) => {
        $($now.$field = $now.$field.since($before.$field, $seconds);)+
    };
}

impl State {
    fn since(&mut self, before: &Self, seconds: f64) {
        self.interval_seconds = rounded(seconds);
        since!(self, before, seconds; lookups_failed log_lost spans_lost export_failures);
        each_since(&mut self.workers, &before.workers, seconds);
        each_since(&mut self.listeners, &before.listeners, seconds);
        each_since(&mut self.routes, &before.routes, seconds);
        each_since(&mut self.upstreams, &before.upstreams, seconds);
        each_since(&mut self.endpoints, &before.endpoints, seconds);
        let mut endpoints: HashMap<&str, Vec<&Endpoint>> = HashMap::new();
        for endpoint in &self.endpoints {
            endpoints.entry(&endpoint.upstream).or_default().push(endpoint);
        }
        for upstream in &mut self.upstreams {
            upstream.sum(endpoints.get(&*upstream.name).map_or(&[], Vec::as_slice));
        }
        self.totals = Totals::of(&self.listeners, &self.routes);
    }
}

/// Something with counters.
trait Counted {
    /// What it keeps over a reload.
    fn key(&self) -> (&str, &str);

    /// Works out the figures over the seconds since `before`.
    fn since(&mut self, before: &Self, seconds: f64);
}

/// Those that were not there before begin with nothing.
fn each_since<T: Counted + Default>(now: &mut [T], before: &[T], seconds: f64) {
    let before: HashMap<_, _> = before.iter().map(|it| (it.key(), it)).collect();
    let nothing = T::default();
    for it in now {
        let earlier = before.get(&it.key()).copied().unwrap_or(&nothing);
        it.since(earlier, seconds);
    }
}

impl Counted for Worker {
    fn key(&self) -> (&str, &str) {
        (&self.name, "")
    }

    fn since(&mut self, before: &Self, seconds: f64) {
        since!(self, before, seconds; requests received_bytes sent_bytes log_dropped accept_pauses task_panics);
        let cpu_ns = self.cpu_ns.zip(before.cpu_ns).map(|(now, before)| now.saturating_sub(before));
        self.cpu_ratio = cpu_ns.and_then(|cpu_ns| ratio(cpu_ns as f64 / 1e9, seconds));
    }
}

impl Counted for Listener {
    fn key(&self) -> (&str, &str) {
        (&self.name, "")
    }

    fn since(&mut self, before: &Self, seconds: f64) {
        since!(self, before, seconds; accepted waited refused requests bad_requests client_aborts);
        since!(self, before, seconds; received_bytes sent_bytes);
        reasons_since(&mut self.failures, &before.failures, seconds);
        reasons_since(&mut self.suspicious, &before.suspicious, seconds);
    }
}

impl Counted for Route {
    fn key(&self) -> (&str, &str) {
        (&self.name, "")
    }

    fn since(&mut self, before: &Self, seconds: f64) {
        since!(self, before, seconds; requests);
        since!(self.responses, before.responses, seconds; of_2xx of_3xx of_4xx of_5xx);
        self.error_ratio = self.responses.error_ratio();
        self.duration.since(&before.duration);
        self.response_head.since(&before.response_head);
        reasons_since(&mut self.failures, &before.failures, seconds);
    }
}

impl Counted for Upstream {
    fn key(&self) -> (&str, &str) {
        (&self.name, "")
    }

    fn since(&mut self, before: &Self, seconds: f64) {
        since!(self, before, seconds; requests retries no_endpoint breaker_refused full waited);
        self.connect.since(&before.connect);
        self.response_head.since(&before.response_head);
        self.duration.since(&before.duration);
    }
}

impl Counted for Endpoint {
    fn key(&self) -> (&str, &str) {
        (&self.upstream, &self.endpoint)
    }

    fn since(&mut self, before: &Self, seconds: f64) {
        since!(self, before, seconds; requests ejections connects connect_failures connect_timeouts reused stale);
        since!(self, before, seconds; received_bytes sent_bytes);
        reasons_since(&mut self.failures, &before.failures, seconds);
        self.reuse_ratio = ratio(self.reused.per_second, self.requests.per_second);
        self.failure_ratio = ratio(self.failed().per_second, self.attempts());
    }
}

impl Endpoint {
    fn failed(&self) -> Rate {
        self.failures.values().fold(Rate::default(), |sum, rate| sum + *rate)
    }

    /// Attempts per second; what could not be connected was not sent.
    fn attempts(&self) -> f64 {
        self.requests.per_second + self.connect_failures.per_second + self.connect_timeouts.per_second
    }
}

impl Upstream {
    /// What follows from its endpoints.
    fn sum(&mut self, endpoints: &[&Endpoint]) {
        let all = |of: fn(&Endpoint) -> f64| endpoints.iter().map(|it| of(it)).sum::<f64>();
        self.failures = endpoints.iter().fold(Rate::default(), |sum, it| sum + it.failed());
        self.failure_ratio = ratio(self.failures.per_second, all(Endpoint::attempts));
        self.reuse_ratio = ratio(all(|it| it.reused.per_second), all(|it| it.requests.per_second));
    }
}

impl Totals {
    fn of(listeners: &[Listener], routes: &[Route]) -> Self {
        let mut totals = Self::default();
        for it in listeners {
            totals.requests = totals.requests + it.requests;
            totals.connections += it.connections;
            totals.connections_active += it.connections_active;
            totals.received_bytes = totals.received_bytes + it.received_bytes;
            totals.sent_bytes = totals.sent_bytes + it.sent_bytes;
        }
        totals.responses = routes.iter().fold(Responses::default(), |sum, it| sum + it.responses);
        totals.error_ratio = totals.responses.error_ratio();
        totals.duration = Quantiles::over(routes.iter().map(|it| &it.duration));
        totals
    }
}

impl Responses {
    fn error_ratio(&self) -> Option<f64> {
        let all = self.classes().iter().map(|(_, rate)| rate.per_second).sum();
        ratio(self.of_5xx.per_second, all)
    }
}

impl Add for Responses {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            of_2xx: self.of_2xx + other.of_2xx,
            of_3xx: self.of_3xx + other.of_3xx,
            of_4xx: self.of_4xx + other.of_4xx,
            of_5xx: self.of_5xx + other.of_5xx,
        }
    }
}

impl Rate {
    fn since(self, before: Self, seconds: f64) -> Self {
        // Less than before: counters that began again, as of a route that was gone for a while.
        let count = self.total.checked_sub(before.total).unwrap_or(self.total);
        Self { per_second: rounded(count as f64 / seconds), ..self }
    }
}

impl Add for Rate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            total: self.total.wrapping_add(other.total),
            per_second: rounded(self.per_second + other.per_second),
        }
    }
}

fn reasons_since(now: &mut Reasons, before: &Reasons, seconds: f64) {
    for (reason, rate) in now {
        *rate = rate.since(before.get(reason).copied().unwrap_or_default(), seconds);
    }
}

/// A share, which is never above 1: an attempt may be counted a moment before it fails.
fn ratio(part: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| (part / of).min(1.0)).map(|ratio| (ratio * 1e4).round() / 1e4)
}

/// Three decimals are more than the counters know, and short.
fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(total: u64) -> Rate {
        Rate { total, per_second: 0.0 }
    }

    fn sample(requests: u64, fives: u64) -> State {
        let responses = Responses { of_2xx: of(requests - fives), of_5xx: of(fives), ..Responses::default() };
        let endpoint = Endpoint {
            upstream: "app".into(),
            endpoint: "a".into(),
            requests: of(requests),
            reused: of(requests / 2),
            connect_failures: of(fives),
            failures: Reasons::from([("connect_failed".into(), of(fives))]),
            ..Endpoint::default()
        };
        State {
            listeners: vec![Listener {
                name: "web".into(),
                requests: of(requests),
                connections: 3,
                connections_max: 10,
                ..Listener::default()
            }],
            routes: vec![Route { name: "all".into(), requests: of(requests), responses, ..Route::default() }],
            upstreams: vec![Upstream { name: "app".into(), endpoints_usable: 1, ..Upstream::default() }],
            endpoints: vec![endpoint],
            ..State::default()
        }
    }

    #[test]
    fn figures_are_over_the_last_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::default();
        let idle = Worker { cpu_ns: Some(500_000_000), ..Worker::default() };
        let first = State { workers: vec![idle], ..sample(1000, 0) };
        assert_eq!(window.push(at(0), first), None, "one sample says nothing of time");
        let busy = Worker { cpu_ns: Some(900_000_000), ..Worker::default() };
        let state = window.push(at(1), State { workers: vec![busy], ..sample(1100, 20) }).expect("two do");
        assert_eq!(state.workers[0].cpu_ratio, Some(0.4));
        assert_eq!(state.routes[0].requests, Rate { total: 1100, per_second: 100.0 });
        assert_eq!((state.interval_seconds, state.routes[0].error_ratio), (1.0, Some(0.2)));
        assert_eq!(state.totals.requests, Rate { total: 1100, per_second: 100.0 });
        assert_eq!((state.totals.connections, state.totals.error_ratio), (3, Some(0.2)));
        // 100 were sent and 20 were not.
        let endpoint = &state.endpoints[0];
        assert_eq!((endpoint.failure_ratio, endpoint.reuse_ratio), (Some(0.1667), Some(0.5)));
        assert_eq!(endpoint.failures["connect_failed"], Rate { total: 20, per_second: 20.0 });
        let upstream = &state.upstreams[0];
        assert_eq!((upstream.failure_ratio, upstream.reuse_ratio), (Some(0.1667), Some(0.5)));
        assert_eq!(upstream.failures, Rate { total: 20, per_second: 20.0 });
        assert_eq!(state.problems.len(), 3, "{:?}", state.problems);

        for second in 2..=6 {
            window.push(at(second), sample(1100, 20));
        }
        let state = window.push(at(7), sample(1600, 20)).expect("enough");
        assert_eq!(state.interval_seconds, 5.0, "from second 2 on");
        assert_eq!(state.totals.requests.per_second, 100.0);
        assert_eq!((state.totals.error_ratio, state.problems.len()), (Some(0.0), 0));

        let state = window.push(at(100), sample(1700, 20));
        assert_eq!(state, None, "nothing is known of the time between");
    }

    #[test]
    fn what_is_new_and_what_began_again_has_counted_from_nothing() {
        let start = Instant::now();
        let mut window = Window::default();
        window.push(start, State { routes: Vec::new(), ..sample(50, 0) });
        let state = window.push(start + Duration::from_secs(2), sample(40, 0)).expect("two samples");
        assert_eq!(state.routes[0].requests.per_second, 20.0, "a new route");
        assert_eq!(state.listeners[0].requests.per_second, 20.0, "40 is less than 50");
        assert_eq!(state.routes[0].error_ratio, Some(0.0));
        let state = window.push(start + Duration::from_secs(7), sample(40, 0)).expect("the one before");
        assert_eq!(
            (state.routes[0].error_ratio, state.endpoints[0].failure_ratio),
            (None, None),
            "nothing happened"
        );
    }
}
