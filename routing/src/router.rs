//! All rules of a configuration, indexed once.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ops::Range;

use regex_automata::util::primitives::NonMaxUsize;

use crate::cell::{Entry, Search};
use crate::conditions::{Compiled, Conditions};
use crate::host_table::{HostTable, Kind};
use crate::scratch::{Patterns, Scratch};
use crate::{HostPattern, PathPattern, Request};

/// What a request must look like to take a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The listeners that it holds for, by index; with none it never matches.
    pub listeners: Vec<usize>,
    /// The hosts that it holds for; empty: any.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// What else.
    pub conditions: Conditions,
    /// Goes before every rule with a lower one. Usually 0.
    pub priority: i32,
}

/// Two rules that can never be told apart: the same listener, the same host pattern, the same path pattern, the same
/// conditions, the same priority.
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
    conditions: Vec<Compiled>,
    patterns: Patterns,
    rules: Vec<Rule>,
}

impl Rule {
    /// A rule without further conditions.
    #[must_use]
    pub fn new(listeners: Vec<usize>, hosts: Vec<HostPattern>, path: PathPattern) -> Self {
        Self { listeners, hosts, path, conditions: Conditions::default(), priority: 0 }
    }

    /// What a search among rules like it has to look at.
    fn kind(&self) -> Kind {
        let has_regex = matches!(self.path, PathPattern::Regex(_))
            || self.hosts.iter().any(|host| matches!(host, HostPattern::Regex(_)));
        match self.priority {
            0 if self.conditions.is_empty() && !has_regex => Kind::Plain,
            0 => Kind::Ordered,
            _ => Kind::Prioritised,
        }
    }

    /// Its hosts, `None` for any.
    pub(crate) fn hosts_or_any(&self) -> impl Iterator<Item = Option<&HostPattern>> {
        let any = self.hosts.is_empty().then_some(None);
        self.hosts.iter().map(Some).chain(any)
    }

    /// Where it stands among rules, the least first, under one of its hosts; `index` is its own.
    pub(crate) fn precedence(&self, host: Option<&HostPattern>, index: usize) -> impl Ord + use<> {
        let host = match host {
            Some(HostPattern::Exact(_)) => (0, Reverse(0)),
            Some(HostPattern::Wildcard(suffix)) => (1, Reverse(suffix.len())),
            Some(HostPattern::Regex(_)) => (2, Reverse(0)),
            None => (3, Reverse(0)),
        };
        let path = match &self.path {
            PathPattern::Exact(_) => (0, Reverse(0)),
            PathPattern::Regex(_) => (1, Reverse(0)),
            PathPattern::Prefix(prefix) => (2, Reverse(prefix.trim_end_matches('/').len())),
        };
        let Conditions { methods, headers, queries, cookies, clients, tls } = &self.conditions;
        let named = (
            methods.is_empty(),
            Reverse(headers.len()),
            Reverse(queries.len()),
            Reverse(cookies.len()),
            clients.is_empty(),
            tls.is_none(),
        );
        (Reverse(self.priority), host, path, named, index)
    }
}

impl Router {
    /// Indexes the rules; a rule's place in the slice is the index of its route. Memory is one key and one table entry
    /// for each listener and host of each rule, and at most some 64 KiB for each regex.
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
        let places = places(rules)?;
        let mut router = Self::default();
        let conditions: Vec<u32> = rules.iter().map(|rule| router.compile(&rule.conditions)).collect();
        router.listeners.resize_with(listeners, HostTable::default);
        let mut kinds = vec![Kind::default(); listeners];
        for (rank, place) in places.iter().enumerate() {
            let rule = &rules[place.rule];
            kinds[place.listener] = kinds[place.listener].max(rule.kind());
            let entry =
                Entry { rank: number(rank), route: number(place.rule), conditions: conditions[place.rule] };
            router.listeners[place.listener].push(place.host, &rule.path, entry, &mut router.patterns);
        }
        for (table, kind) in router.listeners.iter_mut().zip(kinds) {
            table.index(&router.conditions, kind);
        }
        router.rules = rules.to_vec();
        Ok(router)
    }

    /// The rules that it was built from.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What a worker needs besides to use it.
    #[must_use]
    pub fn scratch(&self) -> Scratch {
        Scratch::default()
    }

    /// The route for a request, if any.
    #[inline]
    pub fn route(&self, request: &Request<'_>, scratch: &mut Scratch) -> Option<usize> {
        let table = self.listeners.get(request.listener)?;
        let path = request.path_or_root();
        if table.is_plain() {
            return table.plain_route(request.host, path).map(|route| route as usize);
        }
        self.search(table, path, request, scratch)
    }

    /// Apart, so that what it needs is not set up for plain rules.
    #[inline(never)]
    fn search(
        &self,
        table: &HostTable,
        path: &[u8],
        request: &Request<'_>,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        let mut search = Search {
            request,
            path,
            conditions: &self.conditions,
            patterns: &self.patterns,
            scratch,
            is_exhaustive: false,
            best: None,
        };
        table.visit(&mut search);
        search.best.map(|entry| entry.route as usize)
    }

    /// What the groups of a route's path regex are in a path; nothing for a route without one, or a path that it does not
    /// match. Searches once more: only for routes that use what they find.
    pub fn captures<'s>(&self, route: usize, path: &[u8], scratch: &'s mut Scratch) -> Captures<'s> {
        let path = if path.is_empty() { b"/" } else { path };
        let number = match self.rules.get(route).map(|rule| &rule.path) {
            Some(PathPattern::Regex(pattern)) => self.patterns.number(pattern),
            _ => None,
        };
        match number {
            Some(number) if self.patterns.capture(number, path, scratch) => {
                Captures { slots: &scratch.slots }
            }
            _ => Captures { slots: &[] },
        }
    }

    fn compile(&mut self, conditions: &Conditions) -> u32 {
        if conditions.is_empty() {
            return Entry::PLAIN;
        }
        let compiled = Compiled::new(conditions, &mut self.patterns);
        self.conditions.push(compiled);
        number(self.conditions.len() - 1)
    }
}

