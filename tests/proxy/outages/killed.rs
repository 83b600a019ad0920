//! Servers that end at once, with every connection that they have.

use super::{addresses, answers, ends_well, is_left_alone, is_used, servers, setup, wrk};
use crate::support::{Load, Setup, alone, eventually};

/// One of two is killed and comes back, several times.
fn costs_no_request(upstream: &str) {
    let _alone = alone();
    let mut servers = servers::<2>();
    let addresses = addresses(&servers);
    let proxy = setup(&addresses).upstream(upstream).start();
    let wrk = wrk(&proxy, "/page");
    is_used(&proxy, &addresses[0]);
    for index in [0, 1, 0] {
        servers[index].kill();
        answers(&proxy, 2000);
        if !upstream.is_empty() {
            is_left_alone(&proxy, &addresses[index]);
        }
        servers[index].run();
        is_used(&proxy, &addresses[index]);
        // By the other workers, too.
        answers(&proxy, 1000);
    }
    ends_well(&proxy, wrk);
}

#[test]
fn one_of_two_costs_no_request_where_nobody_checks() {
    costs_no_request("");
}

#[test]
fn one_of_two_costs_no_request_and_is_left_alone_where_checks_tell() {
    costs_no_request("health = { kind = \"tcp\", interval = \"100ms\", fall = 1, rise = 1 }");
}

#[test]
fn a_restart_of_one_after_the_other_costs_no_request_by_default() {
    let _alone = alone();
    let mut servers = servers::<2>();
    let addresses = addresses(&servers);
    let proxy = Setup::to(&addresses.each_ref().map(String::as_str)).workers(4).start();
    let wrk = wrk(&proxy, "/page");
    answers(&proxy, 1000);
    for index in [0, 1, 0] {
        servers[index].kill();
        answers(&proxy, 2000);
        servers[index].run();
        answers(&proxy, 1000);
    }
    ends_well(&proxy, wrk);
}

#[test]
fn one_of_three_costs_no_request_under_any_policy() {
    let _alone = alone();
    let mut servers = servers::<3>();
    let addresses = addresses(&servers);
    let policies = ["weighted", "random", "least_connections", "p2c", "ewma", "least_bandwidth", "hash"];
    for policy in policies {
        // Until it is ejected, each request may have to be sent again: that of the hash is the same endpoint's.
        let mut upstream = format!("policy = \"{policy}\"\nretry = {{ budget = \"100%\" }}");
        if policy == "hash" {
            // All of them have the same key: whose home it is is killed, once.
            upstream.push_str("\nhash = { on = [\"host\"] }");
        }
        let proxy = setup(&addresses).upstream(&upstream).start();
        let wrk = wrk(&proxy, "/page");
        answers(&proxy, 500);
        for (server, address) in servers.iter_mut().zip(&addresses) {
            server.kill();
            answers(&proxy, 1000);
            server.run();
            if policy != "hash" {
                is_used(&proxy, address);
            }
        }
        ends_well(&proxy, wrk);
    }
}

#[test]
fn the_only_one_is_an_answered_error_until_it_is_back() {
    let _alone = alone();
    let [mut server] = servers::<1>();
    let proxy = Setup::nginx(&server).workers(2).start();
    let load = Load::start(&proxy.address("web"), 32, "/page");
    for _ in 0..3 {
        answers(&proxy, 1000);
        server.kill();
        answers(&proxy, 200);
        server.run();
        eventually("it is used again", || proxy.get("/page").status() == 200);
    }
    let tally = load.finish();
    assert_eq!((tally.refused, &tally.failures), (0, &Vec::new()), "every request gets an answer");
    let statuses: Vec<u16> = tally.statuses.keys().copied().collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 502 | 503)), "{:?}", tally.statuses);
    let mut client = proxy.client();
    for _ in 0..100 {
        let response = client.get("/page");
        assert_eq!((response.status(), response.body.len()), (200, 1024));
    }
    assert!(!proxy.has_panicked());
}
