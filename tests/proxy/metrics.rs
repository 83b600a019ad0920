//! /metrics: histograms, workers, the process, and what Prometheus' own linter says.

use std::time::Duration;

use crate::support::prometheus::{Prometheus, promtool};
use crate::support::proxy::sum_of;
use crate::support::{Origin, Proxy, Setup, client, ok, settles_at};

fn bucket(proxy: &Proxy, name: &str, end: &str) -> u64 {
    proxy.metric(&format!("corelane_{name}_bucket"), &[("le", end)])
}

/// 0 as long as there is none.
fn count(proxy: &Proxy, name: &str) -> u64 {
    sum_of(&proxy.metrics(), &format!("corelane_{name}_count"), &[]).unwrap_or(0)
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

#[test]
fn workers_tell_what_they_do() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(2).start();
    let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut clients {
        for _ in 0..5 {
            assert_eq!(client.get("/").status(), 200);
        }
    }
    settles_at(40, || proxy.metric("corelane_worker_requests_total", &[]));
    assert_eq!(proxy.metric("corelane_worker_connections_total", &[]), 8);
    assert_eq!(proxy.metric("corelane_worker_connections", &[]), 8);
    drop(clients);
    settles_at(0, || proxy.metric("corelane_worker_connections", &[]));
    for worker in ["0", "1"] {
        let of = |name: &str| proxy.metric(&format!("corelane_worker_{name}_total"), &[("worker", worker)]);
        assert_eq!(of("requests"), 5 * of("connections"));
        assert!(of("turns") > 0 && of("waits") > 0, "{worker}");
    }
    // Seconds have a fraction, which `metric` does not read.
    let page = proxy.metrics();
    let seconds = |name: &str| {
        let samples = page.lines().filter(|line| line.starts_with(name));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).collect::<Vec<_>>()
    };
    let (workers, process) =
        (seconds("corelane_worker_cpu_seconds_total"), seconds("process_cpu_seconds_total"));
    assert!(workers.len() == 2 && workers.iter().all(|it| *it > 0.0), "{workers:?}");
    assert!(process[0] > workers.iter().sum(), "{process:?} {workers:?}");
    assert!(proxy.metric("process_threads", &[]) >= 3);
    let open = proxy.metric("process_open_fds", &[]);
    assert!(open > 0 && open < proxy.metric("process_max_fds", &[]));
}

#[test]
fn promtool_has_nothing_to_say() {
    let origin = Origin::http(|request| ok(&request.body));
    let more = "[[routes]]\nname = \"down\"\npath = { prefix = \"/down\" }\nupstream = \"down\"\nfilters = [\"limit\"]\n\
                mirror = { upstream = \"origin\" }\n[upstreams.down]\nendpoints = [\"127.0.0.1:1\"]\n\
                [filters.limit]\ntype = \"rate_limit\"\nkey = [\"client\"]\nrequests = 1\nper = \"1h\"\n";
    let proxy = Setup::origin(&origin).workers(2).more(more).start();
    for target in ["/", "/down", "/down", "/"] {
        proxy.client().request(client::post(target, b"0123456789"));
    }
    settles_at(4, || proxy.listener("requests_total"));
    let page = proxy.metrics();
    for family in ["route_failures_total{", "mirror_requests_total{", "filter_refused_total{", "_bucket{"] {
        assert!(page.contains(family), "{family} is not in\n{page}");
    }
    let said = promtool(&["check", "metrics"], &page);
    assert!(said.is_success && said.text.is_empty(), "{said:?}");
}

#[test]
fn a_real_prometheus_scrapes_and_answers() {
    let origin = Origin::http(|request| {
        if request.head.raw.starts_with("GET /slow") {
            std::thread::sleep(Duration::from_millis(60));
        }
        ok("x")
    });
    let proxy = Setup::origin(&origin).workers(2).start();
    let prometheus = Prometheus::start(&proxy, &[]);
    prometheus.eventually("up{job=\"corelane\"}", |up| up == 1.0);
    // Rates need a sample from before.
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    prometheus.eventually("sum(corelane_route_requests_total)", |count| count == 1.0);
    for _ in 0..20 {
        assert_eq!(client.get("/slow").status(), 200);
    }
    prometheus
        .eventually("sum by (route) (corelane_route_responses_total{code=\"2xx\"})", |count| count == 21.0);
    let quantile = |name: &str| {
        format!("histogram_quantile(0.9, sum by (le) (rate(corelane_{name}_seconds_bucket[1m])))")
    };
    for name in ["route_request_duration", "upstream_response_head"] {
        // Beside busy neighbours it may be much more than the 60 ms.
        prometheus.eventually(&quantile(name), |seconds| (0.05..=30.0).contains(&seconds));
    }
    let reuse = "sum(corelane_endpoint_connection_reuses_total) / sum(corelane_endpoint_requests_total)";
    prometheus.eventually(reuse, |share| share > 0.9 && share < 1.0);
    let series = prometheus.query("corelane_build_info");
    let [(labels, _)] = &series[..] else { panic!("{series:?}") };
    assert!(["io_uring", "epoll"].contains(&&*labels["driver"]), "{labels:?}");
    assert!(labels["rust_version"].starts_with("1.") && !labels["revision"].is_empty(), "{labels:?}");
}
