//! No server is left.

use std::time::Duration;

use super::{CONNECTIONS, addresses, answers, ends_well, servers, setup, wrk};
use crate::support::{Load, Nginx, Proxy, alone, eventually};

/// Waits until checks have found them all as they are, and each worker knows.
#[track_caller]
fn all_answer(proxy: &Proxy, status: u16) {
    let up = if status == 200 { 3 } else { 0 };
    eventually(&format!("{up} are up"), || proxy.endpoints("healthy") == up);
    eventually("each worker knows", || (0..20).all(|_| proxy.get("/page").status() == status));
}

fn is_503_at_once(end: fn(&mut Nginx), begin: fn(&mut Nginx)) {
    let _alone = alone();
    let mut servers = servers::<3>();
    // The timeouts of requests are their defaults, which no test waits for.
    let proxy = setup(&addresses(&servers))
        .upstream("health = { kind = \"http\", path = \"/page\", interval = \"100ms\", timeout = \"2s\" }")
        .start();
    all_answer(&proxy, 200);
    servers.iter_mut().for_each(end);
    all_answer(&proxy, 503);
    let load = Load::start(&proxy.address("web"), CONNECTIONS, "/page");
    answers(&proxy, 2000);
    let tally = load.finish();
    assert_eq!((tally.refused, &tally.failures), (0, &Vec::new()));
    assert_eq!(tally.statuses.keys().copied().collect::<Vec<_>>(), [503]);
    assert!(tally.quantile(0.99) < Duration::from_secs(1), "{:?}", tally.quantile(0.99));

    servers.iter_mut().for_each(begin);
    all_answer(&proxy, 200);
    let wrk = wrk(&proxy, "/page");
    answers(&proxy, 1000);
    ends_well(&proxy, wrk);
}

#[test]
fn all_killed_is_503_at_once_when_checks_have_told() {
    is_503_at_once(Nginx::kill, Nginx::run);
}

#[test]
fn all_hanging_is_503_at_once_when_checks_have_told() {
    is_503_at_once(|it| it.pause(), |it| it.resume());
}

#[test]
fn all_hanging_is_503_at_once_behind_a_breaker_where_nobody_checks() {
    let _alone = alone();
    let servers = servers::<3>();
    let proxy = setup(&addresses(&servers))
        .upstream("response_head_timeout = \"1s\"\nbreaker = { open_time = \"500ms\", successes = 3 }")
        .start();
    let load = wrk(&proxy, "/page");
    answers(&proxy, 1000);
    ends_well(&proxy, load);
    servers.iter().for_each(Nginx::pause);
    let load = Load::start(&proxy.address("web"), CONNECTIONS, "/page");
    answers(&proxy, 5000);
    let tally = load.finish();
    assert_eq!((tally.refused, &tally.failures), (0, &Vec::new()));
    let [refused, late] = [503, 504].map(|status| tally.statuses.get(&status).copied().unwrap_or(0));
    assert_eq!(refused + late, tally.answered(), "{:?}", tally.statuses);
    // Those that were there before it opened, on any worker, and a probe now and then.
    assert!(late <= 2 * CONNECTIONS as u64, "{:?}", tally.statuses);
    assert!(tally.quantile(0.98) < Duration::from_secs(1), "{:?}", tally.quantile(0.98));

    servers.iter().for_each(Nginx::resume);
    eventually("it closes", || (0..20).all(|_| proxy.get("/page").status() == 200));
    let wrk = wrk(&proxy, "/page");
    answers(&proxy, 1000);
    ends_well(&proxy, wrk);
}
