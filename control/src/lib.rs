//! The slow thread: configuration, reload, signals, resolver, admin, logs.
//!
//! [`run`] owns the process from its first check to its exit status:
//!
//! ```text
//! signals ─┐                 ┌─▶ listen, resolver, admin, log_writer
//! events ──┼─▶ supervisor ───┤
//! answers ─┘       │         └─▶ reload: config → snapshot_builder → workers
//!                  └─ status ──▶ admin: /healthz /readyz /metrics /status /explain
//! ```
//!
//! | limit | value | when it is reached |
//! | --- | --- | --- |
//! | connections waiting to be accepted, per socket | 4096 (or net.core.somaxconn) | the kernel drops SYNs |
//! | admin connections | 64 | the next waits |
//! | samples of the state, while somebody watches | 6 of about 1 KiB a route | the oldest goes |
//! | access-log batches waiting for the writer | 256 of about 64 KiB | workers drop and count records |
//! | access-log records waiting for a syslog server | 16 MiB | the writer drops and counts them |
//! | lookups of names at once | 64 | the next waits |
//! | wait for the first answers of new names | 1 s | served without them, 503 on their routes |

mod admin;
mod changes;
pub mod config;
pub mod demo;
mod error_pages;
mod events;
pub mod explain;
mod filters;
#[cfg(test)]
mod fixtures;
mod health;
mod listen;
mod log;
mod log_writer;
mod memory;
mod metrics;
mod options;
mod refresh;
mod registry;
mod reload;
mod remote;
mod resolver;
mod shutdown;
mod signals;
mod snapshot_builder;
pub mod state;
mod status;
mod supervisor;
mod syslog;
mod tcp_table;
mod tls;
mod tls_failures;
mod tracing;

use std::time::SystemTime;

pub use memory::MemoryBound;
pub use options::{Build, ConfigSource, ExitReason, RunOptions, SupervisorError};
pub use supervisor::run;

/// What `check` says of a configuration that has no errors: the same checks as before it is put in force, but for what
/// only the machine can refuse.
///
/// # Errors
///
/// Every error, one line each.
pub fn check(source: &ConfigSource) -> Result<Checked, String> {
    let loaded = load(source)?;
    let tls::Findings { errors, warnings } = tls::examine(&loaded.config, SystemTime::now());
    if errors.is_empty() { Ok(Checked { loaded, warnings }) } else { Err(errors.join("\n")) }
}

/// The same without a look at the files of certificates.
fn load(source: &ConfigSource) -> Result<config::Loaded, String> {
    let loaded = source.load().map_err(|errors| errors.to_string())?;
    snapshot_builder::router(&loaded.config).map_err(|lines| lines.join("\n"))?;
    Ok(loaded)
}

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it says.
    pub loaded: config::Loaded,
    /// What can be used, but not as somebody may think; a line each.
    pub warnings: Vec<String>,
}
