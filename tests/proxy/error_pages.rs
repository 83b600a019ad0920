//! Answers of Corelane's own: JSON or HTML by Accept, or a configured page; framed, not cached, and named by an id that
//! the access log has too.

use serde_json::Value;

use crate::support::message::Response;
use crate::support::{Origin, Setup, client, free_port, ok, with_length};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

/// A proxy whose only route is at `/api`, to an origin that is down.
fn setup() -> Setup {
    Setup::to(&[&format!("127.0.0.1:{}", free_port())]).route("path = { prefix = \"/api\" }")
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// Whole, alone, and not for a cache.
#[track_caller]
fn assert_framed(response: &Response) {
    let head = &response.head;
    assert_eq!(head.field("content-length"), Some(response.body.len().to_string().as_str()), "{head:?}");
    assert_eq!(head.field("transfer-encoding"), None);
    assert_eq!(head.field("cache-control"), Some("no-store"));
    assert!(head.field("date").is_some_and(|date| date.ends_with(" GMT")), "{head:?}");
}

#[track_caller]
fn json(response: &Response) -> Value {
    assert_framed(response);
    assert_eq!(response.head.field("content-type"), Some("application/json"));
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {}", response.text()))
}

#[test]
fn answers_in_json_what_the_access_log_says() {
    let proxy = setup().start();
    let mut client = proxy.client();
    let bodies = [json(&client.get("/other")), json(&client.get("/api"))];
    let records = proxy.records(2);
    for ((body, record), (status, error, reason)) in bodies
        .iter()
        .zip(&records)
        .zip([(404, "Not Found", "no_route"), (502, "Bad Gateway", "connect_failed")])
    {
        assert_eq!(body["status"], status);
        assert_eq!(body["error"], error);
        assert_eq!(body["reason"], reason);
        assert_eq!(body["request_id"].as_str().unwrap().len(), 32);
        assert_eq!(body.as_object().unwrap().len(), 4);
        for key in ["status", "reason", "request_id"] {
            assert_eq!(body[key], record[key], "{record}");
        }
    }
    assert_ne!(bodies[0]["request_id"], bodies[1]["request_id"]);
}

#[test]
fn answers_browsers_in_html() {
    let proxy = setup().start();
    let mut client = proxy.client();
    let response = client.request(get("/other", &format!("Accept: {BROWSER}\r\n")));
    assert_framed(&response);
    assert_eq!(response.head.field("content-type"), Some("text/html; charset=utf-8"));
    let (text, record) = (response.text(), proxy.record());
    assert!(text.starts_with("<!doctype html>") && text.ends_with("</html>\n"), "{text}");
    for fact in ["<title>404 Not Found</title>", "no_route", record["request_id"].as_str().unwrap()] {
        assert!(text.contains(fact), "no {fact} in {text}");
    }
    assert_eq!(json(&client.get("/other"))["status"], 404, "the connection goes on");
}

#[test]
fn weighs_what_the_client_accepts() {
    let proxy = setup().start();
    let mut client = proxy.client();
    for (fields, kind) in [
        ("Accept: */*\r\n", "application/json"),
        ("Accept: image/png\r\n", "application/json"),
        ("Accept: text/html;q=0.4, application/json;q=0.5\r\n", "application/json"),
        ("Accept: text/html;q=0.5, application/json;q=0.4\r\n", "text/html; charset=utf-8"),
        ("Accept: application/json;q=0.9\r\nAccept: text/*\r\n", "text/html; charset=utf-8"),
        ("Accept: text/html;q=0, */*\r\n", "application/json"),
        // A field that ends at the proxy is still none of the answer's business.
        ("X-Accept: text/html\r\n", "application/json"),
    ] {
        for target in ["/other", "/api"] {
            let response = client.request(get(target, fields));
            assert_framed(&response);
            assert_eq!(response.head.field("content-type"), Some(kind), "{fields}");
        }
    }
}

#[test]
fn the_body_of_a_request_is_not_taken_for_fields() {
    let proxy = setup().start();
    let put = "PUT /api HTTP/1.1\r\nHost: a\r\nContent-Length: 23\r\n\r\n\r\nAccept: text/html;q=1\r\n";
    // Kept behind the head, to be sent again.
    assert_eq!(json(&proxy.client().request(put))["status"], 502);
}

#[test]
fn a_head_that_cannot_be_parsed_is_answered_in_json_and_closes() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    for request in [
        format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {BROWSER}\r\nbad field: x\r\n\r\n"),
        "NONSENSE\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(10_000)),
    ] {
        let mut client = proxy.client();
        let response = client.request(request);
        assert_eq!(json(&response)["status"], response.status());
        assert!(response.head.connection_has("close"));
        client.expect_close();
    }
}

