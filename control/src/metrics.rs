//! The process in the Prometheus text exposition format, version 0.0.4.

use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_engine::counters::{CounterSet, Metric, MetricKind, PerWorker, WorkerCounters};
use corelane_engine::histogram::{Distribution, Unit};

use crate::health::{Healths, Standing, State};
use crate::status::{Phase, Status};

/// What a scraper is told that it gets.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric of the process, each family once with its HELP and TYPE.
pub(crate) fn render(status: &Status) -> String {
    let mut page = Page(String::new());
    process(&mut page, status);
    let registry = status.registry.borrow();
    workers(&mut page, &registry.workers);
    page.sets(
        "corelane_listener",
        registry.listeners.iter().map(|(name, it)| (labels(&[("listener", name)]), it)),
    );
    page.sets("corelane_route", registry.routes.iter().map(|(name, it)| (labels(&[("route", name)]), it)));
    page.sets("corelane_mirror", registry.mirrors.iter().map(|(name, it)| (labels(&[("route", name)]), it)));
    page.sets("corelane_filter", registry.filters.iter().map(|(name, it)| (labels(&[("filter", name)]), it)));
    page.sets(
        "corelane_upstream",
        registry.upstreams.iter().map(|(name, it)| (labels(&[("upstream", name)]), it)),
    );
    let endpoints = registry.endpoints.iter();
    page.sets(
        "corelane_endpoint",
        endpoints
            .map(|((upstream, address), it)| (labels(&[("upstream", upstream), ("endpoint", address)]), it)),
    );
    health(&mut page, &status.healths);
    page.0
}

fn process(page: &mut Page, status: &Status) {
    let version = labels(&[("version", &env!("CARGO_PKG_VERSION"))]);
    page.family("corelane_build_info", "The version that runs.", MetricKind::Gauge, [(version, 1)]);
    page.gauge("corelane_ready", "1 while every worker serves and nothing drains.", ready(status));
    let draining = status.phase.get() == Phase::Draining;
    page.gauge("corelane_draining", "1 after a signal to stop.", u64::from(draining));
    page.gauge("corelane_config_generation", "Configurations put in force.", status.generation.get());
    let results =
        |ok, failed| [(labels(&[("result", &"ok")]), ok), (labels(&[("result", &"failed")]), failed)];
    let reloads = results(status.reloads_ok.get(), status.reloads_failed.get());
    page.family("corelane_reloads_total", "Reloads asked for.", MetricKind::Counter, reloads);
    let last = status.last_reload.get();
    page.gauge(
        "corelane_config_last_reload_timestamp_seconds",
        "When a configuration was last put in force or refused.",
        unix_seconds(last.at),
    );
    page.gauge(
        "corelane_config_last_reload_success",
        "1 if that configuration is in force.",
        u64::from(last.errors == 0),
    );
    page.gauge("corelane_snapshots_alive", "Snapshots in use.", status.snapshots_alive() as u64);
    let lookups = results(status.lookups_ok.get(), status.lookups_failed.get());
    page.family("corelane_dns_resolutions_total", "Lookups of host names.", MetricKind::Counter, lookups);
    page.counter(
        "corelane_access_log_write_errors_total",
        "Writes to the access log that failed.",
        status.log_writer.write_errors.load(Ordering::Relaxed),
    );
    page.counter(
        "corelane_access_log_lost_records_total",
        "Access-log records lost to failed writes.",
        status.log_writer.lost_records.load(Ordering::Relaxed),
    );
    let started = status.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    page.gauge("process_start_time_seconds", "When the process started.", format_args!("{started:.3}"));
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Resident memory.", bytes);
    }
    if let Some(open) = open_descriptors() {
        page.gauge(
            "process_open_fds",
            "Open file descriptors of the worker, or of the others, with the most.",
            open,
        );
    }
}

