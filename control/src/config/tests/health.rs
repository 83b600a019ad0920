//! `health` of an upstream: what each kind becomes.

use std::time::Duration;

use corelane_engine::protocol::UpstreamProtocol;
use corelane_routing::{Case, Pattern};

use super::completed;
use crate::config::{
    Check, ExecCheck, Expected, GrpcCheck, Health, HttpCheck, Initial, Outlier, ProbeCheck, ProbeProtocol,
    TlsSettings, Trust, parse,
};

/// The checks of a table, and the upstream's `panic_threshold`.
fn read(table: &str) -> (Option<Health>, u8) {
    let text = format!("[upstreams.api]\nendpoints = [\"127.0.0.1:1\"]\n{table}\n");
    let mut config = parse("t.toml", &completed(&text)).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    let upstream = config.upstreams.remove(0);
    (upstream.health, upstream.panic_percent)
}

fn check(table: &str) -> Check {
    read(&format!("health = {{ {table} }}")).0.expect("checks").check
}

fn bytes(text: &[u8]) -> Option<Expected> {
    Some(Expected::Bytes(text.into()))
}

fn regex(text: &str) -> Option<Expected> {
    Some(Expected::Regex(Pattern::new(text, Case::Sensitive).expect("a regex")))
}

const NO_SETTINGS: TlsSettings = TlsSettings { server_name: None, trust: None };

#[test]
fn without_it_nothing_is_checked() {
    assert_eq!(read(""), (None, 0));
    assert_eq!(read("panic_threshold = \"100%\""), (None, 100));
}

#[test]
fn what_all_kinds_have() {
    let common = Health {
        check: Check::Tcp,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 3,
        initial: Initial::Up,
        port: None,
        address: None,
    };
    assert_eq!(read("health.kind = \"tcp\"").0, Some(common.clone()));
    let table = "[upstreams.api.health]\nkind = \"tcp\"\ninterval = \"1m\"\ntimeout = \"10ms\"\nrise = 1\nfall = 4\n\
                 initial = \"unhealthy\"\nport = 90\naddress = \"::1\"";
    let all = Health {
        interval: Duration::from_secs(60),
        timeout: Duration::from_millis(10),
        rise: 1,
        fall: 4,
        initial: Initial::Down,
        port: Some(90),
        address: Some("::1".parse().expect("an address")),
        ..common
    };
    assert_eq!(read(table).0, Some(all));
}

#[test]
fn http_and_https() {
    let plain = HttpCheck {
        tls: None,
        protocol: UpstreamProtocol::Http1,
        method: "GET".into(),
        path: "/".into(),
        host: None,
        headers: Vec::new(),
        statuses: vec![(200, 299), (300, 399)],
        body: None,
    };
    assert_eq!(check("kind = \"http\""), Check::Http(plain.clone()));
    let all = HttpCheck {
        method: "HEAD".into(),
        path: "/healthz?full".into(),
        host: Some("a.test:81".into()),
        headers: vec![("X-A".into(), "b c".into())],
        statuses: vec![(204, 204), (500, 599), (200, 201), (301, 301)],
        body: bytes(b"a\n"),
        ..plain.clone()
    };
    let keys = "kind = \"http\", method = \"HEAD\", path = \"/healthz?full\", host = \"a.test:81\", \
                headers = { X-A = \"b c\" }, statuses = [204, \"5xx\", \"200-201\", \"301\"], body = 'a\\n'";
    assert_eq!(check(keys), Check::Http(all));
    let tls =
        TlsSettings { server_name: Some("a.test".try_into().expect("a name")), trust: Some(Trust::Anybody) };
    let secure = HttpCheck { tls: Some(tls), body: regex("^a$"), ..plain };
    let keys = "kind = \"https\", server_name = \"a.test\", verify = false, body_regex = \"^a$\"";
    assert_eq!(check(keys), Check::Http(secure));
}

