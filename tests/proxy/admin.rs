//! The admin address: /healthz, /readyz and /metrics.

use crate::support::{Client, Load, Origin, Setup, client, eventually, ok, settles_at};

#[test]
fn answers_healthz_and_readyz() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    assert_eq!(proxy.admin_get("/healthz").unwrap().status(), 200);
    assert_eq!(proxy.admin_get("/readyz").unwrap().status(), 200);
    assert_eq!(proxy.admin_get("/nothing").unwrap().status(), 404);
    assert!(proxy.generation() >= 1);
    let mut client = Client::connect(&proxy.address("admin"));
    let response = client.request(client::post("/readyz", b"x"));
    assert_eq!(response.status(), 405);
}

#[test]
fn metrics_are_prometheus_text() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    proxy.get("/");
    let response = proxy.admin_get("/metrics").unwrap();
    assert!(response.head.field("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let text = response.text();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            assert!(comment.starts_with("HELP ") || comment.starts_with("TYPE "), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect(line);
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.starts_with("corelane_") || series.starts_with("process_"), "{line}");
        let name = family(series.split('{').next().unwrap(), &text);
        assert!(text.contains(&format!("# TYPE {name} ")), "no TYPE for {name}");
        assert!(text.contains(&format!("# HELP {name} ")), "no HELP for {name}");
    }
    let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let mut unique = types.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), types.len(), "one TYPE line for each name");
}

/// The family of a sample: that of a histogram's samples has no ending.
fn family<'a>(sample: &'a str, page: &str) -> &'a str {
    let whole = ["_bucket", "_sum", "_count"].iter().find_map(|ending| sample.strip_suffix(ending));
    whole.filter(|whole| page.contains(&format!("# TYPE {whole} histogram\n"))).unwrap_or(sample)
}

#[test]
fn metrics_equal_the_requests_made() {
    let origin = Origin::http(|request| ok(&request.body));
    let proxy = Setup::origin(&origin).workers(2).start();
    let (mut sent, mut received) = (0, 0);
    for _ in 0..20 {
        let mut client = proxy.client();
        for _ in 0..5 {
            let request = client::post("/", b"0123456789");
            sent += request.len() as u64;
            let response = client.request(request);
            received += (response.head.raw.len() + response.body.len()) as u64;
        }
    }
    eventually("all connections are closed", || proxy.listener("connections") == 0);
    settles_at(20, || proxy.listener("connections_total"));
    settles_at(100, || proxy.listener("requests_total"));
    settles_at(0, || proxy.listener("connections_active"));
    settles_at(sent, || proxy.listener("received_bytes_total"));
    settles_at(received, || proxy.listener("sent_bytes_total"));
    settles_at(0, || proxy.endpoints("requests_active"));
    assert_eq!(proxy.metric("corelane_worker_task_panics_total", &[]), 0);
}

#[test]
fn admin_answers_under_load() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(2).start();
    let load = Load::start(&proxy.address("web"), 16, "/");
    for _ in 0..50 {
        assert_eq!(proxy.admin_get("/readyz").unwrap().status(), 200);
        proxy.metrics();
    }
    let tally = load.finish();
    tally.assert_all_ok();
    eventually("metrics equal the load", || proxy.listener("requests_total") == tally.answered());
}

#[test]
fn is_off_without_a_section() {
    let origin = Origin::answering(ok("x"));
    let dir = tempfile::tempdir().unwrap();
    let port = crate::support::free_port();
    let text = Setup::origin(&origin).text().replace("@web@", &port.to_string());
    let path = dir.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    let mut command = std::process::Command::new(crate::support::proxy::binary());
    crate::support::sys::die_with_parent(&mut command);
    let mut child = command.arg("run").arg(&path).spawn().unwrap();
    let address = format!("127.0.0.1:{port}");
    eventually("it serves", || Client::serves(&address));
    child.kill().unwrap();
    child.wait().unwrap();
}
