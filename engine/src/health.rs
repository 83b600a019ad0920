//! What a worker is told of the health of an upstream's endpoints, some of which it leaves out of the choice then.
//!
//! The control thread decides; a worker never does. Nothing here is shared: each worker is told by a command.

use std::sync::Arc;

use crate::snapshot::Address;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_share_no_panic() {
        assert!(!is_panic(0, 4, 0));
        assert!(!is_panic(0, 0, 50));
        assert!(is_panic(0, 4, 1));
        assert!(is_panic(3, 4, 100) && !is_panic(4, 4, 100));
    }
}