#[test]
fn http_checks_speak_what_requests_do() {
    for (upstream, keys, spoken) in [
        ("protocol = \"h2c\"", "kind = \"http\"", UpstreamProtocol::Http2ClearText),
        ("protocol = \"h2c\"", "kind = \"http\", port = 81", UpstreamProtocol::Http1),
        ("protocol = \"h2\"\ntls = { }", "kind = \"https\"", UpstreamProtocol::Http2),
        ("protocol = \"h2\"\ntls = { }", "kind = \"https\", port = 81", UpstreamProtocol::Negotiated),
        ("protocol = \"auto\"\ntls = { }", "kind = \"https\"", UpstreamProtocol::Negotiated),
        ("protocol = \"auto\"\ntls = { }", "kind = \"http\"", UpstreamProtocol::Http1),
    ] {
        let health = read(&format!("{upstream}\nhealth = {{ {keys} }}")).0;
        let Some(Check::Http(check)) = health.map(|health| health.check) else { panic!("{keys}") };
        assert_eq!(check.protocol, spoken, "{upstream} {keys}");
    }
}

#[test]
fn grpc_exec_and_probe() {
    let grpc = |tls, service: &str| Check::Grpc(GrpcCheck { tls, service: service.into() });
    assert_eq!(check("kind = \"grpc\""), grpc(None, ""));
    assert_eq!(check("kind = \"grpc\", tls = true, service = \"a.B\""), grpc(Some(NO_SETTINGS), "a.B"));

    let command = vec!["/bin/sh".into(), "-c".into(), "-c".into()];
    let exec = |expect| Check::Exec(ExecCheck { command: command.clone(), expect });
    let keys = "kind = \"exec\", command = [\"/bin/sh\", \"-c\", \"-c\"]";
    assert_eq!(check(keys), exec(None));
    assert_eq!(check(&format!("{keys}, expect = \" 1 \"")), exec(Some("1".into())));

    let probe = ProbeCheck {
        protocol: ProbeProtocol::Tcp,
        send: Box::default(),
        expect: None,
        expect_bytes_max: 4096,
    };
    assert_eq!(check("kind = \"probe\""), Check::Probe(probe.clone()));
    let tls =
        ProbeCheck { protocol: ProbeProtocol::Tls(NO_SETTINGS), expect: bytes(b"\xff"), ..probe.clone() };
    assert_eq!(check("kind = \"probe\", protocol = \"tls\", expect = '\\xff'"), Check::Probe(tls));
    let udp = ProbeCheck {
        protocol: ProbeProtocol::Udp,
        send: Box::from(&b"a\0"[..]),
        expect: regex("b"),
        expect_bytes_max: 512,
    };
    let keys =
        "kind = \"probe\", protocol = \"udp\", send = 'a\\x00', expect_regex = \"b\", expect_bytes_max = 512";
    assert_eq!(check(keys), Check::Probe(udp));
}

#[test]
fn outlier_detection_is_on_unless_it_is_turned_off() {
    let outlier = |lines: &str| {
        let text = format!("[upstreams.api]\nendpoints = [\"127.0.0.1:1\"]\n{lines}\n");
        parse("t.toml", &completed(&text)).unwrap().upstreams.remove(0).outlier
    };
    let statuses = |lines: &str| outlier(lines).detection.statuses;
    assert_eq!(outlier(""), Outlier::default());
    assert_eq!(outlier("outlier = {}"), Outlier::default());
    assert!(!outlier("").detection.is_off());
    assert!(outlier("outlier = { consecutive_failures = 0 }").detection.is_off());
    assert!(!outlier("outlier = { consecutive_failures = 0, failure_share = \"5%\" }").detection.is_off());
    // What is retried for its status is a failure, unless something else is said.
    assert_eq!(*statuses("retry = { on = [\"502\", \"503\"] }"), [(502, 502), (503, 503)]);
    assert_eq!(
        *statuses("retry = { on = [\"502\"] }\noutlier = { statuses = [\"5xx\", 429] }"),
        [(500, 599), (429, 429)]
    );
    assert_eq!(outlier("outlier = { ejection_time = \"10m\" }").ejection.time_max.as_secs(), 600);
}
