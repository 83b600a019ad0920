//! Who is let in: `client_addresses`, `user_agent`, `referer`, `basic_auth`, `api_key`.

use super::{get_with, plain, with};
use crate::support::{Client, Origin, Proxy, ok};

#[track_caller]
fn statuses(proxy: &Proxy, requests: &[(&str, u16)]) {
    let mut client = proxy.client();
    for (lines, status) in requests {
        assert_eq!(client.request(get_with("/", lines)).status(), *status, "{lines}");
    }
}

#[test]
fn addresses_are_those_behind_trusted_proxies() {
    let origin = plain();
    let keys = "type = \"client_addresses\"\nallow = [\"127.0.0.0/8\", \"192.0.2.0/24\"]\ndeny = [\"192.0.2.9\", \"127.0.0.9\"]";
    let proxy = with(&origin, &[("it", keys)]).listener("trusted_proxies = [\"127.0.0.1\"]").start();
    statuses(
        &proxy,
        &[
            ("", 200),
            ("X-Forwarded-For: 192.0.2.1\r\n", 200),
            ("X-Forwarded-For: 192.0.2.9\r\n", 403),
            ("X-Forwarded-For: 198.51.100.1\r\n", 403),
            ("X-Forwarded-For: 192.0.2.1, 198.51.100.1\r\n", 403),
            ("X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\n", 200),
        ],
    );
    // What anybody else claims is nothing.
    for (from, status) in [("127.0.0.9", 403), ("127.0.0.2", 200)] {
        let mut client = Client::connect_from(from, &proxy.address("web"));
        let response = client.request(get_with("/", "X-Forwarded-For: 192.0.2.9\r\n"));
        assert_eq!(response.status(), status, "{from}");
    }
    assert_eq!(origin.requests().len(), 4);
    let refused = proxy.records(8).into_iter().filter(|it| it["status"] == 403);
    assert!(refused.into_iter().all(|it| it["reason"] == "address_denied"));
}

#[test]
fn user_agents_and_referers_are_let_in_or_not() {
    let origin = plain();
    for (kind, field, reason) in
        [("user_agent", "User-Agent", "user_agent_denied"), ("referer", "Referer", "referer_denied")]
    {
        let keys =
            format!("type = \"{kind}\"\ndeny = [\"exact/1\", {{ regex = \"(?i)bot\" }}, {{ empty = true }}]");
        let proxy = with(&origin, &[("it", &keys)]).start();
        let line = |value: &str| format!("{field}: {value}\r\n");
        statuses(
            &proxy,
            &[
                (&line("Mozilla/5"), 200),
                (&line("a BoT b"), 403),
                (&line("exact/1"), 403),
                (&line("exact/12"), 200),
                (&line(""), 403),
                ("", 403),
            ],
        );
        assert_eq!(proxy.records(6)[1]["reason"], reason);
        let keys = format!("type = \"{kind}\"\nallow = [{{ regex = \"^https://a\\\\.example/\" }}]");
        let proxy = with(&origin, &[("it", &keys)]).start();
        statuses(
            &proxy,
            &[(&line("https://a.example/x"), 200), (&line("https://b.example/"), 403), ("", 403)],
        );
    }
}

/// `ann` with the password `secret:word`.
const ANN: &str = "type = \"basic_auth\"\nrealm = \"Staff\"\n\
     users = { ann = \"sha256:0123456789abcdef:@hash@\" }";

fn ann() -> String {
    ANN.replace("@hash@", HASH)
}

/// Of the salt `0123456789abcdef` and `secret:word`.
const HASH: &str = "4580af8336d7810229d057bb243d5e3230f8ad679eaa558ee28e4ca3dce35b9d";

#[test]
fn a_password_opens_and_goes_no_further() {
    let origin = Origin::http(|request| ok(request.head.field("x-user").unwrap_or("nobody")));
    let filters =
        [("it", &*ann()), ("user", "type = \"request_fields\"\nset = { X-User = \"{auth.user}\" }")];
    let proxy = with(&origin, &filters).start();
    let right = "Authorization: Basic YW5uOnNlY3JldDp3b3Jk\r\n";
    let mut client = proxy.client();
    assert_eq!(client.request(get_with("/", right)).text(), "ann");
    let head = origin.request().head;
    assert!(!head.has("authorization") && !head.raw.contains("YW5u"), "{head:?}");
    for (lines, reason) in [
        ("", "credentials_missing"),
        ("Authorization: Bearer x\r\n", "credentials_missing"),
        ("Authorization: Basic ????\r\n", "credentials_missing"),
        ("Authorization: Basic YW5uOnNlY3JldA==\r\n", "credentials_wrong"),
        ("Authorization: Basic Ym9iOnNlY3JldDp3b3Jk\r\n", "credentials_wrong"),
        (&format!("{right}{right}"), "credentials_missing"),
    ] {
        let response = client.request(get_with("/", lines));
        assert_eq!(response.status(), 401, "{lines}");
        assert_eq!(response.head.all("www-authenticate"), ["Basic realm=\"Staff\", charset=\"UTF-8\""]);
        assert!(response.text().contains(reason), "{}", response.text());
    }
    assert_eq!(origin.requests().len(), 1);
    let log = std::fs::read_to_string(proxy.dir().join("access.log")).unwrap_or_default() + &proxy.log();
    assert!(!log.contains("secret") && !log.contains("YW5u"), "{log}");
}

/// `ci` with the key `abc`.
const KEY: &str =
    "keys = { ci = \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\" }";

#[test]
fn a_key_opens_and_goes_no_further() {
    for (place, right, wrong, challenge) in [
        ("", "X-API-Key: abc\r\n", "X-API-Key: abd\r\n", "ApiKey"),
        (
            "header = \"Authorization\"",
            "Authorization: Bearer abc\r\n",
            "Authorization: Bearer abd\r\n",
            "Bearer",
        ),
    ] {
        let origin = Origin::http(|request| ok(request.head.field("x-key").unwrap_or("none")));
        let keys = format!("type = \"api_key\"\n{place}\n{KEY}");
        let filters =
            [("it", &*keys), ("name", "type = \"request_fields\"\nset = { X-Key = \"{auth.key}\" }")];
        let proxy = with(&origin, &filters).start();
        let mut client = proxy.client();
        assert_eq!(client.request(get_with("/", right)).text(), "ci");
        assert!(!origin.request().head.raw.contains("abc"));
        for (lines, reason) in
            [("", "api_key_missing"), (wrong, "api_key_wrong"), (&*right.repeat(2), "api_key_missing")]
        {
            let response = client.request(get_with("/", lines));
            assert_eq!((response.status(), response.head.all("www-authenticate")), (401, vec![challenge]));
            assert!(response.text().contains(reason), "{}", response.text());
        }
        assert_eq!(origin.requests().len(), 1);
    }
    let origin = plain();
    let proxy = with(&origin, &[("it", &format!("type = \"api_key\"\nquery = \"key\"\n{KEY}"))]).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/a?x=1&k%65y=%61bc&y=2").text(), "served");
    assert_eq!(client.get("/b?key=abc").text(), "served");
    assert_eq!(client.get("/c?key=abc&key=abc").status(), 401);
    assert_eq!(client.get("/d").status(), 401);
    let targets: Vec<_> = origin.requests().iter().map(|it| it.head.target().to_owned()).collect();
    assert_eq!(targets, ["/a?x=1&y=2", "/b"]);
}
