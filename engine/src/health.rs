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
    /// Whether it takes none because it is ejected: better than none at all.
    pub is_ejected: bool,
}
