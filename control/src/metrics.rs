//! The process in the Prometheus text exposition format, version 0.0.4.
//!
//! A page of ten thousand routes has tens of megabytes, and the control thread has other things to do: so it is written
//! in slices, family by family, and whoever sends it lets others run in between. What is configured may change meanwhile:
//! between two slices only the name is kept that was written last.

mod breakers;
mod certificates;
mod health;
mod limits;
pub(crate) mod process;
mod text;

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_engine::counters::{CounterSet, Metric, MetricKind, PerWorker, WorkerCounters};
use corelane_engine::driver::Driver;
use corelane_engine::snapshot::Address;

use crate::registry::{Family, Registry};
use crate::status::{Phase, Status};
use text::{BucketEnds, Labels, Seconds, Text};

/// What a scraper is told that it gets.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric of the process, each family once with its HELP and TYPE: a page in the making.
#[derive(Debug)]
pub(crate) struct Page {
    status: Rc<Status>,
    ends: BucketEnds,
    section: Section,
}

/// What comes next.
#[derive(Debug)]
enum Section {
    Process,
    Listeners(Place<Arc<str>>),
    Routes(Place<Arc<str>>),
    Mirrors(Place<Arc<str>>),
    Filters(Place<Arc<str>>),
    Upstreams(Place<Arc<str>>),
    Endpoints(Place<(Arc<str>, Address)>),
    Limits(Place<(Arc<str>, Address)>),
    Health(Place<(Arc<str>, Address)>),
    /// The family, and the certificate in it.
    Certificates((usize, usize)),
    Breakers(Place<Arc<str>>),
    End,
}

/// Where in the metrics of one kind of counter set.
#[derive(Debug)]
struct Place<K> {
    family: usize,
    /// The key that was written last in this family.
    after: Option<K>,
}

impl<K> Default for Place<K> {
    fn default() -> Self {
        Self { family: 0, after: None }
    }
}

impl Page {
    /// Of the process as it is whenever a slice is written.
    pub(crate) fn new(status: Rc<Status>) -> Self {
        Self { status, ends: BucketEnds::new(), section: Section::Process }
    }

    /// The next slice, of [`SLICE_BYTES`] or [`SLICE_READS`]; none after the last one. It may be empty: of many routes none
    /// may have failed.
    pub(crate) fn next_slice(&mut self) -> Option<String> {
        let registry = self.status.registry.borrow();
        let text = Text::with_capacity(SLICE_BYTES + SLICE_BYTES / 4);
        let mut slice = Slice { text, ends: &self.ends, reads: 0 };
        while !matches!(self.section, Section::End) && !slice.is_full() {
            if let Some(next) = slice.write(&mut self.section, &self.status, &registry) {
                self.section = next;
            }
        }
        let page = slice.text.page;
        (!page.is_empty() || !matches!(self.section, Section::End)).then_some(page)
    }
}

struct Slice<'a> {
    text: Text,
    ends: &'a BucketEnds,
    /// Of counter sets, each of which belongs to a worker.
    reads: usize,
}

