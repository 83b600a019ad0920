//! The slow thread: configuration, reload, signals, resolver, admin, logs.

pub mod config;
mod listen;
mod log;
mod signals;
mod tcp_table;
