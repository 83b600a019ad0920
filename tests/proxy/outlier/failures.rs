//! What counts as a failure, and what it does to the choice.

use std::time::Duration;

use super::{attempts, line, nobody, setup, until_ejected};
use crate::support::{Load, Nginx, Origin, Setup, alone, client, eventually, ok, settles_at, with_length};

fn fine() -> Nginx {
    Nginx::start("location / { return 200 fine; }")
}

#[test]
fn one_that_is_killed_under_load_costs_no_request_without_any_checks() {
    let _alone = alone();
    let (stays, mut goes) = (fine(), fine());
    let proxy = setup(&[stays.address(), goes.address()], "ejection_time = \"1s\"").start();
    let load = Load::start(&proxy.address("web"), 16, "/");
    let some = || {
        let answered = load.answered();
        eventually("some answers", || load.answered() > answered + 500);
    };
    for _ in 0..3 {
        some();
        goes.kill();
        eventually("it is ejected", || proxy.endpoint("ejected", goes.address()) == 1);
        some();
        goes.run();
        let requests = || proxy.endpoint("requests_total", goes.address());
        let before = requests();
        eventually("it is used again", || requests() > before + 100);
    }
    load.finish().assert_all_ok();
    let ejections = proxy.endpoint("ejections_total", goes.address());
    assert!(ejections >= 3, "{ejections}");
    assert_eq!(proxy.endpoint("ejections_total", stays.address()), 0, "{}", proxy.stderr());
}

#[test]
fn a_restart_of_one_after_the_other_costs_no_request_with_the_defaults() {
    let _alone = alone();
    let mut servers = [fine(), fine()];
    let addresses: [String; 2] = std::array::from_fn(|index| servers[index].address().to_owned());
    let proxy = Setup::to(&addresses.each_ref().map(String::as_str)).workers(4).start();
    let load = Load::start(&proxy.address("web"), 16, "/");
    let some = || {
        let answered = load.answered();
        eventually("some answers", || load.answered() > answered + 1000);
    };
    for index in [0, 1, 0] {
        some();
        servers[index].kill();
        some();
        // It is ejected for half a minute, and needed when the other one goes.
        servers[index].run();
    }
    some();
    load.finish().assert_all_ok();
}

#[test]
fn five_failures_are_enough_for_all_workers() {
    let (fine, dead) = (fine(), nobody());
    let proxy = setup(&[fine.address(), &dead], "").start();
    let mut clients: Vec<_> = (0..16).map(|_| proxy.client()).collect();
    for _ in 0..25 {
        for client in &mut clients {
            assert_eq!(client.get("/").text(), "fine");
        }
    }
    // One after the other, over four workers: the fifth may be followed by those that were sent while the news went round.
    let failures = proxy.endpoint("connect_failures_total", &dead);
    assert!((5..=8).contains(&failures), "{failures}");
    settles_at(1, || proxy.endpoint("ejections_total", &dead));
    assert_eq!(attempts(&proxy, &dead, 40), 0);
    let reasons = [("endpoint", &*dead), ("reason", "consecutive_failures")];
    assert_eq!(proxy.metric("corelane_endpoint_ejections_total", &reasons), 1);
    let words =
        ["WARN  endpoint is ejected", &dead, "reason=consecutive_failures last=connect_failed time=30s"];
    line(&proxy, &words);
}

#[test]
fn endpoints_that_hang_reset_or_talk_nonsense_are_ejected() {
    let hangs = Origin::script(|connection| while let Ok(Some(_)) = connection.request() {});
    let resets = Origin::script(|connection| drop(connection.request()));
    let talks = Origin::answering("nonsense\r\n\r\n");
    let fine = fine();
    for (origin, last) in [
        (&hangs, "last=response_head_timeout"),
        (&resets, "last=upstream_closed"),
        (&talks, "last=version_invalid"),
    ] {
        let proxy = setup(&[origin.address(), fine.address()], "consecutive_failures = 3")
            .upstream("response_head_timeout = \"200ms\"")
            .start();
        until_ejected(&proxy, origin.address());
        line(&proxy, &["endpoint is ejected", origin.address(), last]);
        assert_eq!(attempts(&proxy, origin.address(), 20), 0);
    }
}

