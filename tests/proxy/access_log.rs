//! One JSON record per request, written off the workers; a slow disk drops records and never blocks one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{ANY_PATH, Launch, Origin, Proxy, Setup, client, eventually, ok, settles_at};

/// What every record has.
const KEYS: &[&str] = &[
    "time",
    "request_id",
    "listener",
    "route",
    "upstream",
    "endpoint",
    "client",
    "method",
    "host",
    "path",
    "status",
    "reason",
    "suspicious",
    "request_bytes",
    "response_bytes",
    "reused",
    "duration_us",
];

fn origin() -> Origin {
    Origin::http(|request| ok([b"seen ".as_slice(), &request.body].concat()))
}

#[test]
fn records_what_happened() {
    let origin = origin();
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.request(
        "POST /p%20a?q=\"x\\y HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: t\r\nContent-Length: 4\r\n\r\nbody",
    );
    client.get("/second");
    let records = proxy.records(2);
    for record in &records {
        for key in KEYS {
            assert!(record.get(key).is_some(), "no {key} in {record}");
        }
    }
    // docs/access-log.md has each of them and no other.
    let page = include_str!("../../docs/access-log.md");
    let (_, fields) = page.split_once("\n## Fields\n").unwrap();
    let fields = fields.split("\n## ").next().unwrap().lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<&str> = fields
        .flat_map(|row| row.split(" |").next().unwrap().split("`, `"))
        .map(|it| it.trim_matches('`'))
        .collect();
    let mut written: BTreeSet<&str> = records[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert!(written.insert("trace_id"), "only with [tracing]");
    assert!(written.insert("tries"), "only of several attempts");
    assert_eq!(written, documented);
    let first = &records[0];
    assert_eq!(first["listener"], "web");
    assert_eq!(first["route"], "all");
    assert_eq!(first["upstream"], "origin");
    assert_eq!(first["endpoint"], origin.address());
    assert_eq!(first["method"], "POST");
    assert_eq!(first["host"], "shop.example");
    assert!(first["path"].as_str().unwrap().starts_with("/p%20a"), "{first}");
    assert_eq!(first["status"], 200);
    assert!(first["client"].as_str().unwrap().starts_with("127.0.0.1"), "{first}");
    assert!(first["request_bytes"].as_u64().unwrap() >= 4, "{first}");
    assert!(first["response_bytes"].as_u64().unwrap() >= 9, "{first}");
    assert!(first["duration_us"].as_u64().unwrap() > 0, "{first}");
    assert_eq!((&first["reused"], &records[1]["reused"]), (&Value::Bool(false), &Value::Bool(true)));
    assert!(first["reason"].as_str().is_none_or(str::is_empty), "no reason for a success: {first}");
}

#[test]
fn records_are_json_whatever_the_client_sends() {
    let origin = origin();
    let proxy = Setup::origin(&origin).listener(ANY_PATH).start();
    let mut client = proxy.client();
    let targets: &[&[u8]] =
        &[b"/\"quote\"", b"/back\\slash", b"/%00%ff", b"/{}[],:", b"/\x7f", b"/\xff\xfe", b"/\xc3\xa9"];
    let mut sent = 0;
    for target in targets {
        let request = [b"GET ".as_slice(), target, b" HTTP/1.1\r\nHost: a\r\nX: \xff\"\\\r\n\r\n"].concat();
        // Whatever becomes of it, there is a record, and it parses.
        if client.send(&request).is_ok()
            && client.try_response(true).is_ok_and(|response| response.status() == 200)
        {
            sent += 1;
        } else {
            client = proxy.client();
        }
    }
    assert!(sent >= 4);
    assert!(proxy.records(sent).iter().all(Value::is_object));
}

#[test]
fn records_refused_requests_too() {
    let origin = origin();
    let proxy = Setup::origin(&origin).start();
    let response = proxy.client().request("GET / HTTP/1.1\r\nbroken\r\n\r\n");
    assert_eq!(response.status(), 400);
    let record = proxy.record();
    assert_eq!(record["status"], 400);
    assert!(record["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{record}");
}

#[test]
fn times_each_phase() {
    let origin = Origin::http(|_| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        ok("x")
    });
    let proxy = Setup::origin(&origin).start();
    proxy.get("/");
    let record = proxy.record();
    let duration = record["duration_us"].as_u64().unwrap();
    assert!((200_000..5_000_000).contains(&duration), "{record}");
    let phases = record.as_object().unwrap().iter().filter(|(key, _)| key.ends_with("_us"));
    assert!(phases.count() >= 3, "the whole, and at least two phases: {record}");
}

#[test]
fn n_requests_are_n_records_and_n_counted() {
    let origin = origin();
    let proxy = Setup::origin(&origin).workers(2).start();
    let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    for index in 0..1_000 {
        let client = &mut clients[index % 8];
        if index % 3 == 0 {
            client.request(client::post("/", b"abc"));
        } else {
            client.get("/");
        }
    }
    let records = proxy.records(1_000);
    assert_eq!(records.len(), 1_000);
    let ids: BTreeSet<&str> = records.iter().map(|record| record["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1_000, "each request has an id of its own");
    assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    eventually("all are counted", || proxy.listener("requests_total") == 1_000);
    settles_at(1_000, || proxy.metric("corelane_route_requests_total", &[("route", "all")]));
    settles_at(1_000, || {
        proxy.metric("corelane_route_responses_total", &[("route", "all"), ("code", "2xx")])
    });
    settles_at(1_000, || proxy.metric("corelane_upstream_requests_total", &[("upstream", "origin")]));
    settles_at(1_000, || proxy.endpoints("requests_total"));
    assert_eq!(origin.requests().len(), 1_000);
    settles_at(1_000, || proxy.metric("corelane_worker_access_log_records_total", &[]));
    assert_eq!(proxy.metric("corelane_worker_access_log_dropped_total", &[]), 0);
}

#[test]
fn writes_to_standard_output() {
    let origin = origin();
    let text = format!("[access_log]\npath = \"stdout\"\n{}", Setup::origin(&origin).text());
    let proxy = Proxy::start(&text);
    proxy.get("/");
    eventually("a record", || {
        proxy.stdout().contains("\"status\":200") || proxy.stdout().contains("\"status\": 200")
    });
}

#[test]
fn a_full_disk_drops_records_and_counts_them() {
    let origin = origin();
    let text = format!("[access_log]\npath = \"/dev/full\"\n{}", Setup::origin(&origin).text());
    let proxy = Launch::new(&text).start();
    let mut client = proxy.client();
    for _ in 0..2_000 {
        assert_eq!(client.get("/").status(), 200);
    }
    // Dropped by the worker, or by the writer that could not write.
    eventually("drops are counted", || {
        let dropped = proxy.metric("corelane_worker_access_log_dropped_total", &[]);
        dropped + proxy.metric("corelane_access_log_lost_records_total", &[]) == 2_000
    });
    assert_eq!(client.get("/").status(), 200);
}

#[test]
fn flushes_records_at_the_end() {
    let origin = origin();
    let mut proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for _ in 0..100 {
        client.get("/");
    }
    drop(client);
    proxy.signal(libc::SIGTERM);
    assert!(proxy.wait_exit(std::time::Duration::from_secs(15)).success());
    assert_eq!(proxy.records(100).len(), 100);
}
