//! Servers that answer with errors, or close connections instead of answering.

use super::{addresses, answers, ends_well, fails, is_used, servers, setup, wrk};
use crate::support::{alone, eventually};

#[test]
fn one_of_three_that_flaps_in_every_way_costs_no_request() {
    let _alone = alone();
    let mut servers = servers::<3>();
    let addresses = addresses(&servers);
    let proxy = setup(&addresses)
        .upstream("retry = { on = [\"connect\", \"reset\", \"503\"], budget = \"100%\" }")
        .start();
    let wrk = wrk(&proxy, "/page");
    is_used(&proxy, &addresses[0]);
    for _ in 0..3 {
        for way in ["broken", "closing"] {
            let retries = || proxy.metric("corelane_upstream_retries_total", &[]);
            let before = retries();
            fails(&servers[0], way, true);
            eventually("it fails", || retries() > before);
            fails(&servers[0], way, false);
            is_used(&proxy, &addresses[0]);
        }
        servers[0].kill();
        answers(&proxy, 500);
        servers[0].run();
        is_used(&proxy, &addresses[0]);
    }
    ends_well(&proxy, wrk);
}
