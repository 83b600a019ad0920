//! Each kind of check against real servers.

use super::servers::{Grpc, knot, redis, tls_file};
use super::{fast, logs, settles};
use crate::support::origin::serving;
use crate::support::{Nginx, Origin, Setup, eventually, free_port, ok};

#[test]
fn http_judges_status_and_body() {
    let nginx = Nginx::start(
        "location /ok { return 200 'all is ready'; }
         location /teapot { return 418; }
         location /moved { return 302 /ok; }
         location /agent { if ($http_x_check != 'corelane') { return 503; } return 200 $host; }",
    );
    for (keys, healthy, reason) in [
        ("path = \"/ok\"", 1, ""),
        ("path = \"/moved\"", 1, ""),
        ("path = \"/moved\", statuses = [200]", 0, "reason=\"status 302\""),
        ("path = \"/teapot\"", 0, "reason=\"status 418\""),
        ("path = \"/teapot\", statuses = [\"400-420\"]", 1, ""),
        ("path = \"/ok\", body = \"ready\"", 1, ""),
        ("path = \"/ok\", body = \"steady\"", 0, "reason=\"body does not match\""),
        ("path = \"/ok\", body_regex = '^all (is|are) ready$'", 1, ""),
        ("path = \"/ok\", method = \"HEAD\"", 1, ""),
        ("path = \"/agent\"", 0, "reason=\"status 503\""),
        (
            "path = \"/agent\", headers = { X-Check = \"corelane\" }, host = \"a.test\", body = \"a.test\"",
            1,
            "",
        ),
    ] {
        let proxy = Setup::nginx(&nginx).upstream(&fast("http", keys)).start();
        settles(&proxy, nginx.address(), healthy);
        if healthy == 0 {
            logs(&proxy, &["endpoint is down", reason]);
        }
    }
}

