//! What an attempt has at its endpoint where requests or connections are limited: all of it, or it goes elsewhere.

use crate::io::{ByteStream, clock};
use crate::limits::{Permit, Place};
use crate::pool::Pool;
use crate::snapshot::{Endpoint, Upstream};

/// See the module. Empty where nothing is limited.
pub(crate) struct Reserved<S> {
    /// Only held.
    _place: Option<Place>,
    /// An idle connection.
    pub(crate) stream: Option<S>,
    /// For that, or for one that is to be opened. It outlives the connection.
    pub(crate) permit: Option<Permit>,
}

impl<S> Default for Reserved<S> {
    fn default() -> Self {
        Self { _place: None, stream: None, permit: None }
    }
}

impl<S> Reserved<S> {
    /// Gives everything back.
    #[cold]
    #[inline(never)]
    pub(crate) fn give_back(&mut self) {
        *self = Self::default();
    }
}

impl<S: ByteStream> Reserved<S> {
    /// What one attempt needs, if there is room for it.
    pub(crate) fn take(endpoint: &Endpoint, pool: &Pool<S>, upstream: &Upstream) -> Option<Self> {
        let place = match &endpoint.limit {
            Some(limit) => Some(limit.try_take()?),
            None => None,
        };
        let Some(limit) = &endpoint.connections else {
            return Some(Self { _place: place, ..Self::default() });
        };
        let mut permit = None;
        while let Some(stream) = pool.check_out(clock::coarse_ms(), upstream, &mut permit) {
            if permit.as_ref().is_some_and(|permit| permit.is_of(limit)) {
                return Some(Self { _place: place, stream: Some(stream), permit });
            }
            // It is older than the limit, and closes.
        }
        // One that was found closed leaves its permit.
        let permit = permit.filter(|permit| permit.is_of(limit)).or_else(|| limit.try_take())?;
        Some(Self { _place: place, stream: None, permit: Some(permit) })
    }
}