impl Slice<'_> {
    fn is_full(&self) -> bool {
        self.text.page.len() >= SLICE_BYTES || self.reads >= SLICE_READS
    }

    /// Writes a section; the next one is returned when that is done, and nothing when the slice is full.
    fn write(&mut self, section: &mut Section, status: &Status, registry: &Registry) -> Option<Section> {
        let named = |label: &'static str| move |name: &Arc<str>| Labels::of(label, name);
        match section {
            Section::Process => {
                process(&mut self.text, status);
                workers(&mut self.text, status, &registry.workers);
                Some(Section::Listeners(Place::default()))
            }
            Section::Listeners(place) => self
                .sets("corelane_listener", &registry.listeners, place, named("listener"))
                .then(|| Section::Routes(Place::default())),
            Section::Routes(place) => self
                .sets("corelane_route", &registry.routes, place, named("route"))
                .then(|| Section::Mirrors(Place::default())),
            Section::Mirrors(place) => self
                .sets("corelane_mirror", &registry.mirrors, place, named("route"))
                .then(|| Section::Filters(Place::default())),
            Section::Filters(place) => self
                .sets("corelane_filter", &registry.filters, place, named("filter"))
                .then(|| Section::Upstreams(Place::default())),
            Section::Upstreams(place) => self
                .sets("corelane_upstream", &registry.upstreams, place, named("upstream"))
                .then(|| Section::Endpoints(Place::default())),
            Section::Endpoints(place) => {
                let labels = |(upstream, address): &(Arc<str>, Address)| {
                    Labels::of("upstream", upstream).and("endpoint", address)
                };
                self.sets("corelane_endpoint", &registry.endpoints, place, labels)
                    .then(|| Section::Limits(Place::default()))
            }
            Section::Limits(place) => self.limits(registry, place).then(|| Section::Health(Place::default())),
            Section::Health(place) => {
                self.health(&status.healths, place).then(|| Section::Breakers(Place::default()))
            }
            Section::Breakers(place) => {
                self.breakers(&registry.breakers, place).then_some(Section::Certificates((0, 0)))
            }
            Section::Certificates(place) => {
                self.certificates(&status.certificates, place).then_some(Section::End)
            }
            Section::End => None,
        }
    }

    /// A family for each metric of a kind of set, summed over the workers. True when all are written.
    fn sets<K: Ord + Clone, T: CounterSet>(
        &mut self,
        prefix: &str,
        sets: &Family<K, T>,
        place: &mut Place<K>,
        labels: impl Fn(&K) -> Labels,
    ) -> bool {
        for group in groups::<T>().skip(place.family) {
            let Metric { name, help, kind, .. } = *group.first::<T>();
            let name = format!("{prefix}_{name}");
            if place.after.is_none() {
                self.text.declare(&name, help, kind);
            }
            let after = place.after.take();
            for (key, counters) in sets.after(after.as_ref()) {
                self.samples(&name, &group, labels(key), counters);
                self.reads += counters.workers();
                if self.is_full() {
                    place.after = Some(key.clone());
                    return false;
                }
            }
            *place = Place { family: place.family + 1, after: None };
        }
        true
    }

    /// Of reasons, those that have occurred; of histograms, those that have values.
    fn samples<T: CounterSet>(
        &mut self,
        name: &str,
        group: &Group,
        mut labels: Labels,
        counters: &PerWorker<T>,
    ) {
        match group {
            Group::Numbers(indices) => {
                let length = labels.len();
                for index in indices.clone() {
                    if let Some((label, value)) = T::METRICS[index].label {
                        labels.truncate(length);
                        labels.push(label, value);
                    }
                    self.text.sample(name, &labels, counters.sum(index));
                }
            }
            Group::Tally(index) => {
                let length = labels.len();
                for (reason, count) in counters.tally(*index) {
                    labels.truncate(length);
                    labels.push(T::TALLIES[*index].label.map_or("reason", |(label, _)| label), reason);
                    self.text.sample(name, &labels, count);
                }
            }
            Group::Histogram(index) => {
                if let Some(values) = counters.distribution(*index) {
                    self.text.histogram(name, &labels, &values, self.ends);
                }
            }
        }
    }
}

/// The metrics of a counter set that are one family, by their indices.
enum Group {
    Numbers(Range<usize>),
    Tally(usize),
    Histogram(usize),
}

impl Group {
    fn first<T: CounterSet>(&self) -> &'static Metric {
        match self {
            Self::Numbers(indices) => &T::METRICS[indices.start],
            Self::Tally(index) => &T::TALLIES[*index],
            Self::Histogram(index) => &T::HISTOGRAMS[*index],
        }
    }
}

fn groups<T: CounterSet>() -> impl Iterator<Item = Group> {
    let numbers = T::METRICS.chunk_by(|one, next| one.name == next.name).scan(0, |start, metrics| {
        let indices = *start..*start + metrics.len();
        *start = indices.end;
        Some(Group::Numbers(indices))
    });
    let tallies = (0..T::TALLIES.len()).map(Group::Tally);
    numbers.chain(tallies).chain((0..T::HISTOGRAMS.len()).map(Group::Histogram))
}