/// Of endpoints and upstreams with checks.
fn health(page: &mut Page, healths: &Healths) {
    let endpoints: Vec<(String, State)> = healths
        .endpoints()
        .into_iter()
        .map(|((upstream, address), state)| {
            (labels(&[("upstream", &upstream), ("endpoint", &address)]), state)
        })
        .collect();
    page.family(
        "corelane_endpoint_healthy",
        "1 while the endpoint's checks let it take requests.",
        MetricKind::Gauge,
        endpoints.iter().map(|(labels, state)| (labels.clone(), u64::from(state.is_up()))),
    );
    let results = endpoints.iter().flat_map(|(labels, state)| {
        [("passed", state.passed_total), ("failed", state.failed_total)]
            .map(|(result, count)| (with(labels, "result", result), count))
    });
    page.family(
        "corelane_endpoint_health_checks_total",
        "Checks that have ended.",
        MetricKind::Counter,
        results,
    );
    page.family(
        "corelane_endpoint_health_changes_total",
        "How often the endpoint has come up or gone down.",
        MetricKind::Counter,
        endpoints.iter().map(|(labels, state)| (labels.clone(), state.changes_total)),
    );
    page.family(
        "corelane_upstream_panic",
        "1 while too few endpoints are up, so that all are used.",
        MetricKind::Gauge,
        healths
            .upstreams()
            .into_iter()
            .map(|(name, standing)| (labels(&[("upstream", &name)]), u64::from(standing == Standing::Panic))),
    );
}

/// 1 when the process is ready.
fn ready(status: &Status) -> u64 {
    u64::from(status.phase.get() == Phase::Serving)
}

/// Not summed: one worker that differs from the others is what they are for.
fn workers(page: &mut Page, counters: &PerWorker<WorkerCounters>) {
    let values: Vec<Vec<u64>> = counters.iter().map(WorkerCounters::values).collect();
    for (index, metric) in WorkerCounters::METRICS.iter().enumerate() {
        let samples = values.iter().enumerate();
        let samples = samples.map(|(worker, values)| (labels(&[("worker", &worker)]), values[index]));
        page.metric("corelane_worker", metric, samples);
    }
}

/// The most in one table: each worker has one of its own, and the limit holds for each.
fn open_descriptors() -> Option<usize> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let tables = threads.filter_map(|thread| std::fs::read_dir(thread.ok()?.path().join("fd")).ok());
    // Reading the directory holds two more open, here.
    tables.map(Iterator::count).max()
}

/// VmRSS of /proc/self/status.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// `{name="value",...}`
fn labels(pairs: &[(&str, &dyn Display)]) -> String {
    let mut labels = String::from("{");
    for (index, (name, value)) in pairs.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(labels, "{comma}{name}=\"");
        for c in value.to_string().chars() {
            match c {
                '\\' => labels.push_str("\\\\"),
                '"' => labels.push_str("\\\""),
                '\n' => labels.push_str("\\n"),
                c => labels.push(c),
            }
        }
        labels.push('"');
    }
    labels.push('}');
    labels
}

/// The same labels and one more.
fn with(labels: &str, name: &str, value: &str) -> String {
    format!("{},{name}=\"{value}\"}}", labels.strip_suffix('}').unwrap_or(labels))
}

/// A number of nanoseconds, or of bytes, in the unit of metrics.
fn in_base_unit(unit: Unit, value: u64) -> String {
    match unit {
        Unit::Duration => format!("{}.{:09}", value / 1_000_000_000, value % 1_000_000_000),
        Unit::Size => value.to_string(),
    }
}