#[test]
fn says_what_is_due_with_the_status() {
    let proxy = Setup::to(&["{ address = \"127.0.0.1:9\", weight = 0 }"])
        .upstream("policy = \"weighted\"")
        .listener("methods_refused = [\"DELETE\", \"TRACE\", \"CONNECT\", \"PURGE\"]")
        .start();
    let mut client = proxy.client();
    let unavailable = client.get("/");
    assert_eq!(
        (json(&unavailable)["status"].clone(), unavailable.head.field("retry-after")),
        (503.into(), Some("1"))
    );
    assert!(!unavailable.head.connection_has("close"), "{:?}", unavailable.head);
    for method in ["DELETE", "PURGE"] {
        let refused = proxy.client().request(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(json(&refused)["reason"], "method_refused");
        assert_eq!(refused.head.field("allow"), Some("GET, HEAD, POST, PUT, PATCH, OPTIONS"));
        assert!(refused.head.connection_has("close"));
    }
}

#[test]
fn a_head_request_gets_the_length_and_no_body() {
    let proxy = setup().start();
    let mut client = proxy.client();
    let full = client.get("/other");
    client.send("HEAD /other HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = client.response_to_head();
    assert_eq!(head.status(), 404);
    assert_eq!(head.head.field("content-length"), full.head.field("content-length"));
    // The next answer begins where the head ended.
    assert_eq!(json(&client.get("/other"))["status"], 404);
}

#[test]
fn pipelined_requests_get_an_answer_each() {
    let proxy = setup().start();
    let mut client = proxy.client();
    let fields = format!("Accept: {BROWSER}\r\n");
    client.send((get("/other", "") + &get("/other", &fields)).repeat(20)).unwrap();
    for _ in 0..20 {
        json(&client.response());
        assert!(client.response().text().ends_with("</html>\n"));
    }
}

#[test]
fn clients_of_http10_are_told_whether_the_connection_stays() {
    let proxy = setup().start();
    let mut client = proxy.client();
    let response = client.request("GET /other HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\n\r\n");
    json(&response);
    assert!(response.head.connection_has("keep-alive"));
    let response = client.request("GET /other HTTP/1.0\r\nHost: a\r\n\r\n");
    json(&response);
    assert!(response.head.connection_has("close"));
    client.expect_close();
}

#[test]
fn configured_pages_replace_the_built_in_ones() {
    let setup = setup().more(
        "[[error_pages]]\nstatuses = [\"4xx\", 502]\ncontent_type = \"text/plain\"\n\
         body = \"{status}|{reason_phrase}|{reason}|{request_id}|{ x }\"\n\
         [[error_pages]]\nstatuses = [404]\nfile = \"404.html\"\n\
         [[error_pages]]\nstatuses = [404]\nbody = \"\"\nlisteners = [\"second\"]\n\
         [[listeners]]\nname = \"second\"\naddress = \"127.0.0.1:@second@\"\n",
    );
    let launch = setup.launch();
    let page = format!("<h1>{{status}}</h1>{}", "x".repeat(60_000));
    std::fs::write(launch.dir().join("404.html"), &page).unwrap();
    let mut proxy = launch.start();
    let mut client = proxy.client();
    // A page is the operator's choice: what the client accepts does not matter.
    let response = client.request(get("/other", "Accept: application/json\r\n"));
    assert_framed(&response);
    assert_eq!(response.head.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(response.text() == page.replace("{status}", "404"));

    let response = client.request(get("/api", "Accept: text/html\r\n"));
    assert_framed(&response);
    assert_eq!((response.status(), response.head.field("content-type")), (502, Some("text/plain")));
    let records = proxy.records(2);
    let id = records[1]["request_id"].as_str().unwrap();
    assert_eq!(response.text(), format!("502|Bad Gateway|connect_failed|{id}|{{ x }}"));
    let refused = proxy.client().request("GET / HTTP/1.1\r\n\r\n");
    assert!(refused.text().starts_with("400|Bad Request|host_missing|"), "{}", refused.text());
    assert!(refused.head.connection_has("close"));

    let mut second = crate::support::Client::connect(&proxy.address("second"));
    for _ in 0..2 {
        let empty = second.get("/other");
        assert_framed(&empty);
        assert!(empty.status() == 404 && empty.body.is_empty());
    }

    // A reload without pages brings the built-in ones back, on the same connection.
    proxy.rewrite(&self::setup().text());
    proxy.reload_and_wait();
    assert_eq!(json(&client.get("/other"))["status"], 404);
}

#[test]
fn answers_of_upstreams_are_never_replaced() {
    let origin = Origin::http(|request| match request.head.target() {
        "/404" => with_length("404 Not Found", "the origin's own"),
        _ => with_length("503 Service Unavailable", "the origin's own"),
    });
    let proxy = Setup::origin(&origin)
        .more("[[error_pages]]\nstatuses = [\"4xx\", \"5xx\"]\nbody = \"the proxy's\"")
        .start();
    let mut client = proxy.client();
    for target in ["/404", "/503"] {
        let response = client.request(client::get(target));
        assert_eq!(response.text(), "the origin's own");
        assert_eq!(response.head.field("retry-after"), None);
    }
}
