//! The metrics of the certificates of listeners and upstreams, and of what goes with them.

use corelane_engine::counters::MetricKind;

use super::Slice;
use super::text::Labels;
use crate::tls::{CertificateState, Certificates, Owner};

/// In the order of the page.
const FAMILIES: [Family; 5] = [
    Family {
        name: "corelane_certificate_expiry_timestamp_seconds",
        help: "Until when what serves is good.",
        kind: MetricKind::Gauge,
        value: |state| state.serves.as_ref().map(|it| it.not_after),
    },
    Family {
        name: "corelane_certificate_start_timestamp_seconds",
        help: "From when on what serves is good.",
        kind: MetricKind::Gauge,
        value: |state| state.serves.as_ref().map(|it| it.not_before),
    },
    Family {
        name: "corelane_certificate_info",
        help: "1, with what the file that serves says.",
        kind: MetricKind::Gauge,
        value: |state| state.serves.as_ref().map(|_| 1),
    },
    Family {
        name: "corelane_certificate_current",
        help: "1 while what serves is what the files have; 0: they cannot be used.",
        kind: MetricKind::Gauge,
        value: |state| Some(u64::from(state.problem.is_none())),
    },
    Family {
        name: "corelane_certificate_load_failures_total",
        help: "How often the files could not be used.",
        kind: MetricKind::Counter,
        value: |state| Some(state.failures_total),
    },
];

struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    value: fn(&CertificateState) -> Option<u64>,
}

impl Family {
    fn labels(&self, state: &CertificateState) -> Labels {
        let labels = match &state.owner {
            Owner::Listener(name) => Labels::of("listener", name),
            Owner::Upstream(name) => Labels::of("upstream", name),
        };
        let labels = labels.and("role", state.role.key()).and("certificate", &state.file);
        match &state.serves {
            Some(serves) if self.name.ends_with("_info") => {
                labels.and("subject", &serves.subject).and("issuer", &serves.issuer).and("key", serves.key)
            }
            _ => labels,
        }
    }
}

impl Slice<'_> {
    /// True when all are written; `place` is the family that comes next, and the certificate.
    pub(super) fn certificates(&mut self, certificates: &Certificates, place: &mut (usize, usize)) -> bool {
        let all = certificates.all();
        for family in FAMILIES.iter().skip(place.0) {
            if place.1 == 0 {
                self.text.declare(family.name, family.help, family.kind);
            }
            for state in all.iter().skip(place.1) {
                if self.is_full() {
                    return false;
                }
                if let Some(value) = (family.value)(state) {
                    self.text.sample(family.name, &family.labels(state), value);
                }
                place.1 += 1;
            }
            *place = (place.0 + 1, 0);
        }
        true
    }
}
