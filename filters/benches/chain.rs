//! What filters cost a request: none, one, ten, and a rate limit.

#![allow(missing_docs, reason = "criterion's macros generate public items")]

use std::hint::black_box;
use std::time::Duration;

use corelane_filters::filter::{rate_limit, request_fields, request_id, rewrite, security_headers};
use corelane_filters::{Chain, Context, Edits, Filters, Purpose, Scope, Settings, Verdict};
use corelane_http1::{HeadLimits, parse_request};
use corelane_semantics::RequestHead;
use criterion::{Criterion, criterion_group, criterion_main};

fn chain(settings: Vec<Settings>) -> Chain {
    let mut filters = Filters::default();
    let ids: Vec<_> = (0..)
        .zip(settings)
        .map(|(n, one)| filters.define(&format!("f{n}"), one, &|_| None).expect("valid settings"))
        .collect();
    filters.chain(&ids, &Scope::default(), &|_| None).expect("no groups are asked for")
}

fn set(name: &str, value: &str) -> Settings {
    Settings::RequestFields(request_fields::Settings {
        set: vec![(name.to_owned(), value.to_owned())],
        ..request_fields::Settings::default()
    })
}

fn ten() -> Vec<Settings> {
    let strip = rewrite::PathChange::StripPrefix("/api".to_owned());
    let mut settings: Vec<_> = (0..7).map(|n| set(&format!("X-{n}"), "{client.ip} {host}")).collect();
    settings.push(Settings::Rewrite(rewrite::Settings { path: Some(strip), host: None }));
    settings.push(Settings::RequestId(request_id::Settings::default()));
    settings.push(Settings::SecurityHeaders(security_headers::Settings::default()));
    settings
}

fn requests(c: &mut Criterion) {
    let bytes =
        b"GET /api/users/42?a=1 HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\
        Accept-Encoding: gzip\r\nCookie: group=b; id=1234\r\nX-One: 1\r\nX-Two: 2\r\n\r\n";
    let mut head = RequestHead::default();
    parse_request(bytes, &HeadLimits::default(), &mut head).expect("a valid head");
    let context = |now_ns| Context {
        head: &head,
        bytes,
        host: b"a.example",
        path: b"/api/users/42",
        forwarded_path: b"/api/users/42",
        captures: &[],
        client: Some([192, 0, 2, 1].into()),
        peer: Some([192, 0, 2, 1].into()),
        trusted: false,
        tls: None,
        request_id: b"0123456789abcdef0123456789abcdef",
        listener: "web",
        route: "users",
        upstream: "api",
        now_ns,
        purpose: Purpose::Serve,
    };
    let limit = Settings::RateLimit(rate_limit::Settings {
        requests: 1_000_000_000,
        per: Duration::from_secs(1),
        fields: rate_limit::Fields::Never,
        ..rate_limit::Settings::default()
    });
    for (name, settings) in [
        ("none", vec![]),
        ("one", vec![set("X-Client", "{client.ip}")]),
        ("ten", ten()),
        ("rate_limit", vec![limit]),
    ] {
        let chain = chain(settings);
        let mut edits = Edits::default();
        let mut now = 0;
        c.bench_function(&format!("chain/{name}"), |b| {
            b.iter(|| {
                now += 1_000;
                let verdict = chain.request(black_box(&context(now)), &mut edits);
                assert_eq!(verdict, Verdict::Continue);
                let mut carry = edits.take_carry();
                chain.finish(&mut carry);
                edits.give_back(carry);
            });
        });
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
