//! The tables: which columns each has, and what stands in them.

use std::collections::HashMap;

use corelane_control::state::{
    Endpoint, Health, Kind, Listener, Problem, Reasons, Route, Severity, State, Upstream, Worker,
};

use super::figures::{count, number, seconds, share};

/// What a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Routes,
    Upstreams,
    Endpoints,
    Listeners,
    Workers,
}

impl Pane {
    /// In the order of their keys.
    pub(super) const ALL: [Self; 5] =
        [Self::Routes, Self::Upstreams, Self::Endpoints, Self::Listeners, Self::Workers];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Routes => "Routes",
            Self::Upstreams => "Upstreams",
            Self::Endpoints => "Endpoints",
            Self::Listeners => "Listeners",
            Self::Workers => "Workers",
        }
    }

    /// The problems that are about its rows.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Routes => Kind::Route,
            Self::Upstreams => Kind::Upstream,
            Self::Endpoints => Kind::Endpoint,
            Self::Listeners => Kind::Listener,
            Self::Workers => Kind::Worker,
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Routes => ROUTES,
            Self::Upstreams => UPSTREAMS,
            Self::Endpoints => ENDPOINTS,
            Self::Listeners => LISTENERS,
            Self::Workers => WORKERS,
        }
    }

    /// A row for each thing, in the order of the configuration.
    pub(super) fn rows(self, state: &State) -> Vec<Row> {
        let marks = Marks::new(&state.problems, self.kind());
        let row = |name: String, cells: Vec<Cell>| Row { mark: marks.of(&name), name, cells };
        match self {
            Self::Routes => state.routes.iter().map(|it| row(it.name.to_string(), route(it))).collect(),
            Self::Upstreams => {
                state.upstreams.iter().map(|it| row(it.name.to_string(), upstream(it))).collect()
            }
            Self::Endpoints => state.endpoints.iter().map(|it| row(it.full_name(), endpoint(it))).collect(),
            Self::Listeners => {
                state.listeners.iter().map(|it| row(it.name.to_string(), listener(it))).collect()
            }
            Self::Workers => state.workers.iter().map(|it| row(it.name.clone(), worker(it))).collect(),
        }
    }

    /// How many rows it has.
    pub(super) fn len(self, state: &State) -> usize {
        match self {
            Self::Routes => state.routes.len(),
            Self::Upstreams => state.upstreams.len(),
            Self::Endpoints => state.endpoints.len(),
            Self::Listeners => state.listeners.len(),
            Self::Workers => state.workers.len(),
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// What its figures take. Names are as wide as there is room, and at least this.
    pub(super) width: u16,
    /// Names on the left, figures on the right.
    pub(super) is_name: bool,
    /// Where there is no room, the columns with the greatest number go first.
    pub(super) rank: u8,
}

const fn name(title: &'static str, width: u16, rank: u8) -> Column {
    Column { title, width, is_name: true, rank }
}

const fn figure(title: &'static str, width: u16, rank: u8) -> Column {
    Column { title, width, is_name: false, rank }
}

const ROUTES: &[Column] = &[
    name("ROUTE", 16, 0),
    figure("REQ/S", 6, 0),
    figure("2XX/S", 6, 5),
    figure("3XX/S", 6, 6),
    figure("4XX/S", 6, 3),
    figure("5XX/S", 6, 2),
    figure("5XX%", 5, 0),
    figure("P50", 5, 0),
    figure("P99", 5, 0),
    figure("TOTAL", 7, 4),
    name("UPSTREAM", 12, 1),
    name("REASON", 22, 7),
];

const UPSTREAMS: &[Column] = &[
    name("UPSTREAM", 16, 0),
    figure("UP", 5, 0),
    figure("REQ/S", 6, 0),
    figure("ACTIVE", 6, 1),
    figure("FAIL%", 5, 0),
    figure("RETRY/S", 7, 2),
    figure("503/S", 6, 3),
    figure("P50", 5, 0),
    figure("P99", 5, 0),
    figure("REUSE", 5, 2),
    figure("IDLE", 5, 4),
    figure("TOTAL", 7, 5),
    name("POLICY", 17, 6),
];

const ENDPOINTS: &[Column] = &[
    name("UPSTREAM", 12, 0),
    name("ENDPOINT", 18, 0),
    name("HEALTH", 10, 0),
    figure("WEIGHT", 6, 5),
    figure("REQ/S", 6, 0),
    figure("ACTIVE", 6, 1),
    figure("FAIL%", 5, 0),
    figure("OPEN/S", 6, 4),
    figure("REUSE", 5, 3),
    figure("IDLE", 5, 6),
    name("REASON", 22, 7),
];

const LISTENERS: &[Column] = &[
    name("LISTENER", 10, 0),
    name("ADDRESS", 15, 1),
    figure("CONNS", 6, 0),
    figure("ACTIVE", 6, 0),
    figure("NEW/S", 6, 2),
    figure("REQ/S", 6, 0),
    figure("BAD/S", 6, 1),
    figure("GONE/S", 6, 3),
    figure("IN B/S", 7, 4),
    figure("OUT B/S", 7, 3),
    figure("TUNNELS", 7, 6),
    name("REASON", 22, 7),
];

const WORKERS: &[Column] = &[
    name("WORKER", 6, 0),
    figure("CPU", 5, 0),
    figure("REQ/S", 6, 0),
    figure("CONNS", 6, 0),
    figure("ACTIVE", 6, 0),
    figure("IN B/S", 7, 0),
    figure("OUT B/S", 7, 0),
    figure("LOG DROP/S", 10, 1),
    figure("PAUSES/S", 8, 2),
    figure("TOTAL", 7, 3),
];

/// One thing.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// As problems name it.
    pub(super) name: String,
    /// The worst problem that it has.
    pub(super) mark: Option<Severity>,
    /// One for each column.
    pub(super) cells: Vec<Cell>,
}

