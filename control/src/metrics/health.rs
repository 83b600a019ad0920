//! The metrics of the health of endpoints and upstreams.

use corelane_balancer::health::Reason;
use corelane_engine::counters::MetricKind;

use super::text::Labels;
use super::{Place, Slice};
use crate::health::{Checked, Ejections, Healths, Key, Standing, State};

/// Of endpoints, in the order of the page.
const FAMILIES: [Family; 6] = [
    Family {
        name: "corelane_endpoint_healthy",
        help: "1 while the endpoint takes requests, as far as its checks and its failures go.",
        kind: MetricKind::Gauge,
        samples: |state| vec![("", "", u64::from(state.is_up()))],
    },
    Family {
        name: "corelane_endpoint_health_checks_total",
        help: "Checks that have ended.",
        kind: MetricKind::Counter,
        samples: |state| {
            let of = |it: &Checked| {
                vec![("result", "passed", it.passed_total), ("result", "failed", it.failed_total)]
            };
            state.checks.as_ref().map_or_else(Vec::new, of)
        },
    },
    Family {
        name: "corelane_endpoint_health_changes_total",
        help: "How often the endpoint has come up or gone down.",
        kind: MetricKind::Counter,
        samples: |state| vec![("", "", state.changes_total)],
    },
    Family {
        name: "corelane_endpoint_ejected",
        help: "1 while the endpoint is ejected because requests have failed there.",
        kind: MetricKind::Gauge,
        samples: |state| of_ejections(state, |_| vec![("", "", u64::from(state.ejected.is_some()))]),
    },
    Family {
        name: "corelane_endpoint_ejections_total",
        help: "How often the endpoint was ejected.",
        kind: MetricKind::Counter,
        samples: |state| {
            let (row, rate) = (Reason::ConsecutiveFailures.word(), Reason::FailureRate.word());
            of_ejections(state, |it| vec![("reason", row, it.by_row), ("reason", rate, it.by_rate)])
        },
    },
    Family {
        name: "corelane_endpoint_ejections_spared_total",
        help: "How often the endpoint was to be ejected, and was not, as too few would have been left.",
        kind: MetricKind::Counter,
        samples: |state| of_ejections(state, |it| vec![("", "", it.spared)]),
    },
];

type Samples = Vec<(&'static str, &'static str, u64)>;

fn of_ejections(state: &State, samples: impl FnOnce(&Ejections) -> Samples) -> Samples {
    state.ejections.as_ref().map_or_else(Vec::new, samples)
}

struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    /// A label of its own, if any, its value, and the number.
    samples: fn(&State) -> Samples,
}

impl Slice<'_> {
    /// True when all are written.
    pub(super) fn health(&mut self, healths: &Healths, place: &mut Place<Key>) -> bool {
        for Family { name, help, kind, samples } in FAMILIES.iter().skip(place.family) {
            if place.after.is_none() {
                self.text.declare(name, help, *kind);
            }
            let mut after = place.after.take();
            while let Some((key, state)) = healths.next(after.as_ref()) {
                for (label, value, number) in samples(&state) {
                    let mut labels = Labels::of("upstream", &key.0).and("endpoint", &key.1);
                    if !label.is_empty() {
                        labels.push(label, value);
                    }
                    self.text.sample(name, &labels, number);
                }
                if self.is_full() {
                    place.after = Some(key);
                    return false;
                }
                after = Some(key);
            }
            *place = Place { family: place.family + 1, after: None };
        }
        let name = "corelane_upstream_panic";
        let help = "1 while too few endpoints are up, so that all are used.";
        self.text.declare(name, help, MetricKind::Gauge);
        for (upstream, standing) in healths.upstreams() {
            let panics = u64::from(standing == Standing::Panic);
            self.text.sample(name, &Labels::of("upstream", upstream), panics);
        }
        true
    }
}
