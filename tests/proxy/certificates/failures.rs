//! What is told of TLS that failed, and to whom.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::issuer::{Issuer, Key};
use super::{curl, speaking};
use crate::support::{DEADLINE, Origin, Setup, eventually, ok};

fn lines(log: &str, words: &[&str]) -> usize {
    log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

#[test]
fn the_log_names_one_client_of_a_kind_and_the_metrics_count_all() {
    const EACH: u64 = 20;
    let (issuer, strangers) = (Issuer::new(), Issuer::new());
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let origin = Origin::answering(ok("hello"));
    let proxy = speaking(Setup::origin(&origin), &format!("certificates = [{}]", issuer.pair("app")));
    let failed = |reason| {
        proxy.metric("corelane_listener_tls_failures_total", &[("listener", "web"), ("reason", reason)])
    };
    for _ in 0..EACH {
        let mut plain = TcpStream::connect(proxy.address("web")).unwrap();
        plain.set_read_timeout(Some(DEADLINE)).unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
        let mut answer = String::new();
        plain.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let (code, told) = curl(&proxy, &strangers, "app.test", &[]);
        assert_eq!(code, Some(60), "{told}");
    }
    eventually("all are counted", || failed("plain_http") == EACH && failed("alert") == EACH);
    let log = proxy.log();
    // A run of more than a minute has another one; nobody has twenty.
    let client = ["INFO  TLS with a client failed listener=web client=127.0.0.1"];
    let plain = lines(&log, &[client[0], " reason=plain_http"]);
    let alert = lines(&log, &[client[0], " server_name=app.test reason=alert alert=unknown_ca"]);
    assert!((1..10).contains(&plain) && (1..10).contains(&alert), "{log}");
}

#[test]
fn the_log_and_the_metrics_say_which_endpoint_has_a_bad_certificate() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let origin = Origin::answering(ok("hello"));
    let server = speaking(Setup::origin(&origin), &format!("certificates = [{}]", issuer.pair("app")));
    let address = server.address("web");
    let ca = issuer.file("ca.pem");
    let tls = format!("tls = {{ ca = \"{}\", server_name = \"other.test\" }}", ca.display());
    let proxy = Setup::to(&[&address]).upstream(&tls).start();
    for _ in 0..5 {
        assert_eq!(proxy.get("/").status(), 502);
    }
    let counted = |name, reason| proxy.metric(name, &[("endpoint", &address), ("reason", reason)]);
    assert_eq!(counted("corelane_endpoint_tls_failures_total", "certificate_other_name"), 5);
    let line = ["WARN  TLS with an endpoint failed upstream=", " reason=certificate_other_name"];
    let log = proxy.log();
    assert!((1..5).contains(&lines(&log, &[line[0], &format!(" endpoint={address}"), line[1]])), "{log}");
    // And the server, which end of it has said so.
    eventually("the alert is told", || lines(&server.log(), &["reason=alert alert=bad_certificate"]) > 0);
}
