//! HTTP/2 clients, in clear text and over TLS: curl, nghttp and h2load.

mod connections;
mod endpoints;
mod events;
mod exchanges;
mod floods;
mod grpc;
mod grpc_calls;
mod grpc_web;
mod neighbours;
mod peers;
mod priorities;
mod rules;
mod stalls;
mod upstreams;
mod websocket;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::certificates::issuer::{Issuer, Key};
use crate::certificates::speaking;
use crate::support::process::output;
use crate::support::proxy::sum_of;
use crate::support::{DEADLINE, Launch, Origin, Proxy, Setup, client, eventually, ok, settles_at};

/// Echoes bodies, says `hello` where there are none.
fn origin() -> Origin {
    Origin::http(|request| if request.body.is_empty() { ok("hello") } else { ok(&request.body) })
}

/// A proxy that takes HTTP/2, with what a record says of the protocol in `access.log`.
fn launch(origin: &Origin) -> Launch {
    let text = Setup::origin(origin).listener("http2 = true").text();
    let log = "[access_log]\npath = \"@dir@/access.log\"\nformat = \"{request}|{protocol}|{connection_requests}\"\n";
    Launch::new(&format!("{log}{text}"))
}

/// What curl says, with the version that was spoken behind it.
fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    let output =
        output(command.args(["-sS", "-m", "15", "-w", " %{http_version} %{http_code}"]).args(arguments));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = output(Command::new(program).args(arguments));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Connections that have ended for that reason.
fn ended(proxy: &Proxy, reason: &str) -> u64 {
    let name = "corelane_listener_http2_connections_ended_total";
    sum_of(&proxy.metrics(), name, &[("reason", reason)]).unwrap_or(0)
}

fn records(proxy: &Proxy, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(proxy.dir().join("access.log")).unwrap_or_default();
    eventually(&format!("{count} lines"), || read().lines().count() >= count);
    read().lines().map(str::to_owned).collect()
}

#[test]
fn clear_text_by_prior_knowledge() {
    let origin = origin();
    let proxy = launch(&origin).start();
    let url = format!("http://{}/a?b=c", proxy.address("web"));
    let h2 = "--http2-prior-knowledge";
    assert_eq!(curl(&[h2, &url]), "hello 2 200");
    let request = origin.request();
    assert_eq!((request.head.method(), request.head.target()), ("GET", "/a?b=c"));
    assert_eq!(request.head.field("host"), Some(&*proxy.address("web")));
    assert_eq!(request.head.field("via"), Some("2.0 corelane"));
    assert_eq!(curl(&[h2, "-d", "some words", &url]), "some words 2 200");
    assert_eq!(curl(&[h2, "-I", "-o", "/dev/null", &url]), " 2 200");
    assert!(curl(&[h2, "-X", "TRACE", &url]).ends_with(" 2 405"), "an answer of our own");
    let long = format!("x-a: {}", "a".repeat(9000));
    assert!(curl(&[h2, "-H", &long, &url]).ends_with(" 2 431"), "field_bytes_max");
    // Both protocols at one port; and no upgrade.
    assert_eq!(curl(&["--http1.1", &url]), "hello 1.1 200");
    assert_eq!(curl(&["--http2", &url]), "hello 1.1 200");
    assert_eq!(proxy.get("/").text(), "hello");
    assert_eq!(proxy.listener("http2_connections_total"), 5);
    let records = records(&proxy, 8);
    assert_eq!(records[0], "GET /a?b=c HTTP/2.0|HTTP/2.0|1");
    assert_eq!(records[5], "GET /a?b=c HTTP/1.1|HTTP/1.1|1");
}

#[test]
fn over_tls_with_those_that_offer_it() {
    let origin = origin();
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let keys = format!("certificates = [{}]", issuer.pair("app"));
    let proxy = speaking(Setup::origin(&origin).listener("http2 = true"), &keys);
    let ask = |arguments: &[&str]| {
        let port = proxy.port("web");
        let (ca, to) = (issuer.file("ca.pem"), format!("::127.0.0.1:{port}"));
        let url = format!("https://app.test:{port}/");
        let fixed = ["--cacert", ca.to_str().unwrap(), "--connect-to", &to, &url];
        curl(&[&fixed[..], arguments].concat())
    };
    assert_eq!(ask(&["--http2"]), "hello 2 200");
    assert_eq!(ask(&["--http1.1"]), "hello 1.1 200");
    assert_eq!(ask(&["--http2", "--no-alpn"]), "hello 1.1 200");
    assert_eq!(proxy.listener("http2_connections_total"), 1);
    let large = "x".repeat(300_000);
    let file = proxy.dir().join("large");
    fs::write(&file, &large).unwrap();
    let data = format!("@{}", file.display());
    assert_eq!(ask(&["--http2", "--data-binary", &data]), format!("{large} 2 200"));
}

#[test]
fn is_not_spoken_where_it_is_not_wanted() {
    let origin = origin();
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    assert_eq!(client.response().status(), 505);
    assert_eq!(proxy.listener("http2_connections_total"), 0);
}

#[test]
fn many_streams_at_once() {
    let origin = origin();
    let proxy = launch(&origin).start();
    let url = format!("http://{}/", proxy.address("web"));
    let told = run("h2load", &["-n", "2000", "-c", "4", "-m", "32", &url]);
    assert!(told.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
    assert_eq!(proxy.listener("http2_connections_total"), 4);
    settles_at(2000, || proxy.listener("requests_total"));
    eventually("the connections are closed", || proxy.listener("connections") == 0);
    settles_at(0, || proxy.listener("connections_active"));
    assert!(proxy.listener("sent_bytes_total") > 2000 * 10);
    // Three GETs over one connection, each with its frames shown.
    let told = run("nghttp", &["-nv", "-m", "3", &url]);
    assert_eq!(told.matches("recv DATA frame <length=5").count(), 3, "{told}");
}

#[test]
fn a_drain_lets_streams_finish() {
    let origin = Origin::http(|request| {
        if request.head.target() == "/slow" {
            std::thread::sleep(Duration::from_secs(2));
        }
        ok("hello")
    });
    let mut proxy = launch(&origin).start();
    let url = format!("http://{}/slow", proxy.address("web"));
    let slow = Command::new("curl")
        .args(["-sS", "--http2-prior-knowledge", "-w", " %{http_version}", &url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the request is in flight", || origin.requests().len() == 1);
    proxy.signal(libc::SIGTERM);
    let output = slow.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello 2");
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
}

#[test]
fn what_breaks_the_protocol_is_counted() {
    let origin = origin();
    let proxy = launch(&origin).start();
    let mut client = proxy.client();
    // PING with a wrong length behind SETTINGS.
    let frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x06\0\0\0\0\0\0";
    client.send(frames).unwrap();
    eventually("it is over", || ended(&proxy, "protocol") == 1);
    // HTTP/1.1 goes on beside it.
    assert_eq!(proxy.get("/").status(), 200);
    let mut other = proxy.client();
    other.send(client::get("/")).unwrap();
    assert_eq!(other.response().status(), 200);
}
