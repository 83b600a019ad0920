//! Which route a request takes: most specific host first, then most specific path.

use crate::support::{Client, Origin, Proxy, Setup, client, ok, settles_at};

/// A proxy in front of one origin for each route; each origin answers with its route's name.
struct Routes {
    proxy: Proxy,
    _origins: Vec<Origin>,
}

/// Each route: its name, and the keys that say what it matches.
fn routes(routes: &[(&'static str, &str)]) -> Routes {
    let mut text = String::from(
        "[process]\nworkers = 1\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:@web@\"\nprotocol = \"http\"\n\
         [[listeners]]\nname = \"inside\"\naddress = \"127.0.0.1:@inside@\"\nprotocol = \"http\"\n",
    );
    let mut origins = Vec::new();
    for (name, keys) in routes {
        let origin = Origin::answering(ok(name));
        let address = origin.address();
        text += &format!(
            "[[routes]]\nname = \"{name}\"\nupstream = \"{name}\"\n{keys}\n\
             [upstreams.{name}]\nendpoints = [\"{address}\"]\n"
        );
        origins.push(origin);
    }
    Routes { proxy: Proxy::start(&text), _origins: origins }
}

impl Routes {
    /// The route that a request takes; the status when it takes none.
    fn of(&self, host: &str, target: &str) -> String {
        self.via("web", host, target)
    }

    fn via(&self, listener: &str, host: &str, target: &str) -> String {
        let mut client = Client::connect(&self.proxy.address(listener));
        let response = client.request(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        if response.status() == 200 { response.text() } else { response.status().to_string() }
    }
}

#[test]
fn prefers_exact_hosts_then_the_longest_wildcard_then_any() {
    let routes = routes(&[
        ("any", ""),
        ("short", "hosts = [\"*.example.org\"]"),
        ("long", "hosts = [\"*.a.example.org\"]"),
        ("exact", "hosts = [\"x.a.example.org\", \"other.example\"]"),
    ]);
    assert_eq!(routes.of("x.a.example.org", "/"), "exact");
    assert_eq!(routes.of("other.example", "/"), "exact");
    assert_eq!(routes.of("y.a.example.org", "/"), "long");
    assert_eq!(routes.of("y.b.example.org", "/"), "short");
    assert_eq!(routes.of("z.y.b.example.org", "/"), "short", "a wildcard stands for one label or more");
    assert_eq!(routes.of("example.org", "/"), "any", "a wildcard needs a label");
    assert_eq!(routes.of("badexample.org", "/"), "any");
    assert_eq!(routes.of("elsewhere.example", "/"), "any");
}

#[test]
fn ignores_case_and_port_of_the_host() {
    let routes =
        routes(&[("exact", "hosts = [\"Api.Example.com\"]"), ("wild", "hosts = [\"*.example.org\"]")]);
    assert_eq!(routes.of("api.example.com", "/"), "exact");
    assert_eq!(routes.of("API.EXAMPLE.COM:8443", "/"), "exact");
    assert_eq!(routes.of("A.EXAMPLE.ORG:80", "/"), "wild");
    assert_eq!(routes.of("api.example.com.evil", "/"), "404");
}

#[test]
fn matches_prefixes_by_segments() {
    let routes =
        routes(&[("api", "path = { prefix = \"/api\" }"), ("v2", "path = { prefix = \"/api/v2/\" }")]);
    assert_eq!(routes.of("a", "/api"), "api");
    assert_eq!(routes.of("a", "/api/"), "api");
    assert_eq!(routes.of("a", "/api/x"), "api");
    assert_eq!(routes.of("a", "/api?x=/api/v2/"), "api");
    assert_eq!(routes.of("a", "/api/v2/x"), "v2");
    assert_eq!(routes.of("a", "/api/v20"), "api");
    assert_eq!(routes.of("a", "/apifoo"), "404");
    assert_eq!(routes.of("a", "/Api"), "404");
    assert_eq!(routes.of("a", "/"), "404");
}

#[test]
fn prefers_exact_paths_then_the_longest_prefix() {
    let routes = routes(&[
        ("root", "path = { prefix = \"/\" }"),
        ("short", "path = { prefix = \"/a\" }"),
        ("long", "path = { prefix = \"/a/b\" }"),
        ("exact", "path = { exact = \"/a/b/c\" }"),
    ]);
    assert_eq!(routes.of("h", "/a/b/c"), "exact");
    assert_eq!(routes.of("h", "/a/b/c?q"), "exact");
    assert_eq!(routes.of("h", "/a/b/c/"), "long");
    assert_eq!(routes.of("h", "/a/b"), "long");
    assert_eq!(routes.of("h", "/a/x"), "short");
    assert_eq!(routes.of("h", "/x"), "root");
}

#[test]
fn falls_back_to_a_less_specific_host_when_its_paths_do_not_fit() {
    let routes = routes(&[
        ("exact", "hosts = [\"api.example.com\"]\npath = { prefix = \"/only\" }"),
        ("any", "path = { prefix = \"/\" }"),
    ]);
    assert_eq!(routes.of("api.example.com", "/only/x"), "exact");
    assert_eq!(routes.of("api.example.com", "/else"), "any");
}

#[test]
fn routes_belong_to_listeners() {
    let routes = routes(&[
        ("everywhere", "path = { prefix = \"/both\" }"),
        ("inside", "listeners = [\"inside\"]\npath = { prefix = \"/admin\" }"),
    ]);
    assert_eq!(routes.via("web", "h", "/both"), "everywhere");
    assert_eq!(routes.via("inside", "h", "/both"), "everywhere");
    assert_eq!(routes.via("inside", "h", "/admin"), "inside");
    assert_eq!(routes.via("web", "h", "/admin"), "404");
}

#[test]
fn one_connection_takes_many_routes() {
    let routes = routes(&[("a", "path = { prefix = \"/a\" }"), ("b", "path = { prefix = \"/b\" }")]);
    let mut client = routes.proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/a/1").text(), "a");
        assert_eq!(client.get("/b/1").text(), "b");
        assert_eq!(client.request(client::get("/c")).status(), 404);
    }
}

#[test]
fn upstreams_may_be_shared_by_routes() {
    let origin = Origin::http(|request| ok(request.head.target()));
    let proxy = Setup::origin(&origin)
        .route("path = { exact = \"/one\" }")
        .more("[[routes]]\nname = \"two\"\npath = { exact = \"/two\" }\nupstream = \"origin\"")
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/one").text(), "/one");
    assert_eq!(client.get("/two").text(), "/two");
    assert_eq!(origin.connections(), 1, "one pool for one upstream");
    settles_at(1, || proxy.metric("corelane_route_requests_total", &[("route", "two")]));
}

impl Routes {
    /// The route of a whole request head without its empty line, sent to a listener.
    fn taken(&self, listener: &str, head: &str) -> String {
        let mut client = Client::connect(&self.proxy.address(listener));
        let response = client.request(format!("{}\r\n\r\n", head.replace('\n', "\r\n")));
        if response.status() == 200 { response.text() } else { response.status().to_string() }
    }
}

#[test]
fn every_condition_of_a_route_must_hold() {
    let routes = routes(&[
        ("plain", ""),
        ("purge", "methods = [\"PURGE\", \"POST\"]"),
        ("header", "headers = [{ name = \"X-Env\", exact = \"beta\" }]"),
        (
            "headers",
            "headers = [{ name = \"x-env\", regex = \"^b\" }, { name = \"X-More\", present = true }]",
        ),
        ("query", "queries = [{ name = \"v\", exact = \"a b\" }]"),
        ("cookie", "cookies = [{ name = \"group\", exact = \"b\" }, { name = \"old\", present = false }]"),
        ("regex", "path = { regex = \"^/users/[0-9]+$\" }"),
        ("host", "hosts = [{ regex = \"^shop[0-9]+[.]example$\" }]"),
    ]);
    for (head, route) in [
        ("GET / HTTP/1.1\nHost: h", "plain"),
        ("PURGE / HTTP/1.1\nHost: h", "purge"),
        ("GET / HTTP/1.1\nHost: h\nx-env: beta", "header"),
        ("GET / HTTP/1.1\nHost: h\nX-Env: Beta", "plain"),
        ("GET / HTTP/1.1\nHost: h\nX-Env: beta\nX-Env: beta", "plain"),
        ("GET / HTTP/1.1\nHost: h\nX-Env: beta\nX-More:", "headers"),
        ("GET /?v=a+b HTTP/1.1\nHost: h", "query"),
        ("GET /?v=a%20b&v=c HTTP/1.1\nHost: h", "query"),
        ("GET /?v=c&v=a%20b HTTP/1.1\nHost: h", "plain"),
        ("GET / HTTP/1.1\nHost: h\nCookie: a=b; group=b", "cookie"),
        ("GET / HTTP/1.1\nHost: h\nCookie: group=b\nCookie: old=", "plain"),
        ("GET /users/42?x HTTP/1.1\nHost: h", "regex"),
        ("GET /users/4%32 HTTP/1.1\nHost: h", "regex"),
        ("GET /users/x HTTP/1.1\nHost: h", "plain"),
        ("GET /users/42 HTTP/1.1\nHost: SHOP9.example:80", "host"),
        ("GET /users/42 HTTP/1.1\nHost: shop.example", "regex"),
    ] {
        assert_eq!(routes.taken("web", head), route, "{head}");
    }
}

#[test]
fn prefers_methods_then_headers_then_queries_then_cookies_then_clients_then_tls() {
    let order = [
        ("method", "methods = [\"GET\"]"),
        ("two_headers", "headers = [{ name = \"a\", exact = \"1\" }, { name = \"b\", exact = \"1\" }]"),
        ("header", "headers = [{ name = \"a\", exact = \"1\" }]"),
        ("query", "queries = [{ name = \"a\", exact = \"1\" }]"),
        ("cookie", "cookies = [{ name = \"a\", exact = \"1\" }]"),
        ("client", "clients = [\"127.0.0.0/8\"]"),
        ("tls", "tls = false"),
        ("plain", ""),
    ];
    for first in 0..order.len() {
        // In the file the other way round: its order decides last.
        let some: Vec<_> = order[first..].iter().rev().copied().collect();
        let head = "GET /?a=1 HTTP/1.1\nHost: h\na: 1\nb: 1\nCookie: a=1";
        assert_eq!(routes(&some).taken("web", head), order[first].0);
    }
}

#[test]
fn a_priority_goes_before_what_is_specific() {
    let routes = routes(&[
        ("exact", "hosts = [\"h\"]\npath = { exact = \"/x\" }"),
        ("maintenance", "path = { prefix = \"/x\" }\npriority = 1"),
        ("last", "hosts = [\"h\"]\npriority = -1"),
        ("any", ""),
    ]);
    assert_eq!(routes.of("h", "/x"), "maintenance");
    assert_eq!(routes.of("h", "/y"), "any");
}

#[test]
fn clients_are_told_by_trusted_proxies_alone() {
    let origins = ["office", "other"].map(|name| Origin::answering(ok(name)));
    let [office, other] = origins.each_ref().map(|origin| origin.address().to_owned());
    let proxy = Proxy::start(&format!(
        "[process]\nworkers = 1\n\
         [[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:@edge@\"\n\
         [[listeners]]\nname = \"behind\"\naddress = \"127.0.0.1:@behind@\"\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [[routes]]\nname = \"office\"\nclients = [\"10.0.0.0/8\"]\nupstream = \"office\"\n\
         [[routes]]\nname = \"other\"\nupstream = \"other\"\n\
         [upstreams.office]\nendpoints = [\"{office}\"]\n[upstreams.other]\nendpoints = [\"{other}\"]\n"
    ));
    let routes = Routes { proxy, _origins: origins.into() };
    let sent = |listener: &str, forwarded: &str| {
        routes.taken(listener, &format!("GET / HTTP/1.1\nHost: h\nX-Forwarded-For: {forwarded}"))
    };
    assert_eq!(sent("behind", "10.1.2.3"), "office");
    assert_eq!(sent("behind", "192.0.2.1, 10.1.2.3, 127.0.0.1"), "office");
    assert_eq!(sent("behind", "10.1.2.3, 192.0.2.1"), "other", "only the rightmost is believed");
    assert_eq!(sent("edge", "10.1.2.3"), "other", "anybody may write that");
}
