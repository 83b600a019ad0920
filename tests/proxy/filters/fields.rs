//! `request_fields` and `response_fields`: every change, every variable, and values that would break a line.

use super::{filter, get_with, plain, with};
use crate::support::origin::Connection;
use crate::support::{ANY_PATH, Launch, Origin, Setup, client, eventually, ok};

const CHANGES: &str = "rename = { \"X-Old\" = \"X-New\" }\nremove = [\"X-Gone\"]\nset = { \"X-Set\" = \"one\" }\n\
     add = { \"X-Add\" = \"more\" }\nappend = { \"X-List\" = \"last\", \"X-Alone\" = \"only\" }";

const LINES: &str = "x-old: a\r\nX-GONE: 1\r\nx-gone: 2\r\nX-Set: 0\r\nX-Set: 1\r\nX-Add: less\r\nX-List: first\r\nX-Stays: 1\r\n";

#[track_caller]
fn assert_changed(head: &crate::support::message::Head) {
    assert_eq!(head.all("x-new"), ["a"], "{head:?}");
    assert!(!head.has("x-old") && !head.has("x-gone"), "{head:?}");
    assert_eq!(head.all("x-set"), ["one"], "{head:?}");
    assert_eq!(head.all("x-add"), ["less", "more"], "{head:?}");
    assert_eq!(head.all("x-list"), ["first, last"], "{head:?}");
    assert_eq!((head.all("x-alone"), head.all("x-stays")), (vec!["only"], vec!["1"]), "{head:?}");
}

#[test]
fn the_upstream_gets_the_changed_fields() {
    let origin = plain();
    let proxy = with(&origin, &[("it", &format!("type = \"request_fields\"\n{CHANGES}"))]).start();
    let response = proxy.client().request(get_with("/", LINES));
    assert_eq!(response.text(), "served");
    assert_changed(&origin.request().head);
    assert!(!response.head.has("x-set"), "it is for the request: {:?}", response.head);
}

#[test]
fn the_client_gets_the_changed_fields() {
    let origin = Origin::answering(format!("HTTP/1.1 200 OK\r\n{LINES}Content-Length: 2\r\n\r\nok"));
    let proxy = with(&origin, &[("it", &format!("type = \"response_fields\"\n{CHANGES}"))]).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.request(get_with("/", "X-Set: mine\r\n"));
        assert_eq!(response.text(), "ok");
        assert_changed(&response.head);
    }
    assert!(origin.requests().iter().all(|it| it.head.field("x-set") == Some("mine")));
}

#[test]
fn a_head_without_lines_and_a_body_without_length_go_through_the_changes() {
    let origin = Origin::script(|connection: &mut Connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.0 200 OK\r\n\r\nuntil the end").unwrap();
    });
    let proxy = with(&origin, &[("it", "type = \"response_fields\"\nset = { \"X-A\" = \"1\" }")]).start();
    let response = proxy.get("/");
    assert_eq!((response.text().as_str(), response.head.field("x-a")), ("until the end", Some("1")));
}

