//! What the counters say now: a [`State`] with totals only.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_engine::ThreadClock;
use corelane_engine::counters::{Cell, PerWorker, Tally, WorkerCounters};
use corelane_engine::reason::Word;
use corelane_engine::snapshot::{self, Snapshot};

use super::{
    Certificate, Endpoint, Health, Listener, Phase, Quantiles, Rate, Reasons, Reload, Responses, Route,
    State, Upstream, Worker,
};
use crate::config::Target;
use crate::health::{Healths, State as Standing};
use crate::metrics::{self, process};
use crate::status::{self, Status};
use crate::syslog::machine_name;

/// Reads every counter once.
pub(super) fn take(status: &Status) -> State {
    let now = SystemTime::now();
    let reload = status.last_reload.get();
    let mut state = State {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: machine_name(),
        pid: std::process::id(),
        phase: match status.phase.get() {
            status::Phase::Starting => Phase::Starting,
            status::Phase::Serving => Phase::Serving,
            status::Phase::Draining => Phase::Draining,
        },
        time: seconds(now),
        started: seconds(status.started),
        generation: status.generation.get(),
        last_reload: Reload { time: metrics::unix_seconds(reload.at), errors: reload.errors },
        snapshots_alive: status.snapshots_alive(),
        lookups_failed: Rate::of(status.lookups_failed.get()),
        log_lost: Rate::of(status.log_writer.lost_records.load(Ordering::Relaxed)),
        spans_lost: Rate::of(spans_lost(status)),
        export_failures: Rate::of(status.traces.failures.get()),
        resident_bytes: process::resident_bytes().unwrap_or_default(),
        open_fds: process::open_descriptors().unwrap_or_default(),
        max_fds: process::descriptors_max().unwrap_or_default(),
        workers_running: status.workers.get(),
        ..State::default()
    };
    state.certificates = status.certificates.all().iter().map(Certificate::of).collect();
    // Without a worker there is nothing to tell.
    if let Some((config, snapshot)) = status.newest() {
        state.workers = workers(status, &snapshot);
        state.listeners = snapshot.listeners.iter().map(listener).collect();
        state.routes = snapshot.routes.iter().map(|it| route(it, &snapshot)).collect();
        for (upstream, configured) in snapshot.upstreams.iter().zip(&config.upstreams) {
            add_upstream(&mut state, upstream, &unresolved(configured, status), &status.healths);
        }
    }
    state
}

/// Those that the exporter was not given count, too.
fn spans_lost(status: &Status) -> u64 {
    status.traces.lost.get().wrapping_add(sum(&status.registry.borrow().workers, |it| &it.spans_dropped))
}

fn workers(status: &Status, snapshot: &Snapshot) -> Vec<Worker> {
    let clocks = status.worker_clocks.borrow();
    let of = |(number, own): (usize, &WorkerCounters)| {
        let mut worker = Worker {
            name: number.to_string(),
            cpu_ns: clocks.get(number).copied().flatten().map(ThreadClock::cpu_ns),
            requests: Rate::of(own.requests.value()),
            connections: own.connections.value(),
            log_dropped: Rate::of(own.log_dropped.value()),
            accept_pauses: Rate::of(own.accept_paused.value()),
            task_panics: Rate::of(own.tasks_panicked.value()),
            ..Worker::default()
        };
        for counters in snapshot.listeners.iter().map(|it| it.counters.of(number)) {
            worker.connections_active += counters.connections_active.value();
            worker.received_bytes.add(&counters.received_bytes);
            worker.sent_bytes.add(&counters.sent_bytes);
        }
        worker
    };
    status.registry.borrow().workers.iter().enumerate().map(of).collect()
}

fn listener(it: &snapshot::Listener) -> Listener {
    let counters = &it.counters;
    Listener {
        name: it.name.clone(),
        address: it.address.to_string(),
        connections: sum(counters, |it| &it.connections),
        connections_active: sum(counters, |it| &it.connections_active),
        connections_max: it.limits.connections_max,
        tunnels: sum(counters, |it| &it.tunnels),
        accepted: count(counters, |it| &it.connections_total),
        waited: count(counters, |it| &it.connections_waited),
        refused: count(counters, |it| &it.connections_refused),
        requests: count(counters, |it| &it.requests),
        bad_requests: count(counters, |it| &it.bad_requests),
        client_aborts: count(counters, |it| &it.client_aborts),
        received_bytes: count(counters, |it| &it.received_bytes),
        sent_bytes: count(counters, |it| &it.sent_bytes),
        failures: reasons(counters, |it| &it.failures),
        suspicious: reasons(counters, |it| &it.suspicious),
    }
}

fn route(it: &snapshot::Route, snapshot: &Snapshot) -> Route {
    let counters = &it.counters;
    Route {
        name: it.name.clone(),
        upstreams: it.action.upstreams().map(|index| snapshot.upstreams[index].name.clone()).collect(),
        requests: count(counters, |it| &it.requests),
        responses: Responses {
            of_2xx: count(counters, |it| &it.responses_2xx),
            of_3xx: count(counters, |it| &it.responses_3xx),
            of_4xx: count(counters, |it| &it.responses_4xx),
            of_5xx: count(counters, |it| &it.responses_5xx),
        },
        duration: Quantiles::sample(counters, |it| it.histograms.get().map(|it| &it.duration)),
        response_head: Quantiles::sample(counters, |it| it.histograms.get().map(|it| &it.response_head)),
        failures: reasons(counters, |it| &it.failures),
        ..Route::default()
    }
}

