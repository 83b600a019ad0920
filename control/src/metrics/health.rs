//! The metrics of endpoints and upstreams with checks.

use corelane_engine::counters::MetricKind;

use super::text::Labels;
use super::{Place, Slice};
use crate::health::{Healths, Key, Standing, State};

/// Of endpoints, in the order of the page.
const FAMILIES: [Family; 3] = [
    Family {
        name: "corelane_endpoint_healthy",
        help: "1 while the endpoint's checks let it take requests.",
        kind: MetricKind::Gauge,
        samples: |state| vec![("", "", u64::from(state.is_up()))],
    },
    Family {
        name: "corelane_endpoint_health_checks_total",
        help: "Checks that have ended.",
        kind: MetricKind::Counter,
        samples: |state| {
            vec![("result", "passed", state.passed_total), ("result", "failed", state.failed_total)]
        },
    },
    Family {
        name: "corelane_endpoint_health_changes_total",
        help: "How often the endpoint has come up or gone down.",
        kind: MetricKind::Counter,
        samples: |state| vec![("", "", state.changes_total)],
    },
];

struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    /// A label of its own, if any, its value, and the number.
    samples: fn(&State) -> Vec<(&'static str, &'static str, u64)>,
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
