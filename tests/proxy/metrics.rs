//! /metrics: histograms.

use std::time::Duration;

use crate::support::{Origin, Proxy, Setup, client, ok, settles_at};

fn bucket(proxy: &Proxy, name: &str, end: &str) -> u64 {
    proxy.metric(&format!("corelane_{name}_bucket"), &[("le", end)])
}

fn count(proxy: &Proxy, name: &str) -> u64 {
    proxy.metric(&format!("corelane_{name}_count"), &[])
}

#[test]
fn sizes_are_in_the_bucket_that_they_belong_to() {
    let origin = Origin::http(|request| ok(request.body.repeat(4)));
    let proxy = Setup::origin(&origin).workers(2).start();
    for bytes in [0, 256, 257, 1024, 70_000] {
        let response = proxy.client().request(client::post("/", &vec![b'x'; bytes]));
        assert_eq!(response.body.len(), 4 * bytes);
    }
    settles_at(5, || count(&proxy, "route_request_body_bytes"));
    for (end, requests, responses) in
        [("256", 2, 1), ("1024", 4, 2), ("4096", 4, 4), ("262144", 5, 4), ("+Inf", 5, 5)]
    {
        assert_eq!(bucket(&proxy, "route_request_body_bytes", end), requests, "{end}");
        assert_eq!(bucket(&proxy, "route_response_body_bytes", end), responses, "{end}");
    }
    let sum = |name: &str| proxy.metric(&format!("corelane_route_{name}_body_bytes_sum"), &[]);
    assert_eq!([sum("request"), sum("response")], [71_537, 4 * 71_537]);
}

#[test]
fn durations_are_those_of_the_origin() {
    let origin = Origin::http(|request| {
        if request.head.raw.starts_with("GET /slow") {
            std::thread::sleep(Duration::from_millis(300));
        }
        ok("x")
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for target in ["/", "/slow", "/slow"] {
        assert_eq!(client.get(target).status(), 200);
    }
    for name in [
        "route_request_duration_seconds",
        "route_response_head_seconds",
        "upstream_request_duration_seconds",
        "upstream_response_head_seconds",
    ] {
        settles_at(3, || count(&proxy, name));
        assert!(bucket(&proxy, name, "0.25") <= 1, "{name}");
        assert_eq!(bucket(&proxy, name, "60"), 3, "{name}");
    }
    // One connection for all of them.
    assert_eq!(count(&proxy, "upstream_connect_duration_seconds"), 1);
}

#[test]
fn what_failed_has_a_duration_and_no_upstream_time() {
    let origin = Origin::http(|_| b"not HTTP\r\n\r\n".to_vec());
    let proxy = Setup::origin(&origin).start();
    assert_eq!(proxy.get("/").status(), 502);
    settles_at(1, || count(&proxy, "route_request_duration_seconds"));
    assert_eq!(count(&proxy, "route_response_head_seconds"), 1, "the client got one");
    assert_eq!(count(&proxy, "upstream_response_head_seconds"), 0);
    assert_eq!(count(&proxy, "upstream_request_duration_seconds"), 0);
}

#[test]
fn survive_a_reload_and_are_turned_off_and_on_by_one() {
    let origin = Origin::answering(ok("x"));
    let setup = |histograms: bool| {
        let admin = format!("[admin]\naddress = \"127.0.0.1:@admin@\"\nhistograms = {histograms}");
        Setup::origin(&origin).more(&admin).text()
    };
    let mut proxy = Proxy::start(&setup(false));
    assert_eq!(proxy.get("/").status(), 200);
    settles_at(1, || proxy.metric("corelane_route_requests_total", &[]));
    assert!(!proxy.metrics().contains("_bucket{"), "none are kept");
    for (histograms, kept) in [(true, 1), (true, 2), (false, 2), (true, 3)] {
        proxy.rewrite(&setup(histograms));
        proxy.reload_and_wait();
        assert_eq!(proxy.get("/").status(), 200);
        settles_at(kept, || count(&proxy, "route_request_duration_seconds"));
    }
    settles_at(5, || proxy.metric("corelane_route_requests_total", &[]));
}
