//! Collectors that refuse, are gone, or say nothing: what becomes of spans, and that no request waits.

use std::time::{Duration, Instant};

use super::collector::{Collector, Protocol, section};
use super::{get, origin};
use crate::support::{DEADLINE, Setup, eventually, free_port, process, settles_at};

#[test]
fn what_a_collector_refuses_for_now_comes_again() {
    for (protocol, answers) in [
        (Protocol::Http, ["503:1", "429", "200"]),
        (Protocol::Grpc, ["UNAVAILABLE", "RESOURCE_EXHAUSTED:1", "200"]),
    ] {
        let (origin, collector) = (origin(), Collector::answering(protocol, &answers));
        let proxy = Setup::origin(&origin).more(&collector.section("sample = \"100%\"")).start();
        proxy.get("/");
        let exports = [collector.next(), collector.next(), collector.next()];
        for (export, answer) in exports.iter().zip(answers) {
            assert_eq!(export["answer"], answer.split(':').next().unwrap());
            assert_eq!(export["spans"], exports[0]["spans"]);
        }
        let count = |result| proxy.metric("corelane_trace_export_spans_total", &[("result", result)]);
        settles_at(2, || count("exported"));
        assert_eq!((count("lost"), proxy.metric("corelane_trace_export_failures_total", &[])), (0, 2));
        assert!(proxy.log().contains("spans can be exported again"), "{}", proxy.log());
    }
}

#[test]
fn what_a_collector_refuses_for_good_is_lost() {
    for (protocol, answers) in [
        (Protocol::Http, ["400", "partial"]),
        (Protocol::Grpc, ["UNAUTHENTICATED", "partial"]),
        (Protocol::Grpc, ["RESOURCE_EXHAUSTED", "partial"]),
    ] {
        let (origin, collector) = (origin(), Collector::answering(protocol, &answers));
        let proxy = Setup::origin(&origin).more(&collector.section("sample = \"100%\"")).start();
        let count = |result| proxy.metric("corelane_trace_export_spans_total", &[("result", result)]);
        proxy.get("/");
        settles_at(2, || count("lost"));
        let path = match protocol {
            Protocol::Http => "/v1/traces",
            Protocol::Grpc => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        };
        let log = proxy.log();
        assert!(log.contains("spans cannot be exported url=http://127.0.0.1:"), "{log}");
        assert!(log.contains(&format!("{path} error=")), "{log}");
        proxy.get("/");
        settles_at(3, || count("lost"));
        assert_eq!(count("exported"), 1);
    }
}

#[test]
fn a_collector_that_is_gone_or_silent_holds_up_nothing() {
    let origin = origin();
    let silent = Collector::answering(Protocol::Http, &["silent", "silent"]);
    let port = free_port();
    for tracing in [
        section(Protocol::Http, port, "sample = \"100%\""),
        section(Protocol::Grpc, port, "sample = \"100%\""),
        silent.section("sample = \"100%\"\ntimeout = \"500ms\""),
        // It speaks HTTP/1.1 with what answers in HTTP/1.1 otherwise.
        silent.section("sample = \"100%\"").replace("http/protobuf", "grpc"),
    ] {
        let proxy = Setup::origin(&origin).more(&tracing).start();
        let mut client = proxy.client();
        let failures = || proxy.metric("corelane_trace_export_failures_total", &[]);
        let start = Instant::now();
        while failures() < 2 {
            assert!(start.elapsed() < 2 * DEADLINE, "{}", proxy.log());
            let sent = Instant::now();
            assert_eq!(client.get("/").status(), 200);
            assert!(sent.elapsed() < DEADLINE / 3, "{:?}", sent.elapsed());
            assert!(proxy.is_ready());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(proxy.log().contains("spans cannot be exported"), "{}", proxy.log());
    }
}

#[test]
fn a_collector_that_comes_back_gets_what_has_waited() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let (origin, port) = (origin(), free_port());
        let proxy = Setup::origin(&origin).more(&section(protocol, port, "sample = \"100%\"")).start();
        proxy.get("/");
        eventually("a failed export", || proxy.metric("corelane_trace_export_failures_total", &[]) > 0);
        let collector = Collector::start_at(protocol, port, &[]);
        collector.spans(2);
        drop(collector);
        // The connection is gone too.
        proxy.get("/");
        let collector = Collector::start_at(protocol, port, &[]);
        collector.spans(2);
    }
}

