//! Servers that take connections and requests, and say nothing.

use super::{addresses, answers, ends_well, is_left_alone, is_used, servers, setup, wrk};
use crate::support::alone;

/// One of two stands still and goes on; `timeout` is how long a request waits for it.
fn costs_no_request(timeout: &str) {
    let _alone = alone();
    let servers = servers::<2>();
    let addresses = addresses(&servers);
    let proxy = setup(&addresses)
        .upstream(timeout)
        .upstream("health = { kind = \"http\", path = \"/page\", interval = \"100ms\", timeout = \"2s\", fall = 1 }")
        .start();
    let wrk = wrk(&proxy, "/page");
    is_used(&proxy, &addresses[0]);
    servers[0].pause();
    is_left_alone(&proxy, &addresses[0]);
    assert!(proxy.endpoint("response_timeouts_total", &addresses[0]) > 0, "some were there when it stopped");
    servers[0].resume();
    is_used(&proxy, &addresses[0]);
    answers(&proxy, 1000);
    ends_well(&proxy, wrk);
}

#[test]
fn one_of_two_costs_no_request_but_the_time_until_its_response_is_late() {
    costs_no_request(
        "response_head_timeout = \"2s\"\nretry = { on = [\"connect\", \"reset\", \"timeout\"] }",
    );
}

#[test]
fn one_of_two_costs_no_request_but_the_time_of_a_try() {
    costs_no_request("retry = { per_try_timeout = \"1s\" }");
}
