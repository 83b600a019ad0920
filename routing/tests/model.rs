//! The router against a model that looks at every rule.

use std::cmp::Reverse;
use std::net::IpAddr;

use corelane_http1::{HeadLimits, parse_request};
use corelane_routing::{
    Case, Condition, Conditions, Conflict, HostPattern, Outcome, PathPattern, Pattern, Request, Router, Rule,
    Test,
};
use corelane_semantics::RequestHead;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const LISTENERS: usize = 2;

/// A request in parts.
#[derive(Clone, Debug)]
struct Asked {
    listener: usize,
    host: String,
    path: String,
    method: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    queries: Vec<(&'static str, &'static str)>,
    cookies: Vec<(&'static str, &'static str)>,
    client: Option<IpAddr>,
    tls: bool,
}

impl Asked {
    /// Calls `with` with the request, for a host as it was sent.
    fn sent<R>(&self, host: &str, with: impl FnOnce(&Request<'_>) -> R) -> R {
        let joined = |pairs: &[(&str, &str)], by: &str| {
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(by)
        };
        let mut text = format!("{} {}?{} HTTP/1.1\r\n", self.method, self.path, joined(&self.queries, "&"));
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Cookie: {}\r\n\r\n", joined(&self.cookies, "; "));
        let mut head = RequestHead::default();
        parse_request(text.as_bytes(), &HeadLimits::default(), &mut head).expect("a valid head");
        with(&Request {
            listener: self.listener,
            host: host.as_bytes(),
            path: self.path.as_bytes(),
            head: &head,
            bytes: text.as_bytes(),
            client: self.client,
            tls: self.tls,
        })
    }

    fn matches(&self, rule: &Rule) -> bool {
        let Conditions { methods, headers, queries, cookies, clients, tls } = &rule.conditions;
        let of = |name: &str, pairs: &[(&'static str, &'static str)]| {
            let values: Vec<_> = pairs.iter().filter(|pair| pair.0 == name).map(|pair| pair.1).collect();
            values.first().map(|first| ((*first).to_owned(), values.join(", ")))
        };
        rule.listeners.contains(&self.listener)
            && path_matches(&rule.path, &self.path)
            && (methods.is_empty() || methods.iter().any(|method| **method == *self.method))
            && headers.iter().all(|it| holds(it, of(&it.name, &self.fields).map(|it| it.1)))
            && queries.iter().all(|it| holds(it, of(&it.name, &self.queries).map(|it| it.0)))
            && cookies.iter().all(|it| holds(it, of(&it.name, &self.cookies).map(|it| it.0)))
            && (clients.is_empty()
                || self.client.is_some_and(|client| clients.iter().any(|net| net.contains(&client))))
            && tls.is_none_or(|tls| tls == self.tls)
    }

    /// The route that the documented precedence says.
    fn expected(&self, rules: &[Rule]) -> Option<usize> {
        let ranked =
            rules.iter().enumerate().filter(|(_, rule)| self.matches(rule)).filter_map(|(at, rule)| {
                let host = match &rule.hosts[..] {
                    [] => Some((3, Reverse(0))),
                    hosts => hosts.iter().filter_map(|pattern| host_rank(pattern, &self.host)).min(),
                }?;
                let path = match &rule.path {
                    PathPattern::Exact(_) => (0, Reverse(0)),
                    PathPattern::Regex(_) => (1, Reverse(0)),
                    PathPattern::Prefix(prefix) if &**prefix == "/" => (3, Reverse(0)),
                    PathPattern::Prefix(prefix) => (2, Reverse(prefix.len())),
                };
                let it = &rule.conditions;
                let named = (
                    it.methods.is_empty(),
                    Reverse(it.headers.len()),
                    Reverse(it.queries.len()),
                    Reverse(it.cookies.len()),
                    it.clients.is_empty(),
                    it.tls.is_none(),
                );
                Some(((Reverse(rule.priority), host, path, named), at))
            });
        ranked.min().map(|(_, at)| at)
    }
}

/// Whether a regex is found in a text.
type Meaning = fn(&str) -> bool;

/// The regexes of the tests, and what they mean.
const REGEXES: [(&str, Meaning); 6] = [
    ("^/a/(?<x>[a-z]+)", |text| {
        let rest = text.strip_prefix("/a/");
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    }),
    ("^a", |text| text.starts_with('a')),
    ("b$", |text| text.ends_with('b')),
    ("^/a-longer-segment/.*b", |text| {
        text.strip_prefix("/a-longer-segment/").is_some_and(|rest| rest.contains('b'))
    }),
    (".", |text| !text.is_empty()),
    ("^(/a|/b)+/?$", |text| {
        let text = text.strip_suffix('/').unwrap_or(text);
        !text.is_empty() && text.replace("/a", "").replace("/b", "").is_empty() && !text.contains("/ab")
    }),
];

fn found(pattern: &Pattern, text: &str) -> bool {
    let known = REGEXES.iter().find(|(regex, _)| *regex == pattern.text());
    known.expect("one of the regexes").1(text)
}

fn host_rank(pattern: &HostPattern, host: &str) -> Option<(u8, Reverse<usize>)> {
    match pattern {
        HostPattern::Exact(name) => (**name == *host).then_some((0, Reverse(0))),
        HostPattern::Wildcard(suffix) => {
            let labels = host.strip_suffix(&**suffix)?.strip_suffix('.')?;
            (!labels.is_empty()).then_some((1, Reverse(suffix.len())))
        }
        HostPattern::Regex(pattern) => found(pattern, host).then_some((2, Reverse(0))),
    }
}

fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(exact) => **exact == *path,
        PathPattern::Prefix(prefix) if &**prefix == "/" => true,
        PathPattern::Prefix(prefix) => {
            let below = path.strip_prefix(&**prefix);
            below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        }
        PathPattern::Regex(pattern) => found(pattern, path),
    }
}

