//! TLS of clients and to upstreams over real sockets, with rustls' own blocking stream at both ends.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

mod proxy;

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_engine::tls::rustls::pki_types::pem::PemObject as _;
use corelane_engine::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use corelane_engine::tls::rustls::server::WebPkiClientVerifier;
use corelane_engine::tls::rustls::{ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use corelane_engine::tls::{Alert, ClientTls, TlsFailure, TlsPeer, TlsReport, provider};

use proxy::{
    CERTIFICATE, DEADLINE, KEY, Proxy, client_config, get, origin, origin_of, read_message, upstream,
};

#[test]
fn requests_come_through_and_say_https() {
    let proxy = Proxy::start(|_| {}, None);
    let mut client = proxy.client();
    for _ in 0..3 {
        let (head, body) = get(&mut client, "localhost");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(body.contains("X-Forwarded-Proto: https\r\n") && body.contains(";proto=https\r\n"), "{body}");
    }
    // Larger than every buffer on the way, both ways.
    let body: Vec<u8> = (0..12_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut client = proxy.client();
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&body).unwrap();
    let (_, answer) = read_message(&mut client).unwrap();
    assert!(answer.ends_with(&body));
    drop(client);
    assert_eq!(proxy.failures(), []);
    assert_eq!(proxy.listener.of(0).tls_handshakes.value(), 2);
}

#[test]
fn a_host_that_the_connection_is_not_for_is_misdirected() {
    let proxy = Proxy::start(|_| {}, None);
    for (host, status) in [("LOCALHOST:443", "200"), ("a.test", "200"), ("elsewhere.test", "421")] {
        let (head, _) = get(&mut proxy.client(), host);
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
    }
    assert_eq!(proxy.listener.of(0).failures.counted().collect::<Vec<_>>(), [("misdirected", 1)]);
}

#[test]
fn what_fails_after_the_handshake_is_counted() {
    let proxy = Proxy::start(|_| {}, None);
    let mut client = proxy.client();
    get(&mut client, "localhost");
    client.sock.write_all(&[&[0x17, 3, 3, 0, 30][..], &[1; 30]].concat()).unwrap();
    assert!(client.read_to_end(&mut Vec::new()).is_err(), "an alert says so");
    let start = Instant::now();
    while proxy.failures().is_empty() {
        assert!(start.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
    assert_eq!(proxy.failures(), [("record_undecipherable", 1)]);
}

#[test]
fn a_worker_that_ends_says_so_to_its_clients() {
    let proxy = Proxy::start(|_| {}, None);
    let mut idle = proxy.client();
    get(&mut idle, "localhost");
    let mut busy = proxy.client();
    busy.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n").unwrap();
    let mut shaking = proxy.connect();
    shaking.write_all(&[0x16, 3]).unwrap();
    let start = Instant::now();
    while proxy.listener.of(0).tls_handshaking.value() < 1 {
        assert!(start.elapsed() < DEADLINE);
    }
    drop(proxy);
    // With close_notify: otherwise this is an error.
    assert_eq!(idle.read_to_end(&mut Vec::new()).unwrap(), 0);
    let mut answer = Vec::new();
    busy.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 503 "));
    assert_eq!(shaking.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn plain_http_gets_a_clear_answer() {
    let proxy = Proxy::start(|_| {}, None);
    let mut client = proxy.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("plain HTTP request to a TLS port"),
        "{answer}"
    );
    assert_eq!(proxy.failures(), [("plain_http", 1)]);
}

#[test]
fn a_handshake_has_a_deadline_and_a_place() {
    let proxy = Proxy::start(|tls| tls.handshakes_max = 2, None);
    let mut slow = [proxy.connect(), proxy.connect()];
    for slow in &mut slow {
        slow.write_all(&[0x16, 3]).unwrap();
    }
    let start = Instant::now();
    while proxy.listener.of(0).tls_handshaking.value() < 2 {
        assert!(start.elapsed() < DEADLINE);
    }
    let mut third = proxy.connect();
    let refused = third.read_exact(&mut [0]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionReset);
    for slow in &mut slow {
        assert_eq!(slow.read_to_end(&mut Vec::new()).unwrap(), 0, "the deadline closes it");
    }
    assert_eq!(get(&mut proxy.client(), "localhost").0.split(' ').nth(1), Some("200"));
    let mut failures = proxy.failures();
    failures.sort_unstable();
    assert_eq!(failures, [("handshake_timeout", 2), ("handshakes_excess", 1)]);
}

#[test]
fn upstreams_are_spoken_to_over_tls() {
    let tls = ClientTls {
        config: client_config(true),
        server_name: "a.test".try_into().unwrap(),
        identity: "a".into(),
    };
    let proxy = Proxy::start(|_| {}, Some(tls));
    for _ in 0..3 {
        let mut client = proxy.client();
        assert_eq!(get(&mut client, "localhost").0.split(' ').nth(1), Some("200"));
    }
    let counters = proxy.endpoint.of(0);
    assert_eq!((counters.tls_handshakes.value(), counters.reused.value()), (1, 2), "it is pooled");
    assert_eq!(counters.tls_failures.counted().count(), 0);
}

#[test]
fn an_upstream_must_prove_its_name_and_issuer() {
    let cases =
        [("other.test", true, "certificate_other_name"), ("localhost", false, "certificate_unknown_issuer")];
    for (name, is_known, reason) in cases {
        let (config, server_name) = (client_config(is_known), name.try_into().unwrap());
        let proxy = Proxy::start(|_| {}, Some(ClientTls { config, server_name, identity: "a".into() }));
        let (head, _) = get(&mut proxy.client(), "localhost");
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        let counters = proxy.endpoint.of(0);
        assert_eq!(counters.tls_failures.counted().collect::<Vec<_>>(), [(reason, 1)]);
        assert_eq!(counters.failures.counted().collect::<Vec<_>>(), [("upstream_certificate", 1)]);
    }
}

#[test]
fn what_fails_is_told_once_for_all_of_its_kind() {
    let proxy = Proxy::start(|_| {}, None);
    let from = |server_name: Option<&str>| TlsPeer::Client {
        listener: "web".into(),
        address: Some("127.0.0.1".parse().unwrap()),
        server_name: server_name.map(Into::into),
    };
    for _ in 0..3 {
        // Nobody is told of who says nothing.
        drop(proxy.connect());
        let mut plain = proxy.connect();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        plain.read_to_end(&mut Vec::new()).unwrap();
    }
    let plain = TlsReport { peer: from(None), failure: TlsFailure::PlainHttp, alert: None };
    assert_eq!(proxy.report(), plain);
    for _ in 0..3 {
        let tls = ClientConnection::new(client_config(false), "localhost".try_into().unwrap()).unwrap();
        let refused = StreamOwned::new(tls, proxy.connect()).read_to_end(&mut Vec::new());
        assert!(refused.is_err(), "it does not know the authority");
    }
    let (failure, alert) = (TlsFailure::Alert, Some(Alert::UnknownCa));
    assert_eq!(proxy.report(), TlsReport { peer: from(Some("localhost")), failure, alert });
    let counters = proxy.listener.of(0);
    let start = Instant::now();
    while counters.tls_alerts.counted().next() != Some(("unknown_ca", 3)) {
        assert!(start.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
    assert!(counters.tls_failures.counted().any(|failed| failed == ("plain_http", 3)));
    // After the handshake, by who it was then.
    let mut client = proxy.client();
    get(&mut client, "localhost");
    client.sock.write_all(&[&[0x17, 3, 3, 0, 30][..], &[1; 30]].concat()).unwrap();
    let failure = TlsFailure::RecordUndecipherable;
    assert_eq!(proxy.report(), TlsReport { peer: from(Some("localhost")), failure, alert: None });
}

#[test]
fn an_upstream_that_wants_a_certificate_says_so_after_the_handshake() {
    // In TLS 1.3 a client is done before the server has seen that it has no certificate.
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE).unwrap()).unwrap();
    let crypto = Arc::new(provider());
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), crypto.clone());
    let config = ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(builder.build().unwrap());
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = Arc::new(config.with_single_cert(vec![certificate], key).unwrap());
    let tls = ClientTls {
        config: client_config(true),
        server_name: "localhost".try_into().unwrap(),
        identity: "a".into(),
    };
    let proxy = Proxy::before(|_| {}, upstream(vec![origin_of(config, Some(tls), Duration::ZERO)]));
    let (head, _) = get(&mut proxy.client(), "localhost");
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    let counters = proxy.endpoint.of(0);
    assert_eq!(counters.tls_handshakes.value(), 1);
    assert_eq!(counters.tls_failures.counted().collect::<Vec<_>>(), [("alert", 1)]);
    assert_eq!(counters.tls_alerts.counted().collect::<Vec<_>>(), [("certificate_required", 1)]);
    let peer = TlsPeer::Endpoint { upstream: "origin".into(), endpoint: "origin".into() };
    let (failure, alert) = (TlsFailure::Alert, Some(Alert::CertificateRequired));
    assert_eq!(proxy.report(), TlsReport { peer, failure, alert });
}

#[test]
fn a_hedged_request_speaks_tls_to_both() {
    let tls = || ClientTls {
        config: client_config(true),
        server_name: "localhost".try_into().unwrap(),
        identity: "a".into(),
    };
    let endpoints = vec![origin(Some(tls()), DEADLINE), origin(Some(tls()), Duration::ZERO)];
    let counters = endpoints[1].counters.clone();
    let mut upstream = upstream(endpoints);
    upstream.retry.hedge_after = Duration::from_millis(20);
    let proxy = Proxy::before(|_| {}, upstream);
    let start = Instant::now();
    for _ in 0..2 {
        assert_eq!(get(&mut proxy.client(), "localhost").0.split(' ').nth(1), Some("200"));
    }
    assert!(start.elapsed() < DEADLINE, "the slow one is not waited for");
    for counters in [counters, proxy.endpoint.clone()] {
        assert!(counters.of(0).tls_handshakes.value() >= 1);
        assert_eq!(counters.of(0).tls_failures.counted().count(), 0);
    }
}
