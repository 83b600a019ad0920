//! For how long, how many, and what else is known of them.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{attempts, line, nobody, setup, until_ejected};
use crate::support::process::stdout;
use crate::support::proxy::binary;
use crate::support::{Nginx, Origin, eventually, ok, settles_at, with_length};

#[test]
fn one_failure_ejects_again_and_for_longer() {
    let (fine, dead) = (Origin::answering(ok("x")), nobody());
    let proxy = setup(&[fine.address(), &dead], "ejection_time = \"1s\", ejection_time_max = \"2s\"").start();
    for (ejections, time) in [(1, "1s"), (2, "2s"), (3, "2s")] {
        let before = proxy.endpoint("connect_failures_total", &dead);
        until_ejected(&proxy, &dead);
        let failures = proxy.endpoint("connect_failures_total", &dead) - before;
        // It comes back on parole.
        assert!(if ejections == 1 { failures >= 5 } else { failures <= 2 }, "{failures}");
        line(&proxy, &["endpoint is ejected", &format!("time={time}")]);
        eventually("its time is over", || proxy.endpoint("ejected", &dead) == 0);
        assert_eq!(proxy.endpoint("ejections_total", &dead), ejections);
    }
    line(&proxy, &["INFO  endpoint is no longer ejected", &dead, "ejected_seconds=1"]);
}

#[test]
fn who_has_come_back_and_works_may_fail_again_now_and_then() {
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_broken = broken.clone();
    let origin = Origin::http(move |_| {
        if is_broken.load(std::sync::atomic::Ordering::SeqCst) {
            with_length("500 No", "no")
        } else {
            ok("x")
        }
    });
    let fine = Origin::answering(ok("x"));
    let keys = "statuses = [500], ejection_time = \"1s\", consecutive_failures = 3";
    let proxy = setup(&[origin.address(), fine.address()], keys).start();
    until_ejected(&proxy, origin.address());
    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    eventually("it answers again", || attempts(&proxy, origin.address(), 4) > 1);
    broken.store(true, std::sync::atomic::Ordering::SeqCst);
    let requests = || proxy.endpoint("requests_total", origin.address());
    let before = requests();
    until_ejected(&proxy, origin.address());
    assert!(requests() >= before + 3, "three in a row are needed again");
}

#[test]
fn not_more_than_a_share_is_ejected_and_never_the_last_one() {
    let (fine, dead) = (Origin::answering(ok("x")), [nobody(), nobody(), nobody()]);
    let endpoints = [fine.address(), &dead[0], &dead[1], &dead[2]];
    let proxy = setup(&endpoints, "ejected_max = \"50%\"").start();
    let spared = || proxy.endpoints("ejections_spared_total");
    eventually("one is spared", || {
        proxy.get("/");
        spared() > 0
    });
    assert_eq!((proxy.endpoints("ejected"), proxy.endpoints("healthy")), (2, 2), "half of four");
    line(&proxy, &["WARN  endpoint fails, and is not ejected", "last=connect_failed up=2 endpoints=4"]);

    let proxy = setup(&endpoints, "").start();
    eventually("all that are dead are", || {
        // Three attempts may meet three dead ones.
        assert!([200, 502].contains(&proxy.get("/").status()));
        proxy.endpoints("ejected") == 3
    });
    for _ in 0..100 {
        assert_eq!(proxy.get("/").status(), 200);
    }

    let proxy = setup(&[&dead[0]], "").start();
    for _ in 0..20 {
        assert_eq!(proxy.get("/").status(), 502, "not 503: it is tried each time");
    }
    eventually("it is spared", || proxy.endpoints("ejections_spared_total") > 0);
    assert_eq!((proxy.endpoints("ejected"), proxy.endpoints("ejections_total")), (0, 0));
}

#[test]
fn when_all_fail_none_is_ejected_for_a_while() {
    let mut origins = [(); 3].map(|()| Nginx::start("location / { return 200; }"));
    let addresses: [String; 3] = std::array::from_fn(|index| origins[index].address().to_owned());
    let proxy = setup(&addresses.each_ref().map(String::as_str), "ejection_time = \"1h\"").start();
    origins.iter_mut().for_each(Nginx::kill);
    let start = Instant::now();
    eventually("the last one fails as well", || {
        proxy.get("/");
        proxy.stderr().contains("WARN  all endpoints fail, and none is ejected for a while")
    });
    assert!(start.elapsed() < Duration::from_secs(10));
    settles_at(3, || proxy.endpoints("healthy"));
    origins.iter_mut().for_each(Nginx::run);
    for address in &addresses {
        eventually("it is used again, long before an hour is over", || attempts(&proxy, address, 4) > 0);
    }
    assert_eq!(proxy.endpoints("healthy"), 3, "{}", proxy.stderr());
}

#[test]
fn many_failures_of_one_that_is_spared_are_told_now_and_then() {
    let proxy = setup(&[&nobody()], "consecutive_failures = 1").start();
    let (mut client, start) = (proxy.client(), Instant::now());
    for _ in 0..2_000 {
        client.get("/");
    }
    let most = start.elapsed().as_millis() / 500 + 2;
    let spared = proxy.endpoints("ejections_spared_total");
    assert!(spared >= 1 && u128::from(spared) <= most, "{spared} of {most}");
}

