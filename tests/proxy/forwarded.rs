//! What tells the origin where a request came from: Via, X-Forwarded-* and Forwarded (RFC 9110 §7.6.3, RFC 7239).

use crate::support::message::Head;
use crate::support::{Origin, Setup, ok};

const SPOOFED: &str = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
                       X-Forwarded-Host: spoofed.example\r\nForwarded: for=203.0.113.9;proto=https\r\n";

fn upstream_head(trusted: &str, fields: &str) -> Head {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener(&format!("trusted_proxies = [{trusted}]")).start();
    let request = format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n");
    assert_eq!(proxy.client().request(request).status(), 200);
    origin.request().head
}

#[test]
fn says_where_the_request_came_from() {
    let head = upstream_head("", "");
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["shop.example"]);
}

#[test]
fn replaces_what_an_untrusted_client_says() {
    let head = upstream_head("\"192.0.2.0/24\"", SPOOFED);
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["shop.example"]);
    assert!(!head.all("forwarded").join(",").contains("203.0.113.9"), "{:?}", head.raw);
    assert!(!head.raw.contains("spoofed"), "{:?}", head.raw);
}

#[test]
fn appends_to_what_a_trusted_proxy_says() {
    let head = upstream_head("\"127.0.0.0/8\"", SPOOFED);
    let addresses = head.all("x-forwarded-for").join(", ");
    let addresses: Vec<&str> = addresses.split(',').map(str::trim).collect();
    assert_eq!(addresses, ["203.0.113.9", "127.0.0.1"]);
    assert_eq!(head.field("x-forwarded-proto"), Some("https"));
    assert_eq!(head.field("x-forwarded-host"), Some("spoofed.example"));
    assert!(head.all("forwarded").join(",").contains("for=203.0.113.9"), "{:?}", head.raw);
}

#[test]
fn appends_to_several_lines_of_a_trusted_proxy() {
    let head =
        upstream_head("\"127.0.0.1\"", "X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-For: 203.0.113.2\r\n");
    let addresses = head.all("x-forwarded-for").join(", ");
    let addresses: Vec<&str> = addresses.split(',').map(str::trim).collect();
    assert_eq!(addresses, ["203.0.113.1", "203.0.113.2", "127.0.0.1"]);
}

#[test]
fn adds_via() {
    let head = upstream_head("", "");
    let via = head.all("via").join(", ");
    assert!(via.starts_with("1.1 ") && via.len() > 4, "{via:?}");
}

#[test]
fn appends_to_via() {
    let head = upstream_head("", "Via: 1.0 fred, 1.1 p.example\r\n");
    let via = head.all("via").join(", ");
    let entries: Vec<&str> = via.split(',').map(str::trim).collect();
    assert_eq!(entries.len(), 3, "{via:?}");
    assert_eq!(entries[..2], ["1.0 fred", "1.1 p.example"]);
    assert!(entries[2].starts_with("1.1 "), "{via:?}");
}

#[test]
fn via_names_the_version_that_was_received() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    proxy.client().request("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let head = origin.request().head;
    assert!(head.field("via").is_some_and(|via| via.starts_with("1.0 ")), "{:?}", head.raw);
}
