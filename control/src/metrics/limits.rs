//! What is counted exactly over all workers.

use std::sync::Arc;

use corelane_engine::counters::MetricKind;
use corelane_engine::snapshot::Address;

use super::text::Labels;
use super::{Place, Slice};
use crate::registry::Registry;

impl Slice<'_> {
    /// True when all are written.
    pub(super) fn limits(&mut self, registry: &Registry, place: &mut Place<(Arc<str>, Address)>) -> bool {
        let name = "corelane_endpoint_connections";
        let help = "Connections open now, idle ones included, of endpoints with connections_max.";
        if place.after.is_none() {
            self.text.declare(name, help, MetricKind::Gauge);
        }
        for (key, open) in registry.connections_open.after(place.after.take().as_ref()) {
            let labels = Labels::of("upstream", &key.0).and("endpoint", &key.1);
            self.text.sample(name, &labels, open.count());
            self.reads += 1;
            if self.is_full() {
                place.after = Some(key.clone());
                return false;
            }
        }
        true
    }
}
