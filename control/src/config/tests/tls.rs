//! `tls` of listeners and upstreams, and endpoints that speak it.

use super::completed;
use crate::config::{Config, Places, TlsVersion, Upstream, UpstreamTls, UpstreamTrust, parse};

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
