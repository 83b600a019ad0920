//! The data plane of one core: I/O, listeners, sessions, exchanges and upstream pools.
//!
//! A worker ([`worker::spawn`]) is one pinned thread that shares nothing with the others. The control thread sends it
//! [`command::Command`]s and gets [`command::Event`]s; what a worker serves is a [`snapshot::Snapshot`], what it counts
//! are [`counters`].

pub mod access_log;
pub mod action;
mod admission;
pub mod affinity;
mod alarms;
mod buffers;
pub mod calendar;
mod caller;
pub mod command;
mod core;
pub mod counters;
mod deadlines;
pub mod driver;
pub mod error_page;
pub mod event;
mod exchange;
#[cfg(test)]
mod exchange_tests;
mod failure;
mod footprint;
mod grpc_web;
mod h1;
mod h2;
mod heads;
pub mod health;
pub mod histogram;
mod io;
pub mod limits;
mod link;
mod listener;
mod local;
pub mod memory_bound;
mod message;
mod mirror;
pub mod outlier;
mod outstanding;
mod own_answer;
mod pool;
pub mod protocol;
pub mod reason;
pub mod record;
mod reputation;
mod request_id;
mod reserved;
pub mod retry;
mod session;
pub mod snapshot;
mod spread;
mod stages;
mod task;
pub mod tls;
pub mod tracing;
pub mod tripwire;
pub mod worker;

pub use h2::End as Http2End;
#[cfg(any(test, fuzzing))]
pub use h2::scripted as http2_scripted;
pub use heads::{forwarded_client, hide_from_filters};
pub use io::clock::{ThreadClock, monotonic_ns, process_cpu_ns};
