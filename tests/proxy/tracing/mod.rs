//! Traces: what the origin is told, what a collector gets, and that a collector costs no request anything.

mod collector;
mod failing;

use std::process::Command;
use std::time::Duration;

use self::collector::{Collector, Protocol, Span};
use crate::support::{Origin, Proxy, Setup, free_port, ok, settles_at};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn origin() -> Origin {
    Origin::answering(ok("x"))
}

/// A GET with further field lines.
fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.example:8080\r\n{lines}\r\n")
}

fn joined(flags: &str) -> String {
    get(
        "/a?x=1",
        &format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\ntracestate: a=1\r\nTracestate: b=2\r\n"),
    )
}

/// What the origin was told last.
fn told(origin: &Origin) -> String {
    let requests = origin.requests();
    let request = requests.last().unwrap();
    let all = request.head.all("traceparent");
    assert_eq!(all.len(), 1, "{request:?}");
    all[0].to_owned()
}

/// The request's own span, and those of its attempts.
#[track_caller]
fn server_and_clients(spans: Vec<Span>) -> (Span, Vec<Span>) {
    let (mut servers, clients): (Vec<_>, Vec<_>) = spans.into_iter().partition(Span::is_server);
    assert_eq!(servers.len(), 1, "{servers:?} {clients:?}");
    let server = servers.remove(0);
    for client in &clients {
        assert!(client.is_client());
        assert_eq!((client.text("trace"), client.text("parent")), (server.text("trace"), server.text("id")));
        assert!(client.number("start") >= server.number("start"), "{client:?} {server:?}");
        assert!(client.number("end") <= server.number("end"), "{client:?} {server:?}");
    }
    (server, clients)
}

#[test]
fn a_request_is_a_span_with_one_for_its_attempt_by_http() {
    a_request_is_a_span_with_one_for_its_attempt(Protocol::Http);
}

#[test]
fn a_request_is_a_span_with_one_for_its_attempt_by_grpc() {
    a_request_is_a_span_with_one_for_its_attempt(Protocol::Grpc);
}

