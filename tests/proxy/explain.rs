//! `corelane explain` of a running proxy: what it says is what happens.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::proxy::binary;
use crate::support::{Client, Origin, Proxy, Setup, eventually, free_port, ok};

/// Runs `corelane explain`.
fn explain(words: &[&str]) -> Output {
    Command::new(binary()).arg("explain").args(words).output().expect("it runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn admin(proxy: &Proxy) -> String {
    format!("http://{}", proxy.address("admin"))
}

/// What it says as JSON, with its exit status.
#[track_caller]
fn told(proxy: &Proxy, words: &[&str]) -> (Value, Option<i32>) {
    let admin = admin(proxy);
    let output = explain(&[&[&*admin], words, &["--json"]].concat());
    let value = serde_json::from_str(&stdout(&output));
    (value.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output))), output.status.code())
}

/// An origin that answers with its name, and with the line and the host that it got.
fn echo(name: &'static str) -> Origin {
    Origin::http(move |request| {
        let host = request.head.field("host").unwrap_or_default();
        let line = request.head.first.trim_end_matches(" HTTP/1.1");
        ok(format!("{name}\n{line}, Host: {host}"))
    })
}

/// A route for each kind of end.
fn many_routes(blue: &Origin, green: &Origin) -> Proxy {
    let text = r#"
[process]
workers = 1
[[listeners]]
name = "web"
address = "127.0.0.1:@web@"
trusted_proxies = ["127.0.0.1"]
filters = ["id"]
[[routes]]
name = "plain"
upstream = "blue"
[[routes]]
name = "users"
path = { regex = "^/users/(?<id>[0-9]+)$" }
filters = ["office", "strip", "stamp", "secure"]
upstream = "green"
host = "inner.test"
[[routes]]
name = "post"
methods = ["POST"]
body_bytes_max = 3
upstream = "green"
[[routes]]
name = "beta"
path = { prefix = "/beta" }
headers = [{ name = "X-Env", exact = "beta" }]
upstream = "green"
[[routes]]
name = "cookie"
path = { prefix = "/beta" }
cookies = [{ name = "group", regex = "^b" }]
upstream = "green"
[[routes]]
name = "shared"
path = { prefix = "/shared" }
split = [{ upstream = "blue", weight = 1 }, { upstream = "green", weight = 1 }]
sticky = { by = "client" }
[[routes]]
name = "old"
path = { prefix = "/old" }
redirect = { status = 308, scheme = "https", host = "new.test" }
[[routes]]
name = "hello"
path = { exact = "/hello" }
respond = { status = 201, content_type = "text/plain", body = "hello" }
[[routes]]
name = "closed"
path = { prefix = "/closed" }
maintenance = { retry_after = "5m" }
[[routes]]
name = "host"
hosts = ["*.only.test"]
path = { prefix = "/host" }
filters = ["query"]
upstream = "green"
[[routes]]
name = "hosted"
hosts = ["hosted.test"]
path = { prefix = "/exact" }
priority = 5
filters = ["agents"]
upstream = "green"
[filters.id]
type = "request_id"
[filters.office]
type = "client_addresses"
allow = ["10.0.0.0/8"]
[filters.strip]
type = "rewrite"
path = "/v2/{path.id}"
[filters.stamp]
type = "response_fields"
set = { X-User = "{path.id}" }
[filters.secure]
type = "security_headers"
[filters.query]
type = "query"
remove = ["secret"]
[filters.agents]
type = "user_agent"
deny = ["bad"]
[upstreams.blue]
endpoints = ["BLUE"]
[upstreams.green]
endpoints = ["GREEN"]
"#;
    Proxy::start(&text.replace("BLUE", blue.address()).replace("GREEN", green.address()))
}