#[test]
fn http_speaks_the_version_that_requests_do() {
    let port = free_port();
    let (certificate, key) = (tls_file("server.pem"), tls_file("server.key"));
    let (certificate, key) = (certificate.display(), key.display());
    let clear = free_port();
    let _nginx = Nginx::start(&format!(
        "listen 127.0.0.1:{clear} http2; listen 127.0.0.1:{port} ssl http2;
         ssl_certificate {certificate}; ssl_certificate_key {key};
         location / {{ return 200 \"$server_protocol $http_host $http_user_agent\"; }}"
    ));
    let ca = format!("tls = {{ ca = \"{}\" }}", tls_file("ca.pem").display());
    let body = "body_regex = '^HTTP/2.0 127.0.0.1:[0-9]+ corelane-health/'";
    for (port, kind, upstream) in [
        (clear, "http", "protocol = \"h2c\"".to_owned()),
        (port, "https", format!("protocol = \"h2\"\n{ca}")),
        (port, "https", format!("protocol = \"auto\"\n{ca}")),
    ] {
        let address = format!("127.0.0.1:{port}");
        let proxy = Setup::to(&[&address]).upstream(&upstream).upstream(&fast(kind, body)).start();
        settles(&proxy, &address, 1);
        assert_eq!(proxy.get("/").status(), 200);
    }
}

/// Keys of a check that trusts the tests' authority.
fn with_ca(keys: &str) -> String {
    let comma = if keys.is_empty() { "" } else { ", " };
    format!("ca = \"{}\"{comma}{keys}", tls_file("ca.pem").display())
}

#[test]
fn https_judges_the_certificate_too() {
    let port = free_port();
    let (certificate, key) = (tls_file("server.pem"), tls_file("server.key"));
    let (certificate, key) = (certificate.display(), key.display());
    let nginx = Nginx::start(&format!(
        "listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
         location /ok {{ return 200 $ssl_server_name; }}"
    ));
    let path = "path = \"/ok\"";
    for (keys, healthy, reason) in [
        (with_ca(path), 1, ""),
        (with_ca("path = \"/ok\", server_name = \"app.test\", body = \"app.test\""), 1, ""),
        (with_ca("path = \"/ok\", server_name = \"other.test\""), 0, "TLS: invalid peer certificate"),
        (path.to_owned(), 0, "TLS: invalid peer certificate: UnknownIssuer"),
        ("path = \"/ok\", verify = false, server_name = \"other.test\"".to_owned(), 1, ""),
        (with_ca("path = \"/none\""), 0, "status 404"),
    ] {
        // Requests go without TLS, checks to the other port.
        let keys = format!("{keys}, port = {port}");
        let proxy = Setup::nginx(&nginx).upstream(&fast("https", &keys)).start();
        settles(&proxy, nginx.address(), healthy);
        if healthy == 0 {
            logs(&proxy, &["endpoint is down", reason]);
        }
    }
}

#[test]
fn grpc_asks_the_health_service() {
    let mut server = Grpc::start(false);
    for (keys, healthy, reason) in [
        ("", 1, ""),
        ("service = \"shop.Orders\"", 1, ""),
        ("service = \"shop.Stock\"", 0, "NOT_SERVING"),
        ("service = \"shop.None\"", 0, "grpc-status 5 NOT_FOUND"),
    ] {
        let proxy = Setup::to(&[&server.address]).upstream(&fast("grpc", keys)).start();
        settles(&proxy, &server.address, healthy);
        if healthy == 0 {
            logs(&proxy, &["endpoint is down", reason]);
        }
    }
    let proxy = Setup::to(&[&server.address]).upstream(&fast("grpc", "service = \"shop.Orders\"")).start();
    settles(&proxy, &server.address, 1);
    server.set("shop.Orders", "NOT_SERVING");
    settles(&proxy, &server.address, 0);
    server.set("shop.Orders", "SERVING");
    settles(&proxy, &server.address, 1);
}

#[test]
fn grpc_speaks_tls_and_tells_what_is_no_grpc_server() {
    let server = Grpc::start(true);
    let proxy = Setup::to(&[&server.address]).upstream(&fast("grpc", &with_ca("tls = true"))).start();
    settles(&proxy, &server.address, 1);
    drop(server);
    let nginx = Nginx::start("");
    let proxy = Setup::nginx(&nginx).upstream(&fast("grpc", "")).start();
    settles(&proxy, nginx.address(), 0);
}

#[test]
fn a_probe_over_tcp_compares_the_answer() {
    let (open, closed) = (redis(""), redis("secret"));
    let ping = "send = 'PING\\r\\n', expect = '+PONG\\r\\n'";
    let proxy = Setup::to(&[&open.address, &closed.address]).upstream(&fast("probe", ping)).start();
    settles(&proxy, &open.address, 1);
    settles(&proxy, &closed.address, 0);
    logs(&proxy, &["endpoint is down", &closed.address, "answer does not match"]);

    let role = "send = 'INFO replication\\r\\n', expect_regex = 'role:(master|slave)\\r\\n'";
    let proxy = Setup::to(&[&open.address]).upstream(&fast("probe", role)).start();
    settles(&proxy, &open.address, 1);
    drop(open);
    eventually("redis is down", || proxy.endpoints("healthy") == 0);
    logs(&proxy, &["endpoint is down", "connection refused"]);
}

#[test]
fn a_probe_over_tls_shakes_hands_first() {
    let port = free_port();
    let (certificate, key) = (tls_file("server.pem"), tls_file("server.key"));
    let nginx = Nginx::start(&format!(
        "listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};",
        certificate.display(),
        key.display()
    ));
    let send = "send = 'HEAD / HTTP/1.0\\r\\n\\r\\n', expect_regex = '^HTTP/1.1 [0-9]+ '";
    let keys = with_ca(&format!("protocol = \"tls\", port = {port}, {send}"));
    let proxy = Setup::nginx(&nginx).upstream(&fast("probe", &keys)).start();
    settles(&proxy, nginx.address(), 1);
    // The other port speaks no TLS.
    let keys = with_ca(&format!("protocol = \"tls\", {send}"));
    let proxy = Setup::nginx(&nginx).upstream(&fast("probe", &keys)).start();
    settles(&proxy, nginx.address(), 0);
}

#[test]
fn a_probe_over_udp_needs_an_answer() {
    let knot = knot();
    // A query for the SOA of test., and an answer with authority and without an error.
    let question = "send = '\\x12\\x34\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x04test\\x00\\x00\\x06\\x00\\x01'";
    let keys = format!("protocol = \"udp\", {question}, expect = '\\x12\\x34\\x84\\x00'");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    let nobody = format!("127.0.0.1:{}", free_port());
    let health = format!("{}, timeout = \"300ms\" }}", fast("probe", &keys).trim_end_matches(" }"));
    let health = health.replacen("timeout = \"2s\", ", "", 1);
    let endpoints = [&*knot.address, &silent_address, &nobody];
    let proxy = Setup::to(&endpoints).upstream(&health).start();
    settles(&proxy, &knot.address, 1);
    settles(&proxy, &silent_address, 0);
    settles(&proxy, &nobody, 0);
    logs(&proxy, &["endpoint is down", &silent_address, "timeout"]);
    logs(&proxy, &["endpoint is down", &nobody, "connection refused"]);
    drop(knot);
    eventually("knot is down", || proxy.metric("corelane_endpoint_healthy", &[]) == 0);
}

#[test]
fn tcp_and_http_work_over_unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("origin.sock");
    let origin = Origin::script_at_unix(&path, serving(|_| ok("ready")));
    for health in [fast("tcp", ""), fast("http", "body = \"ready\"")] {
        let proxy = Setup::origin(&origin).upstream(&health).start();
        settles(&proxy, origin.address(), 1);
    }
}

#[test]
fn a_port_of_its_own_is_checked_instead() {
    let nginx = Nginx::start("location / { return 200; }");
    let origin = Origin::answering(ok("x"));
    let port = nginx.address().rsplit_once(':').unwrap().1;
    let keys = format!("port = {port}, address = \"127.0.0.1\"");
    let proxy = Setup::origin(&origin).upstream(&fast("http", &keys)).start();
    settles(&proxy, origin.address(), 1);
    drop(nginx);
    settles(&proxy, origin.address(), 0);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_check_that_gets_no_answer_times_out() {
    let silent = Origin::script(|connection| connection.wait_for_end());
    let health = "health = { kind = \"http\", interval = \"100ms\", timeout = \"200ms\" }";
    let proxy = Setup::origin(&silent).upstream(health).start();
    settles(&proxy, silent.address(), 0);
    logs(&proxy, &["endpoint is down", "reason=timeout"]);
    // Their connections end with them.
    eventually("no more than one is open", || silent.connections() > 3 && silent.open_connections() <= 1);
}
