//! Calls (gRPC): what their clients are told of failures, and what is made of how they end. Calls to a real server are in
//! `grpc_calls.rs`.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::process::{output, stdout};
use crate::support::python::script;
use crate::support::{Launch, Origin, Proxy, Setup, eventually, free_port, ok};

const CONTENT_TYPE: &str = "content-type: application/grpc+proto";

/// A call by curl: the head of the answer, its body and its trailers.
fn call(proxy: &Proxy, path: &str, fields: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "15", "-i", "--http2-prior-knowledge", "-X", "POST"]);
    for field in [CONTENT_TYPE, "te: trailers"].iter().chain(fields) {
        command.args(["-H", field]);
    }
    let told = output(command.arg(format!("http://{}{path}", proxy.address("web"))));
    stdout(&told) + &String::from_utf8_lossy(&told.stderr)
}

/// The same by grpcio.
fn call_by_grpcio(proxy: &Proxy, method: &str) -> Value {
    let told = output(script("grpc/call.py").args([&*proxy.address("web"), method, "message"]));
    let line = stdout(&told);
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}{}", String::from_utf8_lossy(&told.stderr)))
}

/// A listener for HTTP/2, with what a record says of calls in `access.log`.
fn launch(setup: Setup) -> Launch {
    let log =
        "[access_log]\npath = \"@dir@/access.log\"\nformat = \"{path} {status} {grpc_status} {reason}\"\n";
    Launch::new(&format!("{log}{}", setup.listener("http2 = true").text()))
}

fn records(proxy: &Proxy, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(proxy.dir().join("access.log")).unwrap_or_default();
    eventually(&format!("{count} lines"), || read().lines().count() >= count);
    read().lines().map(str::to_owned).collect()
}

/// An answer with a message of two bytes, and trailers.
fn answer(trailers: &str) -> Vec<u8> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc+proto\r\nTransfer-Encoding: chunked\r\n\r\n";
    [head.as_bytes(), b"7\r\n\0\0\0\0\x02hi\r\n0\r\n", trailers.as_bytes(), b"\r\n"].concat()
}

/// Calls of one status by upstream.
fn ended(proxy: &Proxy, status: &str) -> u64 {
    proxy.metric("corelane_upstream_grpc_calls_total", &[("upstream", "origin"), ("grpc_status", status)])
}

#[test]
fn failures_are_told_as_statuses() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let routes = r#"
        [[routes]]
        name = "forbidden"
        hosts = ["127.0.0.1"]
        path = { prefix = "/forbidden" }
        respond = { status = 403, body = "100 % no" }
        [[routes]]
        name = "elsewhere"
        hosts = ["127.0.0.1"]
        path = { prefix = "/elsewhere" }
        redirect = { path = "/" }
        [[routes]]
        name = "fine"
        hosts = ["127.0.0.1"]
        path = { prefix = "/fine" }
        respond = { status = 200, body = "as it is" }
        [[routes]]
        name = "closed"
        hosts = ["127.0.0.1"]
        path = { prefix = "/closed" }
        maintenance = {}
    "#;
    let proxy = launch(Setup::to(&[&nobody]).route("hosts = [\"127.0.0.1\"]").more(routes)).start();
    let told = call_by_grpcio(&proxy, "/shop.Orders/Get");
    assert_eq!(told["status"], "UNAVAILABLE", "{told}");
    assert!(told["message"].as_str().unwrap().starts_with("connect_failed (request "), "{told}");
    for (path, status, message) in [
        ("/forbidden", "PERMISSION_DENIED", "100 % no"),
        ("/elsewhere", "UNKNOWN", "responded"),
        ("/closed", "UNAVAILABLE", "maintenance"),
    ] {
        let told = call_by_grpcio(&proxy, path);
        assert_eq!(told["status"], status, "{told}");
        assert!(told["message"].as_str().unwrap().starts_with(message), "{told}");
    }
    let told = call(&proxy, "/fine", &[]);
    assert!(told.starts_with("HTTP/2 200") && told.ends_with("as it is"), "{told}");
    let told = call(&proxy, "/", &["host: other.test"]);
    assert!(
        told.starts_with("HTTP/2 200 \r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n"),
        "{told}"
    );
    assert!(told.contains("\r\ngrpc-status: 12\r\ngrpc-message: no_route (request "), "{told}");
    assert!(told.ends_with("\r\n\r\n"), "no body: {told}");
    // Who does not speak it gets what it always gets.
    let request = "GET /forbidden HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    assert_eq!(proxy.client().request(request).status(), 403);
    let records = records(&proxy, 7);
    assert_eq!(records[0], "/shop.Orders/Get 200 14 connect_failed");
    assert_eq!(records[1], "/forbidden 200 7 -");
    assert_eq!(records[4], "/fine 200 2 -");
    assert_eq!(records[5], "/ 200 12 no_route");
    assert_eq!(ended(&proxy, "unavailable"), 1);
}