/// Sends what `explain` was asked about and compares every part of what it said.
#[track_caller]
fn holds(proxy: &Proxy, method: &str, target: &str, fields: &[&str]) -> Value {
    let mut words = vec![method, target];
    for field in fields {
        words.extend(["-H", field]);
    }
    let (value, exit) = told(proxy, &words);
    assert_eq!(exit, Some(i32::from(value["taken"] == false)), "{value}");
    let mut request = format!("{method} {target} HTTP/1.1\r\n");
    for field in fields {
        request += &format!("{field}\r\n");
    }
    let length = fields.iter().find_map(|field| field.strip_prefix("Content-Length: "));
    request += &format!("\r\n{}", "x".repeat(length.map_or(0, |length| length.parse().unwrap())));
    let mut client = Client::connect(&proxy.address("web"));
    let response = client.request(request);
    let way = &value["ways"][0];
    let has = |line: &str| {
        let (name, field) = line.split_once(": ").unwrap();
        let got = response.head.field(name).unwrap_or_else(|| panic!("no {name}: {}", response.text()));
        assert!(field == "(a new id)" || got == field, "{name}: {got}, not {field}");
    };
    if way["answer"].is_null() {
        assert_eq!(response.status(), 200, "{value}");
        let upstream = &way["upstream"];
        let expected =
            format!("{}\n{}", upstream["name"].as_str().unwrap(), upstream["gets"].as_str().unwrap());
        assert_eq!(response.text(), expected);
        for filter in way["filters"].as_array().unwrap() {
            filter["response"].as_array().unwrap().iter().for_each(|line| has(line.as_str().unwrap()));
        }
    } else {
        assert_eq!(Some(u64::from(response.status())), way["answer"]["status"].as_u64(), "{value}");
        for field in way["answer"]["fields"].as_array().unwrap() {
            has(&format!("{}: {}", field["name"].as_str().unwrap(), field["value"].as_str().unwrap()));
        }
    }
    value
}

/// The route that takes it.
fn route(value: &Value) -> &str {
    let taken = value["routes"].as_array().unwrap().iter().find(|it| it["outcome"] == "matched");
    taken.unwrap()["route"].as_str().unwrap()
}

#[test]
fn what_is_explained_is_what_happens() {
    let (blue, green) = (echo("blue"), echo("green"));
    let proxy = many_routes(&blue, &green);
    let host = "Host: a.test";
    let office = "X-Forwarded-For: 10.1.2.3";
    for (method, target, fields, expected) in [
        ("GET", "/", &[host][..], "plain"),
        ("GET", "/a/../b%41?c=d", &[host], "plain"),
        ("GET", "/users/42?x=y", &[host, office], "users"),
        ("GET", "/users/42", &[host, "X-Forwarded-For: 192.0.2.1"], "users"),
        ("GET", "/users/me", &[host, office], "plain"),
        ("POST", "/", &[host, "Content-Length: 3"], "post"),
        ("POST", "/", &[host, "Content-Length: 4"], "post"),
        ("GET", "/beta", &[host, "x-env: beta"], "beta"),
        ("GET", "/beta", &[host, "x-env: alpha"], "plain"),
        ("GET", "/beta/x", &[host, "Cookie: a=b; group=b2"], "cookie"),
        ("GET", "/betas", &[host, "x-env: beta"], "plain"),
        ("GET", "/shared", &[host, "X-Forwarded-For: 192.0.2.1"], "shared"),
        ("GET", "/shared", &[host, "X-Forwarded-For: 192.0.2.2"], "shared"),
        ("GET", "/shared", &[host, "X-Forwarded-For: 192.0.2.3"], "shared"),
        ("GET", "/shared", &[host, "X-Forwarded-For: 192.0.2.4"], "shared"),
        ("GET", "/old/page?q=1", &[host], "old"),
        ("GET", "/hello", &[host], "hello"),
        ("GET", "/closed/x", &[host], "closed"),
        ("GET", "/host?a=b&secret=c", &["Host: X.only.test:80"], "host"),
        ("GET", "/host?a=b&secret=c", &["Host: only.test"], "plain"),
        ("GET", "/exact", &["Host: hosted.test", "User-Agent: good"], "hosted"),
        ("GET", "/exact", &["Host: hosted.test", "User-Agent: bad"], "hosted"),
    ] {
        let value = holds(&proxy, method, target, fields);
        assert_eq!(route(&value), expected, "{method} {target} {fields:?}: {value}");
    }
    assert!(!blue.requests().is_empty() && !green.requests().is_empty());
}

