//! HTTP/2 to upstreams: nginx, and origins that say frames word by word.

mod frames;

use std::process::Command;

use crate::certificates::issuer::{Issuer, Key};
use crate::support::process::output;
use crate::support::proxy::sum_of;
use crate::support::{Load, Nginx, Proxy, Setup, client, eventually, free_port, settles_at};

/// nginx that speaks HTTP/2 without TLS at the address that is returned, and says what it sees.
fn nginx(keys: &str) -> (Nginx, String) {
    let port = free_port();
    let nginx = Nginx::start(&format!(
        "listen 127.0.0.1:{port} http2; {keys}
         location / {{ return 200 \"$server_protocol $request_method $host $content_length $http_via\"; }}
         location /file {{ }}"
    ));
    (nginx, format!("127.0.0.1:{port}"))
}

pub(super) fn towards(address: &str) -> Setup {
    Setup::to(&[address]).upstream("protocol = \"h2c\"")
}

/// How often something was counted for a reason; the first time makes its line.
fn reasons(proxy: &Proxy, name: &str, reason: &str) -> u64 {
    let labels = [("reason", reason)];
    sum_of(&proxy.metrics(), &format!("corelane_endpoint_{name}"), &labels).unwrap_or(0)
}

#[test]
fn requests_of_http1_clients_share_a_connection() {
    let (nginx, address) = nginx("");
    let body = vec![b'x'; 3_000_000];
    nginx.add("file", &body);
    let proxy = towards(&address).start();
    assert_eq!(proxy.get("/").text(), "HTTP/2.0 GET test  1.1 corelane");
    let mut client = proxy.client();
    assert_eq!(client.request(client::post("/", b"abc")).text(), "HTTP/2.0 POST test 3 1.1 corelane");
    assert!(client.get("/file").body == body);
    client.send("HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = client.response_to_head();
    assert_eq!((head.status(), head.head.field("content-length")), (200, Some("3000000")));
    assert_eq!(client.get("/none").status(), 200, "the connection goes on");
    assert_eq!((proxy.endpoints("connects_total"), proxy.endpoints("http2_connections")), (1, 1));
    assert_eq!(proxy.endpoints("connection_reuses_total"), 4);
    assert!(proxy.endpoints("received_bytes_total") > 3_000_000);
    assert!(proxy.endpoints("sent_bytes_total") < 2_000);
}

#[test]
fn a_burst_opens_as_few_connections_as_it_needs() {
    let (_nginx, address) = nginx("");
    let proxy = towards(&address).upstream("http2_streams_max = 20").start();
    let load = Load::start(&proxy.address("web"), 50, "/");
    eventually("the load", || load.answered() > 2_000);
    load.finish().assert_all_ok();
    // Fifty at once at most, twenty on each.
    let connects = proxy.endpoints("connects_total");
    assert!((1..=3).contains(&connects), "{connects}");
    assert_eq!(proxy.endpoints("http2_connections"), connects);
}

#[test]
fn no_request_is_lost_when_connections_end_again_and_again() {
    let (_nginx, address) = nginx("keepalive_requests 50;");
    let proxy = towards(&address).upstream("attempts_max = 1").start();
    let load = Load::start(&proxy.address("web"), 20, "/");
    // What is not idempotent, beside it.
    let mut client = proxy.client();
    for _ in 0..500 {
        let answer = client.request(client::post("/", b"abc"));
        assert_eq!((answer.status(), answer.text().contains(" POST ")), (200, true));
    }
    eventually("the load", || load.answered() > 2_000);
    load.finish().assert_all_ok();
    assert!(proxy.endpoints("http2_goaways_total") >= 40);
    assert_eq!(proxy.endpoints("resets_total"), 0);
    eventually("they are closed", || proxy.endpoints("http2_connections") <= 2);
}

#[test]
fn one_failure_to_connect_is_that_of_all_who_wait() {
    let (_nginx, address) = nginx("");
    let gone = format!("127.0.0.1:{}", free_port());
    let load = |proxy: &Proxy| {
        let load = Load::start(&proxy.address("web"), 20, "/");
        eventually("the load", || load.answered() > 200);
        load.finish()
    };
    // The other endpoint takes what this one does not.
    let proxy = Setup::to(&[&gone, &address]).upstream("protocol = \"h2c\"").start();
    load(&proxy).assert_all_ok();
    assert_eq!(proxy.endpoint("http2_connections", &gone), 0);
    let failed = proxy.endpoint("connect_failures_total", &gone);
    assert!(failed > 0 && failed <= reasons(&proxy, "failures_total", "connect_failed"));
}

#[test]
fn a_limit_of_connections_holds_and_nobody_waits_in_vain() {
    let (_nginx, address) = nginx("keepalive_requests 100;");
    let limited = format!("{{ address = \"{address}\", connections_max = 1 }}");
    let queue = "queue = { requests_max = 100, timeout = \"10s\" }";
    let keys = "http2_streams_max = 4";
    let proxy = towards(&limited).workers(2).upstream(queue).upstream(keys).start();
    let load = Load::start(&proxy.address("web"), 24, "/");
    eventually("the load", || {
        assert!(proxy.metric("corelane_endpoint_connections", &[]) <= 1);
        load.answered() > 1_000
    });
    load.finish().assert_all_ok();
}

#[test]
fn clients_that_do_not_read_hold_nobody_up() {
    let (nginx, address) = nginx("");
    nginx.add("file", vec![b'x'; 20_000_000]);
    let proxy = towards(&address).listener("send_rate_min = 0").start();
    let mut deaf = Vec::new();
    for _ in 0..40 {
        let mut client = proxy.client();
        client.set_receive_buffer(4096);
        client.send(client::get("/file")).unwrap();
        deaf.push(client);
    }
    eventually("the responses have begun", || proxy.endpoints("requests_active") == 40);
    for _ in 0..20 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    settles_at(40, || proxy.endpoints("requests_active"));
    assert_eq!(proxy.endpoints("connects_total"), 1);
}

#[test]
fn a_reload_keeps_connections_and_ends_those_to_what_is_gone() {
    let (_nginx, address) = nginx("");
    let (_other_nginx, other) = nginx("");
    let setup = towards(&address);
    let mut proxy = setup.start();
    assert_eq!(proxy.get("/").status(), 200);
    proxy.rewrite(&setup.clone().route("name = \"another\"").text().replace("name = \"all\"\n", ""));
    proxy.reload_and_wait();
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(proxy.endpoints("connects_total"), 1);
    proxy.rewrite(&towards(&other).text());
    proxy.reload_and_wait();
    assert_eq!(proxy.get("/").status(), 200);
    eventually("the other one is closed", || proxy.endpoints("http2_connections") == 1);
    // Another protocol has other connections.
    proxy.rewrite(&Setup::to(&[&other]).upstream("protocol = \"auto\"").text());
    proxy.reload_and_wait();
    eventually("it is closed", || proxy.endpoints("http2_connections") == 0);
}

#[test]
fn idle_connections_end() {
    let (_nginx, address) = nginx("");
    let proxy = towards(&address).upstream("idle_timeout = \"200ms\"").start();
    assert_eq!(proxy.get("/").status(), 200);
    eventually("it is closed", || proxy.endpoints("http2_connections") == 0);
    assert_eq!(reasons(&proxy, "http2_connections_ended_total", "idle"), 1);
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(proxy.endpoints("connects_total"), 2);
}

#[test]
fn over_tls_it_is_what_is_agreed_on() {
    let issuer = Issuer::new();
    issuer.issue_with("app", Key::Ecdsa, "30", "subjectAltName=DNS:app.test");
    let file = |name: &str| issuer.file(name).display().to_string();
    let server = |flags: &str| {
        let port = free_port();
        let keys = format!("ssl_certificate {}; ssl_certificate_key {};", file("app.pem"), file("app.key"));
        let locations = "location / { return 200 \"$server_protocol\"; }";
        let nginx = Nginx::start(&format!("listen 127.0.0.1:{port} ssl {flags}; {keys} {locations}"));
        (nginx, format!("127.0.0.1:{port}"))
    };
    let tls = format!("tls = {{ ca = \"{}\", server_name = \"app.test\" }}", file("ca.pem"));
    let (_both, both) = server("http2");
    let (_old, old) = server("");
    for (protocol, address, status, said) in [
        ("h1", &both, 200, "HTTP/1.1"),
        ("h2", &both, 200, "HTTP/2.0"),
        ("auto", &both, 200, "HTTP/2.0"),
        ("auto", &old, 200, "HTTP/1.1"),
        ("h2", &old, 502, "upstream_tls"),
    ] {
        let key = format!("protocol = \"{protocol}\"");
        let proxy = Setup::to(&[address]).upstream(&key).upstream(&tls).start();
        for _ in 0..2 {
            let answer = proxy.get("/");
            assert_eq!(answer.status(), status, "{protocol}: {answer:?}");
            assert!(answer.text().contains(said), "{protocol}: {}", answer.text());
        }
        if status == 200 {
            let counted = ["connects_total", "connection_reuses_total"].map(|name| proxy.endpoints(name));
            assert_eq!(counted, [1, 1], "{protocol}");
            let load = Load::start(&proxy.address("web"), 10, "/");
            eventually("the load", || load.answered() > 100);
            load.finish().assert_all_ok();
        } else {
            assert_eq!(reasons(&proxy, "tls_alerts_total", "no_application_protocol"), 2);
        }
    }
}

#[test]
fn from_http2_to_http2() {
    let (_nginx, address) = nginx("");
    let proxy = towards(&address).listener("http2 = true").start();
    let url = format!("http://{}/", proxy.address("web"));
    let told = output(Command::new("h2load").args(["-n", "3000", "-c", "3", "-m", "40", &url]));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("3000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
}