#[test]
fn a_call_ends_when_its_client_stops_to_wait() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.wait_for_end();
    });
    let proxy = launch(Setup::origin(&origin).route("request_timeout = \"1h\"")).start();
    let told = call(&proxy, "/", &["grpc-timeout: 200m"]);
    assert!(told.starts_with("HTTP/2 200") && told.contains("\r\ngrpc-status: 4\r\n"), "{told}");
    assert_eq!(origin.request().head.field("grpc-timeout"), Some("200m"), "the server is told, too");
    assert_eq!(records(&proxy, 1), ["/ 200 4 grpc_timeout"]);
    assert_eq!(ended(&proxy, "deadline_exceeded"), 1);
    assert_eq!(proxy.endpoints("response_timeouts_total"), 0, "it is not the endpoint's fault");
}

#[test]
fn the_end_of_a_call_is_seen_in_its_trailers() {
    let origin = Origin::http(|request| match request.head.target() {
        "/fails" => answer("Grpc-Status: 13\r\nGrpc-Message: oh%20no\r\n"),
        "/unsaid" => answer(""),
        "/page" => ok("no call"),
        _ => answer("grpc-status: 0\r\n"),
    });
    let proxy = launch(Setup::origin(&origin).listener("trailers = [\"x-a\"]")).start();
    let told = call_by_grpcio(&proxy, "/works");
    assert_eq!((&told["status"], &told["answer"]), (&"OK".into(), &"hi".into()), "{told}");
    let told = call_by_grpcio(&proxy, "/fails");
    assert_eq!((&told["status"], &told["message"]), (&"INTERNAL".into(), &"oh no".into()), "{told}");
    call(&proxy, "/unsaid", &[]);
    let told = call(&proxy, "/page", &[]);
    assert!(told.ends_with("no call"), "{told}");
    let expected = ["/works 200 0 -", "/fails 200 13 -", "/unsaid 200 2 -", "/page 200 2 -"];
    assert_eq!(records(&proxy, 4), expected);
    assert_eq!(["ok", "internal", "unknown"].map(|status| ended(&proxy, status)), [1, 1, 2]);
}

#[test]
fn a_status_is_retried_and_judged_as_that_of_http() {
    let unavailable =
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 14\r\nContent-Length: 0\r\n\r\n";
    let bad = Origin::answering(unavailable);
    let good = Origin::http(|_| answer("grpc-status: 0\r\n"));
    let setup = Setup::to(&[bad.address(), good.address()])
        .upstream("retry = { on = [\"503\"], methods = [\"POST\"], budget = \"1000%\" }")
        .upstream("outlier = { statuses = [\"5xx\"], consecutive_failures = 3 }");
    let proxy = launch(setup).start();
    for _ in 0..12 {
        let told = call(&proxy, "/", &[]);
        assert!(told.trim_end().ends_with("higrpc-status: 0"), "{told}");
    }
    eventually("the endpoint is ejected", || proxy.endpoint("healthy", bad.address()) == 0);
    assert_eq!(ended(&proxy, "ok"), 12, "what is retried has not ended");
    assert!((3..12).contains(&bad.requests().len()), "{}", bad.requests().len());
}
