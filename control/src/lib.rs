//! The slow thread: configuration, reload, signals, resolver, admin, logs.

pub mod config;
