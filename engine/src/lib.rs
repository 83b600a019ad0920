//! The data plane of one core: I/O, listeners, sessions, exchanges and upstream pools.

pub mod command;
pub mod counters;
pub mod snapshot;
