//! Tunnels in the life of the process: metrics, the log, reload and drain.

use std::time::{Duration, Instant};

use super::{UPGRADE, assert_echo, echoing, granting, open};
use crate::support::{DEADLINE, Origin, Setup, client, eventually, ok, settles_at};

#[test]
fn counts_tunnels_while_they_are_open_and_after() {
    let origin = echoing();
    let proxy = Setup::origin(&origin).start();
    let mut first = open(&proxy);
    let mut second = open(&proxy);
    assert_echo(&mut first, "one");
    settles_at(2, || proxy.listener("tunnels"));
    assert_echo(&mut second, "two");
    drop(first);
    settles_at(1, || proxy.listener("tunnels"));
    second.half_close().unwrap();
    second.expect_close();
    settles_at(0, || proxy.listener("tunnels"));
    assert_eq!(proxy.listener("tunnels_total"), 2);
    settles_at(0, || proxy.listener("connections"));
    settles_at(0, || proxy.endpoints("requests_active"));
}

#[test]
fn logs_a_tunnel_when_it_ends_with_its_bytes() {
    let origin = echoing();
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(UPGRADE.to_owned() + "early").unwrap();
    assert_eq!(client.next_head().status(), 101);
    assert_eq!(client.exactly(5).unwrap(), b"early");
    assert_echo(&mut client, "and more");
    std::thread::sleep(Duration::from_millis(300));
    let log = std::fs::read_to_string(proxy.dir().join("access.log")).unwrap_or_default();
    assert_eq!(log, "", "a tunnel is logged when it ends");
    client.half_close().unwrap();
    client.expect_close();
    let record = proxy.record();
    assert_eq!(record["status"], 101, "{record}");
    assert_eq!((&record["method"], &record["path"]), (&"GET".into(), &"/chat".into()));
    assert_eq!((&record["request_bytes"], &record["response_bytes"]), (&13.into(), &13.into()), "{record}");
    assert!(record["reason"].is_null(), "{record}");
    assert!(record["duration_us"].as_u64().unwrap() >= 300_000, "{record}");
    settles_at(1, || proxy.metric("corelane_route_responses_total", &[("route", "all"), ("code", "1xx")]));
}

#[test]
fn never_uses_a_tunnels_connection_again() {
    let origin = granting(|connection| {
        // The origin would serve on.
        assert_eq!(connection.until_end().unwrap(), b"bye");
        connection.send("bye").unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    assert_eq!(proxy.get("/before").text(), "/before");
    let mut client = open(&proxy);
    client.send("bye").unwrap();
    client.half_close().unwrap();
    assert_eq!(client.until_end().unwrap(), b"bye");
    assert_eq!(proxy.get("/after").text(), "/after");
    assert_eq!(origin.connections(), 2, "the first took the upgrade, too, and was spent");
    settles_at(1, || proxy.endpoints("connections_idle"));
}

#[test]
fn a_reload_neither_cuts_a_tunnel_nor_is_kept_by_it() {
    let origin = echoing();
    let other = Origin::answering(ok("other"));
    let mut proxy = Setup::origin(&origin).start();
    let mut client = open(&proxy);
    assert_echo(&mut client, "before");
    // The tunnel's upstream is gone from the new one.
    proxy.rewrite(
        &Setup::origin(&other)
            .text()
            .replace("upstreams.origin", "upstreams.other")
            .replace("upstream = \"origin\"", "upstream = \"other\""),
    );
    proxy.reload_and_wait();
    assert_eq!(proxy.get("/").text(), "other");
    assert_echo(&mut client, "after");
    eventually("the old configuration is freed", || proxy.metric("corelane_snapshots_alive", &[]) == 1);
    settles_at(1, || proxy.listener("tunnels"));
    for round in 0..3 {
        proxy.reload_and_wait();
        assert_echo(&mut client, &format!("round {round}"));
    }
    eventually("those too", || proxy.metric("corelane_snapshots_alive", &[]) == 1);
    client.half_close().unwrap();
    client.expect_close();
    settles_at(0, || proxy.listener("tunnels"));
    let records = proxy.records(2);
    let tunnel = records.iter().find(|record| record["status"] == 101).expect("a record of the tunnel");
    assert_eq!(
        (&tunnel["listener"], &tunnel["route"], &tunnel["upstream"]),
        (&"web".into(), &"all".into(), &"origin".into())
    );
}

#[test]
fn a_tunnel_outlives_its_listener() {
    let origin = echoing();
    let mut proxy = Setup::origin(&origin).start();
    let mut client = open(&proxy);
    proxy.rewrite(&Setup::origin(&origin).text().replace("@web@", "@elsewhere@"));
    proxy.reload_and_wait();
    assert_echo(&mut client, "still here");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_echo(&mut client, "and here");
    eventually("the old configuration is freed", || proxy.metric("corelane_snapshots_alive", &[]) == 1);
}

#[test]
fn a_drain_lets_tunnels_live_until_its_timeout_and_cuts_them_then() {
    let origin = echoing();
    let mut proxy = Setup::origin(&origin).process("drain_timeout = \"4s\"").start();
    let mut client = open(&proxy);
    let start = Instant::now();
    proxy.signal(libc::SIGTERM);
    while start.elapsed() < Duration::from_millis(1_500) {
        std::thread::sleep(Duration::from_millis(100));
        assert_echo(&mut client, "during the drain");
    }
    client.expect_end();
    // By itself it would live for `tunnel_idle_timeout`, ten minutes.
    assert!(start.elapsed() >= Duration::from_millis(3_900), "{:?}", start.elapsed());
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
    let record = &proxy.records(1)[0];
    assert_eq!((&record["status"], &record["reason"]), (&101.into(), &"drain_timeout".into()), "{record}");
    assert!(proxy.log().contains("connections_cut=1"), "{}", proxy.log());
    eventually("the origin's connection has ended", || origin.open_connections() == 0);
}

#[test]
fn a_drain_ends_with_the_last_tunnel() {
    let origin = echoing();
    let mut proxy = Setup::origin(&origin).process("drain_timeout = \"60s\"").start();
    let mut client = open(&proxy);
    proxy.signal(libc::SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    assert_echo(&mut client, "the last words");
    assert!(!proxy.has_exited());
    client.half_close().unwrap();
    client.expect_close();
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
    assert!(proxy.records(1)[0]["reason"].is_null());
}

#[test]
fn tunnels_of_many_workers_leave_nothing() {
    let origin = echoing();
    let proxy = Setup::origin(&origin).workers(4).start();
    let descriptors = crate::support::process::descriptors(proxy.pid());
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..50).map(|_| open(&proxy)).collect();
        settles_at(50, || proxy.listener("tunnels"));
        for (index, client) in clients.iter_mut().enumerate() {
            assert_echo(client, &format!("client {index}"));
        }
        for (index, client) in clients.into_iter().enumerate() {
            match index % 3 {
                0 => drop(client),
                1 => client.reset(),
                _ => client.half_close().unwrap(),
            }
        }
        settles_at(0, || proxy.listener("tunnels"));
        settles_at(0, || proxy.listener("connections"));
    }
    assert_eq!(proxy.listener("tunnels_total"), 150);
    eventually("every descriptor is given back", || {
        crate::support::process::descriptors(proxy.pid()) <= descriptors
    });
    let mut client = proxy.client();
    assert_eq!(client.request(client::get("/plain")).text(), "/plain");
}
