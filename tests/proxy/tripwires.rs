//! What is wrong or suspicious has its word in the access log and in the metrics of listener, route and endpoint; an
//! endpoint that puts connections out of step loses their reuse for a while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::origin::Connection;
use crate::support::proxy::{Proxy, sum_of};
use crate::support::{DEADLINE, Origin, Setup, client, eventually, free_port, ok, settles_at};

/// What `corelane_<kind>_<metric>` counts by reason, in the whole process.
#[track_caller]
fn counts(proxy: &Proxy, family: &str) -> Vec<(String, u64)> {
    let metrics = proxy.metrics();
    let mut counts: Vec<(String, u64)> = Vec::new();
    for line in metrics.lines().filter(|line| line.starts_with(&format!("corelane_{family}{{"))) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let reason = series.split("reason=\"").nth(1).expect("a reason").trim_end_matches("\"}");
        counts.push((reason.to_owned(), value.parse().unwrap()));
    }
    counts
}

/// Waits until a family counts exactly this.
#[track_caller]
fn expect_counts(proxy: &Proxy, family: &str, expected: &[(&str, u64)]) {
    let expected: Vec<(String, u64)> = expected.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect();
    eventually(&format!("{family} is {expected:?}"), || counts(proxy, family) == expected);
}

/// The words in `suspicious` of each record, in the order of the log.
fn suspicions(records: &[Value]) -> Vec<Option<&str>> {
    records.iter().map(|record| record["suspicious"].as_str()).collect()
}

#[test]
fn counts_every_failure_by_reason_where_it_belongs() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n");
    let proxy = Setup::origin(&origin).route("path = { prefix = \"/api\" }").start();
    for _ in 0..2 {
        assert_eq!(proxy.get("/api").status(), 502);
    }
    assert_eq!(proxy.get("/other").status(), 404);
    let smuggled = "POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(proxy.client().request(smuggled).status(), 400);
    let upstream = [("length_invalid", 2)];
    expect_counts(
        &proxy,
        "listener_failures_total",
        &[("length_invalid", 2), ("length_repeated", 1), ("no_route", 1)],
    );
    expect_counts(&proxy, "route_failures_total", &upstream);
    expect_counts(&proxy, "endpoint_failures_total", &upstream);
    expect_counts(&proxy, "listener_suspicious_total", &[]);
}

#[test]
fn counts_the_failures_of_each_endpoint_although_another_one_answers() {
    let origin = Origin::answering(ok("x"));
    let down = format!("127.0.0.1:{}", free_port());
    let proxy = Setup::to(&[&down, origin.address()]).start();
    for _ in 0..4 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    let failures = proxy.endpoint("connect_failures_total", &down);
    assert!(failures > 0);
    expect_counts(&proxy, "endpoint_failures_total", &[("connect_failed", failures)]);
    let metrics = proxy.metrics();
    let there = sum_of(&metrics, "corelane_endpoint_failures_total", &[("endpoint", &down)]);
    assert_eq!(there, Some(failures), "at the endpoint that is down");
    expect_counts(&proxy, "listener_failures_total", &[]);
}

#[test]
fn sums_reasons_over_the_workers() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(4).route("hosts = [\"only.example\"]").start();
    for _ in 0..40 {
        assert_eq!(proxy.get("/").status(), 404);
    }
    expect_counts(&proxy, "listener_failures_total", &[("no_route", 40)]);
}

#[test]
fn notes_surplus_bytes_behind_a_response() {
    let origin = Origin::script(|connection| {
        if connection.request().unwrap().is_some() {
            connection.send([ok("x"), ok("POISON")].concat()).unwrap();
            connection.wait_for_end();
        }
    });
    let proxy = Setup::origin(&origin).start();
    assert_eq!(proxy.get("/").text(), "x");
    let record = proxy.record();
    assert_eq!((&record["status"], &record["reason"]), (&Value::from(200), &Value::Null), "{record}");
    assert_eq!(record["suspicious"], "surplus_bytes", "{record}");
    for kind in ["listener", "route", "endpoint"] {
        expect_counts(&proxy, &format!("{kind}_suspicious_total"), &[("surplus_bytes", 1)]);
    }
}

