//! `tls` of listeners and upstreams, and endpoints that speak it.

use corelane_engine::protocol::Http2Limits;

use super::completed;
use crate::config::{Config, ListenerTls, Places, TlsVersion, Upstream, UpstreamTls, UpstreamTrust, parse};

fn parsed(text: &str) -> Config {
    parse("t.toml", &completed(text)).unwrap_or_else(|errors| panic!("{text}: {errors}"))
}

fn upstream(keys: &str) -> Upstream {
    parsed(&format!("[upstreams.api]\n{keys}\n")).upstreams.remove(0)
}

#[test]
fn an_endpoint_says_itself_that_it_speaks_tls() {
    let it =
        upstream("endpoints = [\"https://a.test\", { address = \"https://[::1]:8443\" }, \"b.test:80\"]");
    let found: Vec<_> = it.endpoints.iter().map(|it| (it.target.to_string(), it.tls)).collect();
    let expected = [("a.test:443", true), ("[::1]:8443", true), ("b.test:80", false)];
    assert_eq!(found, expected.map(|(target, tls)| (target.to_owned(), tls)));
    let of_the_system = UpstreamTls {
        server_name: None,
        trust: UpstreamTrust::System,
        certificate: None,
        min_version: TlsVersion::V1_2,
        alpn: vec![b"http/1.1"[..].into()],
        places: Places::default(),
    };
    assert_eq!(it.tls, Some(of_the_system));
    assert_eq!(upstream("endpoints = [\"b.test:80\"]").tls, None);
}

#[test]
fn tls_of_an_upstream_is_that_of_all_its_endpoints() {
    let it = upstream("endpoints = [\"https://a.test\", \"b.test:80\"]\ntls = { alpn = [] }");
    assert!(it.endpoints.iter().all(|it| it.tls));
    assert_eq!(it.tls.unwrap().alpn, []);
}

#[test]
fn http2_is_spoken_over_tls_unless_other_protocols_are_named() {
    let spoken = |keys: &str| {
        let text = format!("[[listeners]]\naddress = \"127.0.0.1:1\"\n{keys}\n");
        let listener = parsed(&text).listeners.remove(0);
        let is_agreed_on = listener.tls.as_ref().map(ListenerTls::speaks_http2);
        assert!(is_agreed_on.is_none_or(|it| it == listener.http2.is_some()), "{keys}");
        listener.http2
    };
    let tls = "tls = { directory = \"x\" }";
    assert_eq!(spoken(tls), Some(Http2Limits::default()));
    for keys in ["", "http2 = false", "http2 = false\ntls = { directory = \"x\" }"] {
        assert_eq!(spoken(keys), None, "{keys}");
    }
    assert_eq!(spoken("tls = { directory = \"x\", alpn = [\"http/1.1\"] }"), None);
    assert_eq!(spoken("tls = { directory = \"x\", alpn = [] }"), None);
    assert!(spoken("http2 = true\ntls = { directory = \"x\", alpn = [\"http/1.1\"] }").is_some());
    let limits = Http2Limits { streams_max: 7, stream_window: 1 << 17, ..Http2Limits::default() };
    assert_eq!(spoken("http2 = true\nhttp2_streams_max = 7\nhttp2_stream_window = \"128KiB\""), Some(limits));
}