#[test]
fn variables_of_a_request() {
    let origin = plain();
    let set = "type = \"request_fields\"\n[filters.it.set]\nX-Client = \"{client.ip}\"\nX-Peer = \"{peer.ip}\"\n\
        X-Host = \"{host}\"\nX-Path = \"{path}\"\nX-Id = \"{path.id}\"\nX-Query = \"{query}\"\nX-Q = \"{query.q}\"\n\
        X-Header = \"<{header.X-In}>\"\nX-None = \"<{header.X-None}>\"\nX-Cookie = \"{cookie.b}\"\nX-Method = \"{method}\"\n\
        X-Scheme = \"{scheme}\"\nX-Where = \"{listener}/{route}/{upstream}\"\nX-Env = \"{env.PATH}\"\n\
        X-Rid = \"{request_id}\"\nX-Brace = \"{{host}}\"\nX-Tls = \"<{tls.version}{tls.client_subject}>\"";
    let proxy = with(&origin, &[("it", set)])
        .listener("trusted_proxies = [\"127.0.0.1\"]")
        .route("path = { regex = \"^/users/(?<id>[0-9]+)/(?<what>[a-z]+)$\" }")
        .start();
    let lines = "X-In: in\r\nCookie: a=1; b=2\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n";
    let request =
        format!("GET /users/./17/orders?q=a%20b&r HTTP/1.1\r\nHost: Shop.example:81\r\n{lines}\r\n");
    assert_eq!(proxy.client().request(request).status(), 200);
    let head = origin.request().head;
    let record = proxy.record();
    for (name, value) in [
        ("x-client", "192.0.2.7"),
        ("x-peer", "127.0.0.1"),
        ("x-path", "/users/17/orders"),
        ("x-id", "17"),
        ("x-query", "q=a%20b&r"),
        ("x-header", "<in>"),
        ("x-none", "<>"),
        ("x-cookie", "2"),
        ("x-method", "GET"),
        ("x-scheme", "https"),
        ("x-where", "web/all/origin"),
        ("x-env", &std::env::var("PATH").unwrap()),
        ("x-rid", record["request_id"].as_str().unwrap()),
        ("x-brace", "{host}"),
        ("x-tls", "<>"),
    ] {
        assert_eq!(head.all(name), [value], "{head:?}");
    }
    assert!(head.field("x-host").unwrap().eq_ignore_ascii_case("shop.example:81"), "{head:?}");
}

#[test]
fn variables_of_a_response() {
    let origin = Origin::http(|_| {
        std::thread::sleep(std::time::Duration::from_millis(30));
        crate::support::with_length("404 Not Found", "none")
    });
    let set = "type = \"response_fields\"\n[filters.it.set]\nX-Endpoint = \"{endpoint}\"\nX-Status = \"{status}\"\n\
        X-Ms = \"{duration_ms}\"\nX-Id = \"{path.id}\"\nX-Asked = \"{method} {host}\"\nX-In = \"{header.X-In}\"";
    let proxy = with(&origin, &[("it", set)]).route("path = { regex = \"^/(?<id>[a-z]*)$\" }").start();
    let mut client = proxy.client();
    for id in ["abc", "d"] {
        let head = client.request(get_with(&format!("/{id}"), &format!("X-In: {id}!\r\n"))).head;
        assert_eq!(head.all("x-endpoint"), [origin.address()]);
        assert_eq!((head.all("x-status"), head.all("x-id")), (vec!["404"], vec![id]), "{head:?}");
        assert_eq!((head.all("x-asked"), head.field("x-in")), (vec!["GET test"], Some(&*format!("{id}!"))));
        let spent: u64 = head.field("x-ms").unwrap().parse().unwrap();
        assert!((25..15_000).contains(&spent), "{spent}");
    }
}

#[test]
fn an_answer_of_corelanes_own_has_no_endpoint_and_its_own_status() {
    let keys = "type = \"response_fields\"\nset = { X-Status = \"{status}\", X-Endpoint = \"<{endpoint}>\" }";
    let proxy = Setup::to(&["127.0.0.1:1"])
        .route("filters = [\"it\"]")
        .more(&filter("it", keys))
        .upstream("connect_timeout = \"1s\"")
        .start();
    let head = proxy.get("/").head;
    assert_eq!((head.status(), head.field("x-status")), (502, Some("502")));
    // It was tried, but did not answer.
    assert_eq!(head.all("x-endpoint").len(), 1);
}

