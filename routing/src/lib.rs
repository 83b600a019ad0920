//! Which route a request takes.

/// Decides which route a request takes.
#[derive(Debug, Default)]
pub struct Router {}