#[test]
fn statuses_count_where_that_is_set_or_they_are_retried() {
    let broken = Nginx::start("location / { return 503 broken; }");
    let fine = fine();
    let endpoints = [broken.address(), fine.address()];
    for line in [
        "",
        "outlier = { statuses = [404, \"504-599\"] }",
        "outlier = { statuses = [\"5xx\"], consecutive_failures = 0 }",
    ] {
        let proxy = Setup::to(&endpoints).upstream(line).start();
        assert_eq!(attempts(&proxy, broken.address(), 30), 15, "it is its turn each time: {line}");
    }
    for line in ["outlier = { statuses = [\"5xx\"] }", "retry = { on = [\"503\"] }"] {
        let proxy = Setup::to(&endpoints).workers(4).upstream(line).start();
        until_ejected(&proxy, broken.address());
        super::line(&proxy, &["endpoint is ejected", broken.address(), "last=\"status 503\""]);
        assert_eq!(attempts(&proxy, broken.address(), 20), 0);
    }
}

#[test]
fn a_share_of_failures_is_enough_where_that_is_set() {
    // Every second one: never two in a row.
    let turns = std::sync::atomic::AtomicUsize::new(0);
    let flaky = Origin::http(move |_| {
        let turn = turns.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if turn.is_multiple_of(2) { ok("x") } else { with_length("500 No", "no") }
    });
    let fine = fine();
    let keys = "statuses = [\"5xx\"], failure_share = \"40%\", requests_min = 10, consecutive_failures = 3";
    let proxy =
        Setup::to(&[flaky.address(), fine.address()]).upstream(&format!("outlier = {{ {keys} }}")).start();
    until_ejected(&proxy, flaky.address());
    let requests = flaky.requests().len();
    assert!((10..=12).contains(&requests), "{requests}");
    line(&proxy, &["endpoint is ejected", flaky.address(), "reason=failure_rate last=\"status 500\""]);
    let reasons = [("endpoint", flaky.address()), ("reason", "failure_rate")];
    assert_eq!(proxy.metric("corelane_endpoint_ejections_total", &reasons), 1);
}

#[test]
fn clients_cannot_have_an_endpoint_ejected() {
    let slow = Origin::http(|_| {
        std::thread::sleep(Duration::from_millis(300));
        ok("x")
    });
    let never = Origin::script(|connection| connection.wait_for_end());
    let proxy = setup(&[slow.address(), never.address()], "consecutive_failures = 2").start();
    for _ in 0..8 {
        // They leave before they have an answer.
        let mut leaves = proxy.client();
        leaves.send(client::get("/")).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        drop(leaves);
    }
    for _ in 0..8 {
        // They send half of a body.
        let mut half = proxy.client();
        half.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        half.reset();
    }
    eventually("all are over", || proxy.metric("corelane_listener_client_aborts_total", &[]) == 16);
    assert_eq!(proxy.endpoints("healthy"), 2, "{}", proxy.stderr());
    assert_eq!(proxy.endpoints("ejections_total") + proxy.endpoints("ejections_spared_total"), 0);
}

#[test]
fn a_time_limit_of_the_whole_request_counts_if_it_was_spent_waiting() {
    let hangs = Origin::script(|connection| while let Ok(Some(_)) = connection.request() {});
    let fine = fine();
    let setup = setup(&[hangs.address(), fine.address()], "consecutive_failures = 2");
    let proxy = setup.upstream("request_timeout = \"300ms\"").start();
    // A body that does not come is the client's.
    for _ in 0..6 {
        let mut half = proxy.client();
        half.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
        let status = half.response().status();
        assert!([200, 408].contains(&status), "{status}: nginx does not wait for it");
    }
    assert_eq!(proxy.endpoints("healthy"), 2, "{}", proxy.stderr());
    until_ejected(&proxy, hangs.address());
    line(&proxy, &["endpoint is ejected", hangs.address(), "last=request_timeout"]);
}
