//! What reloads, flapping and names do to checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{fast, logs, settles};
use crate::support::{Client, Origin, Setup, eventually, free_port, ok, settles_at, with_length};

/// An origin that fails each check whose number in turn is in `fails`, and the number of checks.
fn in_turn(cycle: usize, fails: &'static [usize]) -> (Origin, Arc<AtomicUsize>) {
    let checks = Arc::<AtomicUsize>::default();
    let counted = checks.clone();
    let origin = Origin::http(move |request| {
        if request.head.target() != "/health" {
            return ok("x");
        }
        let turn = counted.fetch_add(1, Ordering::SeqCst) % cycle;
        if fails.contains(&turn) { with_length("503 No", "no") } else { ok("ready") }
    });
    (origin, checks)
}

#[test]
fn flapping_that_is_never_in_a_row_changes_nothing() {
    // P P F P F F: never three failures in a row.
    let (origin, checks) = in_turn(6, &[2, 4, 5]);
    let health = fast("http", "path = \"/health\", rise = 2, fall = 3");
    let proxy = Setup::origin(&origin).upstream(&health).start();
    eventually("two rounds of checks", || checks.load(Ordering::SeqCst) > 12);
    let address = origin.address();
    assert_eq!(proxy.endpoint("health_changes_total", address), 0, "{}", proxy.stderr());
    assert_eq!(proxy.endpoint("healthy", address), 1);
    let failed = || proxy.metric("corelane_endpoint_health_checks_total", &[("result", "failed")]);
    eventually("failures are counted", || failed() >= 6);
}

#[test]
fn rise_and_fall_count_in_a_row() {
    // P P F F F, P F P P P: it goes down at the third failure, and comes up at the second pass in a row.
    let (origin, checks) = in_turn(10, &[2, 3, 4, 6]);
    let health = fast("http", "path = \"/health\", rise = 2, fall = 3");
    let proxy = Setup::origin(&origin).upstream(&health).start();
    eventually("a round of checks", || checks.load(Ordering::SeqCst) >= 11);
    let address = origin.address();
    let lines = proxy.stderr();
    let is_one = |line: &&str| line.contains(" endpoint is ") && !line.contains(" no endpoint is ");
    let lines: Vec<_> = lines.lines().filter(is_one).collect();
    let [down, up] = lines[..] else { panic!("{lines:?}") };
    assert!(
        down.contains("WARN  endpoint is down") && down.contains("reason=\"status 503\" failed=3"),
        "{down}"
    );
    assert!(
        up.contains("INFO  endpoint is up") && up.contains(&format!("endpoint={address} passed=2")),
        "{up}"
    );
}

#[test]
fn checks_that_do_not_change_go_on_over_a_reload() {
    let (origin, checks) = in_turn(1, &[0]);
    let slow = "health = { kind = \"http\", path = \"/health\", interval = \"1h\" }";
    let setup = Setup::origin(&origin).upstream(slow);
    let mut proxy = setup.start();
    settles(&proxy, origin.address(), 0);
    // The state goes on although nothing is checked again, and so does a new snapshot.
    proxy.rewrite(&setup.clone().upstream("attempts_max = 2").text());
    proxy.reload_and_wait();
    assert_eq!(proxy.endpoint("healthy", origin.address()), 0);
    assert_eq!(proxy.get("/").status(), 503);
    assert_eq!(checks.load(Ordering::SeqCst), 1);

    // Other settings are another check: it begins anew, and at once.
    let tcp = "health = { kind = \"tcp\", interval = \"1h\" }";
    proxy.rewrite(&Setup::origin(&origin).upstream(tcp).text());
    proxy.reload_and_wait();
    settles(&proxy, origin.address(), 1);
    eventually("it serves", || proxy.get("/").status() == 200);
    assert_eq!(checks.load(Ordering::SeqCst), 1);
}

#[test]
fn what_is_removed_is_no_longer_checked() {
    let (origin, checks) = in_turn(1, &[]);
    let other = Origin::answering(ok("x"));
    let health = fast("http", "path = \"/health\"");
    let mut proxy = Setup::to(&[origin.address(), other.address()]).upstream(&health).start();
    settles(&proxy, origin.address(), 1);
    settles(&proxy, other.address(), 1);
    proxy.rewrite(&Setup::origin(&other).upstream(&health).text());
    proxy.reload_and_wait();
    let before = checks.load(Ordering::SeqCst);
    let passed = proxy.endpoint("health_checks_total", other.address());
    eventually("the other is checked", || {
        proxy.endpoint("health_checks_total", other.address()) > passed + 5
    });
    // One may have been sent when the reload came.
    assert!(checks.load(Ordering::SeqCst) <= before + 1);
    assert!(!proxy.metrics().contains(&format!(
        "corelane_endpoint_healthy{{upstream=\"origin\",endpoint=\"{}\"",
        origin.address()
    )));
    // And without checks, everything is up.
    proxy.rewrite(&Setup::origin(&other).text());
    proxy.reload_and_wait();
    assert!(!proxy.metrics().contains("corelane_endpoint_health_checks_total{"));
    assert_eq!(proxy.endpoint("healthy", other.address()), 1);
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn an_endpoint_that_was_down_is_used_when_its_checks_are_taken_away() {
    let serves = Arc::new(AtomicBool::new(false));
    let origin = Origin::http(move |request| {
        let serves = request.head.target() != "/health" || serves.load(Ordering::SeqCst);
        if serves { ok("x") } else { with_length("503 No", "no") }
    });
    let setup = Setup::origin(&origin).workers(2);
    let mut proxy = setup.clone().upstream(&fast("http", "path = \"/health\"")).start();
    settles(&proxy, origin.address(), 0);
    eventually("it is left out", || proxy.get("/").status() == 503);
    proxy.rewrite(&setup.text());
    proxy.reload_and_wait();
    for _ in 0..10 {
        assert_eq!(proxy.get("/").status(), 200);
    }
}

#[test]
fn the_first_check_comes_at_once_and_decides() {
    let dead = format!("127.0.0.1:{}", free_port());
    let proxy = Setup::to(&[&dead]).upstream("health = { kind = \"tcp\", interval = \"1h\" }").start();
    settles(&proxy, &dead, 0);
    settles_at(1, || proxy.endpoint("health_checks_total", &dead));
}

#[test]
fn an_endpoint_is_not_down_because_descriptors_have_run_out_here() {
    let origin = Origin::answering(ok("x"));
    let health = fast("tcp", "rise = 1, fall = 1");
    let proxy = Setup::origin(&origin).upstream(&health).launch().files(64).start();
    settles(&proxy, origin.address(), 1);
    let admin = proxy.address("admin");
    let held: Vec<_> = (0..64).map(|_| Client::connect(&admin)).collect();
    logs(&proxy, &["ERROR cannot check an endpoint", origin.address(), "Too many open files"]);
    drop(held);
    let passed = || proxy.endpoint("health_checks_total", origin.address());
    let before = passed();
    eventually("it is checked again", || passed() > before + 2);
    assert_eq!(proxy.endpoint("health_changes_total", origin.address()), 0, "{}", proxy.stderr());
}