#[test]
fn a_running_proxy_tells_what_its_file_tells() {
    let (blue, green) = (echo("blue"), echo("green"));
    let proxy = many_routes(&blue, &green);
    let file = proxy.dir().join("corelane.toml");
    for url in ["http://a.test/users/42", "http://a.test/shared", "http://a.test/old?x", "/"] {
        let running = stdout(&explain(&[&admin(&proxy), "GET", url, "-H", "Host: a", "--from", "10.0.0.1"]));
        let filed =
            stdout(&explain(&[file.to_str().unwrap(), "GET", url, "-H", "Host: a", "--from", "10.0.0.1"]));
        assert!(running.contains("\n  running   configuration 1\n"), "{running}");
        let same = running.replace("  running   configuration 1\n", "");
        let same: Vec<&str> = same.lines().map(|line| line.split(" in progress").next().unwrap()).collect();
        let same: Vec<&str> = same.iter().map(|line| line.trim_end_matches("  0")).collect();
        assert_eq!(same.join("\n") + "\n", filed);
    }
    assert!(blue.requests().is_empty() && green.requests().is_empty(), "nothing is sent");
}

#[test]
fn tells_the_configuration_in_force() {
    let (old, new) = (echo("old"), echo("new"));
    let setup = |origin: &Origin| Setup::origin(origin).workers(2);
    let mut proxy = setup(&old).start();
    let gets = |proxy: &Proxy| {
        let (value, exit) = told(proxy, &["GET", "http://a/"]);
        assert_eq!(exit, Some(0));
        let endpoint = &value["ways"][0]["upstream"]["endpoints"][0]["endpoint"];
        (value["generation"].as_u64().unwrap(), endpoint.as_str().unwrap().to_owned())
    };
    assert_eq!(gets(&proxy), (1, old.address().to_owned()));
    proxy.rewrite(&setup(&new).text());
    assert_eq!(gets(&proxy), (1, old.address().to_owned()), "the file alone changes nothing");
    proxy.reload_and_wait();
    assert_eq!(gets(&proxy), (2, new.address().to_owned()));
    proxy.rewrite("nonsense");
    proxy.reload_in_vain();
    assert_eq!(gets(&proxy), (2, new.address().to_owned()));
}

#[test]
fn tells_what_is_left_of_limits_and_counts_nothing() {
    let origin = echo("origin");
    let limits = "[filters.rate]\ntype = \"rate_limit\"\nrequests = 3\nper = \"1h\"\n\
                  [filters.many]\ntype = \"concurrency_limit\"\nrequests_max = 5\n";
    let setup = Setup::origin(&origin).route("filters = [\"rate\", \"many\"]").more(limits);
    let proxy = setup.start();
    let filters = |proxy: &Proxy| {
        let (value, exit) = told(proxy, &["GET", "http://a/"]);
        let remark = |at: usize| value["ways"][0]["filters"][at]["remark"].as_str().map(ToOwned::to_owned);
        (remark(0).unwrap(), remark(1), exit)
    };
    let none = Some("0 of 5 in flight".to_owned());
    for _ in 0..5 {
        assert_eq!(filters(&proxy), ("3 of 3 left".to_owned(), none.clone(), Some(0)));
    }
    proxy.get("/");
    proxy.get("/");
    assert_eq!(filters(&proxy), ("1 of 3 left".to_owned(), none.clone(), Some(0)));
    assert_eq!(proxy.get("/").status(), 200);
    let (left, _, exit) = filters(&proxy);
    assert!(left.starts_with("0 of 3 left, the next in 1"), "{left}");
    assert_eq!(exit, Some(1), "it would be refused");
    assert_eq!(proxy.get("/").status(), 429);
    let text = stdout(&explain(&[&admin(&proxy), "GET", "http://a/"]));
    assert!(text.contains("1  rate  rate_limit  refuses  with 429 rate_limited\n"), "{text}");
    assert!(text.contains("\nAnswer 429 rate_limited, a refusal:\n"), "{text}");
    let passed = proxy.metric("corelane_filter_passed_total", &[("filter", "rate")]);
    assert_eq!(passed, 3, "asking is no request");
}

