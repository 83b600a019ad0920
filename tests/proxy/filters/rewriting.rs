//! `rewrite`, `query` and `redirect`: where a request goes.

use super::{filter, get_with, plain, with};
use crate::support::message::chunked;
use crate::support::{ANY_PATH, Origin, Setup, client, ok};

/// An origin that answers with the target and the host that it got.
fn telling() -> Origin {
    Origin::http(|request| {
        ok(format!("{} {}", request.head.target(), request.head.field("host").unwrap_or_default()))
    })
}

#[test]
fn the_upstream_gets_another_path() {
    for (keys, target, sent) in [
        ("strip_prefix = \"/api\"", "/api/users?a=/api", "/users?a=/api"),
        ("strip_prefix = \"/api\"", "/api", "/"),
        ("strip_prefix = \"/api\"", "/api?x", "/?x"),
        ("strip_prefix = \"/api\"", "/apis", "/apis"),
        ("strip_prefix = \"/api\"", "/api//evil.example/", "/evil.example/"),
        ("strip_prefix = \"/api\"", "/x/../api/a", "/a"),
        ("replace_prefix = { prefix = \"/v1\", with = \"/v2/x\" }", "/v1/a%20b;p=1", "/v2/x/a%20b;p=1"),
        ("regex = { pattern = \"^/user/([0-9]+)$\", with = \"/u/{match.1}\" }", "/user/17?q", "/u/17?q"),
        ("regex = { pattern = \"^/user/([0-9]+)$\", with = \"/u/{match.1}\" }", "/user/x", "/user/x"),
        ("path = \"/render{path}\"", "/a/b", "/render/a/b"),
        ("path = \"/by/{query.q}/{host}\"", "/a?q=1", "/by/1/test?q=1"),
    ] {
        let origin = telling();
        let proxy = with(&origin, &[("it", &format!("type = \"rewrite\"\n{keys}"))]).start();
        let mut client = proxy.client();
        for form in [target.to_owned(), format!("http://test{target}")] {
            assert_eq!(client.get(&form).text(), format!("{sent} test"), "{keys} {target}");
        }
        for record in proxy.records(2) {
            let logged = record["path"].as_str().unwrap();
            assert!(logged.ends_with(target.split('?').next().unwrap()), "{logged}: the client's own target");
        }
    }
}

#[test]
fn the_upstream_gets_another_host_and_the_log_tells_the_clients() {
    let origin = telling();
    let filters = [("it", "type = \"rewrite\"\nhost = \"{header.X-Tenant}.internal:81\"\npath = \"/x\"")];
    let proxy = with(&origin, &filters).start();
    let mut client = proxy.client();
    let request = |tenant: &str| get_with("/asked?a=1", &format!("X-Tenant: {tenant}\r\n"));
    assert_eq!(client.request(request("ann")).text(), "/x?a=1 ann.internal:81");
    let head = origin.request().head;
    assert_eq!(head.all("host"), ["ann.internal:81"]);
    let record = proxy.record();
    assert_eq!((&record["host"], &record["status"]), (&"test".into(), &200.into()));
    assert!(record["path"].as_str().unwrap().starts_with("/asked"), "{record}");
    // A host that would be another's, or none.
    for tenant in ["a b", "a/b", "a@b", "a\\b", "evil.example:1/"] {
        let refused = client.request(request(tenant));
        assert_eq!(refused.status(), 400, "{tenant}");
    }
    assert_eq!(origin.requests().len(), 1);
    assert!(proxy.records(6).iter().skip(1).all(|it| it["reason"] == "rewrite_invalid"));
}

#[test]
fn a_path_made_of_the_request_leads_nowhere_else() {
    let origin = telling();
    let proxy = with(&origin, &[("it", "type = \"rewrite\"\npath = \"/files/{query.name}\"")])
        .listener(ANY_PATH)
        .start();
    let mut client = proxy.client();
    for (name, sent) in [
        ("a%0d%0aX:1", Some("/files/a%0D%0AX:1")),
        ("a b", None),
        ("a%3Fb%23c", Some("/files/a%3Fb%23c")),
        ("..", None),
        ("%2e%2e/secret", None),
        ("x/../../secret", None),
    ] {
        let response = client.get(&format!("/?name={}", name.replace(' ', "%20")));
        match sent {
            Some(sent) => {
                let text = response.text();
                assert!(text.to_uppercase().starts_with(&sent.to_uppercase()), "{name}: {text}");
            }
            None if name == "a b" => {
                assert!(response.text().starts_with("/files/a%20b"), "{}", response.text())
            }
            None => assert_eq!(response.status(), 400, "{name}: {}", response.text()),
        }
    }
    assert!(origin.requests().iter().all(|it| !it.head.has("x")));
}

