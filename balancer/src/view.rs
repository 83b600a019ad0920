//! What a pick is made of, beside the picker's own state.

use std::ops::Mul;

/// Which part of its usual share an endpoint takes, in steps of 1/256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// It takes no requests: it is down or ejected.
    pub const NONE: Self = Self(0);
    /// It takes what its weight says.
    pub const FULL: Self = Self(256);

    /// So many 256ths, at most all.
    #[must_use]
    pub fn new(parts: u16) -> Self {
        Self(parts).min(Self::FULL)
    }

    /// 0 to 256.
    #[must_use]
    pub fn parts(self) -> u16 {
        self.0
    }
}

impl Mul<Share> for u32 {
    type Output = u64;

    /// In 256ths.
    fn mul(self, share: Share) -> u64 {
        u64::from(self) * u64::from(share.0)
    }
}

/// What one request brings to its pick.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The endpoints that were tried already, in any order; indices out of range are ignored.
    pub excluded: &'a [usize],
    /// What the endpoint is to depend on, hashed ([`combined`](crate::combined)); only
    /// [`Policy::Hash`](crate::Policy::Hash) looks at it.
    pub key: Option<u64>,
    /// Chance, another number for each pick. Policies that go in turn do not look at it.
    pub random: u64,
}

/// What a worker knows of the endpoints now, by their index. Asked only about those that may be picked.
pub trait View {
    /// Requests in progress there, on all workers as far as known. For least connections, p2c and ewma.
    fn outstanding(&self, endpoint: usize) -> u64;

    /// How long it takes to answer, in microseconds ([`PeakEwma`](crate::PeakEwma)); 0: unknown. For ewma.
    fn latency_us(&self, _endpoint: usize) -> u64 {
        0
    }

    /// What it is expected to carry ([`Bandwidth`](crate::Bandwidth)). For least bandwidth.
    fn bytes_per_second(&self, _endpoint: usize) -> u64 {
        0
    }

    /// What one request is expected to bring ([`Bandwidth::bytes_each`](crate::Bandwidth::bytes_each)): endpoints that are
    /// no further apart are equal. For least bandwidth.
    fn request_bytes_per_second(&self) -> u64 {
        1
    }

    /// Whether a limit of its own (connections, requests) forbids another request. For every policy.
    fn is_full(&self, _endpoint: usize) -> bool {
        false
    }
}

/// Nothing is in progress anywhere.
impl View for () {
    fn outstanding(&self, _endpoint: usize) -> u64 {
        0
    }
}

/// Only the requests in progress are known.
impl<F: Fn(usize) -> u64> View for F {
    fn outstanding(&self, endpoint: usize) -> u64 {
        self(endpoint)
    }
}

/// Why no endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// None is available: there are none, or all are down, or have weight 0.
    Down,
    /// Those that are available were tried already.
    Tried,
    /// Those that are available and not tried have reached a limit of their own: waiting can help.
    Full,
}
