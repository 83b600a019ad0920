//! The tests' own tools, tried on each other and on nginx: a tool that sees nothing proves nothing.

use std::time::{Duration, Instant};

use crate::support::message::{chunked, pattern};
use crate::support::proxy::sum_of;
use crate::support::{Client, Load, Nginx, Origin, client, ok};

#[test]
fn origin_and_client_speak_to_each_other() {
    let origin = Origin::http(|request| ok(&request.body));
    let mut client = Client::connect(origin.address());
    let body = pattern(0, 100_000);
    assert!(client.request(client::post("/a", &body)).body == body);
    client.send("POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert!(client.request(chunked(&body, 1_000)).body == body);
    assert_eq!((origin.connections(), origin.requests().len()), (1, 2));
    assert!(origin.received(0).starts_with("POST /a HTTP/1.1\r\n"));
}

#[test]
fn client_reads_what_nginx_sends() {
    let nginx = Nginx::start("location /hop { return 204; }");
    nginx.add("file", pattern(0, 300_000));
    let mut client = Client::connect(nginx.address());
    assert!(client.get("/file").body == pattern(0, 300_000));
    assert_eq!(client.get("/hop").status(), 204);
    assert_eq!(client.get("/none").status(), 404);
    client.send("HEAD /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(client.response_to_head().head.field("content-length"), Some("300000"));
    client.expect_close();
}

#[test]
fn nginx_as_a_proxy_reaches_the_origin() {
    let origin = Origin::http(|request| ok(request.head.target()));
    let nginx = Nginx::start(&format!("location / {{ proxy_pass http://{}; }}", origin.address()));
    let mut client = Client::connect(nginx.address());
    assert_eq!(client.get("/through?a").text(), "/through?a");
    assert_eq!(origin.request().head.first, "GET /through?a HTTP/1.0");
}

#[test]
fn load_accounts_for_every_request() {
    let origin = Origin::answering(ok("x"));
    let load = Load::start(origin.address(), 8, "/");
    crate::support::eventually("500 answers", || load.answered() > 500);
    let tally = load.finish();
    tally.assert_all_ok();
    assert_eq!(tally.answered(), origin.requests().len() as u64);
}

#[test]
fn load_sees_a_connection_that_is_cut() {
    let origin = Origin::script(|connection| {
        for _ in 0..3 {
            // The load ends where it likes.
            if !matches!(connection.request(), Ok(Some(_))) || connection.send(ok("x")).is_err() {
                return;
            }
        }
    });
    let load = Load::start(origin.address(), 1, "/");
    crate::support::eventually("some answers", || load.answered() > 9);
    assert!(!load.finish().failures.is_empty());
}

#[test]
fn a_client_tells_a_reset_from_a_close() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        if connection.index == 0 {
            connection.reset_on_close();
        }
    });
    let ends = [(); 2].map(|()| {
        let mut client = Client::connect(origin.address());
        client.send(client::get("/")).unwrap();
        client.end().unwrap()
    });
    assert_eq!(ends, [crate::support::wire::End::Reset, crate::support::wire::End::Closed]);
}

#[test]
fn silence_has_an_end() {
    let origin = Origin::script(|connection| connection.wait_for_end());
    let mut client = Client::connect(origin.address());
    let start = Instant::now();
    client.expect_silence(Duration::from_millis(100));
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[test]
#[should_panic(expected = "the origin's script failed")]
fn a_failed_script_fails_the_test() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        panic!("this one fails");
    });
    let mut client = Client::connect(origin.address());
    client.send(client::get("/")).unwrap();
    client.expect_end();
    crate::support::eventually("the script ends", || origin.open_connections() == 0);
}

#[test]
fn metrics_are_summed_by_label() {
    let text =
        "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"1\",y=\"3\"} 4\na{x=\"2\",y=\"2\"} 5\nab{x=\"1\"} 9\n";
    assert_eq!(sum_of(text, "a", &[("x", "1")]), Some(7));
    assert_eq!(sum_of(text, "a", &[("x", "1"), ("y", "3")]), Some(4));
    assert_eq!(sum_of(text, "a", &[]), Some(12));
    assert_eq!(sum_of(text, "a", &[("x", "4")]), None);
}
