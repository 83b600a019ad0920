//! The rules of one host pattern, found by path.

use crate::PathPattern;
use crate::key::KeyMap;

/// The routes of one host pattern.
#[derive(Debug, Default)]
pub(crate) struct PathTable {
    exact: KeyMap<usize>,
    /// No exact path is longer.
    exact_bytes_max: usize,
    /// Without the root prefix.
    prefixes: KeyMap<usize>,
    /// No prefix is longer.
    prefix_bytes_max: usize,
    /// No prefix has more segments.
    prefix_segments_max: usize,
    root: Option<usize>,
}

impl PathTable {
    /// Adds a route.
    ///
    /// # Errors
    ///
    /// The route that holds this pattern already; the table stays as it was.
    pub(crate) fn insert(&mut self, pattern: &PathPattern, route: usize) -> Result<(), usize> {
        match pattern {
            PathPattern::Exact(path) => {
                insert_new(&mut self.exact, path, route)?;
                self.exact_bytes_max = self.exact_bytes_max.max(path.len());
            }
            PathPattern::Prefix(path) => {
                // Only a pattern made by hand still ends in a slash here.
                let path = path.trim_end_matches('/');
                if path.is_empty() {
                    return match self.root {
                        Some(holder) => Err(holder),
                        None => {
                            self.root = Some(route);
                            Ok(())
                        }
                    };
                }
                insert_new(&mut self.prefixes, path, route)?;
                let segments = path.bytes().filter(|&byte| byte == b'/').count();
                self.prefix_bytes_max = self.prefix_bytes_max.max(path.len());
                self.prefix_segments_max = self.prefix_segments_max.max(segments);
            }
        }
        Ok(())
    }

    /// The route for a path: exact, else the longest prefix by whole segments.
    pub(crate) fn route(&self, path: &[u8]) -> Option<usize> {
        if path.len() <= self.exact_bytes_max
            && let Some(&route) = self.exact.get(path)
        {
            return Some(route);
        }
        self.longest_prefix(path).or(self.root)
    }

    fn longest_prefix(&self, path: &[u8]) -> Option<usize> {
        let mut candidate = self.longest_candidate(path);
        while !candidate.is_empty() {
            if let Some(&route) = self.prefixes.get(candidate) {
                return Some(route);
            }
            let parent = candidate.iter().rposition(|&byte| byte == b'/')?;
            candidate = &candidate[..parent];
        }
        None
    }

    /// The longest run of whole segments at the start of the path that could be a prefix here, so that a path of many
    /// or long segments costs no more than the configured prefixes.
    fn longest_candidate<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        if path.len() <= self.prefix_bytes_max {
            return first_segments(path, self.prefix_segments_max);
        }
        // One byte more than the longest prefix, to see whether a segment ends there.
        let seen = &path[..=self.prefix_bytes_max];
        let whole = seen.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        first_segments(&seen[..whole], self.prefix_segments_max)
    }
}

/// At most so many segments of a path, without the slash after the last one.
fn first_segments(path: &[u8], segments_max: usize) -> &[u8] {
    let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
    match slashes.map(|(at, _)| at).nth(segments_max) {
        Some(end) => &path[..end],
        None => path,
    }
}

fn insert_new(map: &mut KeyMap<usize>, path: &str, route: usize) -> Result<(), usize> {
    match map.get(path.as_bytes()) {
        Some(&holder) => Err(holder),
        None => {
            map.insert(path.as_bytes().into(), route);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[PathPattern]) -> PathTable {
        let mut table = PathTable::default();
        for (route, pattern) in patterns.iter().enumerate() {
            table.insert(pattern, route).expect("patterns differ");
        }
        table
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

    #[test]
    fn names_the_holder_of_a_pattern() {
        let mut table = table(&[prefix("/"), prefix("/a"), exact("/a")]);
        assert_eq!(table.insert(&prefix("/"), 7), Err(0));
        assert_eq!(table.insert(&prefix("/a/"), 7), Err(1));
        assert_eq!(table.insert(&exact("/a"), 7), Err(2));
        assert_eq!(table.route(b"/a"), Some(2));
    }
}
