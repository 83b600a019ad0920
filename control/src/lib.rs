//! The slow thread: configuration, reload, signals, resolver, admin, logs.

pub mod config;
#[cfg(test)]
mod fixtures;
mod listen;
mod log;
mod log_writer;
mod refresh;
mod registry;
mod resolver;
mod signals;
mod snapshot_builder;
mod status;
mod tcp_table;
