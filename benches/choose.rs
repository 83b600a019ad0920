//! What it costs to choose: a route among few and many, by each kind of condition, an endpoint by each policy.
//!
//! Route matching must not grow with the number of routes; weighted, least connections and least bandwidth grow with the
//! number of endpoints, the other policies must not.

#![allow(missing_docs, reason = "criterion's macros generate public items")]

use std::hint::black_box;

use corelane_balancer::{Ask, Group, Picker, Policy, View};
use corelane_http1::{HeadLimits, parse_request};
use corelane_routing::{Condition, Conditions, HostPattern, PathPattern, Request, Router, Rule, Test};
use corelane_semantics::RequestHead;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Route `n` is one of ten paths of one of n / 10 hosts; every tenth host is a wildcard.
fn rule(n: usize, path: impl Fn(usize) -> PathPattern) -> Rule {
    let host = match n / 10 {
        host if host % 10 == 9 => format!("*.h{host}.example.com"),
        host => format!("h{host}.example.com"),
    };
    Rule::new(vec![0], vec![HostPattern::parse(&host).expect("a valid host")], path(n % 10))
}

fn prefix(n: usize) -> PathPattern {
    PathPattern::prefix(&format!("/api/v{n}")).expect("a valid prefix")
}

fn regex(n: usize) -> PathPattern {
    PathPattern::regex(&format!("^/api/v{n}/users/(?<id>[0-9]+)$")).expect("a valid regex")
}

fn router(rules: impl Iterator<Item = Rule>) -> Router {
    Router::build(&rules.collect::<Vec<_>>(), 1).expect("all rules differ")
}

const FIELDS: &str = "Host: h\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n";

fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    let (head, bytes) = head("GET / HTTP/1.1\r\n", FIELDS);
    for routes in [1, 100, 10_000] {
        let plain = router((0..routes).map(|n| rule(n, prefix)));
        // Hosts 0 to 8 are exact; of the requests a worker sees most go to different hosts than the last.
        let requests: Vec<(String, String)> = (0..1_024)
            .map(|n| n * 7_919 % routes)
            .filter(|n| n / 10 % 10 != 9)
            .map(|n| (format!("h{}.example.com:8080", n / 10), format!("/api/v{}/users/1234", n % 10)))
            .collect();
        let mut bench = |name: &str, router: &Router| {
            let mut turn = requests.iter().cycle();
            let mut scratch = router.scratch();
            group.bench_function(BenchmarkId::new(name, routes), |b| {
                b.iter(|| {
                    let (host, path) = turn.next().expect("a cycle does not end");
                    router
                        .route(&request(black_box(host), black_box(path), &head, &bytes), &mut scratch)
                        .expect("it matches")
                });
            });
        };
        bench("exact_host", &plain);
        bench("regex_path", &router((0..routes).map(|n| rule(n, regex))));
        bench("priorities", &router((0..routes).map(|n| Rule { priority: 1, ..rule(n, prefix) })));
        let mut scratch = plain.scratch();
        if routes >= 100 {
            group.bench_function(BenchmarkId::new("wildcard_host", routes), |b| {
                b.iter(|| {
                    plain.route(
                        &request(black_box("eu.h9.example.com"), "/api/v3/users/1234", &head, &bytes),
                        &mut scratch,
                    )
                });
            });
        }
        group.bench_function(BenchmarkId::new("no_match", routes), |b| {
            b.iter(|| {
                plain.route(
                    &request(black_box("www.example.org"), "/api/v3/users/1234", &head, &bytes),
                    &mut scratch,
                )
            });
        });
    }
    let any = router([Rule::new(vec![0], vec![], PathPattern::prefix("/").expect("a path"))].into_iter());
    let mut scratch = any.scratch();
    group.bench_function("catch_all", |b| {
        b.iter(|| {
            any.route(
                &request(black_box("www.example.org"), "/api/v3/users/1234", &head, &bytes),
                &mut scratch,
            )
        });
    });
    group.finish();
}

/// Routes of one host and path that only a field's value tells apart.
fn route_by_value(c: &mut Criterion) {
    let mut group = c.benchmark_group("route_by_value");
    for routes in [1, 100, 10_000] {
        let by_value = router((0..routes).map(|n| {
            let test = Test::Exact(format!("tenant-{n}").into());
            let headers = vec![Condition { name: "X-Tenant".into(), test }];
            let path = PathPattern::prefix("/").expect("a path");
            Rule {
                conditions: Conditions { headers, ..Conditions::default() },
                ..Rule::new(vec![0], vec![], path)
            }
        }));
        let mut scratch = by_value.scratch();
        let fields = format!("{FIELDS}x-tenant: tenant-{}\r\n", routes / 2);
        let (head, bytes) = head("GET / HTTP/1.1\r\n", &fields);
        group.bench_function(BenchmarkId::from_parameter(routes), |b| {
            b.iter(|| by_value.route(&request(black_box("h"), "/", &head, &bytes), &mut scratch));
        });
    }
    group.finish();
}

fn request<'a>(host: &'a str, path: &'a str, head: &'a RequestHead, bytes: &'a [u8]) -> Request<'a> {
    let (host, path) = (host.as_bytes(), path.as_bytes());
    Request { listener: 0, host, path, head, bytes, client: None, tls: false }
}

fn head(line: &str, fields: &str) -> (RequestHead, Vec<u8>) {
    let bytes = format!("{line}{fields}\r\n").into_bytes();
    let mut head = RequestHead::default();
    parse_request(&bytes, &HeadLimits::default(), &mut head).expect("a valid head");
    (head, bytes)
}

struct Loads(Vec<u64>);

impl View for Loads {
    fn outstanding(&self, endpoint: usize) -> u64 {
        self.0[endpoint]
    }

    fn latency_us(&self, endpoint: usize) -> u64 {
        1_000 + self.0[endpoint]
    }

    fn bytes_per_second(&self, endpoint: usize) -> u64 {
        self.0[endpoint]
    }
}

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for policy in Policy::ALL {
        for endpoints in [4_u32, 100] {
            let weights: Vec<u32> = (0..endpoints).map(|n| 1 + n % 5).collect();
            let loads = Loads((0..u64::from(endpoints)).map(|n| n * 7 % 13).collect());
            let mut picker = Picker::new(&Group::of_weights(policy, &weights), 1);
            let mut random = 0_u64;
            for (name, excluded) in [("", &[][..]), ("_one_excluded", &[2])] {
                let name = format!("{}{name}", policy.name());
                group.bench_function(BenchmarkId::new(name, endpoints), |b| {
                    b.iter(|| {
                        random += 1;
                        let ask = Ask { excluded: black_box(excluded), key: Some(random), random };
                        picker.pick(&ask, &loads)
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, route, route_by_value, pick);
criterion_main!(benches);
