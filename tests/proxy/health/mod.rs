//! Active checks of endpoints, over real servers.

mod changes;
mod choice;
mod kinds;
mod programs;
mod servers;

use crate::support::{Proxy, eventually};

/// Checks that come fast, of one kind with its keys: for tests that wait for them.
fn fast(kind: &str, keys: &str) -> String {
    let comma = if keys.is_empty() { "" } else { ", " };
    format!("health = {{ kind = \"{kind}\", interval = \"100ms\", timeout = \"2s\"{comma}{keys} }}")
}

/// Waits until the checks of an endpoint have found it up (1) or down (0), by one check at least.
#[track_caller]
fn settles(proxy: &Proxy, endpoint: &str, healthy: u64) {
    eventually(&format!("{endpoint} is at {healthy}"), || {
        let checked = proxy.endpoint("health_checks_total", endpoint) > 0;
        checked && proxy.endpoint("healthy", endpoint) == healthy
    });
}

/// Waits for a line of the log with all of these words.
#[track_caller]
fn logs(proxy: &Proxy, words: &[&str]) {
    let has = |line: &str| words.iter().all(|word| line.contains(word));
    eventually(&format!("{words:?} in the log"), || proxy.stderr().lines().any(has));
}