#[test]
fn the_query_is_edited() {
    for (keys, target, sent) in [
        ("remove = [\"utm\"]", "/?a=1&utm=x&b=2&utm=y", "/?a=1&b=2"),
        ("remove = [\"utm\"]", "/?utm=x", "/"),
        ("keep = [\"page\"]", "/?x=1&page=2&y", "/?page=2"),
        ("rename = { q = \"search\" }", "/?q=a%20b", "/?search=a%20b"),
        ("set = { tenant = \"{host}\" }", "/?tenant=evil&a=1", "/?a=1&tenant=test"),
        ("add = { via = \"a&b=c\" }", "/", "/?via=a%26b=c"),
    ] {
        let origin = telling();
        let proxy = with(&origin, &[("it", &format!("type = \"query\"\n{keys}"))]).start();
        assert_eq!(proxy.get(target).text(), format!("{sent} test"), "{keys} {target}");
        let asked = target.split_once('?').map_or("", |(_, query)| query);
        assert_eq!(proxy.record()["query"].as_str().unwrap_or_default(), asked, "the client's own");
    }
}

#[test]
fn plain_http_is_sent_to_https() {
    let origin = plain();
    let keys = "type = \"redirect\"\nscheme = \"https\"";
    let proxy = with(&origin, &[("it", keys)]).listener("trusted_proxies = [\"127.0.0.1\"]").start();
    let mut client = proxy.client();
    let request = "GET /a/b?c=d HTTP/1.1\r\nHost: shop.example:8080\r\n";
    let response = client.request(format!("{request}\r\n"));
    assert_eq!((response.status(), response.body.len()), (308, 0));
    assert_eq!(response.head.all("location"), ["https://shop.example/a/b?c=d"]);
    assert_eq!(response.head.field("content-length"), Some("0"));
    client.send("HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.response_to_head().head.field("location"), Some("https://a/h"));
    // Who is there already goes on.
    assert_eq!(client.request(format!("{request}X-Forwarded-Proto: https\r\n\r\n")).text(), "served");
    assert_eq!(origin.request().head.target(), "/a/b?c=d");
}

#[test]
fn a_redirect_names_what_it_is_told_to() {
    for (keys, location, status) in [
        ("host = \"www.example\"", "http://www.example/a?b=c", 308),
        ("host = \"{host}.new\"\nstatus = 301", "http://test.new/a?b=c", 301),
        ("path = \"/new{path}\"\nstatus = 302", "http://test/new/a?b=c", 302),
        ("scheme = \"https\"\nport = 8443\nquery = \"\"\nstatus = 307", "https://test:8443/a", 307),
        ("path = \"/\"\nquery = \"from={path}&q={query.b}\"\nstatus = 303", "http://test/?from=/a&q=c", 303),
    ] {
        let origin = plain();
        // As a filter, and as what the route does.
        let table = keys.split('\n').collect::<Vec<_>>().join(", ");
        let text = Setup::origin(&origin).route("path = { prefix = \"/\" }").text();
        let by_route = text.replace("upstream = \"origin\"", &format!("redirect = {{ {table} }}"));
        for proxy in [
            with(&origin, &[("it", &format!("type = \"redirect\"\n{keys}"))]).start(),
            crate::support::Proxy::start(&by_route),
        ] {
            let response = proxy.get("/a?b=c");
            assert_eq!(
                (response.status(), response.head.all("location")),
                (status, vec![location]),
                "{keys}"
            );
            let record = proxy.record();
            assert_eq!((&record["status"], &record["path"]), (&status.into(), &"/a".into()), "{record}");
            assert_eq!(record["query"], "b=c");
        }
        assert!(origin.requests().is_empty());
    }
}

#[test]
fn a_redirected_upload_leaves_the_connection_as_it_was() {
    let origin = plain();
    let redirect = filter("away", "type = \"redirect\"\nhost = \"away.example\"");
    let proxy = Setup::origin(&origin)
        .more(&redirect)
        .more("[[routes]]\nname = \"away\"\npath = { prefix = \"/away\" }\nupstream = \"origin\"\nfilters = [\"away\"]")
        .start();
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.request(client::post("/away", b"a small body")).status(), 308);
        client.send("POST /away HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let response = client.request(chunked(b"one more", 3));
        assert_eq!(response.status(), 308);
        if response.head.connection_has("close") {
            // Its end had not come yet: the next one needs another connection.
            client = proxy.client();
        }
        assert_eq!(client.get("/here").text(), "served");
    }
    assert!(origin.requests().iter().all(|it| it.head.target() == "/here"));
}
