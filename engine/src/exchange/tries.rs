//! The attempts of one exchange: which endpoints it has tried, and at which one it counts as outstanding.

use crate::counters::EndpointCounters;

/// The endpoints that an exchange has tried; a few, so no allocation.
#[derive(Default)]
pub(super) struct Excluded {
    indices: [usize; ATTEMPTS_MAX],
    count: usize,
}

/// Attempts at most that can be configured.
const ATTEMPTS_MAX: usize = 16;

impl Excluded {
    pub(super) fn add(&mut self, index: usize) {
        if let Some(slot) = self.indices.get_mut(self.count) {
            *slot = index;
            self.count += 1;
        }
    }

    pub(super) fn indices(&self) -> &[usize] {
        &self.indices[..self.count]
    }
}

/// Counts a request as outstanding for as long as it is held.
pub(crate) struct Lease<'a>(&'a EndpointCounters);

impl<'a> Lease<'a> {
    pub(crate) fn new(counters: &'a EndpointCounters) -> Self {
        counters.outstanding.increment();
        Self(counters)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.0.outstanding.decrement();
    }
}
