//! What checks do to the choice of endpoints.

use std::time::{Duration, Instant};

use super::{fast, logs, settles};
use crate::support::{Load, Nginx, Origin, Setup, eventually, free_port, ok};

#[test]
fn an_endpoint_that_is_down_gets_no_request() {
    let origin = Origin::answering(ok("x"));
    let dead = format!("127.0.0.1:{}", free_port());
    let proxy = Setup::to(&[&dead, origin.address()]).upstream(&fast("tcp", "")).start();
    settles(&proxy, &dead, 0);
    settles(&proxy, origin.address(), 1);
    let failures = || proxy.endpoint("connect_failures_total", &dead);
    // Workers know a moment later than the metrics.
    eventually("nobody tries it", || {
        let before = failures();
        (0..50).for_each(|_| assert_eq!(proxy.get("/").status(), 200));
        failures() == before
    });
    let words = ["endpoint is down", "upstream=origin", &dead, "reason=\"connection refused\"", "failed=1"];
    logs(&proxy, &words);
    let state = proxy.admin_get("/status.json").unwrap().text();
    assert!(state.contains("\"health\":\"down\",\"down_reason\":\"connection refused\""), "{state}");
    assert!(state.contains("its checks fail: connection refused"), "{state}");
}

#[test]
fn all_down_is_503_at_once_and_up_again_when_one_is() {
    let mut nginx = Nginx::start("location / { return 200; }");
    let proxy = Setup::nginx(&nginx).workers(2).upstream(&fast("http", "fall = 2")).start();
    settles(&proxy, nginx.address(), 1);
    nginx.kill();
    settles(&proxy, nginx.address(), 0);
    eventually("it is left out", || proxy.get("/").status() == 503);
    let start = Instant::now();
    for _ in 0..20 {
        let response = proxy.get("/");
        assert_eq!((response.status(), response.head.field("retry-after")), (503, Some("1")));
        assert!(response.text().contains("no_healthy_endpoint"), "{}", response.text());
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(proxy.records(21).last().unwrap()["reason"], "no_healthy_endpoint");
    eventually("they are counted", || proxy.metric("corelane_upstream_no_endpoint_total", &[]) >= 20);
    logs(&proxy, &["no endpoint is up", "upstream=origin"]);

    nginx.run();
    settles(&proxy, nginx.address(), 1);
    eventually("requests are served again", || proxy.get("/").status() == 200);
    logs(&proxy, &["endpoint is up", "passed=2"]);
    logs(&proxy, &["enough endpoints are up", "up=1"]);
    assert_eq!(proxy.endpoint("health_changes_total", nginx.address()), 2);
}

#[test]
fn all_are_used_below_the_panic_threshold() {
    let origin = Origin::answering(ok("x"));
    let dead = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let proxy = Setup::to(&[&dead[0], origin.address(), &dead[1]])
        .upstream(&fast("tcp", ""))
        .upstream("panic_threshold = \"50%\"")
        .start();
    for dead in &dead {
        settles(&proxy, dead, 0);
    }
    logs(&proxy, &["too few endpoints are up, all are used", "up=1", "endpoints=3", "panic_threshold=50%"]);
    assert_eq!(proxy.metric("corelane_upstream_panic", &[("upstream", "origin")]), 1);
    let failures = || dead.each_ref().map(|dead| proxy.endpoint("connect_failures_total", dead));
    let before = failures();
    eventually("both are tried", || {
        // It goes on to the next endpoint.
        assert_eq!(proxy.get("/").status(), 200);
        failures().iter().zip(before).all(|(now, before)| *now > before + 1)
    });
}

#[test]
fn one_that_goes_down_among_two_costs_no_request() {
    let stays = Nginx::start("location / { return 200; }");
    let mut goes = Nginx::start("location / { return 200; }");
    let proxy = Setup::to(&[stays.address(), goes.address()])
        .workers(2)
        .upstream(&fast("http", "rise = 1, fall = 1"))
        .upstream("outlier = { consecutive_failures = 0 }\nretry = { budget = \"100%\" }")
        .start();
    for address in [stays.address(), goes.address()] {
        settles(&proxy, address, 1);
    }
    let load = Load::start(&proxy.address("web"), 8, "/");
    for _ in 0..2 {
        let answered = load.answered();
        eventually("some answers", || load.answered() > answered + 200);
        goes.kill();
        settles(&proxy, goes.address(), 0);
        let failures = || proxy.endpoint("connect_failures_total", goes.address());
        eventually("nobody tries it", || {
            let (before, answered) = (failures(), load.answered());
            eventually("some answers", || load.answered() > answered + 200);
            failures() == before
        });
        goes.run();
        settles(&proxy, goes.address(), 1);
        let requests = proxy.endpoint("requests_total", goes.address());
        eventually("it gets requests", || proxy.endpoint("requests_total", goes.address()) > requests);
    }
    load.finish().assert_all_ok();
}

#[test]
fn one_that_begins_unhealthy_gets_nothing_before_it_was_checked() {
    let origin = Origin::answering(ok("x"));
    let never = Origin::script(|connection| connection.wait_for_end());
    let health = "health = { kind = \"http\", initial = \"unhealthy\", timeout = \"1h\", interval = \"1h\" }";
    let proxy = Setup::to(&[never.address(), origin.address()]).upstream(health).start();
    settles(&proxy, origin.address(), 1);
    eventually("the check is under way", || never.connections() == 1);
    for _ in 0..10 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    assert_eq!(never.connections(), 1, "the check's own");
    assert_eq!(proxy.endpoint("healthy", never.address()), 0);
}
