//! Which endpoint an exchange or a connection goes to.

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyKind {
    /// Each in turn, weights ignored.
    #[default]
    RoundRobin,
    /// Smooth weighted round robin.
    Weighted,
    /// The fewest outstanding requests over all workers, in proportion to the weight.
    LeastConnections,
}