#[test]
fn values_never_make_a_line() {
    let origin = Origin::http(|request| {
        let value = request.head.field("x-q").unwrap_or_default();
        let injected = "HTTP/1.1 200 OK\r\nX-Up: a\tb\r\nContent-Length: 2\r\n\r\n";
        assert!(!value.contains('\n'));
        [injected, "ok"].concat().into_bytes()
    });
    let set = "set = { X-Id = \"<{path.id}>\", X-Path = \"<{path}>\", X-Q = \"<{query.q}>\", X-C = \"<{cookie.c}>\" }";
    let filters = [
        ("request", format!("type = \"request_fields\"\n{set}")),
        ("response", format!("type = \"response_fields\"\n{set}")),
    ];
    let filters: Vec<(&str, &str)> = filters.iter().map(|(name, keys)| (*name, &**keys)).collect();
    let proxy =
        with(&origin, &filters).listener(ANY_PATH).route("path = { regex = \"(?s)^/(?<id>.*)$\" }").start();
    let evil = "a%0d%0aX-Evil:%201%0d%0a%0d%0aGET%20/%00b%0a";
    let request = get_with(&format!("/{evil}?q={evil}"), "Cookie: c=%0d%0aX-Evil:1\r\n");
    let mut client = proxy.client();
    let response = client.request(request);
    assert_eq!(response.status(), 200);
    let sent = origin.request().head;
    for head in [&sent, &response.head] {
        assert!(!head.has("x-evil"), "{head:?}");
        for name in ["x-id", "x-path", "x-q", "x-c"] {
            assert_eq!(head.all(name).len(), 1, "{head:?}");
            let value = head.field(name).unwrap();
            assert!(value.starts_with('<') && value.ends_with('>'), "{head:?}");
            assert!(!value.bytes().any(|byte| byte < b' ' || byte == 0x7f), "{head:?}");
        }
    }
    assert_eq!(client.get("/next").text(), "ok");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn forwarded_fields_that_filters_set_are_not_doubled() {
    let origin = plain();
    let keys = "type = \"request_fields\"\nset = { X-Forwarded-For = \"{client.ip}\", x-forwarded-proto = \"https\", \
         X-Forwarded-Host = \"public.example\", Forwarded = \"for=hidden\", Via = \"1.1 edge\" }";
    let proxy = with(&origin, &[("it", keys)])
        .listener("forwarded_fields = [\"x-forwarded\", \"forwarded\", \"via\"]")
        .start();
    let claims = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: ftp\r\nX-Forwarded-Host: evil\r\nForwarded: for=evil\r\n";
    assert_eq!(proxy.client().request(get_with("/", claims)).status(), 200);
    let head = origin.request().head;
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["https"]);
    assert_eq!(head.all("x-forwarded-host"), ["public.example"]);
    assert_eq!(head.all("forwarded"), ["for=hidden"]);
    assert_eq!(head.all("via"), ["1.1 edge"]);
}

#[test]
fn what_a_client_may_not_claim_comes_back_by_no_change() {
    let origin = plain();
    let keys = "type = \"request_fields\"\nrename = { X-Real-Ip = \"X-Renamed\" }\n\
         append = { X-Forwarded-For = \"192.0.2.9\", X-Nominated = \"b\" }";
    let proxy = with(&origin, &[("it", keys)]).start();
    let claims =
        "X-Forwarded-For: 192.0.2.1\r\nX-Real-Ip: 192.0.2.1\r\nConnection: X-Nominated\r\nX-Nominated: a\r\n";
    assert_eq!(proxy.client().request(get_with("/", claims)).status(), 200);
    let head = origin.request().head;
    assert!(!head.raw.contains("192.0.2.1\r\n") && !head.raw.contains("192.0.2.1,"), "{head:?}");
    assert_eq!(head.all("x-nominated"), ["b"]);
}

