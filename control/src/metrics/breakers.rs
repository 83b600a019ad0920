//! The metrics of upstreams with breakers.

use std::sync::Arc;

use corelane_balancer::BreakerState;
use corelane_engine::counters::MetricKind;
use corelane_engine::limits::SharedBreaker;

use super::text::Labels;
use super::{Place, Slice};
use crate::registry::Shared;

const NAME: &str = "corelane_upstream_breaker_state";

impl Slice<'_> {
    /// True when all are written.
    pub(super) fn breakers(
        &mut self,
        breakers: &Shared<Arc<str>, SharedBreaker>,
        place: &mut Place<Arc<str>>,
    ) -> bool {
        if place.after.is_none() {
            self.text.declare(NAME, "1 for the state that the breaker is in.", MetricKind::Gauge);
        }
        for (upstream, breaker) in breakers.after(place.after.take().as_ref()) {
            let now = breaker.state();
            for state in BreakerState::ALL {
                let labels = Labels::of("upstream", upstream).and("state", state.name());
                self.text.sample(NAME, &labels, u64::from(state == now));
            }
            if self.is_full() {
                place.after = Some(upstream.clone());
                return false;
            }
        }
        true
    }
}