/// One figure or word of a [`Row`].
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    /// What rows are sorted by; words by their text.
    pub(super) value: Option<f64>,
    pub(super) tone: Tone,
}

/// How a cell looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Nothing to see.
    Quiet,
    Good,
    Warning,
    Bad,
}

fn word(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), value: None, tone: Tone::Plain }
}

fn cell(text: String, value: f64) -> Cell {
    let tone = if value == 0.0 { Tone::Quiet } else { Tone::Plain };
    Cell { text, value: Some(value), tone }
}

fn rate(value: f64) -> Cell {
    cell(number(value), value)
}

fn total(value: u64) -> Cell {
    cell(count(value), value as f64)
}

fn time(time: Option<f64>) -> Cell {
    let tone = if time.is_none() { Tone::Quiet } else { Tone::Plain };
    Cell { text: seconds(time), value: Some(time.unwrap_or(-1.0)), tone }
}

/// A share that is neither good nor bad. Absent: below all.
fn plain_share(ratio: Option<f64>) -> Cell {
    let tone = if ratio.is_none() { Tone::Quiet } else { Tone::Plain };
    Cell { text: share(ratio), value: Some(ratio.unwrap_or(-1.0)), tone }
}

/// A share that ought to be nothing.
fn bad_share(ratio: Option<f64>) -> Cell {
    let tone = match ratio {
        Some(0.1..) => Tone::Bad,
        Some(0.01..) => Tone::Warning,
        Some(ratio) if ratio > 0.0 => Tone::Plain,
        _ => Tone::Quiet,
    };
    Cell { tone, ..plain_share(ratio) }
}

/// A rate that ought to be nothing.
fn bad_rate(value: f64) -> Cell {
    let tone = if value > 0.0 { Tone::Warning } else { Tone::Quiet };
    Cell { tone, ..rate(value) }
}

/// What there is most of now, with how often.
fn reason(reasons: &Reasons) -> Cell {
    let most = reasons.iter().max_by(|(_, a), (_, b)| a.per_second.total_cmp(&b.per_second));
    let most = most.filter(|(_, rate)| rate.per_second > 0.0);
    word(most.map_or_else(String::new, |(reason, rate)| format!("{reason} {}/s", number(rate.per_second))))
}

fn route(it: &Route) -> Vec<Cell> {
    let responses = &it.responses;
    vec![
        word(&*it.name),
        rate(it.requests.per_second),
        rate(responses.of_2xx.per_second),
        rate(responses.of_3xx.per_second),
        rate(responses.of_4xx.per_second),
        bad_rate(responses.of_5xx.per_second),
        bad_share(it.error_ratio),
        time(it.duration.p50_seconds),
        time(it.duration.p99_seconds),
        total(it.requests.total),
        if it.upstreams.is_empty() {
            Cell { tone: Tone::Quiet, ..word("(itself)") }
        } else {
            word(it.upstreams.join(", "))
        },
        reason(&it.failures),
    ]
}

