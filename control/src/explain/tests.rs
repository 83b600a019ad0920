//! What `explain` says, word for word.

use super::*;

mod goals;
mod secured;

const FILE: &str = r#"
[[listeners]]
name = "web"
address = "127.0.0.1:8080"
trusted_proxies = ["127.0.0.1"]
[[listeners]]
name = "inside"
address = "127.0.0.1:9090"
[[routes]]
name = "all"
upstream = "site"
[[routes]]
name = "users"
hosts = ["a.example"]
path = { regex = "^/users/(?<id>[0-9]+)$" }
upstream = "api"
[[routes]]
name = "beta"
hosts = ["a.example"]
path = { exact = "/users/42" }
headers = [{ name = "X-Env", exact = "beta" }]
upstream = "api"
[[routes]]
name = "office"
clients = ["10.0.0.0/8"]
methods = ["GET", "HEAD"]
path = { prefix = "/users" }
upstream = "site"
[[routes]]
name = "admin"
hosts = ["*.admin.example", "admin.example"]
upstream = "site"
[upstreams.api]
endpoints = ["127.0.0.1:8001", { address = "app.internal:80", weight = 3 }]
policy = "weighted"
[upstreams.site]
endpoints = ["127.0.0.1:8002"]
"#;

fn asked(url: &str, fields: &[&str], listener: Option<&str>) -> Result<Explanation, String> {
    let question = Question {
        method: "GET".to_owned(),
        url: url.to_owned(),
        fields: fields.iter().map(ToString::to_string).collect(),
        from: IpAddr::from([127, 0, 0, 1]),
        listener: listener.map(str::to_owned),
        client_subject: None,
    };
    let source = ConfigSource::Text { name: "t.toml".to_owned(), text: FILE.to_owned() };
    explain(&source, &question)
}

#[test]
fn tells_every_route_in_order() {
    let told = asked("http://A.example:8080/users/42?x", &["X-Env: a"], None).unwrap().to_string();
    assert_eq!(
        told,
        "GET http://A.example:8080/users/42?x
  listener  web
  client    127.0.0.1
  host      A.example:8080
  path      /users/42

Routes, in order of precedence:
  1  beta    no     header X-Env  wants \"beta\", got \"a\"
  2  users   takes  host a.example, path regex ^/users/(?<id>[0-9]+)$
                    id = 42
  3  admin   -
  4  office  -
  5  all     -

Upstream api, policy weighted: by weight 1:3
  endpoint  127.0.0.1:8001   weight 1
            app.internal:80  weight 3
  gets      GET /users/42?x, Host: A.example:8080
  timeouts  request none, response head 30s, body idle 1m
  body      of any size
"
    );
}

#[test]
fn the_client_is_who_a_trusted_proxy_says() {
    let told = |listener| {
        let fields = ["Host: b", "X-Forwarded-For: 192.0.2.1, 10.0.0.9"];
        asked("/users/", &fields, Some(listener)).unwrap().to_string()
    };
    assert!(told("web").contains("client    10.0.0.9"), "{}", told("web"));
    assert!(
        told("web").contains(
            "office  takes  any host, path prefix /users, method GET or HEAD, client in 10.0.0.0/8"
        )
    );
    assert!(
        told("inside").contains("office  no     client  wants 10.0.0.0/8, got 127.0.0.1"),
        "{}",
        told("inside")
    );
    assert!(told("inside").contains("users   no     host    wants a.example, got b"));
    assert!(told("inside").contains("all     takes  any host, any path"));
}

#[test]
fn programs_read_the_same() {
    let told = asked("http://a.example/users/42", &["X-\u{41}: \"\\"], Some("web")).unwrap().json();
    let value: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(value["routes"][0]["condition"], "header X-Env");
    assert_eq!(value["routes"][0]["expected"], "\"beta\"");
    assert_eq!(value["routes"][0]["seen"], serde_json::Value::Null);
    assert_eq!(value["routes"][1]["captures"]["id"], "42");
    assert_eq!(value["routes"][4]["outcome"], "not_tried");
    assert_eq!(value["ways"][0]["upstream"]["endpoints"][1]["weight"], 3);
}

#[test]
fn what_no_route_sees_is_an_error() {
    for (url, fields, listener, error) in [
        ("ftp://a/", &[][..], None, "no http or https URL: ftp"),
        ("a/", &[], None, "a URL begins with http://, https:// or, for a path alone, with /"),
        ("http://a/", &[], None, "which listener? say it with --listener, or by the URL's port: web, inside"),
        ("http://a/", &[], Some("x"), "there is no listener \"x\"; there are: web, inside"),
        ("http://a/%2f", &[], Some("web"), "the request is refused before any route is looked at: "),
        ("http://a/", &["no field"], Some("web"), "the request is refused before any route is looked at: "),
        (
            "http://a/",
            &["A: b\r\n\r\nGET / HTTP/1.1"],
            Some("web"),
            "the request is refused before any route is looked at: ",
        ),
    ] {
        let told = asked(url, fields, listener).unwrap_err();
        assert!(told.starts_with(error), "{url}: {told}");
    }
}
