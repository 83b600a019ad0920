//! Answers that filters and routes give themselves: `respond`, `maintenance`, and what becomes of the connection.

use super::{filter, plain, with};
use crate::support::message::chunked;
use crate::support::wire::End;
use crate::support::{Client, Origin, Proxy, Setup, client};

/// A route `all` that does this.
fn route(action: &str, more: &str) -> Proxy {
    Proxy::start(&format!(
        "[process]\nworkers = 1\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:@web@\"\n\
         [[routes]]\nname = \"all\"\n{action}\n{more}\n"
    ))
}

const RESPOND: &str = "status = 418, content_type = \"application/json\", body = '{{\"path\":\"{path}\"}}', \
     fields = { Cache-Control = \"max-age=5\", X-Host = \"{host}\" }";

#[test]
fn a_fixed_answer_by_a_filter_and_by_a_route() {
    let origin = plain();
    let keys = format!(
        "type = \"respond\"\n{}",
        RESPOND.replace("418, ", "418\n").replace("json\", ", "json\"\n").replace("}}', ", "}}'\n")
    );
    for proxy in [with(&origin, &[("it", &keys)]).start(), route(&format!("respond = {{ {RESPOND} }}"), "")] {
        let mut client = proxy.client();
        for _ in 0..2 {
            let response = client.get("/a%22b");
            assert_eq!((response.status(), response.text().as_str()), (418, r#"{"path":"/a\"b"}"#));
            assert_eq!(response.head.all("content-type"), ["application/json"]);
            assert_eq!(response.head.all("cache-control"), ["max-age=5"]);
            assert_eq!((response.head.all("x-host"), response.head.all("date").len()), (vec!["test"], 1));
        }
        client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(client.response_to_head().head.field("content-length"), Some("12"));
        client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(client.response().text(), "{\"path\":\"/\"}");
        client.expect_close();
        let record = &proxy.records(4)[0];
        assert_eq!(
            (&record["status"], &record["reason"]),
            (&418.into(), &serde_json::Value::Null),
            "{record}"
        );
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn maintenance_shows_the_error_page_of_the_listener() {
    let origin = plain();
    let page =
        "[[error_pages]]\nstatuses = [503]\nbody = \"<h1>back at five</h1>\"\ncontent_type = \"text/html\"";
    for (retry_after, told) in [("retry_after = \"5m\"", "300"), ("", "1")] {
        let keys = format!("type = \"maintenance\"\n{retry_after}");
        let by_route = format!("maintenance = {{ {retry_after} }}");
        for proxy in [with(&origin, &[("it", &keys)]).more(page).start(), route(&by_route, page)] {
            let response = proxy.get("/");
            assert_eq!((response.status(), response.text().as_str()), (503, "<h1>back at five</h1>"));
            assert_eq!(response.head.all("retry-after"), [told]);
            assert_eq!(response.head.all("content-type"), ["text/html"]);
            assert_eq!(proxy.record()["reason"], "maintenance");
        }
    }
    assert!(origin.requests().is_empty());
}

fn denying(origin: &Origin) -> Proxy {
    Setup::origin(origin)
        .more(&filter("deny", "type = \"client_addresses\"\ndeny = [\"127.0.0.0/8\"]"))
        .more("[[routes]]\nname = \"no\"\npath = { prefix = \"/no\" }\nupstream = \"origin\"\nfilters = [\"deny\"]")
        .start()
}

#[test]
fn a_refusal_leaves_the_connection_to_the_next_request() {
    let origin = plain();
    let proxy = denying(&origin);
    let mut client = proxy.client();
    client
        .send([client::get("/no"), client::get("/a"), client::get("/no"), client::get("/b")].concat())
        .unwrap();
    let answers: Vec<_> = (0..4).map(|_| client.response().status()).collect();
    assert_eq!(answers, [403, 200, 403, 200]);
    assert_eq!(client.request(client::post("/no", &[b'x'; 5_000])).status(), 403);
    assert_eq!(client.get("/c").text(), "served");
    let targets: Vec<_> = origin.requests().iter().map(|it| it.head.target().to_owned()).collect();
    assert_eq!(targets, ["/a", "/b", "/c"]);
    let first = "GET /no HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let mut client = proxy.client();
    assert_eq!(client.request(first).status(), 403);
    assert_eq!(client.get("/d").text(), "served");
}

#[test]
fn a_refused_upload_reads_its_answer_before_the_end() {
    let origin = plain();
    let proxy = denying(&origin);
    for head in [
        "POST /no HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000\r\n\r\n",
        "POST /no HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut client: Client = proxy.client();
        client.send(head).unwrap();
        // All of it before the answer is read: were the connection closed over it, a reset would take the answer away.
        for _ in 0..20 {
            let piece =
                if head.contains("chunked") { chunked(&[b'x'; 8_000], 8_000) } else { vec![b'x'; 8_000] };
            let piece = piece.strip_suffix(b"0\r\n\r\n").unwrap_or(&piece).to_vec();
            client.send(piece).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let response = client.response();
        assert_eq!(response.status(), 403);
        assert!(response.head.connection_has("close"), "{:?}", response.head);
        client.half_close().unwrap();
        assert_eq!(client.end().unwrap(), End::Closed);
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_refused_expectation_gets_no_100() {
    let origin = plain();
    let proxy = denying(&origin);
    let mut client = proxy.client();
    let response = client
        .request("POST /no HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!((response.status(), response.interim.len()), (403, 0));
    assert!(response.head.connection_has("close"), "the body may come or not: {:?}", response.head);
}
