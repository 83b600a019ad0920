//! Any request that the parser takes gets the same route by the index as by looking at every rule, and both without a panic.

#![no_main]

use std::cell::RefCell;
use std::net::IpAddr;

use corelane_http1::{HeadLimits, parse_request};
use corelane_routing::{
    Case, Condition, Conditions, HostPattern, Outcome, PathPattern, Pattern, Request, Router, Rule, Scratch,
    Test,
};
use corelane_semantics::{PathBuffers, PathPolicies, RequestHead};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// Plain rules; rules with conditions; the same with priorities.
    static ROUTERS: RefCell<Vec<(Router, Scratch)>> = RefCell::new(routers());
}

fuzz_target!(|data: &[u8]| {
    let Some((&selector, bytes)) = data.split_first() else { return };
    let mut head = RequestHead::default();
    if parse_request(bytes, &HeadLimits::default(), &mut head).is_err() {
        return;
    }
    let Ok(host) = head.host(bytes) else { return };
    let mut buffers = PathBuffers::default();
    let Ok(paths) = buffers.canonicalise(head.path.bytes(bytes), &PathPolicies::default()) else { return };
    let clients: [Option<IpAddr>; 4] = [
        None,
        Some([10, 0, 0, 1].into()),
        Some([192, 0, 2, 1].into()),
        Some([0, 0, 0, 0, 0, 0, 0, 1].into()),
    ];
    let request = Request {
        listener: 0,
        host,
        path: paths.canonical,
        head: &head,
        bytes,
        client: clients[usize::from(selector >> 2 & 3)],
        tls: selector & 16 != 0,
    };
    ROUTERS.with_borrow_mut(|routers| {
        let (router, scratch) = &mut routers[usize::from(selector & 3) % 3];
        let route = router.route(&request, scratch);
        let mut matched = None;
        router.explain(&request, &mut |step| {
            if let Outcome::Matched(_) = step.outcome {
                matched = Some(step.route);
            }
        });
        assert_eq!(route, matched, "{}", bytes.escape_ascii());
        for route in 0..router.rules().len() {
            if let Some(whole) = router.captures(route, request.path, scratch).get(0) {
                assert!(whole.end <= request.path.len().max(1));
            }
        }
    });
});

fn routers() -> Vec<(Router, Scratch)> {
    let plain = plain();
    let conditional: Vec<Rule> = plain.iter().cloned().chain(conditional()).collect();
    let mut prioritised = conditional.clone();
    for (index, rule) in prioritised.iter_mut().enumerate() {
        rule.priority = [0, 1, -1][index % 3];
    }
    let build = |rules: Vec<Rule>| {
        let router = Router::build(&rules, 1).expect("the rules differ");
        let scratch = router.scratch();
        (router, scratch)
    };
    vec![build(plain), build(conditional), build(prioritised)]
}

fn plain() -> Vec<Rule> {
    let host = |text: &str| HostPattern::parse(text).expect("a valid host");
    let prefix = |text: &str| PathPattern::prefix(text).expect("a valid path");
    let exact = |text: &str| PathPattern::exact(text).expect("a valid path");
    let rule = |hosts: &[&str], path| Rule::new(vec![0], hosts.iter().map(|it| host(it)).collect(), path);
    vec![
        rule(&[], prefix("/a")),
        rule(&[], exact("/")),
        rule(&["a"], prefix("/a/b")),
        rule(&["a", "*.a"], exact("/a/")),
        rule(&["*.b.a"], prefix("/")),
        rule(&["[::1]", "127.0.0.1"], prefix("/%41")),
    ]
}

fn conditional() -> Vec<Rule> {
    let regex = |text: &str| Test::Regex(Pattern::new(text, Case::Sensitive).expect("a regex"));
    let of = |name: &str, test| Condition { name: name.into(), test };
    let exact = |value: &str| Test::Exact(value.into());
    let none = Conditions::default;
    let all = [
        Conditions { methods: vec!["GET".into(), "X".into()], ..none() },
        Conditions { headers: vec![of("a", exact("1"))], ..none() },
        Conditions { headers: vec![of("a", regex("^1, ")), of("b", Test::Present)], ..none() },
        Conditions { headers: vec![of("cookie", Test::Absent)], ..none() },
        Conditions { queries: vec![of("a", exact("1 %"))], ..none() },
        Conditions { queries: vec![of("a b", regex("[^a]{3}"))], ..none() },
        Conditions { cookies: vec![of("a", exact("1"))], ..none() },
        Conditions { cookies: vec![of("a", exact("")), of("b", Test::Absent)], ..none() },
        Conditions { clients: vec!["10.0.0.0/8".parse().expect("a network")], ..none() },
        Conditions { tls: Some(true), ..none() },
        none(),
    ];
    let paths = [
        PathPattern::prefix("/").expect("a path"),
        PathPattern::regex("^/a/(?<b>[^/]+)/?").expect("a regex"),
        PathPattern::regex("%..|b$").expect("a regex"),
    ];
    let hosts = [vec![], vec![HostPattern::regex("^[ab]+$").expect("a regex")]];
    let places = hosts.iter().flat_map(|hosts| paths.iter().map(move |path| (hosts, path)));
    let rules = places.flat_map(|(hosts, path)| {
        let rule = Rule::new(vec![0], hosts.clone(), path.clone());
        all.iter().map(move |conditions| Rule { conditions: conditions.clone(), ..rule.clone() })
    });
    rules.collect()
}