fn a_request_is_a_span_with_one_for_its_attempt(protocol: Protocol) {
    let (origin, collector) = (origin(), Collector::start(protocol));
    let keys = "sample = \"0%\"\nservice_name = \"edge\"\nheaders = { X-Token = \"s3cret\" }";
    let proxy = Setup::origin(&origin).more(&collector.section(keys)).start();
    let lines = format!("traceparent: 00-{TRACE}-{PARENT}-03\r\ntracestate: a=1\r\n");
    let request = get("/caf%C3%A9?x=1&token=t", &format!("User-Agent: !gent\r\n{lines}"));
    // A byte that is no UTF-8.
    let request: Vec<u8> = request.bytes().map(|byte| if byte == b'!' { 0xe4 } else { byte }).collect();
    assert_eq!(proxy.client().request(request).status(), 200);

    let export = collector.next();
    let spans = export["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 2, "{export}");
    let fields = &export["fields"];
    assert_eq!(fields["x-token"], "s3cret");
    if protocol == Protocol::Http {
        assert_eq!(
            (&fields[":path"], &fields["content-type"]),
            (&"/v1/traces".into(), &"application/x-protobuf".into())
        );
    }
    let (server, clients) = server_and_clients(Span::all_of(&export));
    let client = &clients[0];
    assert_eq!((server.text("trace"), server.text("parent")), (TRACE, PARENT));
    assert_eq!((server.text("name"), client.text("name")), ("GET all", "GET"));
    assert_eq!((server.text("state"), client.text("state")), ("a=1", "a=1"));
    // W3C's flags; a parent that is elsewhere, and one that is here.
    assert_eq!((server.number("flags"), client.number("flags")), (0x303, 0x103));
    assert_eq!(told(&origin), client.trace_parent());
    assert!(!server.is_error() && !client.is_error());
    assert_eq!(
        (server.of_resource("service.name"), server.of_resource("process.pid")),
        (&"edge".into(), &proxy.pid().into())
    );

    let origin_port: u64 = origin.address().rsplit(':').next().unwrap().parse().unwrap();
    for (span, key, value) in [
        (&server, "http.request.method", "GET".into()),
        (&server, "url.scheme", "http".into()),
        (&server, "url.path", "/caf%C3%A9".into()),
        (&server, "url.query", "x=1&token=***".into()),
        (&server, "http.route", "all".into()),
        (&server, "http.response.status_code", 200.into()),
        (&server, "server.address", "shop.example".into()),
        (&server, "server.port", 8080.into()),
        (&server, "client.address", "127.0.0.1".into()),
        (&server, "network.peer.address", "127.0.0.1".into()),
        (&server, "network.protocol.version", "1.1".into()),
        (&server, "user_agent.original", "\u{e4}gent".into()),
        (&server, "corelane.listener", "web".into()),
        (&server, "error.type", serde_json::Value::Null),
        (client, "http.request.method", "GET".into()),
        (client, "url.full", format!("http://{}/caf%C3%A9?x=1&token=***", origin.address()).into()),
        (client, "server.address", "127.0.0.1".into()),
        (client, "server.port", origin_port.into()),
        (client, "network.peer.address", "127.0.0.1".into()),
        (client, "http.response.status_code", 200.into()),
        (client, "http.request.resend_count", serde_json::Value::Null),
        (client, "corelane.upstream", "origin".into()),
        (client, "corelane.connection_reused", false.into()),
    ] {
        assert_eq!(span.attribute(key), &value, "{key} of {span:?}");
    }
    let record = proxy.record();
    assert_eq!(server.attribute("corelane.request_id"), &record["request_id"]);
    assert_eq!(record["trace_id"], TRACE);
    assert!(!proxy.log().contains("s3cret"));
}

#[test]
fn a_trace_goes_on_with_what_is_sent_on_or_begins_anew() {
    let (origin, collector) = (origin(), Collector::start(Protocol::Http));
    let proxy = Setup::origin(&origin).more(&collector.section("sample = \"0%\"")).start();
    let mut client = proxy.client();
    let state = || origin.requests().last().unwrap().head.all("tracestate").join(",");

    client.request(joined("00"));
    let going_on = told(&origin);
    assert!(going_on.starts_with(&format!("00-{TRACE}-")) && going_on.ends_with("-00"), "{going_on}");
    assert!(!going_on.contains(PARENT), "the parent is a span of the proxy's: {going_on}");
    assert_eq!(state(), "a=1,b=2");

    let wrong = [
        format!("traceparent: 00-{}-{PARENT}-01\r\n", TRACE.to_uppercase()),
        format!("traceparent: 00-{}-{PARENT}-01\r\n", "0".repeat(32)),
        format!("traceparent: ff-{TRACE}-{PARENT}-01\r\n"),
        format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntraceparent: 00-{TRACE}-{PARENT}-01\r\n"),
        "traceparent: x\r\n".to_owned(),
        String::new(),
    ];
    for lines in wrong {
        client.request(get("/", &format!("{lines}tracestate: a=1\r\n")));
        let begun = told(&origin);
        assert!(!begun.contains(TRACE) && begun.ends_with("-02"), "{lines}{begun}");
        assert_eq!(state(), "", "{lines}");
        // As its request is called, so that one leads to the other.
        let record = proxy.records(origin.requests().len()).pop().unwrap();
        assert_eq!(
            (&record["request_id"], &record["trace_id"]),
            (&begun[3..35].into(), &begun[3..35].into())
        );
    }
    assert_eq!(proxy.metric("corelane_worker_trace_spans_total", &[]), 0, "nobody has asked for a span");
}

#[test]
fn without_the_section_traces_pass() {
    let origin = origin();
    let proxy = Setup::origin(&origin).start();
    proxy.client().request(joined("01"));
    assert_eq!(told(&origin), format!("00-{TRACE}-{PARENT}-01"));
    assert!(proxy.record().get("trace_id").is_none());
    assert_eq!(origin.request().head.all("tracestate"), ["a=1", "b=2"]);
    proxy.client().request(get("/", "traceparent: x\r\ntraceparent: y\r\n"));
    assert_eq!(origin.requests()[1].head.all("traceparent"), ["x", "y"]);
    proxy.client().get("/");
    assert!(!origin.requests()[2].head.has("traceparent"));
}

#[test]
fn clients_decide_what_is_recorded_where_they_may() {
    let (origin, collector) = (origin(), Collector::start(Protocol::Http));
    let mut proxy = Setup::origin(&origin).more(&collector.section("sample = \"0%\"")).start();
    let sampled = |proxy: &Proxy, flags: &str| {
        proxy.client().request(joined(flags));
        told(&origin).ends_with("-01")
    };
    assert!(sampled(&proxy, "01") && !sampled(&proxy, "00"));
    for (parents, more, obeyed) in [
        ("none", "", false),
        ("trusted", "", false),
        ("trusted", "trusted_proxies = [\"127.0.0.0/8\"]", true),
    ] {
        for (share, alone) in [("0%", false), ("100%", true)] {
            let tracing = collector.section(&format!("sample = \"{share}\""));
            let tracing = tracing.replace("parents = \"all\"", &format!("parents = \"{parents}\""));
            proxy.rewrite(&Setup::origin(&origin).listener(more).more(&tracing).text());
            proxy.reload_and_wait();
            for (flags, asked) in [("01", true), ("00", false)] {
                let expected = if obeyed { asked } else { alone };
                assert_eq!(sampled(&proxy, flags), expected, "{parents} {more} {share} {flags}");
            }
        }
    }
}

#[test]
fn a_share_of_the_requests_is_recorded() {
    const REQUESTS: usize = 2_000;
    let (origin, collector) = (origin(), Collector::start(Protocol::Http));
    let proxy = Setup::origin(&origin).workers(2).more(&collector.section("sample = \"10%\"")).start();
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    for index in 0..REQUESTS {
        clients[index % 4].get("/");
    }
    let flags: Vec<_> =
        origin.requests().iter().map(|it| it.head.field("traceparent").unwrap()[53..].to_owned()).collect();
    let sampled = flags.iter().filter(|flags| *flags == "03").count();
    assert_eq!(sampled + flags.iter().filter(|flags| *flags == "02").count(), REQUESTS);
    // Six times the deviation of chance: once in 500 million runs.
    assert!((120..=280).contains(&sampled), "{sampled} of {REQUESTS}");
    let spans = collector.spans(2 * sampled);
    let distinct: std::collections::HashSet<_> = spans.iter().map(|span| span.text("id")).collect();
    assert_eq!(distinct.len(), 2 * sampled);
    settles_at(2 * sampled as u64, || {
        proxy.metric("corelane_trace_export_spans_total", &[("result", "exported")])
    });
}

#[test]
fn each_attempt_has_a_span_that_its_endpoint_is_told_of() {
    let (origin, collector) = (origin(), Collector::start(Protocol::Http));
    let closing = Origin::script(|connection| {
        let _ = connection.request();
    });
    let nobody = format!("127.0.0.1:{}", free_port());
    let setup = Setup::to(&[&nobody, closing.address(), origin.address()]);
    let proxy = setup.more(&collector.section("sample = \"100%\"")).start();
    assert_eq!(proxy.get("/").status(), 200);
    let (server, mut clients) = server_and_clients(collector.spans(4));
    clients.sort_by_key(|span| span.number("start"));
    let reasons: Vec<_> = clients.iter().map(|span| span.attribute("error.type").as_str()).collect();
    assert_eq!(reasons, [Some("connect_failed"), Some("upstream_closed"), None]);
    assert_eq!(clients.iter().map(Span::is_error).collect::<Vec<_>>(), [true, true, false]);
    let counts: Vec<_> =
        clients.iter().map(|span| span.attribute("http.request.resend_count").as_u64()).collect();
    assert_eq!(counts, [None, Some(1), Some(2)]);
    assert_eq!((told(&closing), told(&origin)), (clients[1].trace_parent(), clients[2].trace_parent()));
    assert!(!server.is_error());
    assert_eq!(server.attribute("http.response.status_code"), 200);
}

#[test]
fn a_call_says_how_it_has_ended() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n";
    let origin = Origin::answering(format!("{head}0\r\ngrpc-status: 13\r\n\r\n"));
    let collector = Collector::start(Protocol::Http);
    let setup = Setup::origin(&origin).listener("http2 = true");
    let proxy = setup.more(&collector.section("sample = \"100%\"")).start();
    let mut call = Command::new("curl");
    call.args(["-sS", "--http2-prior-knowledge", "-X", "POST", "-H", "content-type: application/grpc"]);
    assert!(call.arg(format!("http://{}/", proxy.address("web"))).status().unwrap().success());
    let (server, clients) = server_and_clients(collector.spans(2));
    assert_eq!(server.attribute("http.response.status_code"), 200);
    assert_eq!(server.attribute("rpc.grpc.status_code"), 13);
    assert_eq!(server.attribute("rpc.system"), "grpc");
    assert!(server.is_error() && !clients[0].is_error());
    assert_eq!(server.attribute("error.type"), "500", "INTERNAL is a failure of the server's");
}