/// What the groups of a regex are, as ranges of the path.
#[derive(Debug)]
pub struct Captures<'s> {
    slots: &'s [Option<NonMaxUsize>],
}

impl Captures<'_> {
    /// A group's, by its number ([`PathPattern::group`]); 0 is all that the regex matched. `None` if it took no part.
    #[must_use]
    pub fn get(&self, group: usize) -> Option<Range<usize>> {
        let slot = |slot: usize| self.slots.get(slot).copied().flatten().map(|at| at.get());
        Some(slot(group.checked_mul(2)?)?..slot(group * 2 + 1)?)
    }
}

/// A rule on one of its listeners under one of its hosts.
struct Place<'r> {
    listener: usize,
    host: Option<&'r HostPattern>,
    rule: usize,
}

/// All of them, in the order of precedence; each listener, host and rule once.
#[allow(clippy::mutable_key_type, reason = "a pattern is compared by its text alone")]
fn places(rules: &[Rule]) -> Result<Vec<Place<'_>>, Vec<Conflict>> {
    let sorted: Vec<Conditions> = rules.iter().map(|rule| rule.conditions.sorted()).collect();
    let mut holders = HashMap::new();
    let mut places = Vec::new();
    let mut conflicts = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        for &listener in &rule.listeners {
            for host in rule.hosts_or_any() {
                let key = (listener, host, &rule.path, &sorted[index], rule.priority);
                match holders.entry(key) {
                    Slot::Vacant(slot) => {
                        slot.insert(index);
                        places.push(Place { listener, host, rule: index });
                    }
                    // A rule that names a host or a listener twice is not at odds with itself.
                    Slot::Occupied(slot) => {
                        let first = *slot.get();
                        if first != index {
                            conflicts.push(Conflict { first, second: index, listener });
                        }
                    }
                }
            }
        }
    }
    if !conflicts.is_empty() {
        conflicts.sort_unstable_by_key(|conflict| (conflict.first, conflict.second, conflict.listener));
        conflicts.dedup();
        return Err(conflicts);
    }
    places.sort_by_cached_key(|place| rules[place.rule].precedence(place.host, place.rule));
    Ok(places)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a file has no 4 billion rules")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::{Condition, Test};
    use crate::fixtures::{get, head, routed};
    use crate::pattern::{Case, Pattern};

    fn rule(listeners: &[usize], hosts: &[&str], path: PathPattern) -> Rule {
        let hosts = hosts.iter().map(|host| HostPattern::parse(host).expect("a valid host")).collect();
        Rule::new(listeners.to_vec(), hosts, path)
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
            assert_eq!(routed(&router, 0, host.as_bytes(), path.as_bytes()), Some(route), "{host} {path}");
        }
    }

    #[test]
    fn a_more_specific_host_wins_over_a_longer_path() {
        let rules = [rule(&[0], &["a"], prefix("/")), rule(&[0], &[], exact("/x/y"))];
        let router = Router::build(&rules, 1).expect("no conflict");
        assert_eq!(routed(&router, 0, b"a", b"/x/y"), Some(0));
        assert_eq!(routed(&router, 0, b"b", b"/x/y"), Some(1));
    }

    #[test]
    fn listeners_are_apart() {
        let rules =
            [rule(&[0, 2], &[], prefix("/")), rule(&[1], &[], prefix("/")), rule(&[], &[], prefix("/"))];
        let router = Router::build(&rules, 4).expect("no conflict");
        let seen: Vec<_> = (0..5).map(|listener| routed(&router, listener, b"a", b"/")).collect();
        assert_eq!(seen, [Some(0), Some(1), Some(0), None, None]);
    }

    #[test]
    fn no_rules_no_route() {
        assert_eq!(routed(&Router::default(), 0, b"a", b"/"), None);
        assert_eq!(routed(&Router::build(&[], 1).expect("no conflict"), 0, b"a", b"/"), None);
    }

    #[test]
    fn an_empty_path_is_the_root() {
        let router = Router::build(&[rule(&[0], &[], exact("/"))], 1).expect("no conflict");
        assert_eq!(routed(&router, 0, b"", b""), Some(0));
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
            assert_eq!(routed(&router, 0, host.as_bytes(), path.as_bytes()), Some(n));
        }
    }

    fn exact_value(name: &str, value: &str) -> Condition {
        Condition { name: name.into(), test: Test::Exact(value.into()) }
    }

    /// A rule for any host and path with conditions.
    fn with(conditions: Conditions) -> Rule {
        Rule { conditions, ..rule(&[0], &[], prefix("/")) }
    }

    #[test]
    fn each_condition_is_asked() {
        let test = |name: &str, test| vec![Condition { name: name.into(), test }];
        let regex = |text| Test::Regex(Pattern::new(text, Case::Sensitive).expect("a regex"));
        let none = Conditions::default;
        let (parsed, bytes) = head(
            "POST /?v=a%20b&w HTTP/1.1",
            &["Host: h", "X-Env: beta", "X-Two: 1", "Cookie: c=1; d=", "x-two: 2"],
        );
        let client = Some("::ffff:10.1.2.3".parse().expect("an address"));
        let request = Request { client, ..get(&parsed, &bytes) };
        let clients = |text: &str| Conditions { clients: vec![text.parse().expect("a network")], ..none() };
        for (conditions, expected) in [
            (Conditions { methods: vec!["GET".into(), "POST".into()], ..none() }, true),
            (Conditions { methods: vec!["post".into(), "PURGE".into()], ..none() }, false),
            (Conditions { headers: vec![exact_value("x-env", "beta")], ..none() }, true),
            (Conditions { headers: vec![exact_value("x-env", "Beta")], ..none() }, false),
            (Conditions { headers: vec![exact_value("x-two", "1, 2")], ..none() }, true),
            (Conditions { headers: vec![exact_value("x-two", "1")], ..none() }, false),
            (Conditions { headers: test("X-Env", regex("^be")), ..none() }, true),
            (Conditions { headers: test("X-Env", regex("^e")), ..none() }, false),
            (Conditions { headers: test("X-Other", regex(".*")), ..none() }, false),
            (Conditions { headers: test("x-env", Test::Present), ..none() }, true),
            (Conditions { headers: test("x-env", Test::Absent), ..none() }, false),
            (Conditions { headers: test("x-other", Test::Absent), ..none() }, true),
            (Conditions { queries: vec![exact_value("v", "a b")], ..none() }, true),
            (Conditions { queries: vec![exact_value("V", "a b")], ..none() }, false),
            (Conditions { queries: test("w", Test::Present), ..none() }, true),
            (Conditions { queries: test("v", regex("^a b$")), ..none() }, true),
            (Conditions { cookies: vec![exact_value("c", "1"), exact_value("d", "")], ..none() }, true),
            (Conditions { cookies: vec![exact_value("c", "1"), exact_value("d", "1")], ..none() }, false),
            (clients("10.0.0.0/8"), true),
            (clients("11.0.0.0/8"), false),
            (Conditions { tls: Some(false), ..none() }, true),
            (Conditions { tls: Some(true), ..none() }, false),
        ] {
            let router = Router::build(&[with(conditions.clone())], 1).expect("one rule");
            let found = router.route(&request, &mut router.scratch());
            assert_eq!(found.is_some(), expected, "{conditions:?}");
        }
        let router = Router::build(&[with(clients("0.0.0.0/0"))], 1).expect("one rule");
        let request = Request { client: None, ..request };
        assert_eq!(router.route(&request, &mut router.scratch()), None, "a Unix socket has no address");
    }

    #[test]
    fn more_conditions_go_first_and_then_the_order_of_the_file() {
        let none = Conditions::default;
        let a = || exact_value("a", "1");
        let network = || "10.0.0.0/8".parse().expect("a network");
        let rules: Vec<Rule> = [
            none(),
            Conditions { tls: Some(false), ..none() },
            Conditions { clients: vec![network()], ..none() },
            Conditions { cookies: vec![a()], ..none() },
            Conditions { queries: vec![a()], ..none() },
            Conditions { headers: vec![a()], ..none() },
            Conditions { headers: vec![a(), exact_value("b", "1")], ..none() },
            Conditions { methods: vec!["GET".into()], ..none() },
            Conditions { methods: vec!["GET".into(), "HEAD".into()], ..none() },
        ]
        .into_iter()
        .map(with)
        .collect();
        let (parsed, bytes) = head("GET /?a=1 HTTP/1.1", &["a: 1", "b: 1", "cookie: a=1"]);
        let client = Some("10.0.0.1".parse().expect("an address"));
        let mut left: Vec<usize> = (0..rules.len()).collect();
        let mut order = Vec::new();
        // Each time without the one that was found.
        while !left.is_empty() {
            let some: Vec<Rule> = left.iter().map(|&index| rules[index].clone()).collect();
            let router = Router::build(&some, 1).expect("no conflict");
            let found = router.route(&Request { client, ..get(&parsed, &bytes) }, &mut router.scratch());
            order.push(left.remove(found.expect("every one matches")));
        }
        assert_eq!(order, [7, 8, 6, 5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn priority_goes_before_everything() {
        let mut rules = vec![
            rule(&[0], &["a.example"], exact("/x")),
            rule(&[0], &[], prefix("/")),
            rule(&[0], &["*.example"], prefix("/x")),
            rule(&[0], &[], prefix("/")),
        ];
        rules[1].priority = 1;
        rules[2].priority = -1;
        let router = Router::build(&rules, 1).expect("priorities tell them apart");
        assert_eq!(routed(&router, 0, b"a.example", b"/x"), Some(1));
        rules[1].priority = -2;
        let router = Router::build(&rules, 1).expect("priorities tell them apart");
        assert_eq!(routed(&router, 0, b"a.example", b"/x"), Some(0));
        assert_eq!(routed(&router, 0, b"b.example", b"/x"), Some(3));
    }

    #[test]
    fn conflicts_are_about_conditions_too() {
        let conditions = |names: &[&str]| Conditions {
            headers: names.iter().map(|name| exact_value(name, "1")).collect(),
            ..Conditions::default()
        };
        let same = [with(conditions(&["a", "b"])), with(conditions(&["B", "A"]))];
        assert!(Router::build(&same, 1).is_err());
        let differing = [with(conditions(&["a", "b"])), with(conditions(&["a"])), with(conditions(&[]))];
        assert!(Router::build(&differing, 1).is_ok());
    }

    #[test]
    fn many_rules_of_one_path_are_found_by_their_values() {
        let condition = |n: usize| match n % 3 {
            0 => {
                Conditions { headers: vec![exact_value("X-Tenant", &n.to_string())], ..Conditions::default() }
            }
            1 => Conditions { queries: vec![exact_value("t", &n.to_string())], ..Conditions::default() },
            _ => Conditions { cookies: vec![exact_value("t", &n.to_string())], ..Conditions::default() },
        };
        let rules: Vec<Rule> =
            (0..999).map(|n| with(condition(n))).chain([with(Conditions::default())]).collect();
        let router = Router::build(&rules, 1).expect("no conflict");
        let scratch = &mut router.scratch();
        for n in 0..999 {
            let (line, field) = match n % 3 {
                0 => ("GET / HTTP/1.1".to_owned(), format!("x-tenant: {n}")),
                1 => (format!("GET /?t={n} HTTP/1.1"), "x-tenant: 1".to_owned()),
                _ => ("GET / HTTP/1.1".to_owned(), format!("cookie: t={n}")),
            };
            let (parsed, bytes) = head(&line, &[&field]);
            assert_eq!(router.route(&get(&parsed, &bytes), scratch), Some(n), "{line} {field}");
        }
        let (parsed, bytes) = head("GET /?t=999 HTTP/1.1", &["x-tenant: 0x", "cookie: t=1000"]);
        assert_eq!(router.route(&get(&parsed, &bytes), scratch), Some(999));
    }

    #[test]
    fn captures_what_the_groups_found() {
        let path = PathPattern::regex("^/users/(?<id>[0-9]+)(?<rest>/.*)?$").expect("a regex");
        let group = |name| path.group(name).expect("a group");
        let rules = [rule(&[0], &[], prefix("/")), rule(&[0], &[], path.clone())];
        let router = Router::build(&rules, 1).expect("no conflict");
        let scratch = &mut router.scratch();
        let captures = router.captures(1, b"/users/42", scratch);
        assert_eq!(captures.get(group("id")), Some(7..9));
        assert_eq!((captures.get(group("rest")), captures.get(9)), (None, None));
        assert_eq!(router.captures(1, b"/users/42/x", scratch).get(group("rest")), Some(9..11));
        assert_eq!(router.captures(1, b"/users/x", scratch).get(0), None);
        assert_eq!(router.captures(0, b"/users/42", scratch).get(0), None);
        assert_eq!(path.group("other"), None);
    }
}
