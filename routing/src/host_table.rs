//! The rules of one listener, found by host.

use crate::cell::{Entry, Search};
use crate::conditions::Compiled;
use crate::host::{HostBuffer, comparable};
use crate::key::KeyMap;
use crate::path_table::PathTable;
use crate::scratch::Patterns;
use crate::{HostPattern, PathPattern};

/// The routes of one listener.
#[derive(Debug, Default)]
pub(crate) struct HostTable {
    exact: KeyMap<PathTable>,
    /// By suffix, without the leading dot.
    wildcards: KeyMap<PathTable>,
    /// No wildcard's suffix has more labels.
    wildcard_labels_max: usize,
    regexes: Vec<(usize, PathTable)>,
    any: PathTable,
    kind: Kind,
}

/// How much a search has to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Rules have no more than a host and a path, and no regexes.
    #[default]
    Plain,
    /// The most specific host and path have the best rule.
    Ordered,
    /// Some rule has a priority, so that they need not have it.
    Prioritised,
}

impl HostTable {
    /// Adds a rule behind all that go before it; `host` is `None` for any.
    pub(crate) fn push(
        &mut self,
        host: Option<&HostPattern>,
        path: &PathPattern,
        entry: Entry,
        patterns: &mut Patterns,
    ) {
        let paths = match host {
            None => &mut self.any,
            Some(HostPattern::Exact(name)) => self.exact.entry(name.as_bytes().into()).or_default(),
            Some(HostPattern::Wildcard(suffix)) => {
                self.wildcard_labels_max = self.wildcard_labels_max.max(suffix.split('.').count());
                self.wildcards.entry(suffix.as_bytes().into()).or_default()
            }
            Some(HostPattern::Regex(regex)) => {
                let pattern = patterns.add(regex);
                let known = self.regexes.iter().position(|(known, _)| *known == pattern);
                let at = known.unwrap_or_else(|| {
                    self.regexes.push((pattern, PathTable::default()));
                    self.regexes.len() - 1
                });
                &mut self.regexes[at].1
            }
        };
        paths.push(path, entry, patterns);
    }

    /// After the last rule.
    pub(crate) fn index(&mut self, conditions: &[Compiled], kind: Kind) {
        self.kind = kind;
        let named = self.exact.values_mut().chain(self.wildcards.values_mut());
        let tables = named.chain(self.regexes.iter_mut().map(|(_, paths)| paths)).chain([&mut self.any]);
        tables.for_each(|paths| paths.index(conditions));
    }

    /// Whether [`Self::plain_route`] will do.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.kind == Kind::Plain
    }

    /// The route for a host and a path among plain rules: the same as by [`Self::visit`], for less.
    #[inline]
    pub(crate) fn plain_route(&self, host: &[u8], path: &[u8]) -> Option<u32> {
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return self.any.plain_route(path);
        }
        let mut buffer: HostBuffer = [0; size_of::<HostBuffer>()];
        let named = comparable(host, &mut buffer).and_then(|name| {
            let exact = self.exact.get(name).and_then(|paths| paths.plain_route(path));
            exact.or_else(|| self.plain_wildcard_route(name, path))
        });
        named.or_else(|| self.any.plain_route(path))
    }

    fn plain_wildcard_route(&self, name: &[u8], path: &[u8]) -> Option<u32> {
        let mut next = longest_suffix(name, self.wildcard_labels_max);
        while let Some(suffix) = next {
            if let Some(route) = self.wildcards.get(suffix).and_then(|paths| paths.plain_route(path)) {
                return Some(route);
            }
            next = after_first_dot(suffix);
        }
        None
    }

    /// Visits the rules for the host of a request, the most specific host first.
    #[inline]
    pub(crate) fn visit(&self, search: &mut Search<'_>) {
        search.is_exhaustive = self.kind == Kind::Prioritised;
        if !self.exact.is_empty() || !self.wildcards.is_empty() || !self.regexes.is_empty() {
            let mut buffer: HostBuffer = [0; size_of::<HostBuffer>()];
            if let Some(name) = comparable(search.request.host, &mut buffer) {
                self.visit_named(name, search);
                if search.is_settled() {
                    return;
                }
            }
        }
        self.any.visit(search);
    }

    fn visit_named(&self, name: &[u8], search: &mut Search<'_>) {
        if let Some(paths) = self.exact.get(name) {
            paths.visit(search);
            if search.is_settled() {
                return;
            }
        }
        if !self.wildcards.is_empty() {
            self.visit_wildcards(name, search);
            if search.is_settled() {
                return;
            }
        }
        if !self.regexes.is_empty() {
            self.visit_regexes(name, search);
        }
    }

    fn visit_wildcards(&self, name: &[u8], search: &mut Search<'_>) {
        let mut next = longest_suffix(name, self.wildcard_labels_max);
        while let Some(suffix) = next {
            if let Some(paths) = self.wildcards.get(suffix) {
                paths.visit(search);
                if search.is_settled() {
                    return;
                }
            }
            next = after_first_dot(suffix);
        }
    }

    /// One regex is as specific as another: their rules' ranks decide.
    fn visit_regexes(&self, name: &[u8], search: &mut Search<'_>) {
        search.is_exhaustive = true;
        for (pattern, paths) in &self.regexes {
            if search.finds(*pattern, name) {
                paths.visit(search);
            }
        }
        search.is_exhaustive = self.kind == Kind::Prioritised;
    }
}