#[test]
fn a_second_attempt_has_the_fields_too() {
    let silent = Origin::script(|connection: &mut Connection| {
        connection.request().unwrap();
    });
    let origin = plain();
    let proxy = Setup::to(&[silent.address(), origin.address()])
        .route("filters = [\"path\", \"field\"]")
        .more(&filter("path", "type = \"rewrite\"\nstrip_prefix = \"/api\""))
        .more(&filter("field", "type = \"request_fields\"\nadd = { X-Id = \"{request_id}\" }"))
        .start();
    assert_eq!(proxy.get("/api/a").text(), "served");
    assert_eq!(proxy.get("/api/b").text(), "served");
    let (tried, answered) = (silent.requests(), origin.requests());
    assert!((1..=2).contains(&tried.len()) && answered.len() == 2, "{tried:?}");
    for tried in tried {
        let again = answered.iter().find(|it| it.head.target() == tried.head.target()).unwrap();
        assert_eq!(again.head.raw, tried.head.raw);
        assert_eq!((again.head.all("x-id").len(), again.head.target().len()), (1, 2));
    }
}

#[test]
fn each_share_of_a_split_has_the_filters_of_its_upstream() {
    let (blue, green) = (plain(), plain());
    let proxy = Launch::new(&format!(
        "[process]\nworkers = 1\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:@web@\"\nfilters = [\"first\"]\n\
         [[routes]]\nname = \"all\"\nsplit = [{{ upstream = \"blue\" }}, {{ upstream = \"green\" }}]\n\
         [upstreams.blue]\nendpoints = [\"{}\"]\nfilters = [\"color\"]\n\
         [upstreams.green]\nendpoints = [\"{}\"]\nfilters = [\"other\", \"color\"]\n\
         [filters.first]\ntype = \"request_fields\"\nset = {{ X-Order = \"listener\" }}\n\
         [filters.color]\ntype = \"request_fields\"\nset = {{ X-Color = \"{{upstream}}\" }}\n\
         [filters.other]\ntype = \"response_fields\"\nset = {{ X-Answer = \"{{upstream}}\" }}\n",
        blue.address(),
        green.address()
    ))
    .start();
    let mut client = proxy.client();
    let answers: Vec<_> =
        (0..4).map(|_| client.get("/").head.field("x-answer").map(ToOwned::to_owned)).collect();
    assert_eq!(answers, [None, Some("green".into()), None, Some("green".into())]);
    for (origin, color) in [(&blue, "blue"), (&green, "green")] {
        let requests = origin.requests();
        assert_eq!(requests.len(), 2);
        assert!(requests.iter().all(|it| it.head.field("x-color") == Some(color)), "{requests:?}");
        assert!(requests.iter().all(|it| it.head.field("x-order") == Some("listener")), "{requests:?}");
    }
}

#[test]
fn a_mirror_gets_the_changed_request() {
    let (origin, shadow) = (plain(), plain());
    let filters = [
        ("path", "type = \"rewrite\"\nreplace_prefix = { prefix = \"/v1\", with = \"/v2\" }"),
        ("field", "type = \"request_fields\"\nset = { X-Set = \"{method}\" }"),
    ];
    let proxy = with(&origin, &filters)
        .route("mirror = { upstream = \"shadow\" }")
        .more(&format!("[upstreams.shadow]\nendpoints = [\"{}\"]", shadow.address()))
        .start();
    assert_eq!(proxy.client().request(client::post("/v1/a?b", b"body")).text(), "served");
    eventually("the copy", || shadow.requests().len() == 1);
    for request in [origin.request(), shadow.request()] {
        assert_eq!((request.head.target(), &*request.body), ("/v2/a?b", &b"body"[..]));
        assert_eq!(request.head.all("x-set"), ["POST"]);
    }
}

#[test]
fn an_http_1_0_client_gets_changed_fields_too() {
    let origin = Origin::http(|request| ok(request.head.first.clone()));
    let filters = [
        ("up", "type = \"request_fields\"\nset = { X-Set = \"{host}\" }"),
        ("down", "type = \"response_fields\"\nset = { X-Set = \"{status}\" }"),
    ];
    let proxy = with(&origin, &filters).start();
    let mut client = proxy.client();
    let response = client.request("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((response.text().as_str(), response.head.field("x-set")), ("GET / HTTP/1.1", Some("200")));
    assert_eq!(origin.request().head.all("x-set"), [""], "it named no host");
    client.expect_close();
}
