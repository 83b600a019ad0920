//! Requests over TLS, and over TLS to upstreams.

use crate::config::parse;
use crate::explain::{Explanation, Question, explain};
use crate::options::ConfigSource;

const FILE: &str = r#"
[[listeners]]
name = "web"
address = "127.0.0.1:443"
tls = { directory = "certs", client_auth = { ca = "ca.pem", mode = "optional" } }
[[listeners]]
name = "partners"
address = "127.0.0.1:8443"
tls = { directory = "certs", client_auth = { ca = "ca.pem" } }
[[listeners]]
name = "plain"
address = "127.0.0.1:80"
[[routes]]
name = "orders"
path = { prefix = "/orders" }
filters = ["mine"]
upstream = "api"
[[routes]]
name = "rest"
tls = true
upstream = "some"
[[routes]]
name = "upgrade"
redirect = { scheme = "https" }
[filters.mine]
type = "client_certificate"
allow = ["CN=me"]
[upstreams.api]
endpoints = ["app.internal:8443"]
tls = { }
[upstreams.some]
endpoints = ["https://app.internal", "127.0.0.1:8001"]
"#;

fn asked(url: &str, listener: Option<&str>, client_subject: Option<&str>) -> Result<Explanation, String> {
    parse("t.toml", FILE).expect("is right");
    let question = Question {
        method: "GET".to_owned(),
        url: url.to_owned(),
        fields: if url.starts_with('/') { vec!["Host: a.test".to_owned()] } else { Vec::new() },
        from: super::super::FROM,
        listener: listener.map(str::to_owned),
        client_subject: client_subject.map(str::to_owned),
    };
    explain(&ConfigSource::Text { name: "t.toml".to_owned(), text: FILE.to_owned() }, &question)
}

#[test]
fn routes_of_tls_are_followed() {
    for (url, listener, client, says) in [
        ("https://a.test/", None, None, "gets      GET /, Host: a.test, to some endpoints over TLS"),
        // A path alone comes as the listener speaks.
        ("/", Some("web"), None, "gets      GET /, Host: a.test, to some"),
        ("/", Some("plain"), None, "Location: https://a.test/"),
        ("http://a.test/", None, None, "Location: https://a.test/"),
        ("https://a.test/orders", None, None, "client_certificate  refuses  with 403"),
        ("https://a.test/orders", None, Some("CN=you"), "client_certificate  refuses  with 403"),
        ("https://a.test/orders", None, Some("CN=me"), "gets      GET /orders, Host: a.test, over TLS"),
        (
            "https://a.test:8443/orders",
            None,
            Some("CN=me"),
            "gets      GET /orders, Host: a.test:8443, over TLS",
        ),
    ] {
        let told = asked(url, listener, client).expect("is explained").to_string();
        assert!(told.contains(says), "{url}: {told}");
    }
}

#[test]
fn what_no_handshake_lets_in_is_an_error() {
    for (url, listener, client, says) in [
        ("http://a.test:443/", None, None, "the listener speaks TLS, and answers clear text with 400"),
        ("https://a.test:8443/", None, None, "the listener needs a client's certificate"),
        (
            "http://a.test/",
            None,
            Some("CN=me"),
            "the listener asks for no client's certificate (client_auth)",
        ),
    ] {
        let told = asked(url, listener, client).expect_err(url);
        assert!(told.contains(says), "{url}: {told}");
    }
}