#[test]
fn what_waits_for_a_collector_is_bounded() {
    let (origin, collector) = (origin(), Collector::answering(Protocol::Http, &["silent", "silent"]));
    let proxy =
        Setup::origin(&origin).more(&collector.section("sample = \"100%\"\ntimeout = \"1h\"")).start();
    let dropped = || proxy.metric("corelane_worker_trace_spans_dropped_total", &[]);
    let (start, mut client) = (Instant::now(), proxy.client());
    // Each has two spans with a kilobyte of its target.
    let requests = get(&format!("/?{}", "x".repeat(1000)), "").repeat(10);
    let mut answers = 0;
    while dropped() == 0 {
        assert!(start.elapsed() < 4 * DEADLINE, "nothing is dropped after {answers} requests");
        for _ in 0..20 {
            client.send(&requests).unwrap();
            answers += (0..10).filter(|_| client.response().status() == 200).count();
        }
    }
    let handed_over = proxy.metric("corelane_worker_trace_spans_total", &[]);
    settles_at(answers as u64, || proxy.listener("requests_total"));
    // 16 MiB and one export, in spans of at most 2 KiB or so.
    assert!((8_000..20_000).contains(&handed_over), "{handed_over}");
    let rss = process::rss_bytes(proxy.pid());
    assert!(rss < 160 << 20, "{rss}");
}

#[test]
fn the_last_spans_go_out_at_the_end() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let (origin, collector) = (origin(), Collector::start(protocol));
        let mut proxy = Setup::origin(&origin).more(&collector.section("sample = \"100%\"")).start();
        proxy.get("/");
        proxy.signal(libc::SIGTERM);
        let status = proxy.wait_exit(DEADLINE);
        assert!(status.success());
        assert_eq!(collector.spans(2).len(), 2);
    }
}

#[test]
fn spans_that_end_during_an_export_go_out_at_the_end_too() {
    let (origin, collector) = (origin(), Collector::answering(Protocol::Http, &["slow"]));
    let mut proxy = Setup::origin(&origin).more(&collector.section("sample = \"100%\"")).start();
    proxy.get("/");
    collector.next();
    proxy.get("/");
    proxy.signal(libc::SIGTERM);
    assert!(proxy.wait_exit(DEADLINE).success());
    assert_eq!(collector.spans(2).len(), 2);
}

#[test]
fn a_collector_that_wants_no_pause_is_given_one() {
    let (origin, collector) = (origin(), Collector::answering(Protocol::Http, &["503:0", "503:0", "503:0"]));
    let proxy = Setup::origin(&origin).more(&collector.section("sample = \"100%\"")).start();
    proxy.get("/");
    collector.next();
    let start = Instant::now();
    (0..3).for_each(|_| drop(collector.next()));
    // The least of 500 ms, 1 s and 2 s with their chance.
    assert!(start.elapsed() >= Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[test]
fn a_silent_collector_does_not_hold_up_the_end() {
    let (origin, collector) = (origin(), Collector::answering(Protocol::Http, &["silent", "silent"]));
    let mut proxy =
        Setup::origin(&origin).more(&collector.section("sample = \"100%\"\ntimeout = \"1h\"")).start();
    proxy.get("/");
    collector.next();
    proxy.signal(libc::SIGTERM);
    assert!(proxy.wait_exit(DEADLINE).success());
    assert!(proxy.log().contains("the last spans are lost"), "{}", proxy.log());
}
