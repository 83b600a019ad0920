//! What a worker knows of the health of one upstream's endpoints: which ones it leaves out of the choice.
//!
//! The control thread decides; a worker never does. Nothing here is shared: each worker is told by a command.

use std::sync::Arc;

use crate::snapshot::{Address, Upstream};

/// An endpoint has come up or gone down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthUpdate {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The endpoint's address.
    pub address: Address,
    /// Whether it takes requests from now on.
    pub is_up: bool,
}

/// Whether so few of an upstream's endpoints are up that all of them are used. Those of weight 0 are not among them.
///
/// `percent` is the share that must be up; 0: never.
#[must_use]
pub fn is_panic(up: usize, all: usize, percent: u8) -> bool {
    up * 100 < all * usize::from(percent)
}

/// Which endpoints of one upstream are left out, by index.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    is_up: Box<[bool]>,
    /// Those that are down, unless there is a panic. Behind them, while an endpoint is chosen, those that a request has
    /// tried: kept in one place, so that a choice allocates nothing.
    indices: Vec<usize>,
    down: usize,
}

impl LeftOut {
    pub(crate) fn new(upstream: &Upstream) -> Self {
        let is_up = upstream.endpoints.iter().map(|endpoint| endpoint.is_up).collect();
        let mut left_out = Self { is_up, ..Self::default() };
        left_out.count(upstream);
        left_out
    }

    /// Takes an update for the endpoint with this index.
    pub(crate) fn set(&mut self, upstream: &Upstream, endpoint: usize, is_up: bool) {
        if let Some(known) = self.is_up.get_mut(endpoint) {
            *known = is_up;
        }
        self.count(upstream);
    }

    /// Those that a choice may not take: those left out and those that were tried.
    pub(crate) fn and(&mut self, tried: &[usize]) -> &[usize] {
        self.indices.truncate(self.down);
        self.indices.extend_from_slice(tried);
        &self.indices
    }

    /// Whether some are left out.
    pub(crate) fn is_any(&self) -> bool {
        self.down > 0
    }

    fn count(&mut self, upstream: &Upstream) {
        let endpoints = upstream.endpoints.iter().zip(&self.is_up);
        let taking = endpoints.filter(|(endpoint, _)| endpoint.weight > 0);
        let (up, all) = taking.fold((0, 0), |(up, all), (_, is_up)| (up + usize::from(*is_up), all + 1));
        self.indices.clear();
        if !is_panic(up, all, upstream.panic_percent) {
            let down = self.is_up.iter().enumerate().filter(|(_, is_up)| !**is_up);
            self.indices.extend(down.map(|(endpoint, _)| endpoint));
        }
        self.down = self.indices.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange_tests::snapshot;

    /// One endpoint for each weight, all of them up.
    fn of(weights: &[u32], panic_percent: u8) -> Upstream {
        let one = snapshot().upstreams.remove(0);
        let endpoint = |&weight: &u32| crate::snapshot::Endpoint { weight, ..one.endpoints[0].clone() };
        Upstream { endpoints: weights.iter().map(endpoint).collect(), panic_percent, ..one }
    }

    #[test]
    fn leaves_out_what_is_down_and_what_was_tried() {
        let upstream = of(&[1, 1, 1, 1], 0);
        let mut left_out = LeftOut::new(&upstream);
        assert_eq!(left_out.and(&[2]), [2]);
        left_out.set(&upstream, 3, false);
        left_out.set(&upstream, 1, false);
        assert_eq!(left_out.and(&[2]), [1, 3, 2]);
        assert_eq!(left_out.and(&[]), [1, 3]);
        assert_eq!(left_out.and(&[0, 2]), [1, 3, 0, 2]);
        left_out.set(&upstream, 1, true);
        assert_eq!(left_out.and(&[]), [3]);
        assert!(left_out.is_any());
        left_out.set(&upstream, 3, true);
        assert!(!left_out.is_any());
        assert_eq!(left_out.and(&[]), [0; 0]);
    }

    #[test]
    fn begins_with_what_the_snapshot_says() {
        let mut upstream = of(&[1, 1], 0);
        upstream.endpoints[0].is_up = false;
        assert_eq!(LeftOut::new(&upstream).and(&[]), [0]);
    }

    #[test]
    fn all_are_used_when_too_few_are_up() {
        // The one of weight 0 is not counted.
        let upstream = of(&[1, 1, 1, 1, 0], 50);
        let mut left_out = LeftOut::new(&upstream);
        for endpoint in [0, 1, 4] {
            left_out.set(&upstream, endpoint, false);
        }
        assert_eq!(left_out.and(&[]), [0, 1, 4], "half of them is enough");
        left_out.set(&upstream, 2, false);
        assert_eq!(left_out.and(&[3]), [3]);
        left_out.set(&upstream, 3, false);
        assert_eq!(left_out.and(&[]), [0; 0]);
        left_out.set(&upstream, 0, true);
        left_out.set(&upstream, 1, true);
        assert_eq!(left_out.and(&[]), [2, 3, 4]);
    }

    #[test]
    fn no_share_no_panic() {
        assert!(!is_panic(0, 4, 0));
        assert!(!is_panic(0, 0, 50));
        assert!(is_panic(0, 4, 1));
        assert!(is_panic(3, 4, 100) && !is_panic(4, 4, 100));
    }

    #[test]
    fn an_update_for_what_is_not_there_is_ignored() {
        let upstream = of(&[1], 0);
        let mut left_out = LeftOut::new(&upstream);
        left_out.set(&upstream, 7, false);
        assert!(!left_out.is_any());
    }
}
