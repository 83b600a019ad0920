//! What it costs to choose: a route among few and many, an endpoint by each policy.
//!
//! Route matching must not grow with the number of routes; round robin must not grow with the number of endpoints, the
//! other policies grow with it.

#![allow(missing_docs, reason = "criterion's macros generate public items")]

use std::hint::black_box;

use corelane_balancer::{Picker, PolicyKind};
use corelane_routing::{HostPattern, PathPattern, Router, Rule};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Route `n` is one of ten paths of one of n / 10 hosts; every tenth host is a wildcard.
fn router(routes: usize) -> Router {
    let rules: Vec<Rule> = (0..routes)
        .map(|n| {
            let host = match n / 10 {
                host if host % 10 == 9 => format!("*.h{host}.example.com"),
                host => format!("h{host}.example.com"),
            };
            Rule {
                listeners: vec![0],
                hosts: vec![HostPattern::parse(&host).expect("a valid host")],
                path: PathPattern::prefix(&format!("/api/v{}", n % 10)).expect("a valid prefix"),
            }
        })
        .collect();
    Router::build(&rules, 1).expect("all rules differ")
}

fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for routes in [1, 100, 10_000] {
        let router = router(routes);
        // Hosts 0 to 8 are exact; of the requests a worker sees most go to different hosts than the last.
        let requests: Vec<(String, String)> = (0..1_024)
            .map(|n| n * 7_919 % routes)
            .filter(|n| n / 10 % 10 != 9)
            .map(|n| (format!("h{}.example.com:8080", n / 10), format!("/api/v{}/users/1234", n % 10)))
            .collect();
        let mut turn = requests.iter().cycle();
        group.bench_function(BenchmarkId::new("exact_host", routes), |b| {
            b.iter(|| {
                let (host, path) = turn.next().expect("a cycle does not end");
                router.route(0, black_box(host.as_bytes()), black_box(path.as_bytes())).expect("it matches")
            });
        });
        if routes >= 100 {
            group.bench_function(BenchmarkId::new("wildcard_host", routes), |b| {
                b.iter(|| router.route(0, black_box(b"eu.h9.example.com"), black_box(b"/api/v3/users/1234")));
            });
        }
        group.bench_function(BenchmarkId::new("no_match", routes), |b| {
            b.iter(|| router.route(0, black_box(b"www.example.org"), black_box(b"/api/v3/users/1234")));
        });
    }
    let any =
        Rule { listeners: vec![0], hosts: vec![], path: PathPattern::prefix("/").expect("a valid prefix") };
    let router = Router::build(&[any], 1).expect("one rule");
    group.bench_function("catch_all", |b| {
        b.iter(|| router.route(0, black_box(b"www.example.org"), black_box(b"/api/v3/users/1234")));
    });
    group.finish();
}

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for (name, kind) in [
        ("round_robin", PolicyKind::RoundRobin),
        ("weighted", PolicyKind::Weighted),
        ("least_connections", PolicyKind::LeastConnections),
    ] {
        for endpoints in [4_u32, 100] {
            let weights: Vec<u32> = (0..endpoints).map(|n| 1 + n % 5).collect();
            let outstanding: Vec<u64> = (0..u64::from(endpoints)).map(|n| n * 7 % 13).collect();
            let mut picker = Picker::new(kind, &weights, 1);
            group.bench_function(BenchmarkId::new(name, endpoints), |b| {
                b.iter(|| picker.pick(black_box(&[]), |endpoint| outstanding[endpoint]));
            });
            group.bench_function(BenchmarkId::new(format!("{name}_one_excluded"), endpoints), |b| {
                b.iter(|| picker.pick(black_box(&[2]), |endpoint| outstanding[endpoint]));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, route, pick);
criterion_main!(benches);
