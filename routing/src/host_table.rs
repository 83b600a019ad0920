//! The rules of one listener, found by host.

use crate::host::{HostBuffer, comparable};
use crate::key::KeyMap;
use crate::path_table::PathTable;
use crate::{HostPattern, PathPattern};

/// The routes of one listener.
#[derive(Debug, Default)]
pub(crate) struct HostTable {
    exact: KeyMap<PathTable>,
    /// By suffix, without the leading dot.
    wildcards: KeyMap<PathTable>,
    /// No wildcard's suffix has more labels.
    wildcard_labels_max: usize,
    any: PathTable,
}

impl HostTable {
    /// Adds a route; `host` is `None` for any.
    ///
    /// # Errors
    ///
    /// The route that holds this pair of patterns already; the table stays as it was.
    pub(crate) fn insert(
        &mut self,
        host: Option<&HostPattern>,
        path: &PathPattern,
        route: usize,
    ) -> Result<(), usize> {
        let paths = match host {
            None => &mut self.any,
            Some(HostPattern::Exact(name)) => self.exact.entry(name.as_bytes().into()).or_default(),
            Some(HostPattern::Wildcard(suffix)) => {
                self.wildcard_labels_max = self.wildcard_labels_max.max(suffix.split('.').count());
                self.wildcards.entry(suffix.as_bytes().into()).or_default()
            }
        };
        paths.insert(path, route)
    }

    /// The route for a host and a path, from the most specific host that has one.
    pub(crate) fn route(&self, host: &[u8], path: &[u8]) -> Option<usize> {
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return self.any.route(path);
        }
        let mut buffer: HostBuffer = [0; size_of::<HostBuffer>()];
        let named = comparable(host, &mut buffer).and_then(|name| {
            let exact = self.exact.get(name).and_then(|paths| paths.route(path));
            exact.or_else(|| self.wildcard_route(name, path))
        });
        named.or_else(|| self.any.route(path))
    }

    fn wildcard_route(&self, name: &[u8], path: &[u8]) -> Option<usize> {
        let mut suffix = longest_suffix(name, self.wildcard_labels_max)?;
        loop {
            if let Some(route) = self.wildcards.get(suffix).and_then(|paths| paths.route(path)) {
                return Some(route);
            }
            suffix = after_first_dot(suffix)?;
        }
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

    fn table(hosts: &[&str]) -> HostTable {
        let mut table = HostTable::default();
        let root = PathPattern::prefix("/").expect("a valid prefix");
        for (route, host) in hosts.iter().enumerate() {
            let pattern = (*host != "any").then(|| HostPattern::parse(host).expect("a valid host"));
            table.insert(pattern.as_ref(), &root, route).expect("patterns differ");
        }
        table
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
}
