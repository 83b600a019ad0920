//! Servers with a limit: no place is lost with them, and who waits is served by those that are left.

use super::{addresses, answers, ends_well, is_used, servers, setup, wrk};
use crate::support::{alone, settles_at};

fn a_killed_one_costs_no_request(limit: &str) {
    let _alone = alone();
    let mut servers = servers::<2>();
    let addresses = addresses(&servers);
    let endpoints = addresses.each_ref().map(|address| format!("{{ address = \"{address}\", {limit} = 3 }}"));
    let proxy = setup(&endpoints).upstream("queue = { requests_max = 100, timeout = \"10s\" }").start();
    let wrk = wrk(&proxy, "/page");
    is_used(&proxy, &addresses[0]);
    for index in [0, 1, 0] {
        servers[index].kill();
        answers(&proxy, 2000);
        servers[index].run();
        is_used(&proxy, &addresses[index]);
        answers(&proxy, 1000);
    }
    ends_well(&proxy, wrk);
    settles_at(0, || proxy.metric("corelane_upstream_requests_waiting", &[]));
}

#[test]
fn a_killed_one_costs_no_request_and_no_place() {
    a_killed_one_costs_no_request("requests_max");
}

#[test]
fn a_killed_one_costs_no_request_and_no_connection() {
    a_killed_one_costs_no_request("connections_max");
}

#[test]
fn a_hanging_one_keeps_its_own_places_only() {
    let _alone = alone();
    let servers = servers::<2>();
    let endpoints =
        addresses(&servers).map(|address| format!("{{ address = \"{address}\", requests_max = 3 }}"));
    let proxy = setup(&endpoints)
        .upstream("queue = { requests_max = 100, timeout = \"15s\" }")
        .upstream("response_head_timeout = \"5s\"\nretry = { on = [\"connect\", \"reset\", \"timeout\"] }")
        .start();
    let wrk = wrk(&proxy, "/page");
    answers(&proxy, 1000);
    servers[0].pause();
    for _ in 0..5 {
        answers(&proxy, 1000);
    }
    servers[0].resume();
    answers(&proxy, 1000);
    ends_well(&proxy, wrk);
}
