//! All rules of a configuration, indexed once.

use crate::host_table::HostTable;
use crate::{HostPattern, PathPattern};

/// What a request must look like to take a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The listeners that it holds for, by index; with none it never matches.
    pub listeners: Vec<usize>,
    /// The hosts that it holds for; empty: any.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
}

/// Two rules that can never be told apart: the same listener, the same host pattern, the same path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The index of the earlier rule.
    pub first: usize,
    /// The index of the later rule.
    pub second: usize,
    /// The listener where they meet.
    pub listener: usize,
}

/// Decides which route a request takes. The default one has no listeners and no routes.
#[derive(Debug, Default)]
pub struct Router {
    listeners: Vec<HostTable>,
}

impl Router {
    /// Indexes the rules; a rule's place in the slice is the index of its route. Memory is one key and one table entry
    /// for each listener and host of each rule.
    ///
    /// # Errors
    ///
    /// Every [`Conflict`], ordered; each later rule is paired with the first that has its patterns. The configuration is
    /// to be refused.
    ///
    /// # Panics
    ///
    /// If a rule names a listener that is not below `listeners`.
    pub fn build(rules: &[Rule], listeners: usize) -> Result<Self, Vec<Conflict>> {
        let mut router = Self::default();
        router.listeners.resize_with(listeners, HostTable::default);
        let mut conflicts = Vec::new();
        for (route, rule) in rules.iter().enumerate() {
            for &listener in &rule.listeners {
                let table = &mut router.listeners[listener];
                for host in rule.hosts_or_any() {
                    match table.insert(host, &rule.path, route) {
                        Err(first) if first != route => {
                            conflicts.push(Conflict { first, second: route, listener });
                        }
                        // A rule that names a host or a listener twice is not at odds with itself.
                        Err(_) | Ok(()) => {}
                    }
                }
            }
        }
        if conflicts.is_empty() {
            return Ok(router);
        }
        conflicts.sort_unstable_by_key(|conflict| (conflict.first, conflict.second, conflict.listener));
        conflicts.dedup();
        Err(conflicts)
    }

    /// The route for a request, if any.
    ///
    /// `host` is as in the Host field: it may carry a port, any case, an IPv6 address in brackets, a trailing dot.
    /// `path` is the canonical path (`corelane_semantics::Paths::canonical`): with any other a route is no fence.
    pub fn route(&self, listener: usize, host: &[u8], path: &[u8]) -> Option<usize> {
        // RFC 9110 §4.2.3: an empty path is the same as "/".
        let path = if path.is_empty() { b"/" } else { path };
        self.listeners.get(listener)?.route(host, path)
    }
}

impl Rule {
    fn hosts_or_any(&self) -> impl Iterator<Item = Option<&HostPattern>> {
        let any = self.hosts.is_empty().then_some(None);
        self.hosts.iter().map(Some).chain(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(listeners: &[usize], hosts: &[&str], path: PathPattern) -> Rule {
        let hosts = hosts.iter().map(|host| HostPattern::parse(host).expect("a valid host")).collect();
        Rule { listeners: listeners.to_vec(), hosts, path }
    }

    fn prefix(text: &str) -> PathPattern {
        PathPattern::prefix(text).expect("a valid prefix")
    }

    fn exact(text: &str) -> PathPattern {
        PathPattern::exact(text).expect("a valid path")
    }

    #[test]
    fn falls_back_to_the_next_less_specific_host() {
        let rules = [
            rule(&[0], &["a.example.com"], prefix("/api")),
            rule(&[0], &["*.example.com"], prefix("/static")),
            rule(&[0], &["*.com"], exact("/robots.txt")),
            rule(&[0], &[], prefix("/")),
        ];
        let router = Router::build(&rules, 1).expect("no conflict");
        for (host, path, route) in [
            ("a.example.com", "/api/x", 0),
            ("a.example.com", "/static/x", 1),
            ("a.example.com", "/robots.txt", 2),
            ("a.example.com", "/", 3),
            ("a.example.com", "", 3),
            ("b.example.com", "/api/x", 3),
            ("example.com", "/robots.txt", 2),
            ("example.org", "/robots.txt", 3),
        ] {
            assert_eq!(router.route(0, host.as_bytes(), path.as_bytes()), Some(route), "{host} {path}");
        }
    }

    #[test]
    fn a_more_specific_host_wins_over_a_longer_path() {
        let rules = [rule(&[0], &["a"], prefix("/")), rule(&[0], &[], exact("/x/y"))];
        let router = Router::build(&rules, 1).expect("no conflict");
        assert_eq!(router.route(0, b"a", b"/x/y"), Some(0));
        assert_eq!(router.route(0, b"b", b"/x/y"), Some(1));
    }

    #[test]
    fn listeners_are_apart() {
        let rules =
            [rule(&[0, 2], &[], prefix("/")), rule(&[1], &[], prefix("/")), rule(&[], &[], prefix("/"))];
        let router = Router::build(&rules, 4).expect("no conflict");
        let seen: Vec<_> = (0..5).map(|listener| router.route(listener, b"a", b"/")).collect();
        assert_eq!(seen, [Some(0), Some(1), Some(0), None, None]);
    }

    #[test]
    fn no_rules_no_route() {
        assert_eq!(Router::default().route(0, b"a", b"/"), None);
        assert_eq!(Router::build(&[], 1).expect("no conflict").route(0, b"a", b"/"), None);
    }

    #[test]
    fn an_empty_path_is_the_root() {
        let router = Router::build(&[rule(&[0], &[], exact("/"))], 1).expect("no conflict");
        assert_eq!(router.route(0, b"", b""), Some(0));
    }

    #[test]
    fn reports_every_conflict_once() {
        let rules = [
            rule(&[0, 1], &["a", "b"], prefix("/x")),
            rule(&[0, 1], &["B", "a"], prefix("/x/")),
            rule(&[1], &["a"], exact("/x")),
            rule(&[1], &["a"], prefix("/x")),
            rule(&[0], &[], prefix("/")),
            rule(&[0], &[], prefix("/")),
        ];
        let conflicts = Router::build(&rules, 2).expect_err("conflicts");
        let conflict = |first, second, listener| Conflict { first, second, listener };
        assert_eq!(conflicts, [conflict(0, 1, 0), conflict(0, 1, 1), conflict(0, 3, 1), conflict(4, 5, 0)]);
    }

    #[test]
    fn a_rule_is_not_in_conflict_with_itself_nor_with_other_patterns() {
        let rules = [
            rule(&[0, 0], &["a", "A"], prefix("/")),
            rule(&[0], &["a"], exact("/")),
            rule(&[0], &["*.a"], prefix("/")),
            rule(&[0], &[], prefix("/")),
            rule(&[1], &["a"], prefix("/")),
        ];
        assert!(Router::build(&rules, 2).is_ok());
    }

    #[test]
    fn ten_thousand_rules_are_all_found() {
        let rules: Vec<Rule> = (0..10_000)
            .map(|n| rule(&[0], &[&format!("h{}.example.com", n % 100)], prefix(&format!("/t/{}", n / 100))))
            .collect();
        let router = Router::build(&rules, 1).expect("no conflict");
        for n in 0..10_000 {
            let host = format!("H{}.example.com:80", n % 100);
            let path = format!("/t/{}/x", n / 100);
            assert_eq!(router.route(0, host.as_bytes(), path.as_bytes()), Some(n));
        }
    }
}
