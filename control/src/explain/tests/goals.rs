//! Filters, splits, mirrors and answers, word for word.

use super::super::{Explanation, Question, explain};
use crate::ConfigSource;

const FILE: &str = r#"
[[listeners]]
name = "web"
address = "127.0.0.1:8080"
filters = ["id"]

[[routes]]
name = "users"
hosts = ["shop.example"]
path = { regex = "^/users/(?<id>[0-9]+)$" }
filters = ["office", "limit", "strip", "secure"]
upstream = "api"
body_bytes_max = "1MiB"

[[routes]]
name = "cart"
hosts = ["shop.example"]
path = { prefix = "/cart" }
split = [{ upstream = "api", weight = 9 }, { upstream = "site", weight = 1 }]
sticky = { cookie = "lane" }
mirror = { upstream = "shadow", share = "10%" }
request_timeout = "5s"

[[routes]]
name = "old"
path = { prefix = "/old" }
redirect = { status = 308, scheme = "https", host = "shop.example" }

[[routes]]
name = "hello"
path = { exact = "/hello" }
respond = { status = 200, content_type = "text/plain", body = "hello" }

[[routes]]
name = "closed"
path = { prefix = "/closed" }
maintenance = { retry_after = "5m" }

[filters.id]
type = "request_id"

[filters.office]
type = "client_addresses"
allow = ["10.0.0.0/8"]

[filters.limit]
type = "rate_limit"
requests = 60
per = "1m"

[filters.strip]
type = "rewrite"
path = "/v2/{path.id}"

[filters.secure]
type = "security_headers"

[upstreams.api]
endpoints = [{ address = "10.1.0.1:8001", weight = 3 }, "10.1.0.2:8001"]
policy = "weighted"

[upstreams.site]
endpoints = ["10.1.0.3:8001", "10.1.0.4:8001"]
policy = "least_connections"

[upstreams.shadow]
endpoints = ["10.1.0.9:8001"]
"#;

fn told(url: &str, from: &str) -> Explanation {
    asked("GET", url, &[], from)
}

fn asked(method: &str, url: &str, fields: &[&str], from: &str) -> Explanation {
    let question = Question {
        method: method.to_owned(),
        url: url.to_owned(),
        fields: fields.iter().map(ToString::to_string).collect(),
        from: from.parse().expect("an address"),
        listener: None,
        client_subject: None,
    };
    let source = ConfigSource::Text { name: "t.toml".to_owned(), text: FILE.to_owned() };
    explain(&source, &question).expect("is explained")
}

/// What follows the routes.
fn goal(told: &Explanation) -> String {
    told.to_string().splitn(3, "\n\n").nth(2).expect("a goal").to_owned()
}

#[test]
fn filters_and_what_they_change() {
    let told = told("http://shop.example/users/42?a=b", "10.0.0.7");
    assert!(told.is_taken());
    assert_eq!(
        goal(&told),
        "\
Filters, in order:
  1  id      request_id        changes  X-Request-Id: (a new id)
                                        response X-Request-Id: (a new id)
  2  office  client_addresses  passes
  3  limit   rate_limit        passes   response RateLimit: \"limit\";r=59;t=1
                                        response RateLimit-Policy: \"limit\";q=60;w=60
  4  strip   rewrite           changes  path /v2/42
  5  secure  security_headers  changes  response X-Content-Type-Options: nosniff
                                        response X-Frame-Options: SAMEORIGIN
                                        response Referrer-Policy: strict-origin-when-cross-origin

Upstream api, policy weighted: by weight 3:1
  endpoint  10.1.0.1:8001  weight 3
            10.1.0.2:8001  weight 1
  gets      GET /v2/42?a=b, Host: shop.example
  timeouts  request none, response head 30s, body idle 1m
  body      at most 1MiB
"
    );
}

#[test]
fn a_filter_that_refuses() {
    let told = told("http://shop.example/users/42", "192.0.2.1");
    assert!(!told.is_taken());
    assert_eq!(
        goal(&told),
        "\
Filters, in order:
  1  id      request_id        changes  X-Request-Id: (a new id)
                                        response X-Request-Id: (a new id)
  2  office  client_addresses  refuses  with 403 address_denied

Answer 403 address_denied, a refusal:
  field     X-Content-Type-Options: nosniff
  field     X-Frame-Options: SAMEORIGIN
  field     Referrer-Policy: strict-origin-when-cross-origin
  field     X-Request-Id: (a new id)
  body      an error page
"
    );
}

#[test]
fn a_split_and_a_mirror() {
    let told = told("http://shop.example/cart", "192.0.2.1");
    assert!(told.is_taken());
    assert_eq!(
        goal(&told),
        "\
Split: api 90%, site 10%
  goes to   in turn by these shares; then the client stays, by the cookie lane

Filters, in order:
  1  id  request_id  changes  X-Request-Id: (a new id)
                              response X-Request-Id: (a new id)

Upstream api, 90%, policy weighted: by weight 3:1
  endpoint  10.1.0.1:8001  weight 3
            10.1.0.2:8001  weight 1
  gets      GET /cart, Host: shop.example
  timeouts  request 5s, response head 30s, body idle 1m
  body      of any size

Upstream site, 10%, policy least_connections: the one with the fewest requests in progress
  endpoint  10.1.0.3:8001  weight 1
            10.1.0.4:8001  weight 1
  gets      GET /cart, Host: shop.example
  timeouts  request 5s, response head 30s, body idle 1m
  body      of any size

Mirror shadow: 10% of the requests with a body of at most 1MiB; its answers are dropped
"
    );
}