fn upstream(it: &Upstream) -> Vec<Cell> {
    let usable = it.endpoints_usable as f64;
    let tone = match it.endpoints_usable {
        0 => Tone::Bad,
        // Some may be drained on purpose, and those that are there may fail.
        some if some < it.endpoints || it.failure_ratio > Some(0.0) => Tone::Plain,
        _ => Tone::Good,
    };
    vec![
        word(&*it.name),
        Cell { text: format!("{}/{}", it.endpoints_usable, it.endpoints), value: Some(usable), tone },
        rate(it.requests.per_second),
        total(it.requests_active),
        bad_share(it.failure_ratio),
        bad_rate(it.retries.per_second),
        bad_rate(it.no_endpoint.per_second),
        time(it.duration.p50_seconds),
        time(it.duration.p99_seconds),
        plain_share(it.reuse_ratio),
        total(it.connections_idle),
        total(it.requests.total),
        word(&*it.policy),
    ]
}

fn endpoint(it: &Endpoint) -> Vec<Cell> {
    let tone = match it.health {
        // It takes requests; whether it answers them is another matter.
        Health::Ok if it.failure_ratio > Some(0.0) => Tone::Plain,
        Health::Ok => Tone::Good,
        Health::Drained => Tone::Quiet,
        Health::Down | Health::Ejected => Tone::Bad,
        Health::Suspended | Health::Unresolved | Health::Unknown => Tone::Warning,
    };
    vec![
        word(&*it.upstream),
        word(&*it.endpoint),
        Cell { tone, ..word(it.health.name()) },
        total(it.weight.into()),
        rate(it.requests.per_second),
        total(it.requests_active),
        bad_share(it.failure_ratio),
        rate(it.connects.per_second),
        plain_share(it.reuse_ratio),
        total(it.connections_idle),
        reason(&it.failures),
    ]
}

fn listener(it: &Listener) -> Vec<Cell> {
    vec![
        word(&*it.name),
        word(&*it.address),
        total(it.connections),
        total(it.connections_active),
        rate(it.accepted.per_second),
        rate(it.requests.per_second),
        rate(it.bad_requests.per_second),
        rate(it.client_aborts.per_second),
        rate(it.received_bytes.per_second),
        rate(it.sent_bytes.per_second),
        total(it.tunnels),
        reason(&it.failures),
    ]
}

fn worker(it: &Worker) -> Vec<Cell> {
    vec![
        word(&*it.name),
        plain_share(it.cpu_ratio),
        rate(it.requests.per_second),
        total(it.connections),
        total(it.connections_active),
        rate(it.received_bytes.per_second),
        rate(it.sent_bytes.per_second),
        bad_rate(it.log_dropped.per_second),
        bad_rate(it.accept_pauses.per_second),
        total(it.requests.total),
    ]
}

/// The worst problem of each thing of a kind.
struct Marks<'a>(HashMap<&'a str, Severity>);

impl<'a> Marks<'a> {
    fn new(problems: &'a [Problem], kind: Kind) -> Self {
        let mut marks = HashMap::new();
        for problem in problems.iter().filter(|problem| problem.kind == kind) {
            let mark = marks.entry(&*problem.name).or_insert(problem.severity);
            *mark = problem.severity.min(*mark);
        }
        Self(marks)
    }

    fn of(&self, name: &str) -> Option<Severity> {
        self.0.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        let state = State {
            routes: vec![Route::default()],
            upstreams: vec![Upstream::default()],
            endpoints: vec![Endpoint::default()],
            listeners: vec![Listener::default()],
            workers: vec![Worker::default()],
            ..State::default()
        };
        for pane in Pane::ALL {
            let rows = pane.rows(&state);
            assert_eq!((rows.len(), pane.len(&state)), (1, 1), "{pane:?}");
            assert_eq!(rows[0].cells.len(), pane.columns().len(), "{pane:?}");
            let words = rows[0].cells.iter().map(|cell| cell.value.is_none());
            assert!(words.eq(pane.columns().iter().map(|column| column.is_name)), "{pane:?}");
        }
    }

    #[test]
    fn a_row_has_the_worst_of_its_problems() {
        let problem =
            |kind, name: &str, severity| Problem { kind, name: name.into(), severity, text: String::new() };
        let problems = [
            problem(Kind::Route, "a", Severity::Warning),
            problem(Kind::Route, "a", Severity::Critical),
            problem(Kind::Upstream, "b", Severity::Critical),
        ];
        let route = |name: &str| Route { name: name.into(), ..Route::default() };
        let state =
            State { problems: problems.to_vec(), routes: vec![route("a"), route("b")], ..State::default() };
        let marks: Vec<_> = Pane::Routes.rows(&state).iter().map(|row| row.mark).collect();
        assert_eq!(marks, [Some(Severity::Critical), None]);
    }
}
