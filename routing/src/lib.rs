//! Which route a request takes. Pure: no I/O, no clock.

/// A host that a route matches, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name or address alone, without a port.
    Exact(Box<str>),
    /// `*.suffix`: any name with one or more labels before the suffix; holds the suffix without the leading dot.
    Wildcard(Box<str>),
}

/// A path that a route matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path alone.
    Exact(Box<str>),
    /// This path and everything below it, by whole segments; `/` is every path. Never ends in `/` except for the root.
    Prefix(Box<str>),
}

/// Decides which route a request takes.
#[derive(Debug, Default)]
pub struct Router {}