fn process(text: &mut Text, status: &Status) {
    let build = status.build.get();
    let info = Labels::of("version", env!("CARGO_PKG_VERSION"))
        .and("revision", build.revision)
        .and("rust_version", build.rust_version)
        .and("driver", status.driver.get().map_or("unknown", Driver::name));
    text.declare("corelane_build_info", "What runs, and on which driver.", MetricKind::Gauge);
    text.sample("corelane_build_info", &info, 1);
    text.gauge("corelane_ready", "1 while every worker serves and nothing drains.", ready(status));
    let draining = status.phase.get() == Phase::Draining;
    text.gauge("corelane_draining", "1 after a signal to stop.", u64::from(draining));
    text.gauge("corelane_config_generation", "Configurations put in force.", status.generation.get());
    let reloads = [("ok", status.reloads_ok.get()), ("failed", status.reloads_failed.get())];
    results(text, "corelane_reloads_total", "Reloads asked for.", reloads);
    let last = status.last_reload.get();
    text.gauge(
        "corelane_config_last_reload_timestamp_seconds",
        "When a configuration was last put in force or refused.",
        unix_seconds(last.at),
    );
    text.gauge(
        "corelane_config_last_reload_success",
        "1 if that configuration is in force.",
        u64::from(last.errors == 0),
    );
    text.gauge("corelane_snapshots_alive", "Snapshots in use.", status.snapshots_alive() as u64);
    text.gauge("corelane_workers", "Workers that run.", status.workers.get());
    text.declare(
        "corelane_dns_names",
        "Host names of endpoints, by whether they have an address.",
        MetricKind::Gauge,
    );
    let unresolved = status.names_unresolved.borrow().len();
    for (state, names) in [("resolved", status.names_resolved.get()), ("unresolved", unresolved)] {
        text.sample("corelane_dns_names", &Labels::of("state", state), names);
    }
    let lookups = [("ok", status.lookups_ok.get()), ("failed", status.lookups_failed.get())];
    results(text, "corelane_dns_resolutions_total", "Lookups of host names.", lookups);
    text.counter(
        "corelane_access_log_write_errors_total",
        "Writes to the access log that failed.",
        status.log_writer.write_errors.load(Ordering::Relaxed),
    );
    text.counter(
        "corelane_access_log_lost_records_total",
        "Access-log records lost to failed writes.",
        status.log_writer.lost_records.load(Ordering::Relaxed),
    );
    text.gauge(
        "corelane_access_log_waiting_records",
        "Access-log records that wait for a syslog server.",
        status.log_writer.waiting_records.load(Ordering::Relaxed),
    );
    let name = "corelane_trace_export_spans_total";
    let help = "Spans that the collector took, and those that were lost on the way to it.";
    results(
        text,
        name,
        help,
        [("exported", status.traces.exported.get()), ("lost", status.traces.lost.get())],
    );
    text.counter(
        "corelane_trace_export_failures_total",
        "Exports of spans that failed, those that were tried again included.",
        status.traces.failures.get(),
    );
    process::write(text, status);
}

/// A counter by how it went.
fn results(text: &mut Text, name: &str, help: &str, counts: [(&str, u64); 2]) {
    text.declare(name, help, MetricKind::Counter);
    for (result, count) in counts {
        text.sample(name, &Labels::of("result", result), count);
    }
}

/// 1 when the process is ready.
fn ready(status: &Status) -> u64 {
    u64::from(status.phase.get() == Phase::Serving)
}

/// Not summed: one worker that differs from the others is what they are for.
fn workers(text: &mut Text, status: &Status, counters: &PerWorker<WorkerCounters>) {
    let name = "corelane_worker_cpu_seconds_total";
    text.declare(name, "CPU time of the worker, in the kernel too.", MetricKind::Counter);
    for (worker, clock) in status.worker_clocks.borrow().iter().enumerate() {
        if let Some(clock) = clock {
            text.sample(name, &Labels::of("worker", worker), Seconds(clock.cpu_ns()));
        }
    }
    for (index, metric) in WorkerCounters::METRICS.iter().enumerate() {
        let name = format!("corelane_worker_{}", metric.name);
        text.declare(&name, metric.help, metric.kind);
        for (worker, counters) in counters.iter().enumerate() {
            text.sample(&name, &Labels::of("worker", worker), counters.value(index));
        }
    }
}