fn holds(condition: &Condition, value: Option<String>) -> bool {
    match (&condition.test, value) {
        (Test::Exact(exact), Some(value)) => **exact == *value,
        (Test::Regex(pattern), Some(value)) => found(pattern, &value),
        (Test::Present, value) => value.is_some(),
        (Test::Absent, value) => value.is_none(),
        (_, None) => false,
    }
}

fn conflicts(rules: &[Rule], listeners: usize) -> bool {
    let keys = |rule: &Rule| -> Vec<Option<HostPattern>> {
        if rule.hosts.is_empty() { vec![None] } else { rule.hosts.iter().cloned().map(Some).collect() }
    };
    let sorted = |rule: &Rule| {
        let it = rule.conditions.clone();
        let mut all = (it.methods, [it.headers, it.queries, it.cookies], it.clients, it.tls);
        all.0.sort();
        all.0.dedup();
        all.1.iter_mut().for_each(|conditions| {
            conditions.sort();
            conditions.dedup();
        });
        all
    };
    (0..listeners).any(|listener| {
        rules.iter().enumerate().any(|(later, rule)| {
            rules[..later].iter().any(|earlier| {
                rule.path == earlier.path
                    && rule.priority == earlier.priority
                    && sorted(rule) == sorted(earlier)
                    && rule.listeners.contains(&listener)
                    && earlier.listeners.contains(&listener)
                    && keys(rule).iter().any(|host| keys(earlier).contains(host))
            })
        })
    })
}

/// Few labels and segments, so that patterns and requests meet often.
fn host() -> impl Strategy<Value = String> {
    vec(prop_oneof![Just("a"), Just("b"), Just("ab"), Just("c-")], 1..5).prop_map(|labels| labels.join("."))
}

fn path() -> impl Strategy<Value = String> {
    let segments = vec(prop_oneof![Just("/a"), Just("/b"), Just("/ab"), Just("/a-longer-segment")], 0..6);
    (segments, any::<bool>()).prop_map(|(segments, slash)| {
        let path = segments.concat();
        if slash || path.is_empty() { format!("{path}/") } else { path }
    })
}