#[test]
fn both_attempts_of_a_hedge_have_their_spans() {
    let collector = Collector::start(Protocol::Http);
    let slow = |time: u64, answer: &'static str| {
        Origin::http(move |_| {
            std::thread::sleep(Duration::from_millis(time));
            ok(answer)
        })
    };
    // The first of them is beaten by its hedge; the second beats its own.
    let origins = [slow(600, "slow"), slow(150, "fast")];
    let [one, two] = origins.each_ref().map(Origin::address);
    let proxy = Setup::to(&[one, two])
        .upstream("retry = { hedge_after = \"50ms\" }")
        .more(&collector.section("sample = \"100%\""))
        .start();
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "fast");
        let (server, mut clients) = server_and_clients(collector.spans(3));
        clients.sort_by_key(|span| span.number("start"));
        let of = |key: &str| clients.iter().map(|it| it.attribute(key).clone()).collect::<Vec<_>>();
        let fast =
            clients.iter().position(|span| span.attribute("http.response.status_code") == 200).unwrap();
        let (won, lost) = (&clients[fast], &clients[1 - fast]);
        assert_eq!(won.attribute("server.port").to_string(), two.rsplit_once(':').unwrap().1);
        assert_eq!(lost.attribute("server.port").to_string(), one.rsplit_once(':').unwrap().1);
        assert_eq!(lost.attribute("corelane.reason"), "hedge_lost");
        assert!(!won.is_error() && !lost.is_error() && !server.is_error());
        let resent: Vec<_> = of("http.request.resend_count").iter().map(|it| it.as_u64()).collect();
        assert_eq!(resent, [None, Some(1)]);
        for (origin, span) in origins.iter().zip([lost, won]) {
            let request = origin.requests().pop().unwrap();
            assert_eq!(request.head.field("traceparent").unwrap(), span.trace_parent());
        }
    }
}