/// The longest proper suffix of whole labels that has at most so many of them; the label before it is not empty.
fn longest_suffix(name: &[u8], labels_max: usize) -> Option<&[u8]> {
    let proper = match name.strip_prefix(b".") {
        Some(rest) => after_first_dot(rest)?,
        None => after_first_dot(name)?,
    };
    let dots = proper.iter().enumerate().rev().filter(|&(_, &byte)| byte == b'.');
    match dots.map(|(at, _)| at).nth(labels_max.checked_sub(1)?) {
        Some(dot) => proper.get(dot + 1..),
        None => Some(proper),
    }
}

fn after_first_dot(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().position(|&byte| byte == b'.')?;
    name.get(dot + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Router, Rule, fixtures};

    /// A router for the root of each host.
    struct Table(Router);

    impl Table {
        fn route(&self, host: &[u8], path: &[u8]) -> Option<usize> {
            fixtures::routed(&self.0, 0, host, path)
        }
    }

    fn table(hosts: &[&str]) -> Table {
        let root = PathPattern::prefix("/").expect("a valid prefix");
        let hosts = hosts.iter().map(|host| match host.strip_prefix('~') {
            None if *host == "any" => vec![],
            None => vec![HostPattern::parse(host).expect("a valid host")],
            Some(regex) => vec![HostPattern::regex(regex).expect("a valid regex")],
        });
        let rules: Vec<Rule> = hosts.map(|hosts| Rule::new(vec![0], hosts, root.clone())).collect();
        Table(Router::build(&rules, 1).expect("patterns differ"))
    }

    #[test]
    fn exact_then_longest_wildcard_then_any() {
        let table = table(&["any", "*.com", "*.example.com", "*.b.example.com", "a.b.example.com", "[::1]"]);
        for (host, route) in [
            ("a.b.example.com", 4),
            ("A.B.Example.Com.:80", 4),
            ("c.b.example.com", 3),
            ("d.c.b.example.com", 3),
            ("z.y.x.w.v.d.c.b.example.com", 3),
            ("b.example.com", 2),
            ("x.example.com", 2),
            ("example.com", 1),
            ("com", 0),
            (".com", 0),
            ("..com", 1),
            ("org", 0),
            ("", 0),
            ("[0::1]:80", 5),
            ("[::2]", 0),
            ("user@x.example.com", 0),
        ] {
            assert_eq!(table.route(host.as_bytes(), b"/"), Some(route), "{host}");
        }
    }

    #[test]
    fn a_wildcard_needs_a_label_before_its_suffix() {
        let table = table(&["*.example.com"]);
        for host in ["example.com", ".example.com", "xexample.com", "example.com.org", "com", "."] {
            assert_eq!(table.route(host.as_bytes(), b"/"), None, "{host}");
        }
        assert_eq!(table.route(b"x.example.com", b"/"), Some(0));
    }

    #[test]
    fn longest_suffix_counts_labels() {
        for (name, labels_max, suffix) in [
            ("a.b.c.d", 9, Some("b.c.d")),
            ("a.b.c.d", 3, Some("b.c.d")),
            ("a.b.c.d", 2, Some("c.d")),
            ("a.b.c.d", 1, Some("d")),
            ("a.b.c.d", 0, None),
            ("a", 1, None),
            ("", 1, None),
        ] {
            let seen = longest_suffix(name.as_bytes(), labels_max);
            assert_eq!(seen, suffix.map(str::as_bytes), "{name} {labels_max}");
        }
    }

    #[test]
    fn a_host_too_long_for_a_name_matches_only_any() {
        let host = format!("{}.example.com", "a".repeat(256));
        assert_eq!(table(&["*.example.com", "any"]).route(host.as_bytes(), b"/"), Some(1));
        assert_eq!(table(&["*.example.com"]).route(host.as_bytes(), b"/"), None);
    }

    #[test]
    fn regexes_come_after_wildcards_and_before_any() {
        let table =
            table(&["any", "~^shop[0-9]+\\.Example$", "~shop", "*.shop.example", "shop9.example", "~\\[::"]);
        for (host, route) in [
            ("shop9.example", 4),
            ("SHOP8.example:80", 1),
            ("shop8.example.", 1),
            ("a.shop8.example", 2),
            ("a.shop.example", 3),
            ("a.example", 0),
            ("[::1]", 5),
            ("shop@a", 0),
        ] {
            assert_eq!(table.route(host.as_bytes(), b"/"), Some(route), "{host}");
        }
    }
}
