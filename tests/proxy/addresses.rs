//! Where listeners listen and endpoints are: IPv4, IPv6, Unix sockets and names.

use std::time::Duration;

use crate::support::{Client, Launch, Origin, Proxy, Setup, eventually, ok, sys};

#[test]
fn listens_on_ipv6() {
    let origin = Origin::answering(ok("x"));
    let text = Setup::origin(&origin).text().replace("127.0.0.1:@web@", "[::1]:@web@");
    let proxy = Proxy::start(&text);
    let mut client = Client::connect(&format!("[::1]:{}", proxy.port("web")));
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(origin.request().head.field("x-forwarded-for"), Some("::1"));
}

#[test]
fn reaches_ipv6_endpoints() {
    let origin = Origin::script_at("[::1]:0", crate::support::origin::serving(|_| ok("six")));
    let proxy = Setup::origin(&origin).start();
    assert_eq!(proxy.get("/").text(), "six");
}

#[test]
fn listens_on_a_unix_socket() {
    let origin = Origin::answering(ok("x"));
    let text = Setup::origin(&origin).text().replace("127.0.0.1:@web@", "unix:@dir@/web.sock");
    let proxy = Proxy::start(&text);
    let address = format!("unix:{}/web.sock", proxy.dir().display());
    let mut client = Client::connect(&address);
    for _ in 0..3 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(Client::connect(&address).get("/").status(), 200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn takes_over_the_unix_socket_of_a_killed_process() {
    let origin = Origin::answering(ok("x"));
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/web.sock", dir.path().display());
    let text = Setup::origin(&origin).text().replace("127.0.0.1:@web@", &address);
    // Dropped is killed: the file stays.
    drop(Proxy::start(&text));
    assert!(dir.path().join("web.sock").exists(), "the test needs the file that a killed process leaves");
    let proxy = Proxy::start(&text);
    assert_eq!(Client::connect(&address).get("/").status(), 200);
    drop(proxy);
}

#[test]
fn reaches_endpoints_on_unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::script_at_unix(
        &dir.path().join("origin.sock"),
        crate::support::origin::serving(|request| ok(&request.body)),
    );
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        let body = vec![b'u'; 300_000];
        assert_eq!(client.request(crate::support::client::post("/", &body)).body, body);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn resolves_names_of_endpoints() {
    let origin = Origin::answering(ok("x"));
    let port = origin.address().rsplit(':').next().unwrap();
    let proxy = Setup::to(&[&format!("localhost:{port}")]).start();
    eventually("the name is resolved", || proxy.get("/").status() == 200);
    for _ in 0..10 {
        // ::1 may be an endpoint too, and refuses; the next one is tried.
        assert_eq!(proxy.get("/").status(), 200);
    }
}

#[test]
fn starts_and_serves_the_rest_when_a_name_does_not_resolve() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin)
        .route("path = { exact = \"/good\" }")
        .more(
            "[[routes]]\nname = \"lost\"\npath = { exact = \"/lost\" }\nupstream = \"lost\"\n\
             [upstreams.lost]\nendpoints = [\"no-such-host.invalid:80\"]",
        )
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/good").status(), 200);
    let response = client.get("/lost");
    assert_eq!(response.status(), 503);
    assert!(!response.body.is_empty());
    assert_eq!(client.get("/good").status(), 200);
    assert!(proxy.is_ready());
}

#[test]
fn refuses_a_port_that_another_process_serves() {
    let origin = Origin::answering(ok("x"));
    let port = crate::support::free_port();
    let listener = sys::listen_with_reuseport(port);
    let text = Setup::origin(&origin).text().replace("@web@", &port.to_string());
    let mut proxy = Launch::new(&text).spawn();
    let status = proxy.wait_exit(Duration::from_secs(10));
    assert!(!status.success(), "{status}");
    assert!(proxy.log().contains(&port.to_string()), "{}", proxy.log());
    drop(listener);
}

#[test]
fn refuses_a_port_that_another_corelane_serves() {
    let origin = Origin::answering(ok("x"));
    let first = Setup::origin(&origin).start();
    let port = first.port("web").to_string();
    let mut second = Launch::new(&Setup::origin(&origin).text().replace("@web@", &port)).spawn();
    assert!(!second.wait_exit(Duration::from_secs(10)).success());
    assert_eq!(first.get("/").status(), 200);
}

#[test]
fn starts_while_connections_of_an_earlier_process_linger() {
    let origin = Origin::answering(ok("x"));
    let port = crate::support::free_port().to_string();
    let text = Setup::origin(&origin).text().replace("@web@", &port);
    for _ in 0..3 {
        let proxy = Proxy::start(&text);
        let mut client = Client::connect(&format!("127.0.0.1:{port}"));
        // The proxy closes first, so that its side stays in TIME_WAIT.
        let response = client.request("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(response.status(), 200);
        client.expect_close();
        drop(proxy);
    }
}
