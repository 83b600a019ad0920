//! Whole-proxy tests: the real binary between real clients and real origins.
//!
//! Each module holds one topic, each test one sentence about the proxy's behaviour. Everything is on loopback and
//! everything has a deadline. `CORELANE_BINARY` runs them against a binary built elsewhere.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

mod support;

mod abort;
mod access_log;
mod actions;
mod addresses;
mod admin;
mod attempts;
mod balancing;
mod breakers;
mod certificates;
mod check;
mod command_line;
mod connection_limits;
mod contrib;
mod descriptors;
mod drain;
mod driver;
mod early_response;
mod endpoint_connections;
mod error_pages;
mod explain;
mod failures;
mod fairness;
mod fields;
mod filters;
mod forwarded;
mod framing;
mod harness;
mod health;
mod hedging;
mod hostile;
mod http2;
mod interim;
mod keepalive;
mod log_formats;
mod log_targets;
mod malformed;
mod metrics;
mod names;
mod outages;
mod outlier;
mod policies;
mod pool;
mod queue;
mod reload;
mod reload_under_load;
mod request_limits;
mod resend;
mod retries;
mod routing;
mod spinning;
mod splicing;
mod status;
mod status_page;
mod streaming;
mod strictness;
mod timeouts;
mod tls;
mod top;
mod tracing;
mod tripwires;
mod upgrade;
mod upstream_limits;
mod websocket;
mod workers;