#[test]
fn tells_how_busy_endpoints_are() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::http(move |request| {
        if request.head.target() == "/slow" {
            let _ = wait.lock().unwrap().recv_timeout(crate::support::DEADLINE);
        }
        ok("x")
    });
    let proxy =
        Setup::origin(&origin).more("[filters.many]\ntype = \"concurrency_limit\"\nrequests_max = 5\n");
    let proxy = proxy.route("filters = [\"many\"]").start();
    let shown = || stdout(&explain(&[&admin(&proxy), "GET", "http://a/"]));
    let says = |words: &str| shown().contains(words);
    let endpoint = format!("  endpoint  {}  weight 1  ", origin.address());
    assert!(says(&format!("{endpoint}0 in progress, 0 idle connections\n")), "{}", shown());
    let mut slow = proxy.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually("it is in progress", || says(&format!("{endpoint}1 in progress, 0 idle connections\n")));
    assert!(says("1 of 5 in flight"), "{}", shown());
    go.send(()).unwrap();
    assert_eq!(slow.response().status(), 200);
    eventually("its connection is kept", || says(&format!("{endpoint}0 in progress, 1 idle connection\n")));
    assert!(says("0 of 5 in flight"), "{}", shown());
}

#[test]
fn wrong_questions_are_refused_with_the_reason() {
    let origin = echo("origin");
    let proxy = Setup::origin(&origin).start();
    let long = format!("/explain?method=GET&url=/{}", "a".repeat(20_000));
    for (target, status, reason) in [
        ("/explain", 400, "method is missing"),
        ("/explain?method=GET", 400, "url is missing"),
        ("/explain?method=GET&url=/&header=A%0d%0aB:c", 400, "the request is refused before any route"),
        ("/explain?method=GET&url=/&listener=x", 400, "there is no listener \"x\"; there are: web"),
        ("/explain?method=GET&url=/&from=nobody", 400, "from is no IP address"),
        ("/explain?method=GET&url=/%252f", 400, "the request is refused before any route"),
        ("/explain?method=GET&url=ftp://a/", 400, "no http or https URL: ftp"),
        ("/explain?method=GET&url=/&what=x", 400, "unknown parameter \"what\""),
        (&long, 431, ""),
    ] {
        let response = proxy.admin_get(target).unwrap();
        assert_eq!(response.status(), status, "{target:.60}: {}", response.text());
        assert!(response.text().starts_with(reason), "{target:.60}: {}", response.text());
    }
    let response = proxy.admin_get("/explain?method=GET&url=/&header=Host:+a").unwrap();
    assert_eq!(response.head.field("corelane-outcome"), Some("taken"));
    assert!(response.head.field("content-type").unwrap().starts_with("text/plain"));
    let mut client = Client::connect(&proxy.address("admin"));
    let request =
        "GET /explain?method=GET&url=http://a/ HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";
    assert_eq!(client.request(request).head.field("content-type"), Some("application/json"));

    let admin = admin(&proxy);
    let refused = |words: &[&str], reason: &str| {
        let output = explain(words);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()), "{words:.60?}");
        assert!(stderr(&output).starts_with(reason), "{words:.60?}: {}", stderr(&output));
    };
    refused(&[&admin, "GET", "/", "--listener", "x"], "there is no listener \"x\"; there are: web\n");
    refused(&[&admin, "G T", "/"], "the request is refused before any route is looked at: ");
    refused(&[&admin, "GET", &long], &format!("cannot ask {admin}: "));
    let closed = format!("http://127.0.0.1:{}", free_port());
    refused(&[&closed, "GET", "/"], &format!("cannot ask {closed}: "));
    refused(&["unix:/nowhere", "GET", "/"], "cannot ask unix:/nowhere: ");
    refused(&["https://a:1", "GET", "/"], "https://a:1: an admin address is http://host:port or unix:/path");
    let web = format!("http://{}", proxy.address("web"));
    refused(&[&web, "GET", "/"], &format!("cannot ask {web}: it has no /explain"));
}