fn regex() -> impl Strategy<Value = &'static str> {
    (0..REGEXES.len()).prop_map(|number| REGEXES[number].0)
}

fn host_pattern() -> impl Strategy<Value = HostPattern> {
    prop_oneof![
        4 => host().prop_map(|host| HostPattern::parse(&host).expect("a valid host")),
        4 => host().prop_map(|host| HostPattern::parse(&format!("*.{host}")).expect("a valid host")),
        1 => regex().prop_map(|text| HostPattern::regex(text).expect("a valid regex")),
    ]
}

fn path_pattern() -> impl Strategy<Value = PathPattern> {
    prop_oneof![
        3 => path().prop_map(|path| PathPattern::exact(&path).expect("a valid path")),
        3 => path().prop_map(|path| PathPattern::prefix(&path).expect("a valid path")),
        2 => regex().prop_map(|text| PathPattern::regex(text).expect("a valid regex")),
    ]
}

const VALUES: [&str; 3] = ["a", "b", "ab"];

fn value() -> impl Strategy<Value = &'static str> {
    (0..VALUES.len()).prop_map(|number| VALUES[number])
}

fn method() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("GET"), Just("POST"), Just("PURGE")]
}

fn condition() -> impl Strategy<Value = Condition> {
    let test = prop_oneof![
        4 => value().prop_map(|value| Test::Exact(value.into())),
        1 => regex().prop_map(|text| Test::Regex(Pattern::new(text, Case::Sensitive).expect("a regex"))),
        1 => Just(Test::Present),
        1 => Just(Test::Absent),
    ];
    (value(), test).prop_map(|(name, test)| Condition { name: name.into(), test })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let networks = prop_oneof![Just("10.0.0.0/8"), Just("10.0.0.1/32"), Just("::/0")];
    let networks = vec(networks.prop_map(|text| text.parse().expect("a network")), 0..2);
    let few = || vec(condition(), 0..2);
    (vec(method(), 0..2), few(), few(), few(), networks, option::weighted(0.2, any::<bool>())).prop_map(
        |(methods, headers, queries, cookies, clients, tls)| Conditions {
            methods: methods.into_iter().map(Box::from).collect(),
            headers,
            queries,
            cookies,
            clients,
            tls,
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let conditions = prop_oneof![Just(Conditions::default()), conditions()];
    let priority = prop_oneof![9 => Just(0), 1 => -1..2];
    (vec(0..LISTENERS, 1..3), vec(host_pattern(), 0..3), path_pattern(), conditions, priority).prop_map(
        |(listeners, hosts, path, conditions, priority)| Rule {
            listeners,
            hosts,
            path,
            conditions,
            priority,
        },
    )
}

/// A rule with no more than a host and a path.
fn plain_rule() -> impl Strategy<Value = Rule> {
    let path = prop_oneof![
        path().prop_map(|path| PathPattern::exact(&path).expect("a valid path")),
        path().prop_map(|path| PathPattern::prefix(&path).expect("a valid path")),
    ];
    let host = (host(), any::<bool>()).prop_map(|(host, wildcard)| {
        HostPattern::parse(&if wildcard { format!("*.{host}") } else { host }).expect("a valid host")
    });
    (vec(0..LISTENERS, 1..3), vec(host, 0..3), path)
        .prop_map(|(listeners, hosts, path)| Rule::new(listeners, hosts, path))
}

/// Rules for any host and one path, so many that they are looked up by value.
fn rules_of_one_path() -> impl Strategy<Value = Vec<Rule>> {
    let root = || PathPattern::prefix("/").expect("a path");
    let rule = (conditions(), prop_oneof![9 => Just(0), 1 => -1..2]);
    let rule = rule.prop_map(move |(conditions, priority)| Rule {
        conditions,
        priority,
        ..Rule::new(vec![0, 1], vec![], root())
    });
    vec(rule, 1..60)
}

fn asked() -> impl Strategy<Value = Asked> {
    let pairs = || vec((value(), value()), 0..4);
    let client = prop_oneof![Just("10.0.0.1"), Just("10.0.0.2"), Just("192.0.2.1"), Just("2001:db8::1")];
    let client = option::of(client.prop_map(|text| text.parse().expect("an address")));
    let place = (0..LISTENERS, host(), path(), method());
    (place, pairs(), pairs(), pairs(), client, any::<bool>()).prop_map(
        |((listener, host, path, method), fields, queries, cookies, client, tls)| Asked {
            listener,
            host,
            path,
            method,
            fields,
            queries,
            cookies,
            client,
            tls,
        },
    )
}

fn without_conflicts(candidates: Vec<Rule>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for rule in candidates {
        rules.push(rule);
        if conflicts(&rules, LISTENERS) {
            rules.pop();
        }
    }
    rules
}

proptest! {
    #[test]
    fn answers_as_the_model_does(
        candidates in prop_oneof![3 => vec(rule(), 1..40), 2 => vec(plain_rule(), 1..40), 1 => rules_of_one_path()],
        requests in vec(asked(), 1..40),
    ) {
        let rules = without_conflicts(candidates);
        let router = Router::build(&rules, LISTENERS).expect("conflicting rules were left out");
        let scratch = &mut router.scratch();
        for asked in requests {
            let expected = asked.expected(&rules);
            let sent = format!("{}.:8080", asked.host.to_ascii_uppercase());
            prop_assert_eq!(asked.sent(&asked.host, |it| router.route(it, scratch)), expected, "{:?}", asked);
            prop_assert_eq!(asked.sent(&sent, |it| router.route(it, scratch)), expected);
            // The explanation, which does without the index, agrees and tells each rule of the listener once.
            let mut told = Vec::new();
            let mut matched = None;
            asked.sent(&sent, |it| router.explain(it, &mut |step| {
                told.push(step.route);
                match step.outcome {
                    Outcome::Matched(_) => matched = Some(step.route),
                    Outcome::NotTried => assert!(matched.is_some()),
                    Outcome::Failed(_) => assert!(matched.is_none()),
                }
            }));
            prop_assert_eq!(matched, expected);
            told.sort_unstable();
            let on: Vec<usize> =
                (0..rules.len()).filter(|&at| rules[at].listeners.contains(&asked.listener)).collect();
            prop_assert_eq!(told, on);
        }
    }

    #[test]
    fn reports_conflicts_as_the_model_does(rules in vec(rule(), 1..12)) {
        match Router::build(&rules, LISTENERS) {
            Ok(_) => prop_assert!(!conflicts(&rules, LISTENERS)),
            Err(found) => {
                prop_assert!(!found.is_empty());
                for Conflict { first, second, listener } in found {
                    prop_assert!(first < second);
                    let pair = [rules[first].clone(), rules[second].clone()];
                    prop_assert!(conflicts(&pair, LISTENERS));
                    prop_assert!(pair.iter().all(|rule| rule.listeners.contains(&listener)));
                }
            }
        }
    }

    #[test]
    fn no_bytes_from_a_peer_panic(
        candidates in vec(rule(), 1..12),
        host in vec(any::<u8>(), 0..300),
        path in vec(any::<u8>(), 0..300),
    ) {
        let router = Router::build(&without_conflicts(candidates), LISTENERS).expect("no conflict");
        let head = RequestHead::default();
        for listener in 0..=LISTENERS {
            let request = Request {
                listener,
                host: &host,
                path: &path,
                head: &head,
                bytes: &[],
                client: None,
                tls: false,
            };
            router.route(&request, &mut router.scratch());
        }
    }

    #[test]
    fn no_text_makes_a_pattern_that_reads_back_differently(text in "[a-cA-C0-9*.:/\\[\\]?# %;-]{0,12}") {
        if let Ok(pattern) = HostPattern::parse(&text) {
            prop_assert_eq!(HostPattern::parse(&pattern.to_string()), Ok(pattern));
        }
        if let Ok(pattern) = PathPattern::prefix(&text) {
            prop_assert_eq!(PathPattern::prefix(&pattern.to_string()), Ok(pattern));
        }
    }
}