#[test]
fn a_redirect_with_its_location() {
    let told = told("http://shop.example/old/x?y", "192.0.2.1");
    assert!(told.is_taken());
    assert_eq!(
        goal(&told),
        "\
Filters, in order:
  1  id  request_id  changes  X-Request-Id: (a new id)
                              response X-Request-Id: (a new id)

Answer 308 redirected:
  field     Location: https://shop.example/old/x?y
  field     X-Request-Id: (a new id)
  body      empty
"
    );
}

#[test]
fn a_client_that_stays_goes_to_one_upstream() {
    let lane = "Cookie: a=b; lane=";
    let stays = asked("GET", "/cart", &["Host: shop.example", &format!("{lane}x")], "::1");
    assert!(goal(&stays).contains("then the client stays, by the cookie lane"));
    let token = corelane_balancer::fingerprint(b"site");
    let stays = asked("GET", "/cart", &["Host: shop.example", &format!("{lane}{token:016x}")], "::1");
    assert!(goal(&stays).starts_with("Split: api 90%, site 10%\n  goes to   site, by the cookie lane\n"));
    assert!(!goal(&stays).contains("Upstream api"), "{stays}");
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let url = "http://shop.example/users/42";
    let told = asked("POST", url, &["Content-Length: 1048577"], "10.0.0.7");
    assert_eq!(goal(&told), "Answer 413 body_too_large, a refusal:\n  body      an error page\n");
    assert!(!told.is_taken());
    assert!(asked("POST", url, &["Content-Length: 1048576"], "10.0.0.7").is_taken());
}

#[test]
fn an_answer_shows_its_status_and_body() {
    let hello = told("http://shop.example/hello", "::1");
    assert!(
        goal(&hello).ends_with("  body      \"hello\"\n") && goal(&hello).contains("Answer 200 responded:\n")
    );
    assert!(hello.is_taken());
    let closed = told("http://shop.example/closed", "::1");
    assert!(goal(&closed).contains("Answer 503 maintenance, a refusal:\n  field     Retry-After: 300\n"));
    assert!(!closed.is_taken());
}

#[test]
fn programs_read_filters_answers_and_upstreams() {
    let json = |told: &Explanation| serde_json::from_str::<serde_json::Value>(&told.json()).expect("is JSON");
    let value = json(&told("http://shop.example/users/42", "10.0.0.7"));
    let way = &value["ways"][0];
    assert_eq!(way["filters"][3]["changes"][0], "path /v2/42");
    assert_eq!(way["filters"][4]["response"][0], "X-Content-Type-Options: nosniff");
    assert_eq!(way["upstream"]["how"], "by weight 3:1");
    assert_eq!(way["upstream"]["timeouts"]["response head"].as_f64(), Some(30.0));
    assert_eq!(way["upstream"]["body_bytes_max"], 1_048_576);
    assert!(way["answer"].is_null() && value["generation"].is_null() && value["taken"] == true);

    let value = json(&told("http://shop.example/users/42", "::1"));
    let filter = &value["ways"][0]["filters"][1];
    assert_eq!((filter["status"].as_u64(), filter["reason"].as_str()), (Some(403), Some("address_denied")));
    assert_eq!(value["ways"][0]["answer"]["refusal"], true);

    let value = json(&told("http://shop.example/cart", "::1"));
    assert_eq!(value["split"]["shares"][1]["share"], "10%");
    assert_eq!(value["mirror"]["upstream"], "shadow");
    assert_eq!(value["ways"].as_array().map(Vec::len), Some(2));

    let value = json(&told("http://shop.example/old", "::1"));
    assert_eq!(value["ways"][0]["answer"]["fields"][0]["value"], "https://shop.example/old");
}

#[test]
fn filters_of_upstreams_are_told_for_each() {
    let file = FILE.replace("[upstreams.site]", "[upstreams.site]\nfilters = [\"office\"]");
    let question = Question {
        method: "GET".to_owned(),
        url: "http://shop.example/cart".to_owned(),
        fields: Vec::new(),
        from: super::super::FROM,
        listener: None,
        client_subject: None,
    };
    let source = ConfigSource::Text { name: "t.toml".to_owned(), text: file };
    let told = explain(&source, &question).expect("is explained");
    let goal = goal(&told);
    assert!(goal.contains("\nFilters on the way to api, in order:\n  1  id  request_id"), "{goal}");
    assert!(goal.contains("\nFilters on the way to site, in order:\n  1  id      request_id"), "{goal}");
    assert!(goal.contains("\nAnswer 403 address_denied, a refusal:\n"), "{goal}");
    assert!(told.is_taken(), "nine of ten are");
}