#[test]
fn an_ejected_one_is_used_when_the_checks_of_the_others_fail() {
    let (mut checked, fails) = (
        Nginx::start("location / { return 200; }"),
        Nginx::start("location / { return 500; } location /health { return 200; }"),
    );
    let health = "health = { kind = \"http\", path = \"/health\", statuses = [\"2xx\", 404], interval = \"100ms\", fall = 1 }";
    let proxy = setup(&[checked.address(), fails.address()], "statuses = [\"5xx\"]").upstream(health).start();
    until_ejected(&proxy, fails.address());
    // Passing checks do not bring it back.
    let passed = || proxy.endpoint("health_checks_total", fails.address());
    let before = passed();
    eventually("it is checked", || passed() > before + 5);
    assert_eq!((proxy.endpoint("ejected", fails.address()), attempts(&proxy, fails.address(), 10)), (1, 0));
    checked.kill();
    eventually("the other is down", || proxy.endpoint("healthy", checked.address()) == 0);
    eventually("it is back", || proxy.endpoint("healthy", fails.address()) == 1);
    eventually("it is used", || proxy.get("/").status() == 500);
    for _ in 0..20 {
        assert_eq!(proxy.get("/").status(), 500, "its own answers, and no 503");
    }
    line(&proxy, &["endpoint is no longer ejected", fails.address()]);
}

#[test]
fn all_are_used_below_the_panic_threshold() {
    let (fine, dead) = (Origin::answering(ok("x")), nobody());
    let setup = setup(&[fine.address(), &dead], "");
    let proxy = setup.upstream("panic_threshold = \"60%\"").start();
    until_ejected(&proxy, &dead);
    line(&proxy, &["too few endpoints are up, all are used", "up=1", "endpoints=2"]);
    assert_eq!(proxy.metric("corelane_upstream_panic", &[]), 1);
    assert!(attempts(&proxy, &dead, 40) >= 10);
}

#[test]
fn a_reload_changes_nothing_for_those_that_stay() {
    let (fine, dead, new) = (Origin::answering(ok("x")), nobody(), Origin::answering(ok("x")));
    let mut proxy = setup(&[fine.address(), &dead], "").start();
    until_ejected(&proxy, &dead);
    proxy.rewrite(&setup(&[&dead, new.address(), fine.address()], "ejection_time = \"1s\"").text());
    proxy.reload_and_wait();
    assert_eq!((proxy.endpoint("ejected", &dead), attempts(&proxy, &dead, 30)), (1, 0));
    // Without outlier detection nobody is.
    let off = setup(&[&dead, fine.address()], "consecutive_failures = 0");
    proxy.rewrite(&off.text());
    proxy.reload_and_wait();
    assert!(attempts(&proxy, &dead, 30) >= 10);
    assert!(!proxy.metrics().contains("corelane_endpoint_ejected{"));
    assert!(!proxy.metrics().contains("corelane_endpoint_healthy{"), "nobody looks");
}

#[test]
fn who_asks_is_told_for_how_long() {
    let (fine, dead) = (Origin::answering(ok("x")), nobody());
    let proxy = setup(&[fine.address(), &dead], "ejection_time = \"1h\"").start();
    until_ejected(&proxy, &dead);
    let state = proxy.admin_get("/status.json").unwrap().text();
    assert!(
        state.contains("\"health\":\"ejected\",\"down_reason\":\"failures in a row: connect_failed\""),
        "{state}"
    );
    assert!(state.contains(" s more: failures in a row: connect_failed"), "{state}");
    let admin = format!("http://{}", proxy.address("admin"));
    let explained = |words: &[&str]| {
        let output =
            Command::new(binary()).arg("explain").args([&*admin, "GET", "http://a/"]).args(words).output();
        stdout(&output.expect("it runs"))
    };
    let text = explained(&[]);
    let line = text.lines().find(|line| line.contains(&*dead)).unwrap_or_default();
    assert!(line.contains(", ejected for 3") && line.ends_with(" s more"), "{text}");
    assert!(
        explained(&["--json"]).contains("\"healthy\":false,\"ejected_seconds\":3"),
        "{}",
        explained(&["--json"])
    );
}

#[test]
fn slow_start_holds_for_who_comes_back() {
    let mut nginx = Nginx::start("location / { return 200; }");
    let fine = Nginx::start("location / { return 200; }");
    let proxy = setup(&[fine.address(), nginx.address()], "ejection_time = \"1s\"")
        .upstream("slow_start = \"60s\"")
        .start();
    nginx.kill();
    until_ejected(&proxy, nginx.address());
    nginx.run();
    eventually("it is back", || proxy.endpoint("healthy", nginx.address()) == 1);
    std::thread::sleep(Duration::from_millis(100));
    let attempts = attempts(&proxy, nginx.address(), 100);
    assert!((1..30).contains(&attempts), "a tenth of its share, not {attempts} of 100");
}
