//! `/status.json`: the state of the process, as it is.

use serde_json::Value;

use crate::support::{Load, Origin, Proxy, Setup, client, eventually, free_port, ok, with_length};

/// What the process says of itself.
#[track_caller]
fn state(proxy: &Proxy) -> Value {
    let response = proxy.admin_get("/status.json").expect("it answers");
    assert_eq!(response.head.field("content-type"), Some("application/json"));
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {}", response.text()))
}

/// A figure per second, or a ratio.
fn figure(state: &Value, pointer: &str) -> f64 {
    state.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {state}"))
}

#[test]
fn tells_what_goes_through() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(2).start();
    let load = Load::start(&proxy.address("web"), 4, "/");
    eventually("figures of the load", || figure(&state(&proxy), "/routes/0/requests/per_second") > 10.0);
    let busy = state(&proxy);
    let tally = load.finish();
    tally.assert_all_ok();

    assert_eq!(busy["phase"], "serving");
    assert_eq!(busy["generation"], 1);
    assert_eq!(busy["problems"], Value::Array(Vec::new()));
    for (pointer, text) in [
        ("/routes/0/name", "all"),
        ("/routes/0/upstreams/0", "origin"),
        ("/listeners/0/name", "web"),
        ("/listeners/0/address", &*proxy.address("web")),
        ("/upstreams/0/name", "origin"),
        ("/endpoints/0/upstream", "origin"),
        ("/endpoints/0/endpoint", origin.address()),
        ("/endpoints/0/health", "ok"),
    ] {
        assert_eq!(busy.pointer(pointer).and_then(Value::as_str), Some(text), "{pointer} of {busy}");
    }
    assert_eq!(figure(&busy, "/totals/connections"), 4.0);
    assert_eq!(figure(&busy, "/routes/0/error_ratio"), 0.0);
    assert!(figure(&busy, "/upstreams/0/reuse_ratio") > 0.5);
    assert!(figure(&busy, "/totals/sent_bytes/per_second") > 10.0);
    for duration in ["/totals/duration", "/routes/0/response_head", "/upstreams/0/duration"] {
        let quantile = |name| figure(&busy, &format!("{duration}/{name}_seconds"));
        assert!(0.0 < quantile("p50") && quantile("p50") <= quantile("p99"), "{duration} of {busy}");
    }

    eventually("the totals are those of the load", || {
        state(&proxy)["routes"][0]["responses"]["2xx"]["total"] == tally.answered()
    });
    eventually("it is quiet again", || figure(&state(&proxy), "/totals/requests/per_second") == 0.0);
    let quiet = state(&proxy);
    assert_eq!(quiet["routes"][0]["error_ratio"], Value::Null);
    let by_worker: f64 = (0..2).map(|it| figure(&quiet, &format!("/workers/{it}/requests/total"))).sum();
    assert_eq!(by_worker, figure(&quiet, "/totals/requests/total"));
}

#[test]
fn says_what_is_wrong_and_why() {
    let origin = Origin::http(|_| with_length("500 Internal Server Error", "x"));
    let text = Setup::origin(&origin).text().replace(
        "[[routes]]",
        "[[routes]]\nname = \"dead\"\npath = { prefix = \"/dead\" }\nupstream = \"dead\"\n[[routes]]",
    );
    let dead = format!("127.0.0.1:{}", free_port());
    let more = format!(
        "[upstreams.dead]\nendpoints = [\"{dead}\", {{ address = \"127.0.0.1:1\", weight = 0 }}, \"name.invalid:80\"]\n"
    );
    let proxy = Proxy::start(&(text + &more));
    let mut client = proxy.client();
    eventually("problems", || {
        for target in ["/", "/dead"] {
            client.request(client::get(target));
        }
        let state = state(&proxy);
        let problems = state["problems"].as_array().unwrap();
        problems.iter().filter(|problem| problem["severity"] == "critical").count() == 3
    });
    let state = state(&proxy);
    let health = |address: &str| {
        let endpoints = state["endpoints"].as_array().unwrap();
        let endpoint = endpoints.iter().find(|it| it["endpoint"] == address);
        endpoint.unwrap_or_else(|| panic!("no {address} in {state}"))["health"].clone()
    };
    assert_eq!(health("127.0.0.1:1"), "drained");
    assert_eq!(health("name.invalid:80"), "unresolved");
    assert_eq!(health(&dead), "ok");
    let problems = state["problems"].as_array().unwrap();
    for (kind, name, severity, text) in [
        ("endpoint", format!("dead {dead}"), "critical", "100 % of attempts fail: connect_failed"),
        ("endpoint", "dead name.invalid:80".to_owned(), "warning", "its name has no address"),
        ("route", "dead".to_owned(), "critical", "100 % are 5xx ("),
        ("route", "all".to_owned(), "critical", ": the upstream's own answers"),
    ] {
        let found = problems.iter().find(|it| it["kind"] == kind && it["name"] == *name);
        let found = found.unwrap_or_else(|| panic!("no {kind} {name} in {problems:?}"));
        assert!(found["text"].as_str().unwrap().contains(text), "{found}");
        assert_eq!(found["severity"], severity, "{found}");
    }
}