#[test]
fn a_stale_connection_is_an_attempt_of_its_own() {
    let collector = Collector::start(Protocol::Http);
    // The second request on a connection is read and not answered.
    let origin = Origin::script(|connection| {
        if connection.request().is_ok_and(|request| request.is_some()) && connection.send(ok("x")).is_ok() {
            let _ = connection.request();
        }
    });
    let proxy = Setup::origin(&origin).more(&collector.section("sample = \"100%\"")).start();
    let mut client = proxy.client();
    client.get("/first");
    client.get("/second");
    let mut spans = collector.spans(5);
    spans.retain(|span| span.is_client());
    spans.sort_by_key(|span| span.number("start"));
    let reused: Vec<_> =
        spans.iter().map(|span| span.attribute("corelane.connection_reused").as_bool()).collect();
    assert_eq!(reused, [Some(false), Some(true), Some(false)]);
    assert_eq!(spans[1].attribute("error.type"), "upstream_closed");
    let parents: Vec<_> =
        origin.requests().iter().map(|it| it.head.field("traceparent").unwrap().to_owned()).collect();
    assert_eq!(parents, spans.iter().map(Span::trace_parent).collect::<Vec<_>>());
}

#[test]
fn errors_are_the_servers_only() {
    let collector = Collector::start(Protocol::Http);
    let origin = Origin::http(|request| match request.head.target() {
        "/404" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/500" => b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => b"nonsense\r\n\r\n".to_vec(),
    });
    let setup = Setup::origin(&origin).route("path = { regex = \"^/[0-9]*$\" }");
    let proxy = setup.more(&collector.section("sample = \"100%\"")).start();
    // The target, the status, error.type and corelane.reason, whether it is an error; error.type of the attempt.
    for (target, status, error, reason, is_error, of_attempt) in [
        ("/404", 404, None, None, false, Some("404")),
        ("/500", 500, Some("500"), None, true, Some("500")),
        ("/0", 502, Some("version_invalid"), Some("version_invalid"), true, Some("version_invalid")),
        ("/no-route", 404, None, Some("no_route"), false, None),
        ("/%2f", 400, None, Some("path_encoded_slash"), false, None),
    ] {
        assert_eq!(proxy.get(target).status(), status);
        let (server, clients) = server_and_clients(collector.spans(1 + usize::from(of_attempt.is_some())));
        let text = |key: &str| server.attribute(key).as_str();
        assert_eq!(server.attribute("http.response.status_code"), status, "{target}");
        assert_eq!((text("error.type"), text("corelane.reason")), (error, reason), "{target}");
        assert_eq!(server.is_error(), is_error, "{server:?}");
        let attempts: Vec<_> =
            clients.iter().map(|span| (span.is_error(), span.attribute("error.type").as_str())).collect();
        assert_eq!(attempts, of_attempt.map(|kind| (true, Some(kind))).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_response_that_breaks_off_is_an_error_with_its_status() {
    let collector = Collector::start(Protocol::Http);
    let origin = Origin::script(|connection| {
        let _ = connection.request();
        let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    });
    let proxy = Setup::origin(&origin).more(&collector.section("sample = \"100%\"")).start();
    let mut client = proxy.client();
    client.send(get("/", "")).unwrap();
    assert!(client.try_response(true).is_err(), "the response is cut");
    let (server, clients) = server_and_clients(collector.spans(2));
    for span in [&server, &clients[0]] {
        assert!(span.is_error(), "{span:?}");
        assert_eq!(span.attribute("http.response.status_code"), 200);
        assert_eq!(span.attribute("error.type"), "response_truncated");
    }
}

#[test]
fn a_reload_turns_tracing_on_and_off_and_to_another_collector() {
    let (origin, first, second) =
        (origin(), Collector::start(Protocol::Http), Collector::start(Protocol::Grpc));
    let mut proxy = Setup::origin(&origin).start();
    let turn = |proxy: &mut Proxy, section: &str| {
        proxy.rewrite(&Setup::origin(&origin).more(section).text());
        proxy.reload_and_wait();
        proxy.get("/");
    };
    turn(&mut proxy, &first.section("sample = \"100%\""));
    first.spans(2);
    turn(&mut proxy, &second.section("sample = \"100%\""));
    second.spans(2);
    turn(&mut proxy, "");
    assert!(!origin.requests().last().unwrap().head.has("traceparent"));
    assert!(second.next_within(Duration::from_millis(1500)).is_none());
}

#[test]
fn a_tunnel_is_a_span_as_long_as_it_lasts() {
    let collector = Collector::start(Protocol::Http);
    let origin = Origin::script(|connection| {
        let _ = connection.request();
        let _ = connection
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        let _ = connection.end();
    });
    let proxy = Setup::origin(&origin).more(&collector.section("sample = \"100%\"")).start();
    let mut client = proxy.client();
    client.send(get("/", "Connection: upgrade\r\nUpgrade: websocket\r\n")).unwrap();
    assert_eq!(client.next_head().status(), 101);
    assert!(collector.next_within(Duration::from_millis(1500)).is_none());
    drop(client);
    let (server, clients) = server_and_clients(collector.spans(2));
    for span in [&server, &clients[0]] {
        assert_eq!(span.attribute("http.response.status_code"), 101);
        assert!(span.number("end") - span.number("start") > 1_500_000_000, "{span:?}");
    }
}
