//! What the whole-proxy tests are made of: the proxy as a process, scripted origins, raw clients, nginx, load and wrk.
//!
//! Everything is on loopback, everything has a deadline, and every process and thread ends with the test.

pub(crate) mod client;
pub(crate) mod gate;
pub(crate) mod held;
pub(crate) mod http2;
pub(crate) mod load;
pub(crate) mod message;
pub(crate) mod nginx;
pub(crate) mod origin;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod setup;
pub(crate) mod sys;
pub(crate) mod tls;
pub(crate) mod wire;
pub(crate) mod wrk;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub(crate) use client::Client;
pub(crate) use gate::alone;
pub(crate) use load::Load;
pub(crate) use nginx::Nginx;
pub(crate) use origin::{Origin, ok, with_length};
pub(crate) use proxy::{Launch, Proxy};
pub(crate) use setup::Setup;
pub(crate) use wrk::Wrk;

/// Listener keys with which no spelling of a path is refused or changed, where that can be told at all.
pub(crate) const ANY_PATH: &str = "paths = { encoded_slash = \"pass\", backslash = \"pass\", encoded_control = \"pass\", \
     encoded_delimiter = \"pass\", dot_segments = \"pass\" }";

/// How long anything that should happen may take. Generous: a loaded two-core machine must not fail a test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// Waits until `condition` holds; fails the test, naming `what`, when it does not within [`DEADLINE`].
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(DEADLINE, what, condition);
}

/// [`eventually`] with a deadline of its own.
#[track_caller]
pub(crate) fn eventually_within(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `value` is `expected`: a counter may move a moment after the answer that it counts.
#[track_caller]
pub(crate) fn settles_at(expected: u64, mut value: impl FnMut() -> u64) {
    let start = Instant::now();
    loop {
        let now = value();
        if now == expected {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{now}, not {expected}, after {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port nobody listens on, below the ephemeral range, so that no outgoing connection takes it meanwhile. Never the
/// same twice in one run.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let start = u16::try_from(std::process::id() % 9_000).unwrap_or(0);
        let port = 12_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let free = TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("::1", port)).is_ok();
        if free {
            return port;
        }
    }
}
