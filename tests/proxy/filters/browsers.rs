//! `cors` and `security_headers`: what browsers are told.

use super::{filter, get_with, plain, with};
use crate::support::{Origin, Setup};

const CORS: &str = "type = \"cors\"\norigins = [\"https://app.example\", { regex = \"https://[a-z]+\\\\.example\\\\.org\" }]\n\
     methods = [\"PUT\"]\nheaders = [\"Content-Type\"]\nexpose = [\"X-Total\"]\ncredentials = true\nmax_age = \"1h\"";

fn preflight(origin: &str) -> String {
    format!(
        "OPTIONS /a HTTP/1.1\r\nHost: test\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\
         Access-Control-Request-Headers: content-type\r\n\r\n"
    )
}

#[test]
fn a_preflight_is_answered_here() {
    let origin = plain();
    let proxy = with(&origin, &[("it", CORS)]).start();
    let mut client = proxy.client();
    for page in ["https://app.example", "https://shop.example.org"] {
        let head = client.request(preflight(page)).head;
        assert_eq!((head.status(), head.has("content-length")), (204, false), "{head:?}");
        for (name, value) in [
            ("allow-origin", page),
            ("allow-methods", "PUT"),
            ("allow-headers", "Content-Type"),
            ("allow-credentials", "true"),
            ("max-age", "3600"),
        ] {
            assert_eq!(head.all(&format!("access-control-{name}")), [value], "{head:?}");
        }
        assert_eq!(head.all("vary"), ["Origin"], "{head:?}");
    }
    let head = client.request(preflight("https://evil.example")).head;
    assert!(!head.raw.to_lowercase().contains("access-control-"), "{head:?}");
    assert_eq!(head.all("vary"), ["Origin"]);
    assert!(origin.requests().is_empty());
    // Without an origin it is a request as any other.
    assert_eq!(client.request("OPTIONS /a HTTP/1.1\r\nHost: test\r\n\r\n").text(), "served");
    assert_eq!(origin.request().head.method(), "OPTIONS");
}

#[test]
fn what_the_upstream_says_about_cors_is_replaced() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Max-Age: 1\r\nVary: Accept\r\n\
         Content-Length: 6\r\n\r\nserved",
    );
    let proxy = with(&origin, &[("it", CORS)]).start();
    let mut client = proxy.client();
    let head = client.request(get_with("/", "Origin: https://app.example\r\n")).head;
    assert_eq!(head.all("access-control-allow-origin"), ["https://app.example"]);
    assert_eq!(head.all("access-control-allow-credentials"), ["true"]);
    assert_eq!(head.all("access-control-expose-headers"), ["X-Total"]);
    assert_eq!((head.all("vary"), head.has("access-control-max-age")), (vec!["Accept, Origin"], false));
    for lines in ["", "Origin: https://evil.example\r\n", "Origin: null\r\n"] {
        let response = client.request(get_with("/", lines));
        assert_eq!(response.text(), "served", "the browser decides");
        assert!(!response.head.raw.to_lowercase().contains("access-control"), "{:?}", response.head);
        assert_eq!(response.head.all("vary"), ["Accept, Origin"]);
    }
    assert_eq!(origin.requests()[0].head.field("origin"), Some("https://app.example"));
}

#[test]
fn a_page_may_read_corelanes_own_errors() {
    let proxy = Setup::to(&["127.0.0.1:1"]).route("filters = [\"cors\"]").more(&filter("cors", CORS)).start();
    let head = proxy.client().request(get_with("/", "Origin: https://app.example\r\n")).head;
    assert_eq!(head.status(), 502);
    assert_eq!(head.all("access-control-allow-origin"), ["https://app.example"]);
    assert_eq!(head.all("vary"), ["Origin"]);
}

#[test]
fn anybodys_page_needs_no_vary() {
    let origin = plain();
    let proxy = with(&origin, &[("it", "type = \"cors\"\norigins = [\"*\"]")]).start();
    let head = proxy.client().request(get_with("/", "Origin: https://any.example\r\n")).head;
    assert_eq!((head.all("access-control-allow-origin"), head.has("vary")), (vec!["*"], false));
}

const SECURE: [(&str, &str); 3] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
];

#[test]
fn security_headers_in_one_line() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nContent-Length: 0\r\n\r\n");
    let proxy = with(&origin, &[("it", "type = \"security_headers\"")])
        .listener("trusted_proxies = [\"127.0.0.1\"]")
        .start();
    let mut client = proxy.client();
    let head = client.get("/").head;
    assert_eq!(head.all("x-content-type-options"), ["nosniff"]);
    assert_eq!(head.all("x-frame-options"), ["DENY"], "the upstream knows better");
    assert!(!head.has("strict-transport-security"), "not without TLS: {head:?}");
    let head = client.request(get_with("/", "X-Forwarded-Proto: https\r\n")).head;
    assert_eq!(head.all("strict-transport-security"), ["max-age=31536000"]);
}

#[test]
fn corelanes_own_errors_have_security_headers_too() {
    let origin = plain();
    let proxy = Setup::origin(&origin)
        .route("filters = [\"secure\", \"deny\"]\nbody_bytes_max = 10")
        .more(&filter("secure", "type = \"security_headers\""))
        .more(&filter("deny", "type = \"user_agent\"\ndeny = [\"bad\"]"))
        .more("[[routes]]\nname = \"down\"\npath = { prefix = \"/down\" }\nupstream = \"down\"\nfilters = [\"secure\"]")
        .more("[upstreams.down]\nendpoints = [\"127.0.0.1:1\"]")
        .start();
    let large = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n";
    for (request, status) in
        [(get_with("/down", ""), 502), (get_with("/", "User-Agent: bad\r\n"), 403), (large.to_owned(), 413)]
    {
        let head = proxy.client().request(request).head;
        assert_eq!(head.status(), status);
        for (name, value) in SECURE {
            assert_eq!(head.all(name), [value], "{head:?}");
        }
    }
    assert!(origin.requests().is_empty());
}