#[test]
fn asks_over_a_unix_socket() {
    let origin = echo("origin");
    let text = Setup::origin(&origin).more("[admin]\naddress = \"unix:@dir@/admin\"").text();
    let proxy = crate::support::Launch::new(&text).spawn();
    let socket = format!("unix:{}", proxy.dir().join("admin").display());
    eventually("it answers", || explain(&[&socket, "GET", "http://a/"]).status.success());
    let output = stdout(&explain(&[&socket, "GET", "http://a/"]));
    assert!(output.contains("Upstream origin, policy round_robin: the only endpoint\n"), "{output}");
}

/// Each command of docs/explain.md prints what stands there.
#[test]
fn the_page_shows_what_is_said() {
    let page = include_str!("../../docs/explain.md");
    let file = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let text = file.replace("127.0.0.1:9900", "127.0.0.1:@admin@").replace("0.0.0.0:8080", "127.0.0.1:@web@");
    let proxy = Proxy::start(&text);
    std::fs::write(proxy.dir().join("edge.toml"), file).unwrap();
    let mut commands = 0;
    for shown in page.split("```text\n$ corelane explain ").skip(1) {
        let (command, printed) = shown.split_once("```").unwrap().0.split_once('\n').unwrap();
        // Split as a shell would: each second part stood in quotes.
        let parts = command.split('\'').enumerate();
        let words = parts.flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().collect::<Vec<_>>(),
            _ => vec![part],
        });
        let address = admin(&proxy);
        let words: Vec<&str> =
            words.map(|word| if word == "http://127.0.0.1:9900" { &*address } else { word }).collect();
        let command = Command::new(binary()).arg("explain").args(words).current_dir(proxy.dir()).output();
        let output = command.unwrap();
        assert_eq!(stdout(&output), printed, "{}", stderr(&output));
        commands += 1;
    }
    assert!(commands >= 5, "{commands}");
}

#[test]
fn a_name_that_has_not_resolved_is_told() {
    let setup = Setup::to(&["nowhere.invalid:80"]).more("[resolver]\nservers = [\"127.0.0.1:1\"]");
    let proxy = setup.start();
    let (value, exit) = told(&proxy, &["GET", "http://a/"]);
    let how = &value["ways"][0]["upstream"]["how"];
    assert_eq!((how.as_str(), exit), (Some("no name has resolved, the answer is 503 no_endpoint"), Some(1)));
    assert_eq!(proxy.get("/").status(), 503);
}

#[test]
fn a_weight_of_zero_takes_nothing() {
    let origin = echo("origin");
    let proxy = Setup::to(&[&format!("{{ address = \"{}\", weight = 0 }}", origin.address())]).start();
    let (value, exit) = told(&proxy, &["GET", "http://a/"]);
    let how = &value["ways"][0]["upstream"]["how"];
    assert_eq!(
        (how.as_str(), exit),
        (Some("no endpoint has a weight, the answer is 503 no_endpoint"), Some(1))
    );
    assert_eq!(proxy.get("/").status(), 503);
}
