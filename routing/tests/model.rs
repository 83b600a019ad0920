//! The router against a model that looks at every rule.

use corelane_routing::{Conflict, HostPattern, PathPattern, Router, Rule};
use proptest::collection::vec;
use proptest::prelude::*;

/// How specific a rule is for a request, as the precedence in `lib.rs` ranks it; `None` if it does not match.
type Rank = ((u8, usize), (u8, usize));

fn rank(rule: &Rule, listener: usize, host: &str, path: &str) -> Option<Rank> {
    if !rule.listeners.contains(&listener) {
        return None;
    }
    let host_rank = if rule.hosts.is_empty() {
        (0, 0)
    } else {
        rule.hosts.iter().filter_map(|pattern| host_rank(pattern, host)).max()?
    };
    let path_rank = match &rule.path {
        PathPattern::Exact(exact) => (**exact == *path).then_some((1, 0)),
        PathPattern::Prefix(prefix) if &**prefix == "/" => Some((0, 0)),
        PathPattern::Prefix(prefix) => {
            let below = path.strip_prefix(&**prefix)?;
            (below.is_empty() || below.starts_with('/')).then_some((0, prefix.len()))
        }
    }?;
    Some((host_rank, path_rank))
}

fn host_rank(pattern: &HostPattern, host: &str) -> Option<(u8, usize)> {
    match pattern {
        HostPattern::Exact(name) => (**name == *host).then_some((2, 0)),
        HostPattern::Wildcard(suffix) => {
            let labels = host.strip_suffix(&**suffix)?.strip_suffix('.')?;
            (!labels.is_empty()).then_some((1, suffix.len()))
        }
    }
}

fn conflicts(rules: &[Rule], listeners: usize) -> bool {
    let keys = |rule: &Rule| -> Vec<Option<HostPattern>> {
        if rule.hosts.is_empty() { vec![None] } else { rule.hosts.iter().cloned().map(Some).collect() }
    };
    (0..listeners).any(|listener| {
        rules.iter().enumerate().any(|(later, rule)| {
            rules[..later].iter().any(|earlier| {
                rule.path == earlier.path
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

fn rule() -> impl Strategy<Value = Rule> {
    let pattern = (host(), any::<bool>()).prop_map(|(host, wildcard)| {
        HostPattern::parse(&if wildcard { format!("*.{host}") } else { host }).expect("a valid host")
    });
    let path = (path(), any::<bool>()).prop_map(|(path, exact)| {
        if exact { PathPattern::exact(&path) } else { PathPattern::prefix(&path) }.expect("a valid path")
    });
    (vec(0..LISTENERS, 1..3), vec(pattern, 0..3), path).prop_map(|(listeners, hosts, path)| Rule {
        listeners,
        hosts,
        path,
    })
}

const LISTENERS: usize = 2;

proptest! {
    #[test]
    fn answers_as_the_model_does(
        candidates in vec(rule(), 1..40),
        requests in vec((0..LISTENERS, host(), path()), 1..40),
    ) {
        let mut rules: Vec<Rule> = Vec::new();
        for rule in candidates {
            rules.push(rule);
            if conflicts(&rules, LISTENERS) {
                rules.pop();
            }
        }
        let router = Router::build(&rules, LISTENERS).expect("conflicting rules were left out");
        for (listener, host, path) in requests {
            let ranked = rules.iter().enumerate().filter_map(|(route, rule)| {
                rank(rule, listener, &host, &path).map(|rank| (rank, route))
            });
            let expected = ranked.max().map(|(_, route)| route);
            let sent = format!("{}.:8080", host.to_ascii_uppercase());
            prop_assert_eq!(router.route(listener, host.as_bytes(), path.as_bytes()), expected);
            prop_assert_eq!(router.route(listener, sent.as_bytes(), path.as_bytes()), expected);
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
        rules in vec(rule(), 1..12),
        host in vec(any::<u8>(), 0..300),
        path in vec(any::<u8>(), 0..300),
    ) {
        if let Ok(router) = Router::build(&rules, LISTENERS) {
            for listener in 0..=LISTENERS {
                router.route(listener, &host, &path);
            }
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