/// Names of endpoints, with their ports and weights, that have no address now.
fn unresolved(configured: &crate::config::Upstream, status: &Status) -> Vec<(Arc<str>, u32)> {
    let names = status.names_unresolved.borrow();
    let unresolved = configured.endpoints.iter().filter_map(|it| match &it.target {
        Target::Name { host, .. } if names.contains(host) => Some((it.target.to_string().into(), it.weight)),
        _ => None,
    });
    unresolved.collect()
}

fn add_upstream(
    state: &mut State,
    it: &snapshot::Upstream,
    unresolved: &[(Arc<str>, u32)],
    healths: &Healths,
) {
    let first = state.endpoints.len();
    state.endpoints.extend(it.endpoints.iter().map(|endpoint| self::endpoint(it, endpoint, healths)));
    state.endpoints.extend(unresolved.iter().map(|(name, weight)| Endpoint {
        upstream: it.name.clone(),
        endpoint: name.clone(),
        weight: *weight,
        health: Health::Unresolved,
        ..Endpoint::default()
    }));
    let endpoints = &state.endpoints[first..];
    let all = |of: fn(&Endpoint) -> u64| endpoints.iter().map(of).fold(0, u64::wrapping_add);
    state.upstreams.push(Upstream {
        name: it.name.clone(),
        policy: it.group.policy().name().to_owned(),
        endpoints: endpoints.len(),
        panic: healths.is_panic(&it.name),
        endpoints_usable: endpoints.iter().filter(|it| it.health.is_usable()).count(),
        breaker: it.breaker.as_ref().map_or("", |breaker| breaker.shared.state().name()).to_owned(),
        requests: count(&it.counters, |it| &it.requests),
        breaker_refused: count(&it.counters, |it| &it.refused_breaker),
        full: count(&it.counters, |it| &it.refused_full),
        requests_active: all(|it| it.requests_active),
        retries: count(&it.counters, |it| &it.retries),
        no_endpoint: count(&it.counters, |it| &it.no_endpoint),
        requests_waiting: sum(&it.counters, |it| &it.waiting),
        waited: count(&it.counters, |it| &it.waited),
        connect: Quantiles::sample(&it.counters, |it| it.histograms.get().map(|it| &it.connect)),
        response_head: Quantiles::sample(&it.counters, |it| it.histograms.get().map(|it| &it.response_head)),
        duration: Quantiles::sample(&it.counters, |it| it.histograms.get().map(|it| &it.duration)),
        connections_idle: all(|it| it.connections_idle),
        ..Upstream::default()
    });
}

fn endpoint(upstream: &snapshot::Upstream, it: &snapshot::Endpoint, healths: &Healths) -> Endpoint {
    let counters = &it.counters;
    let health = healths.state(&upstream.name, &it.address);
    let ejections = health.as_ref().and_then(|health| health.ejections).unwrap_or_default();
    let down = health.filter(|health| !health.is_up());
    let is_ejected = down.as_ref().is_some_and(Standing::is_ejected);
    Endpoint {
        upstream: upstream.name.clone(),
        endpoint: it.label.clone(),
        weight: it.weight,
        health: match () {
            () if it.weight == 0 => Health::Drained,
            () if is_ejected => Health::Ejected,
            () if down.is_some() => Health::Down,
            () if sum(counters, |it| &it.reuse_suspended) > 0 => Health::Suspended,
            () => Health::Ok,
        },
        down_reason: down.as_ref().map_or_else(String::new, Standing::reason),
        ejected_seconds: down.and_then(|it| it.ejected).map_or(0, |it| it.left.as_secs() + 1),
        ejections: Rate::of(ejections.by_row + ejections.by_rate),
        requests: count(counters, |it| &it.requests),
        requests_active: sum(counters, |it| &it.outstanding),
        requests_max: it.limit.as_ref().map_or(0, |limit| limit.requests_max),
        connects: count(counters, |it| &it.connects),
        connect_failures: count(counters, |it| &it.connect_failures),
        connect_timeouts: count(counters, |it| &it.connect_timeouts),
        reused: count(counters, |it| &it.reused),
        stale: count(counters, |it| &it.stale),
        connections_idle: sum(counters, |it| &it.idle),
        connections: it.connections.as_ref().map(|limit| limit.open.count()),
        connections_max: it.connections.as_ref().map_or(0, |limit| limit.connections_max),
        failures: reasons(counters, |it| &it.failures),
        received_bytes: count(counters, |it| &it.received_bytes),
        sent_bytes: count(counters, |it| &it.sent_bytes),
        ..Endpoint::default()
    }
}

/// The sum of one cell over the workers.
fn sum<T>(counters: &PerWorker<T>, cell: impl Fn(&T) -> &Cell) -> u64 {
    counters.iter().fold(0, |sum: u64, counters| sum.wrapping_add(cell(counters).value()))
}

/// [`sum`] of a counter.
fn count<T>(counters: &PerWorker<T>, cell: impl Fn(&T) -> &Cell) -> Rate {
    Rate::of(sum(counters, cell))
}

/// What a tally has counted, over the workers.
fn reasons<T, W: Word>(counters: &PerWorker<T>, tally: impl Fn(&T) -> &Tally<W>) -> Reasons {
    counters.tally_of(tally).into_iter().map(|(word, total)| (word.into(), Rate::of(total))).collect()
}

impl Rate {
    fn of(total: u64) -> Self {
        Self { total, per_second: 0.0 }
    }

    fn add(&mut self, cell: &Cell) {
        self.total = self.total.wrapping_add(cell.value());
    }
}

/// Since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