/// Whole seconds since 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Some tens of microseconds of writing.
const SLICE_BYTES: usize = 32 * 1024;
/// Less than a millisecond of reading, be it that each read is of another core's cache.
const SLICE_READS: usize = 8192;

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
        route.of(1).responses_2xx.add(3);
        route.of(0).histograms.get_or_init(Box::default).request_body.add(1024);
        render(registry)
    }

    fn render(registry: Registry) -> String {
        let mut page = Page::new(Rc::new(Status::new(registry, 2, Arc::default())));
        std::iter::from_fn(|| page.next_slice()).collect()
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
            concat!(
                "corelane_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\",revision=\"unknown\",rust_version=\"unknown\",driver=\"unknown\"} 1"
            ),
            "corelane_route_responses_total{route=\"web\",code=\"2xx\"} 3",
            "corelane_route_responses_total{route=\"web\",code=\"5xx\"} 0",
        ] {
            assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
        }
        let reasons = page.lines().filter(|it| it.contains("reason=") && !it.contains("refused_total"));
        assert_eq!(reasons.count(), 3, "only reasons that have occurred");
        assert!(!page.contains("_bucket{route=\"a"), "no histograms of what had no requests");
    }

    /// Histograms of `routes` routes, the first half of which goes after so many slices.
    fn sliced(routes: u64, shrinks_after: usize) -> String {
        let mut registry = fixtures::registry(1);
        for number in 0..routes {
            let route = registry.routes.of(format!("route-{number:03}").into(), 1 + number * 2 / routes);
            route.of(0).histograms.get_or_init(Box::default).duration.add(number);
        }
        let status = Rc::new(Status::new(registry, 1, Arc::default()));
        let mut page = Page::new(status.clone());
        let (mut all, mut slices) = (String::new(), 0);
        while let Some(slice) = page.next_slice() {
            assert!(slice.len() < 2 * SLICE_BYTES && slice.ends_with('\n'), "{}", slice.len());
            all.push_str(&slice);
            slices += 1;
            if slices == shrinks_after {
                status.registry.borrow_mut().routes.drop_unused_since(2);
            }
        }
        assert!(slices > 10, "{slices}");
        all
    }

    #[test]
    fn slices_are_one_page() {
        let page = sliced(200, usize::MAX);
        let count = |part: &str| page.lines().filter(|line| line.starts_with(part)).count();
        assert_eq!(count("corelane_route_request_duration_seconds_count{"), 200);
        assert_eq!(count("corelane_route_request_duration_seconds_bucket{"), 200 * 20);
        assert_eq!(count("# TYPE corelane_route_request_duration_seconds histogram"), 1);
        let mut lines: Vec<&str> = page.lines().collect();
        lines.sort_unstable();
        assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "nothing twice");
    }

    #[test]
    fn routes_may_go_between_two_slices() {
        let page = sliced(200, 8);
        assert!(page.contains("corelane_route_response_body_bytes_count{route=\"route-199\"} 0"));
        assert!(!page.contains("corelane_route_response_body_bytes_count{route=\"route-000\"}"));
        assert!(page.contains("# TYPE corelane_endpoint_requests_total"), "it has an end");
    }

    #[test]
    fn a_slice_that_finds_nothing_to_write_is_not_the_last() {
        let mut registry = fixtures::registry(1);
        for number in 0..3 * SLICE_READS {
            registry.mirrors.of(format!("{number}").into(), 1);
        }
        let mut page = Page::new(Rc::new(Status::new(registry, 1, Arc::default())));
        let slices: Vec<String> = std::iter::from_fn(|| page.next_slice()).collect();
        assert!(
            slices.iter().filter(|slice| slice.is_empty()).count() >= 2,
            "of failures and of what was skipped"
        );
        assert!(slices.last().is_some_and(|last| last.contains("corelane_endpoint_")));
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
