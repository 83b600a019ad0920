//! The slow thread: configuration, reload, signals, resolver, admin, logs.

mod admin;
mod changes;
pub mod config;
#[cfg(test)]
mod fixtures;
mod listen;
mod log;
mod log_writer;
mod metrics;
mod refresh;
mod registry;
mod resolver;
mod shutdown;
mod signals;
mod snapshot_builder;
mod status;
mod tcp_table;
