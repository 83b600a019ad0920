//! Servers that become slow and fast again.

use super::{addresses, answers, ends_well, fails, is_used, servers, setup, wrk};
use crate::support::{Proxy, alone, eventually};

/// The share of an endpoint in the next requests, in percent.
fn share(proxy: &Proxy, endpoint: &str) -> u64 {
    let counts = || (proxy.endpoint("requests_total", endpoint), proxy.endpoints("requests_total"));
    let (before, all_before) = counts();
    answers(proxy, 1000);
    let (after, all_after) = counts();
    100 * (after - before) / (all_after - all_before)
}

#[test]
fn one_of_three_gets_little_under_policies_that_look_and_its_share_when_it_is_fast_again() {
    let _alone = alone();
    let servers = servers::<3>();
    let addresses = addresses(&servers);
    for policy in ["least_connections", "p2c", "ewma"] {
        let proxy = setup(&addresses).upstream(&format!("policy = \"{policy}\"")).start();
        let wrk = wrk(&proxy, "/halves");
        is_used(&proxy, &addresses[0]);
        for _ in 0..2 {
            fails(&servers[0], "slow", true);
            eventually(&format!("{policy}: it gets little"), || share(&proxy, &addresses[0]) < 10);
            fails(&servers[0], "slow", false);
            eventually(&format!("{policy}: it gets its share"), || share(&proxy, &addresses[0]) > 20);
        }
        ends_well(&proxy, wrk);
    }
}
