//! Reloads while servers come and go.

use super::{addresses, ends_well, is_left_alone, is_used, servers, setup, wrk};
use crate::support::alone;

#[test]
fn no_change_of_health_is_lost_and_no_request_fails() {
    let _alone = alone();
    let mut servers = servers::<3>();
    let addresses = addresses(&servers);
    let health = "health = { kind = \"tcp\", interval = \"100ms\", fall = 1, rise = 1 }";
    let setup = setup(&addresses).upstream(health);
    let other = setup.clone().upstream("idle_timeout = \"50s\"");
    let mut proxy = setup.start();
    let wrk = wrk(&proxy, "/page");
    is_used(&proxy, &addresses[0]);
    for round in 0..8 {
        let (server, address) = (&mut servers[round % 3], &addresses[round % 3]);
        let text = if round % 2 == 0 { other.text() } else { setup.text() };
        // The changes come before, while and after the snapshot is built.
        proxy.rewrite(&text);
        server.kill();
        (0..5).for_each(|_| proxy.reload_and_wait());
        is_left_alone(&proxy, address);
        server.run();
        (0..5).for_each(|_| proxy.reload_and_wait());
        is_used(&proxy, address);
    }
    ends_well(&proxy, wrk);
}
