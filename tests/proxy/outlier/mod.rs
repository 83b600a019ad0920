//! Endpoints that are ejected because requests fail there.

mod failures;
mod limits;

use crate::support::{Proxy, Setup, eventually, free_port};

/// An address where nobody listens.
fn nobody() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Four workers and these endpoints, with keys of `outlier`.
fn setup(endpoints: &[&str], keys: &str) -> Setup {
    Setup::to(endpoints).workers(4).upstream(&format!("outlier = {{ {keys} }}"))
}

/// Sends requests, each over a connection of its own, until an endpoint is ejected.
#[track_caller]
fn until_ejected(proxy: &Proxy, endpoint: &str) {
    eventually("it is ejected", || {
        proxy.get("/");
        proxy.endpoint("ejected", endpoint) == 1
    });
    assert_eq!(proxy.endpoint("healthy", endpoint), 0);
}

/// Requests that reach an endpoint, or try to, while some are sent.
fn attempts(proxy: &Proxy, endpoint: &str, sent: usize) -> u64 {
    let all =
        || proxy.endpoint("requests_total", endpoint) + proxy.endpoint("connect_failures_total", endpoint);
    let before = all();
    (0..sent).for_each(|_| drop(proxy.get("/")));
    all() - before
}

/// The line of the log with all of these words.
#[track_caller]
fn line(proxy: &Proxy, words: &[&str]) -> String {
    let mut found = None;
    eventually(&format!("{words:?} in the log"), || {
        found = proxy
            .stderr()
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)))
            .map(str::to_owned);
        found.is_some()
    });
    found.unwrap_or_default()
}