#[test]
fn notes_surplus_bytes_on_an_idle_connection_at_the_endpoint() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::script(move |connection| {
        if connection.request().unwrap().is_some() {
            connection.send(ok("x")).unwrap();
            wait.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            connection.send(ok("POISON")).unwrap();
            connection.wait_for_end();
        }
    });
    let proxy = Setup::origin(&origin).start();
    assert_eq!(proxy.get("/").text(), "x");
    settles_at(1, || proxy.endpoints("connections_idle"));
    go.send(()).unwrap();
    // Nobody asks for the connection: the sweep finds it.
    expect_counts(&proxy, "endpoint_suspicious_total", &[("surplus_bytes", 1)]);
    expect_counts(&proxy, "listener_suspicious_total", &[]);
    assert_eq!(proxy.record()["suspicious"], Value::Null);
}

#[test]
fn takes_a_408_on_an_idle_connection_for_a_close() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::script(move |connection| {
        if connection.request().unwrap().is_some() {
            connection.send(ok("x")).unwrap();
            wait.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            connection
                .send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
        }
    });
    let proxy = Setup::origin(&origin).start();
    for round in 1..=5 {
        assert_eq!(proxy.get("/").text(), "x");
        settles_at(1, || proxy.endpoints("connections_idle"));
        go.send(()).unwrap();
        expect_counts(&proxy, "endpoint_suspicious_total", &[("unsolicited_timeout", round)]);
    }
    assert_eq!(proxy.endpoints("reuse_suspensions_total"), 0);
}

