//! Good files and what they mean.

use std::time::Duration;

use corelane_engine::action::{Action, RouteTimeouts};
use corelane_engine::snapshot::{
    Address, ClientHalfClose, ForwardedFields, HostPolicy, ListenerLimits, Quarantine, RequestRules,
    Trailers, UnderscoreFields,
};
use corelane_routing::{Conditions, HostPattern, PathPattern};
use corelane_semantics::{MethodSet, PathPolicies, PathPolicy};

use super::{LISTENER, ROUTE, UPSTREAM, completed};
use crate::config::*;
use crate::fixtures;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn tcp(text: &str) -> Address {
    Address::Tcp(text.parse().unwrap())
}

pub(super) fn parsed(text: &str) -> Config {
    parse("t.toml", text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// `[[listeners]]` with nothing but an address.
fn listener(name: &str, address: Address) -> Listener {
    Listener {
        name: name.into(),
        address,
        head_timeout: seconds(10),
        body_idle_timeout: seconds(30),
        keepalive_timeout: seconds(60),
        send_timeout: seconds(30),
        head_bytes_max: 16 << 10,
        fields_max: 100,
        trusted_proxies: Vec::new(),
        forwarded: ForwardedFields { x_forwarded: true, forwarded: true, via: true },
        client_half_close: ClientHalfClose::Abort,
        http2: None,
        limits: ListenerLimits::default(),
        rules: RequestRules::default(),
        filters: Vec::new(),
        tls: None,
    }
}

/// `[upstreams.NAME]` with nothing but endpoints.
fn upstream(name: &str, endpoints: Vec<Endpoint>) -> Upstream {
    Upstream { idle_connections_max: 256, ..fixtures::upstream(name, endpoints) }
}

fn endpoint(address: &str, weight: u32) -> Endpoint {
    Endpoint { weight, ..Endpoint::new(Target::Address(tcp(address))) }
}

/// Without further keys.
fn log_to(target: LogTarget) -> AccessLog {
    let text = "[access_log]\npath = \"stdout\"\n";
    AccessLog { target, ..parsed(&completed(text)).access_log.unwrap() }
}

#[test]
fn the_smallest_file_has_the_defaults() {
    let config = parsed(&completed(""));
    let expected = Config {
        process: Process {
            workers: None,
            driver: DriverChoice::Auto,
            drain_timeout: seconds(30),
            shutdown_delay: seconds(0),
        },
        admin: None,
        access_log: None,
        tracing: None,
        resolver: Resolver { servers: Vec::new(), ttl_min: seconds(1), ttl_max: seconds(300) },
        listeners: vec![listener("127.0.0.1:8080", tcp("127.0.0.1:8080"))],
        routes: vec![Route {
            name: "api".into(),
            listeners: vec![0],
            hosts: Vec::new(),
            path: PathPattern::prefix("/").unwrap(),
            conditions: Conditions::default(),
            priority: 0,
            action: Action::Upstream(0),
            answer: None,
            filters: vec![],
            mirror: None,
            timeouts: RouteTimeouts::default(),
            host: HostPolicy::Preserve,
            body_bytes_max: 0,
            upgrades: vec!["websocket".into()],
            grpc_web: false,
            access_log: true,
        }],
        upstreams: vec![upstream("api", vec![endpoint("127.0.0.1:8001", 1)])],
        error_pages: Vec::new(),
        filters: Vec::new(),
    };
    assert_eq!(config, expected);
}

/// The example that fixed the keys, as it stands in the issue.
pub(super) const CORE: &str = r#"
[process]
workers = "auto"              # or a number; one pinned worker per core
drain_timeout = "30s"
shutdown_delay = "0s"         # after SIGTERM: /readyz fails, connections are still accepted for this long

[admin]
address = "127.0.0.1:9900"    # /metrics, /healthz, /readyz; absent = off

[access_log]
path = "stdout"               # a file, stdout, stderr; absent = off

[resolver]
servers = ["127.0.0.53"]      # absent = the system's
ttl_min = "1s"
ttl_max = "5m"

[[listeners]]
name = "web"
address = "0.0.0.0:8080"      # IPv4, IPv6, unix:/path
protocol = "http"
head_timeout = "10s"          # whole request head
body_idle_timeout = "30s"     # no progress of a request body
keepalive_timeout = "60s"
send_timeout = "30s"          # no progress of a response
trusted_proxies = []          # from others, received X-Forwarded-* and Forwarded are replaced

[[routes]]
name = "api"
listeners = ["web"]           # absent = every http listener
hosts = ["api.example.com", "*.example.org"]     # absent = any
path = { prefix = "/api" }    # or exact = ; segment-wise: /api matches /api and /api/x, never /apifoo
upstream = "api"              # most specific first: exact host, longest wildcard, any; exact path, longest prefix

[upstreams.api]
policy = "round_robin"        # round_robin | weighted | least_connections to begin with
endpoints = ["127.0.0.1:8001", { address = "127.0.0.1:8002", weight = 3 }, "app.internal:8080"]
connect_timeout = "2s"
response_head_timeout = "30s"
idle_timeout = "60s"          # of a pooled connection
request_timeout = "0s"        # whole exchange; 0 = none
"#;

#[test]
fn reads_the_core_example() {
    let name = Target::Name { host: "app.internal".into(), port: 8080 };
    let endpoints = vec![endpoint("127.0.0.1:8001", 1), endpoint("127.0.0.1:8002", 3), Endpoint::new(name)];
    let defaults = parsed(&completed(""));
    let expected = Config {
        process: defaults.process,
        admin: Some(Admin { address: tcp("127.0.0.1:9900"), histograms: true }),
        access_log: Some(log_to(LogTarget::Stdout)),
        tracing: None,
        resolver: Resolver {
            servers: vec![("127.0.0.53".parse().unwrap(), 53)],
            ttl_min: seconds(1),
            ttl_max: seconds(300),
        },
        listeners: vec![listener("web", tcp("0.0.0.0:8080"))],
        routes: vec![Route {
            name: "api".into(),
            listeners: vec![0],
            hosts: vec![
                HostPattern::parse("api.example.com").unwrap(),
                HostPattern::parse("*.example.org").unwrap(),
            ],
            path: PathPattern::prefix("/api").unwrap(),
            conditions: Conditions::default(),
            priority: 0,
            action: Action::Upstream(0),
            answer: None,
            filters: vec![],
            mirror: None,
            timeouts: RouteTimeouts::default(),
            host: HostPolicy::Preserve,
            body_bytes_max: 0,
            upgrades: vec!["websocket".into()],
            grpc_web: false,
            access_log: true,
        }],
        upstreams: vec![upstream("api", endpoints)],
        error_pages: Vec::new(),
        filters: Vec::new(),
    };
    assert_eq!(parsed(CORE), expected);
}

#[test]
fn reads_every_key() {
    let config = parsed(
        r#"
        process = { workers = 0x10, driver = "epoll", drain_timeout = "0s", shutdown_delay = "1m30s" }
        admin = { address = "unix:/run/admin.sock", histograms = false }
        access_log.path = "logs/access.log"
        [resolver]
        servers = ["::1", "[::1]:5353", "192.0.2.1:54"]
        ttl_min = "100ms"
        ttl_max = "8760h"
        [[listeners]]
        address = "[::1]:0"
        [[listeners]]
        name = "été"
        address = "unix:/run/corelane.sock"
        head_timeout = "0s"
        head_bytes_max = "64KiB"
        fields_max = 1_000
        trusted_proxies = ["10.0.0.0/8", "2001:db8::1", "0.0.0.0/0"]
        forwarded_fields = ["via"]
        client_half_close = "finish"
        [[routes]]
        upstream = "z"
        listeners = ["été", "[::1]:0"]
        path = { exact = "/x/" }
        host = "App.Internal:8443"
        [[routes]]
        upstream = "a"
        host = "[::1]"
        [upstreams.z]
        policy = "least_connections"
        endpoints = ["unix:/run/app.sock", { address = "[::1]:1", weight = 0 }, "My_App.Internal.:65535"]
        idle_connections_max = 0
        attempts_max = 16
        head_bytes_max = 1024
        [upstreams.a]
        policy = "weighted"
        endpoints = [{ address = "127.0.0.1:1" }]
        [upstreams.unused]
        endpoints = ["127.0.0.1:1"]
        "#,
    );
    assert_eq!(config.process.workers, Some(16));
    assert_eq!(config.process.driver, DriverChoice::Epoll);
    assert_eq!(config.process.shutdown_delay, seconds(90));
    let address = Address::Unix("/run/admin.sock".into());
    assert_eq!(config.admin, Some(Admin { address, histograms: false }));
    assert_eq!(config.access_log, Some(log_to(LogTarget::File("logs/access.log".into()))));
    assert_eq!(config.resolver.servers[1], ("::1".parse().unwrap(), 5353));
    assert_eq!(config.resolver.ttl_max, seconds(8760 * 3600));
    assert_eq!(&*config.listeners[0].name, "[::1]:0");
    let second = &config.listeners[1];
    assert_eq!((&*second.name, second.head_timeout), ("été", Duration::ZERO));
    assert_eq!((second.head_bytes_max, second.fields_max), (64 << 10, 1000));
    assert_eq!(second.trusted_proxies.len(), 3);
    assert_eq!(second.trusted_proxies[1], "2001:db8::1/128".parse().unwrap());
    assert_eq!(second.forwarded, ForwardedFields { x_forwarded: false, forwarded: false, via: true });
    assert_eq!(second.client_half_close, ClientHalfClose::Finish);
    assert_eq!(config.routes[0].listeners, [1, 0]);
    assert_eq!(config.routes[0].path, PathPattern::exact("/x/").unwrap());
    assert_eq!(config.routes[0].host, HostPolicy::Set("App.Internal:8443".into()));
    assert_eq!(&*config.routes[1].name, "a");
    assert_eq!(config.routes[1].action, Action::Upstream(1));
    assert_eq!(config.routes[1].listeners, [0, 1]);
    let names: Vec<_> = config.upstreams.iter().map(|upstream| &*upstream.name).collect();
    assert_eq!(names, ["z", "a", "unused"], "upstreams stand in the order of the file");
    assert_eq!(config.upstreams[0].endpoints[1].weight, 0);
    let name = Target::Name { host: "my_app.internal.".into(), port: 65535 };
    assert_eq!(config.upstreams[0].endpoints[2].target, name);
    assert_eq!(config.upstreams[0].head_bytes_max, 1024);
}

#[test]
fn reads_limits_and_rules() {
    let config = parsed(
        r#"
        [[listeners]]
        address = "127.0.0.1:1"
        head_bytes_max = "32KiB"
        request_line_bytes_max = "32KiB"
        field_bytes_max = 256
        pipeline_bytes_max = "64KiB"
        requests_max = 1_000
        connections_max = 1
        client_connections_max = 7
        body_rate_min = 0
        send_rate_min = 1
        methods_refused = ["TRACE", "PURGE"]
        underscore_fields = "reject"
        trailers = ["Server-Timing", "x_y"]
        [listeners.paths]
        encoded_slash = "pass"
        backslash = "normalise"
        encoded_control = "pass"
        encoded_delimiter = "pass"
        dot_segments = "reject"
        parameters = "reject"
        empty_segments = "normalise"
        [[listeners]]
        address = "127.0.0.1:2"
        methods_refused = []
        trailers = []
        head_bytes_max = "1KiB"
        paths = { encoded_slash = "normalise" }
        [[routes]]
        upstream = "api"
        body_bytes_max = "1048576GiB"
        upgrades = ["WebSocket", "SPDY/3.1"]
        [[routes]]
        name = "none"
        hosts = ["a.example"]
        upstream = "api"
        upgrades = []
        [upstreams.api]
        endpoints = ["127.0.0.1:8001"]
        tunnel_idle_timeout = "0s"
        quarantine_after = 0
        quarantine_time = "1h"
        "#,
    );
    let limits = ListenerLimits {
        request_line_bytes_max: 32 << 10,
        field_bytes_max: 256,
        pipeline_bytes_max: 64 << 10,
        requests_max: 1000,
        body_rate_min: 0,
        send_rate_min: 1,
        connections_max: 1,
        client_connections_max: 7,
    };
    assert_eq!(config.listeners[0].limits, limits);
    let paths = PathPolicies {
        encoded_slash: PathPolicy::Pass,
        backslash: PathPolicy::Normalise,
        encoded_control: PathPolicy::Pass,
        encoded_delimiter: PathPolicy::Pass,
        dot_segments: PathPolicy::Reject,
        parameters: PathPolicy::Reject,
        empty_segments: PathPolicy::Normalise,
    };
    let rules = RequestRules {
        methods_refused: MethodSet::new([&b"TRACE"[..], b"PURGE"]),
        underscore_fields: UnderscoreFields::Reject,
        trailers: Trailers::Only(vec!["server-timing".into(), "x_y".into()]),
        paths,
    };
    assert_eq!(config.listeners[0].rules, rules);
    assert_eq!(config.listeners[1].limits, ListenerLimits::default(), "the default stays above a small head");
    let rules = RequestRules {
        methods_refused: MethodSet::default(),
        trailers: Trailers::Only(Vec::new()),
        paths: PathPolicies { encoded_slash: PathPolicy::Normalise, ..PathPolicies::default() },
        ..RequestRules::default()
    };
    assert_eq!(config.listeners[1].rules, rules);
    assert_eq!(config.routes[0].body_bytes_max, 1 << 50);
    assert_eq!(config.routes[0].upgrades, ["websocket".into(), "spdy/3.1".into()]);
    assert!(config.routes[1].upgrades.is_empty());
    assert_eq!(config.upstreams[0].tunnel_idle_timeout, Duration::ZERO);
    assert_eq!(config.upstreams[0].quarantine, Quarantine { strikes_max: 0, time: seconds(3600) });
}

#[test]
fn reads_error_pages() {
    let config = parsed(&completed(
        r#"
        [[listeners]]
        name = "a"
        address = "127.0.0.1:1"
        [[listeners]]
        name = "b"
        address = "127.0.0.1:2"
        [[error_pages]]
        statuses = [404, "5xx"]
        body = "<p>{reason}"
        [[error_pages]]
        statuses = [503, 599, "4xx"]
        listeners = ["b", "a"]
        body = ""
        content_type = "text/plain"
        [[error_pages]]
        statuses = [503]
        body = "the same status, but for every listener"
        "#,
    ));
    let text = |text: &str| PageSegment::Text(text.as_bytes().into());
    let pages = [
        ErrorPage {
            statuses: vec![StatusPattern::Exact(404), StatusPattern::Class(5)],
            listeners: None,
            content_type: "text/html; charset=utf-8".into(),
            segments: vec![text("<p>"), PageSegment::Variable(PageVariable::Reason)],
        },
        ErrorPage {
            statuses: vec![StatusPattern::Exact(503), StatusPattern::Exact(599), StatusPattern::Class(4)],
            listeners: Some(vec![1, 0]),
            content_type: "text/plain".into(),
            segments: Vec::new(),
        },
        ErrorPage {
            statuses: vec![StatusPattern::Exact(503)],
            listeners: None,
            content_type: "text/html; charset=utf-8".into(),
            segments: vec![text("the same status, but for every listener")],
        },
    ];
    assert_eq!(config.error_pages, pages);
    assert_eq!(parsed(&format!("error_pages = []\n{}", completed(""))).error_pages, []);
}

#[test]
fn refuses_one_error_page_too_many() {
    let page = |n: usize| format!("[[error_pages]]\nstatuses = [503]\nbody = \"\"\nlisteners = [\"l{n}\"]\n");
    let listener = |n: usize| format!("[[listeners]]\nname = \"l{n}\"\naddress = \"127.0.0.1:{}\"\n", n + 1);
    let file = |pages: usize| {
        let all: String = (0..pages).map(page).chain((0..pages).map(listener)).collect();
        parse("t.toml", &completed(&all)).map(|config| config.error_pages.len())
    };
    assert_eq!(file(1000), Ok(1000));
    let errors = file(1001).unwrap_err().to_string();
    assert_eq!(errors, "t.toml:4001:1: this is one page too many; allowed: at most 1000");
}

/// The reference's defaults, which the decoder reads, are those that the data path documents.
#[test]
fn absent_keys_are_the_defaults_of_the_data_path() {
    let config = parsed(&completed(""));
    assert_eq!(config.listeners[0].limits, ListenerLimits::default());
    assert_eq!(config.listeners[0].rules, RequestRules::default());
    assert_eq!(config.upstreams[0].quarantine, Quarantine::default());
}

#[test]
fn what_looks_mistyped_can_be_written_all_the_same() {
    let config = parsed(&completed("[access_log]\npath = \"./stdout\"\n"));
    assert_eq!(config.access_log, Some(log_to(LogTarget::File("./stdout".into()))));
    let config = parsed(&completed(&format!("{ROUTE}host = \"reserve:80\"\n")));
    assert_eq!(config.routes[0].host, HostPolicy::Set("reserve:80".into()));
}

#[test]
fn many_undefined_names_are_told_in_no_time() {
    let routes: String = (0..3000).map(|n| format!("[[routes]]\nupstream = \"ux{n}\"\n")).collect();
    let upstreams: String =
        (0..3000).map(|n| format!("[upstreams.u{n}]\nendpoints = [\"127.0.0.1:1\"]\n")).collect();
    let errors = parse("t.toml", &format!("{LISTENER}{routes}{upstreams}")).unwrap_err();
    assert!(errors.iter().next().unwrap().message.contains("did you mean \"u0\"?"), "{errors}");
    assert_eq!(errors.iter().count(), 101);
}

#[test]
fn sections_may_stand_in_any_order_and_with_windows_line_ends() {
    let forward = parsed(&format!("{LISTENER}{ROUTE}{UPSTREAM}"));
    let backward = format!("{UPSTREAM}{ROUTE}{LISTENER}");
    assert_eq!(parsed(&backward), forward);
    assert_eq!(parsed(&format!("\u{feff}{}", backward.replace('\n', "\r\n"))), forward);
}

#[test]
fn many_routes_are_read_in_no_time() {
    let mut text = String::from(LISTENER);
    for n in 0..20_000 {
        text.push_str(&format!("[[routes]]\nupstream = \"u{n}\"\npath = {{ prefix = \"/{n}\" }}\n"));
        text.push_str(&format!("[upstreams.u{n}]\nendpoints = [\"127.0.0.1:8001\"]\n"));
    }
    assert_is_no_square(|| assert_eq!(parsed(&text).routes.len(), 20_000));
}

#[test]
fn many_unknown_keys_and_names_are_read_in_no_time() {
    let unknown: String = (0..20_000).map(|n| format!("\"k{n}\": 1, ")).collect();
    let named: String = (0..20_000).map(|n| format!("\"u{n}\": {{\"endpoints\": []}}, ")).collect();
    let text = format!("{{{unknown}\"upstreams\": {{{named}\"x\": 1}}}}");
    assert_is_no_square(|| assert!(parse("t.json", &text).is_err()));
}

/// Seconds of a debug build are milliseconds' worth; other work of the machine does not count.
fn assert_is_no_square(parse: impl FnOnce()) {
    let clock = corelane_engine::ThreadClock::of_this_thread();
    let start_ns = clock.cpu_ns();
    parse();
    let took = Duration::from_nanos(clock.cpu_ns() - start_ns);
    assert!(took < seconds(30), "{took:?}");
}