/// The values of the label `le`.
fn bucket_ends(unit: Unit) -> Vec<String> {
    let ends = unit.bounds().iter().map(|&bound| match (unit, bound) {
        (_, u64::MAX) => "+Inf".to_owned(),
        (Unit::Duration, _) => {
            in_base_unit(unit, bound).trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        (Unit::Size, _) => in_base_unit(unit, bound),
    });
    ends.collect()
}

struct Page(String);

impl Page {
    fn declare(&mut self, name: &str, help: &str, kind: MetricKind) {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn family<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricKind,
        samples: impl IntoIterator<Item = (String, V)>,
    ) {
        self.declare(name, help, kind);
        for (labels, value) in samples {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help, MetricKind::Gauge, [(String::new(), value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, MetricKind::Counter, [(String::new(), value)]);
    }

    fn metric(&mut self, prefix: &str, metric: &Metric, samples: impl Iterator<Item = (String, u64)>) {
        self.family(&format!("{prefix}_{}", metric.name), metric.help, metric.kind, samples);
    }

    /// A family for each metric of a kind of set, summed over the workers. Of reasons, those that have occurred.
    fn sets<'a, T: CounterSet>(
        &mut self,
        prefix: &str,
        sets: impl Iterator<Item = (String, &'a PerWorker<T>)>,
    ) {
        let sets: Vec<(String, &PerWorker<T>)> = sets.collect();
        let sums: Vec<Vec<u64>> = sets.iter().map(|(_, counters)| counters.sums()).collect();
        for (index, metric) in T::METRICS.iter().enumerate() {
            let samples = sets.iter().zip(&sums).map(|((labels, _), sums)| (labels.clone(), sums[index]));
            self.metric(prefix, metric, samples);
        }
        let tallies: Vec<_> = sets.iter().map(|(_, counters)| counters.tallies()).collect();
        for (index, metric) in T::TALLIES.iter().enumerate() {
            let samples = sets.iter().zip(&tallies).flat_map(|((labels, _), tallies)| {
                let counted = tallies[index].iter();
                counted.map(|(reason, count)| (with(labels, "reason", reason), *count))
            });
            self.metric(prefix, metric, samples);
        }
        for (index, metric) in T::HISTOGRAMS.iter().enumerate() {
            let name = format!("{prefix}_{}", metric.name);
            self.declare(&name, metric.help, metric.kind);
            for (labels, counters) in &sets {
                if let Some(values) = counters.distribution(index) {
                    self.histogram(&name, labels, &values);
                }
            }
        }
    }

    /// Of each bucket, the values up to its end, those of the buckets before it included.
    fn histogram(&mut self, name: &str, labels: &str, values: &Distribution) {
        let open = labels.trim_end_matches('}');
        let mut count: u64 = 0;
        for (end, bucket) in bucket_ends(values.unit).iter().zip(&values.buckets) {
            count = count.wrapping_add(*bucket);
            let _ = writeln!(self.0, "{name}_bucket{open},le=\"{end}\"}} {count}");
        }
        let sum = in_base_unit(values.unit, values.sum);
        let _ = write!(self.0, "{name}_sum{labels} {sum}\n{name}_count{labels} {count}\n");
    }
}

/// Whole seconds since 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use corelane_engine::action::MirrorSkip;
    use corelane_engine::reason::Reason;
    use corelane_engine::snapshot::Address;
    use std::collections::HashSet;
    use std::sync::Arc;

    fn page() -> String {
        let mut registry = fixtures::registry(2);
        registry.listeners.of("web".into(), 1).of(0).connections.add(2);
        registry.listeners.of("web".into(), 1).of(1).connections.add(3);
        registry.routes.of("a\"b\\c\nd".into(), 1).of(0).requests.increment();
        let address = Address::Tcp("[::1]:80".parse().expect("an address"));
        registry.endpoints.of(("app".into(), address), 1).of(1).connects.add(4);
        let upstream = Address::Unix("/run/a}".into());
        registry.endpoints.of(("app".into(), upstream), 1).of(0).failures.add(Reason::UpstreamClosed);
        registry.routes.of("web".into(), 1).of(0).failures.add(Reason::NoEndpoint);
        registry.routes.of("web".into(), 1).of(1).failures.add(Reason::NoEndpoint);
        registry.mirrors.of("web".into(), 1).of(1).requests.add(7);
        registry.mirrors.of("web".into(), 1).of(0).skipped.add(MirrorSkip::Busy);
        registry.workers.of(1).wakeups.add(9);
        for (worker, us) in [(0, 49), (0, 51), (1, 70_000_000)] {
            let upstream = registry.upstreams.of("a}b".into(), 1);
            upstream.of(worker).histograms.get_or_init(Box::default).connect.add(us * 1_000);
        }
        let route = registry.routes.of("web".into(), 1);
        route.of(0).histograms.get_or_init(Box::default).request_body.add(1024);
        render(&Status::new(registry, 2, Arc::default()))
    }

    #[test]
    fn sums_over_workers_and_labels() {
        let page = page();
        for line in [
            "corelane_listener_connections{listener=\"web\"} 5",
            "corelane_route_requests_total{route=\"a\\\"b\\\\c\\nd\"} 1",
            "corelane_endpoint_connects_total{upstream=\"app\",endpoint=\"[::1]:80\"} 4",
            "corelane_route_failures_total{route=\"web\",reason=\"no_endpoint\"} 2",
            "corelane_endpoint_failures_total{upstream=\"app\",endpoint=\"unix:/run/a}\",reason=\"upstream_closed\"} 1",
            "corelane_mirror_requests_total{route=\"web\"} 7",
            "corelane_mirror_skipped_total{route=\"web\",reason=\"busy\"} 1",
            "corelane_worker_control_wakeups_total{worker=\"0\"} 0",
            "corelane_worker_control_wakeups_total{worker=\"1\"} 9",
            "corelane_upstream_connect_duration_seconds_bucket{upstream=\"a}b\",le=\"0.00005\"} 1",
            "corelane_upstream_connect_duration_seconds_bucket{upstream=\"a}b\",le=\"0.0001\"} 2",
            "corelane_upstream_connect_duration_seconds_bucket{upstream=\"a}b\",le=\"60\"} 2",
            "corelane_upstream_connect_duration_seconds_bucket{upstream=\"a}b\",le=\"+Inf\"} 3",
            "corelane_upstream_connect_duration_seconds_sum{upstream=\"a}b\"} 70.000100000",
            "corelane_upstream_connect_duration_seconds_count{upstream=\"a}b\"} 3",
            "corelane_route_request_body_bytes_bucket{route=\"web\",le=\"256\"} 0",
            "corelane_route_request_body_bytes_bucket{route=\"web\",le=\"1024\"} 1",
            "corelane_route_request_body_bytes_sum{route=\"web\"} 1024",
            "corelane_reloads_total{result=\"failed\"} 0",
            "corelane_ready 0",
            concat!("corelane_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
        }
        assert_eq!(page.matches("reason=").count(), 3, "only reasons that have occurred");
        assert!(!page.contains("_bucket{route=\"a"), "no histograms of what had no requests");
    }

    #[test]
    fn every_family_is_documented_and_nothing_else_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/observability.md");
        let docs = std::fs::read_to_string(path).expect("the page");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: HashSet<&str> =
            rows.filter(|name| name.starts_with("corelane_") || name.starts_with("process_")).collect();
        let page = page();
        let families: HashSet<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let apart: Vec<_> = documented.symmetric_difference(&families).collect();
        assert!(apart.is_empty(), "not both in the page and in the documentation: {apart:?}");
    }

    #[test]
    fn each_family_is_declared_once_before_its_samples() {
        let page = page();
        let (mut declared, mut histograms) = (HashSet::new(), HashSet::new());
        let mut current = "";
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert!(declared.insert(name), "{name} is declared twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                let has_unit = name.ends_with("_seconds") || name.ends_with("_bytes");
                assert!(kind != "histogram" || (has_unit && histograms.insert(name)), "{line}");
                current = name;
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().expect("a name");
                let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|it| name.strip_suffix(it));
                let is_histogram = histograms.contains(current);
                assert_eq!(if is_histogram { of_histogram } else { Some(name) }, Some(current), "{line}");
                let value = line.rsplit(' ').next().expect("a value");
                value.parse::<f64>().expect("a number");
            }
        }
        assert!(declared.contains("process_resident_memory_bytes") && declared.contains("process_open_fds"));
    }
}