#[test]
fn notes_short_bodies() {
    let origin = Origin::script(|connection| {
        if connection.request().unwrap().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort").unwrap();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    client.next_head();
    assert_eq!(client.exactly(5).unwrap(), b"short");
    client.expect_end();
    let record = proxy.record();
    assert_eq!(record["reason"], "response_truncated", "{record}");
    assert_eq!(record["suspicious"], "short_body", "{record}");
    expect_counts(&proxy, "endpoint_failures_total", &[("response_truncated", 1)]);
    expect_counts(&proxy, "endpoint_suspicious_total", &[("short_body", 1)]);
}

#[test]
fn never_reuses_a_connection_that_answered_early() {
    let answer = |connection: &mut Connection, status: &str| {
        let Ok(Some(_)) = connection.head() else { return false };
        connection.send(format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nyes")).unwrap();
        // The whole body arrives all the same, and all looks well.
        connection.exactly(4).is_ok_and(|body| body == b"body")
    };
    let origin = Origin::script(move |connection| {
        let status = if connection.index == 0 { "200 OK" } else { "413 Content Too Large" };
        while answer(connection, status) {}
    });
    let proxy = Setup::origin(&origin).start();
    for (round, status) in [(1, 200), (2, 413), (3, 413)] {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n").unwrap();
        let head = client.next_head();
        assert_eq!(head.status(), status);
        let _ = client.send("body");
        assert_eq!(origin.connections(), round, "a connection of its own");
    }
    let records = proxy.records(3);
    assert_eq!(suspicions(&records), [Some("early_response"), None, None], "a refusal is usual");
}

/// Answers each request with its target and, while `poison` is set, a response that nobody asked for.
fn poisoning(poison: &Arc<AtomicBool>) -> Origin {
    let poison = poison.clone();
    Origin::script(move |connection| {
        while let Ok(Some(request)) = connection.request() {
            let mut answer = ok(request.head.target());
            if poison.load(Ordering::SeqCst) {
                answer.extend(ok("POISON"));
            }
            if connection.send(answer).is_err() {
                return;
            }
        }
    })
}

/// The lines in the process's log about suspensions.
fn suspension_lines(proxy: &Proxy) -> Vec<String> {
    let log = proxy.stderr();
    log.lines().filter(|line| line.contains("connection reuse suspended")).map(str::to_owned).collect()
}

#[test]
fn an_endpoint_that_sends_surplus_bytes_three_times_loses_reuse_for_a_while() {
    let poison = Arc::new(AtomicBool::new(true));
    let origin = poisoning(&poison);
    let proxy = Setup::origin(&origin).upstream("quarantine_after = 3\nquarantine_time = \"3s\"").start();
    for round in 0..3 {
        assert_eq!(proxy.endpoints("reuse_suspended"), 0, "not before the third strike");
        assert_eq!(proxy.get(&format!("/{round}")).text(), format!("/{round}"));
    }
    eventually("reuse is suspended", || proxy.endpoints("reuse_suspended") == 1);
    assert_eq!(proxy.endpoints("reuse_suspensions_total"), 1);
    poison.store(false, Ordering::SeqCst);

    // The endpoint behaves now, but for each request there is a new connection.
    let mut client = proxy.client();
    for round in 3..8 {
        assert_eq!(client.get("/after").text(), "/after");
        assert_eq!(origin.connections(), round + 1);
    }
    assert_eq!(proxy.endpoints("connections_idle"), 0);
    eventually("one line says so", || suspension_lines(&proxy).len() == 1);
    let line = suspension_lines(&proxy).remove(0);
    let endpoint = origin.address();
    let said = format!("upstream=origin endpoint={endpoint} reason=surplus_bytes time=3s worker=0");
    assert!(line.ends_with(&said), "{line}");

    eventually("the time is over", || proxy.endpoints("reuse_suspended") == 0);
    assert_eq!(client.get("/later").text(), "/later");
    let connections = origin.connections();
    for _ in 0..5 {
        assert_eq!(client.get("/later").text(), "/later");
    }
    assert_eq!(origin.connections(), connections, "reused again");
    assert_eq!(proxy.endpoints("reuse_suspensions_total"), 1);
    assert_eq!(suspension_lines(&proxy).len(), 1);
    let text: String = proxy.records(14).iter().map(ToString::to_string).collect();
    assert_eq!(text.matches("surplus_bytes").count(), 3);
}

#[test]
fn malformed_responses_are_strikes_and_other_endpoints_keep_their_connections() {
    let good = Origin::http(|_| ok("good"));
    let bad = Origin::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n");
    let proxy = Setup::to(&[good.address(), bad.address()]).upstream("quarantine_time = \"1h\"").start();
    for _ in 0..6 {
        assert!(matches!(proxy.get("/").status(), 200 | 502));
    }
    eventually("it is suspended", || proxy.endpoint("reuse_suspended", bad.address()) == 1);
    assert_eq!(proxy.endpoint("reuse_suspended", good.address()), 0);
    assert_eq!(good.connections(), 1);
    eventually("the line names the rule", || {
        suspension_lines(&proxy).iter().any(|line| line.contains("reason=chunk_size_invalid time=3600s"))
    });
    settles_at(3, || proxy.endpoint("failures_total", bad.address()));
}

#[test]
fn closing_idle_connections_is_no_strike() {
    let origin = Origin::script(|connection| {
        if connection.request().unwrap().is_some() {
            connection.send(ok("x")).unwrap();
            if connection.index % 2 == 0 {
                connection.silent_for(Duration::from_millis(20)).unwrap();
                connection.reset_on_close();
            }
        }
    });
    let proxy = Setup::origin(&origin).upstream("quarantine_after = 1").start();
    for _ in 0..10 {
        assert_eq!(proxy.get("/").status(), 200);
        eventually("the origin ends it", || origin.open_connections() == 0);
    }
    assert_eq!(proxy.endpoints("reuse_suspensions_total"), 0);
    expect_counts(&proxy, "endpoint_suspicious_total", &[]);
}

#[test]
fn quarantine_can_be_turned_off() {
    let origin = poisoning(&Arc::new(AtomicBool::new(true)));
    let proxy = Setup::origin(&origin).upstream("quarantine_after = 0").start();
    for _ in 0..10 {
        assert_eq!(proxy.get("/x").text(), "/x");
    }
    expect_counts(&proxy, "endpoint_suspicious_total", &[("surplus_bytes", 10)]);
    assert_eq!(proxy.endpoints("reuse_suspensions_total"), 0);
    assert!(suspension_lines(&proxy).is_empty());
}

#[test]
fn turning_quarantine_off_ends_it() {
    let poison = Arc::new(AtomicBool::new(true));
    let origin = poisoning(&poison);
    let setup = Setup::origin(&origin);
    let mut proxy = setup.clone().upstream("quarantine_after = 1\nquarantine_time = \"1h\"").start();
    assert_eq!(proxy.get("/x").text(), "/x");
    eventually("reuse is suspended", || proxy.endpoints("reuse_suspended") == 1);
    poison.store(false, Ordering::SeqCst);
    proxy.rewrite(&setup.upstream("quarantine_after = 0").text());
    proxy.reload_and_wait();
    eventually("reuse is back", || proxy.endpoints("reuse_suspended") == 0);
    for _ in 0..3 {
        assert_eq!(proxy.get("/x").text(), "/x");
    }
    assert_eq!(origin.connections(), 2);
}
