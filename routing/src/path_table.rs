//! The rules of one host pattern, found by path.

use crate::PathPattern;
use crate::cell::{Cell, Entry, Search};
use crate::conditions::Compiled;
use crate::key::KeyMap;
use crate::scratch::Patterns;
use crate::segment_map::SegmentMap;

/// The routes of one host pattern.
#[derive(Debug, Default)]
pub(crate) struct PathTable {
    exact: KeyMap<Cell>,
    /// No exact path is longer.
    exact_bytes_max: usize,
    /// Each under the segments that a path it matches must begin with.
    regexes: Option<Box<SegmentMap<Vec<RegexCell>>>>,
    prefixes: SegmentMap<Cell>,
}

/// The rules of one regex.
#[derive(Debug)]
struct RegexCell {
    pattern: usize,
    cell: Cell,
}

impl PathTable {
    /// Adds a rule behind all that go before it.
    pub(crate) fn push(&mut self, pattern: &PathPattern, entry: Entry, patterns: &mut Patterns) {
        match pattern {
            PathPattern::Exact(path) => {
                self.exact_bytes_max = self.exact_bytes_max.max(path.len());
                self.exact.entry(path.as_bytes().into()).or_default().push(entry);
            }
            PathPattern::Prefix(path) => self.prefixes.entry(path.as_bytes()).push(entry),
            PathPattern::Regex(regex) => {
                let literal = regex.literal();
                let whole = literal.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                let cells = self.regexes.get_or_insert_default().entry(&literal[..whole]);
                let pattern = patterns.add(regex);
                match cells.iter_mut().find(|it| it.pattern == pattern) {
                    Some(it) => it.cell.push(entry),
                    None => {
                        let mut cell = Cell::default();
                        cell.push(entry);
                        cells.push(RegexCell { pattern, cell });
                    }
                }
            }
        }
    }

    /// After the last rule.
    pub(crate) fn index(&mut self, conditions: &[Compiled]) {
        self.exact.values_mut().for_each(|cell| cell.index(conditions));
        self.prefixes.values_mut().for_each(|cell| cell.index(conditions));
        for cells in self.regexes.iter_mut().flat_map(|regexes| regexes.values_mut()) {
            cells.iter_mut().for_each(|it| it.cell.index(conditions));
        }
    }

    /// The route for a path among rules without regexes and conditions: the same as by [`Self::visit`], for less.
    #[inline]
    pub(crate) fn plain_route(&self, path: &[u8]) -> Option<u32> {
        if path.len() <= self.exact_bytes_max
            && let Some(cell) = self.exact.get(path)
        {
            return cell.first();
        }
        let mut found = None;
        self.prefixes.walk(path, |cell| {
            found = cell.first();
            true
        });
        found
    }

    /// Visits the rules for the path of a request: exact, then regexes, then the longest prefix by whole segments.
    #[inline]
    pub(crate) fn visit(&self, search: &mut Search<'_>) {
        let path = search.path;
        if path.len() <= self.exact_bytes_max
            && let Some(cell) = self.exact.get(path)
            && search.visit(cell)
        {
            return;
        }
        if let Some(regexes) = &self.regexes {
            visit_regexes(regexes, search);
            if search.is_settled() {
                return;
            }
        }
        self.prefixes.walk(path, |cell| search.visit(cell));
    }
}

/// A regex goes before another by its rules' ranks alone, so all that match are looked at.
fn visit_regexes(regexes: &SegmentMap<Vec<RegexCell>>, search: &mut Search<'_>) {
    let path = search.path;
    regexes.walk(path, |cells| {
        for it in cells {
            if search.may_improve(&it.cell) && search.finds(it.pattern, path) {
                search.visit(&it.cell);
            }
        }
        false
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Router, Rule, fixtures};

    /// A router for any host.
    struct Table(Router);

    impl Table {
        fn route(&self, path: &[u8]) -> Option<usize> {
            fixtures::routed(&self.0, 0, b"h", path)
        }
    }

    fn table(patterns: &[PathPattern]) -> Table {
        let rules: Vec<Rule> = patterns.iter().map(|path| Rule::new(vec![0], vec![], path.clone())).collect();
        Table(Router::build(&rules, 1).expect("patterns differ"))
    }

    fn prefix(text: &str) -> PathPattern {
        PathPattern::prefix(text).expect("a valid prefix")
    }

    fn exact(text: &str) -> PathPattern {
        PathPattern::exact(text).expect("a valid path")
    }

    #[test]
    fn a_prefix_matches_whole_segments_only() {
        let table = table(&[prefix("/api")]);
        for path in ["/api", "/api/", "/api/x", "/api//x", "/api/x/y/z"] {
            assert_eq!(table.route(path.as_bytes()), Some(0), "{path}");
        }
        for path in ["/apifoo", "/ap", "/", "", "/x/api", "/API", "//api", "/api%2fx", "api", "*"] {
            assert_eq!(table.route(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn exact_comes_before_prefix_and_long_before_short() {
        let table = table(&[
            prefix("/"),
            prefix("/a"),
            prefix("/a/b/c"),
            exact("/a/b"),
            exact("/a/b/c"),
            exact("/a/"),
        ]);
        for (path, route) in [
            ("/", 0),
            ("/x", 0),
            ("*", 0),
            ("/a", 1),
            ("/a/", 5),
            ("/a/x", 1),
            ("/a/b", 3),
            ("/a/b/", 1),
            ("/a/b/x", 1),
            ("/a/b/c", 4),
            ("/a/b/c/", 2),
            ("/a/b/c/d/e/f/g", 2),
            ("/a/b/cd", 1),
        ] {
            assert_eq!(table.route(path.as_bytes()), Some(route), "{path}");
        }
    }

    #[test]
    fn the_longest_and_the_deepest_prefix_need_not_be_the_same() {
        let table = table(&[prefix("/a/b/c/d"), prefix("/a-long-first-segment")]);
        assert_eq!(table.route(b"/a/b/c/d/e"), Some(0));
        assert_eq!(table.route(b"/a-long-first-segment/b/c/d/e"), Some(1));
        assert_eq!(table.route(b"/a-long-first-segment"), Some(1));
        assert_eq!(table.route(b"/a-long-first-segments"), None);
        assert_eq!(table.route(&[b'/'; 70_000]), None);
        assert_eq!(table.route(&[b'a'; 70_000]), None);
    }

    fn regex(text: &str) -> PathPattern {
        PathPattern::regex(text).expect("a valid regex")
    }

    #[test]
    fn regexes_come_after_exact_paths_and_before_prefixes() {
        let table = table(&[
            prefix("/users/admin"),
            exact("/users/1"),
            regex("^/users/[0-9]+$"),
            regex("/[a-z]+$"),
            regex("^/users/(admin|root)"),
            prefix("/"),
        ]);
        for (path, route) in [
            ("/users/1", 1),
            ("/users/2", 2),
            // Two regexes: the order of the file.
            ("/users/admin", 3),
            ("/users/admin/2", 4),
            ("/x/y", 3),
            ("/users/", 5),
            ("/users", 3),
        ] {
            assert_eq!(table.route(path.as_bytes()), Some(route), "{path}");
        }
    }
}
