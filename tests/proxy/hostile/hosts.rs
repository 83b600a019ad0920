//! Whom a request is for (RFC 9112 §3.2 and §3.3, RFC 9110 §7.2): one name, and no second opinion.

use super::case::{Case, End, OK_CLOSE};
use super::run::Group;

pub(super) const GROUP: Group = Group { name: "hosts", setup: |setup| setup, cases };

/// A GET with this line in Host's place.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n")
}

fn cases() -> Vec<Case> {
    let refused = |name, lines: &str, reason| Case::new(name, get(lines)).refused(400, reason);
    let invalid = |name, host: &str| refused(name, &format!("Host: {host}"), "host_invalid");
    let passed = |name, host: &str| Case::new(name, get(&format!("Host: {host}")));
    let absolute = |name, target: &str, host: &str| {
        Case::new(name, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    };
    let mismatch =
        |name, target: &str, host: &str| absolute(name, target, host).refused(400, "host_mismatch");
    vec![
        refused("no Host", "X-A: 1", "host_missing"),
        refused("two Hosts", "Host: a\r\nHost: b", "host_repeated"),
        refused("the same Host twice", "Host: a\r\nhost: a", "host_repeated"),
        refused("a second Host that is empty", "Host: a\r\nHost:", "host_repeated"),
        refused("a second Host behind other fields", "Host: a\r\nX-A: 1\r\nHOST: b", "host_repeated"),
        refused("Host with a space before the colon", "Host : a", "field_name_invalid"),
        refused("a folded Host", "Host: a\r\n b", "line_folding"),
        refused("a second Host behind a folded line", "Host: a\r\n Host: b", "line_folding"),
        refused("NUL in Host", "Host: a\0b", "nul"),
        refused("a control byte in Host", "Host: a\x01", "field_value_invalid"),
        // RFC 9110 §4.2.1: an http URI with an empty host identifier is invalid.
        invalid("an empty Host", ""),
        invalid("a Host of a port alone", ":80"),
        invalid("a space in Host", "a b"),
        invalid("a tab in Host", "a\tb"),
        invalid("a list of Hosts", "a,b"),
        invalid("a list of Hosts with a space", "a, b"),
        invalid("a slash in Host", "a/b"),
        invalid("a path in Host", "a/admin"),
        invalid("a query in Host", "a?b"),
        invalid("a fragment in Host", "a#b"),
        invalid("a backslash in Host", "a\\b"),
        invalid("a user in Host", "u@a"),
        invalid("a user and a password in Host", "u:p@a"),
        invalid("a scheme in Host", "http://a"),
        invalid("quotes in Host", "\"a\""),
        invalid("angle brackets in Host", "<a>"),
        invalid("Host in UTF-8", "\u{e9}.example"),
        invalid("a port of letters", "a:x"),
        invalid("a port with a sign", "a:+80"),
        invalid("a port past 65535", "a:65536"),
        invalid("a port of six digits", "a:000080"),
        invalid("two ports", "a:80:80"),
        invalid("a space before the port", "a :80"),
        invalid("an IPv6 address without brackets", "::1"),
        invalid("an IPv6 address without its end", "[::1"),
        invalid("empty brackets", "[]"),
        invalid("brackets around a name", "[name]"),
        invalid("bytes behind the brackets", "[::1]x"),
        invalid("bytes before the brackets", "x[::1]"),
        passed("a name with a port", "a.example:8080"),
        passed("a name in mixed case", "A.Example"),
        passed("an IPv6 address", "[::1]:80"),
        passed("an IPv4 address", "127.0.0.1:80"),
        passed("a name with an underscore", "a_b.example"),
        mismatch("an absolute target for another host", "http://b/", "a"),
        mismatch("an absolute target for another port", "http://a:81/", "a"),
        mismatch("an absolute target with a longer name", "http://a.example/", "a"),
        mismatch("an absolute target for the host with a dot", "http://a./", "a"),
        absolute("an absolute target for the same host in another case", "http://A/x", "a")
            .arrives("GET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
        absolute("an absolute target with two Hosts", "http://a/", "a\r\nHost: a")
            .refused(400, "host_repeated"),
        absolute("an absolute target with a bad Host", "http://a/", "a b").refused(400, "host_invalid"),
        absolute("an absolute target with a bad port", "http://a:x/", "a:x").refused(400, "host_invalid"),
        Case::new("an absolute target without Host", "GET http://a/ HTTP/1.1\r\n\r\n")
            .refused(400, "host_missing"),
        Case::new("an absolute target without Host in HTTP/1.0", "GET http://a/x HTTP/1.0\r\n\r\n")
            .arrives("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            .sees(OK_CLOSE)
            .end(End::Closed),
        Case::new("two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n")
            .refused(400, "host_repeated"),
        Case::new("an asterisk without Host", "OPTIONS * HTTP/1.1\r\n\r\n").refused(400, "host_missing"),
    ]
}
