//! Regular expressions without a lock: each worker searches with a cache of its own.
//!
//! They run in linear time (`regex_automata::meta`), over bytes and without Unicode's tables. A cache grows with the first
//! searches up to its bound.

use std::sync::Arc;

use corelane_semantics::Span;
use regex_automata::Input;
use regex_automata::meta::{Builder, Cache, Config, Regex};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax;

/// Some expressions that are searched for together.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Arc<Regex>,
    /// Where a worker keeps its cache.
    place: usize,
}

/// A worker's caches, and where groups matched.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    caches: Vec<Option<(Arc<Regex>, Cache)>>,
    slots: Vec<Option<NonMaxUsize>>,
}

impl Pattern {
    /// Compiles; `place` is another for every pattern of a configuration.
    pub(crate) fn compile(texts: &[&str], place: usize) -> Result<Self, String> {
        let limits = Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(NFA_BYTES_MAX))
            .hybrid_cache_capacity(CACHE_BYTES_MAX);
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let built = Builder::new().configure(limits).syntax(syntax).build_many(texts);
        let regex = built.map_err(|error| {
            let why = match (error.size_limit(), error.syntax_error()) {
                (Some(_), _) => "larger than 1 MiB when compiled".to_owned(),
                // The last line says what; those before it draw where.
                (_, Some(error)) => error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
                _ => error.to_string(),
            };
            format!("not a regular expression: {}", why.strip_prefix("error: ").unwrap_or(&why))
        })?;
        Ok(Self { regex: Arc::new(regex), place })
    }

    /// The place of a group of the only expression, by its name or number.
    pub(crate) fn group(&self, name: &str) -> Option<usize> {
        let first = regex_automata::PatternID::ZERO;
        let groups = self.regex.group_info();
        match name.parse::<usize>() {
            Ok(number) => (number < groups.group_len(first)).then_some(number),
            Err(_) => groups.to_index(first, name),
        }
    }

    /// Whether any of them is found.
    pub(crate) fn is_match(&self, text: &[u8], caches: &mut Caches) -> bool {
        let (cache, _) = caches.of(self);
        self.regex.search_half_with(cache, &Input::new(text).earliest(true)).is_some()
    }

    /// The groups of the first match of the only expression; group 0 is the match.
    pub(crate) fn groups(&self, text: &[u8], caches: &mut Caches, found: &mut Vec<Option<Span>>) -> bool {
        found.clear();
        let (cache, slots) = caches.of(self);
        slots.clear();
        slots.resize(self.regex.group_info().slot_len(), None);
        if self.regex.search_slots_with(cache, &Input::new(text), slots).is_none() {
            return false;
        }
        found.extend(slots.chunks_exact(2).map(|pair| match pair {
            [Some(start), Some(end)] => Some(Span::new(start.get(), end.get())),
            _ => None,
        }));
        true
    }
}

impl Caches {
    fn of(&mut self, pattern: &Pattern) -> (&mut Cache, &mut Vec<Option<NonMaxUsize>>) {
        if self.caches.len() <= pattern.place {
            self.caches.resize_with(pattern.place + 1, || None);
        }
        let entry = &mut self.caches[pattern.place];
        // A cache of another pattern would be wrong, so it is made anew should a worker mix two configurations.
        if !entry.as_ref().is_some_and(|(regex, _)| Arc::ptr_eq(regex, &pattern.regex)) {
            *entry = None;
        }
        let (_, cache) =
            entry.get_or_insert_with(|| (Arc::clone(&pattern.regex), pattern.regex.create_cache()));
        (cache, &mut self.slots)
    }
}

/// Of one compiled pattern, shared by all workers.
const NFA_BYTES_MAX: usize = 1024 * 1024;

/// Of a pattern's cache on one worker: for a lazy DFA of some hundred states.
const CACHE_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_groups_and_keeps_caches_apart() {
        let one = Pattern::compile(&["^/u/([0-9]+)/(?<rest>.*)$"], 0).unwrap();
        let many = Pattern::compile(&["curl", "^$", "(?i)BOT"], 0).unwrap();
        let (mut caches, mut found) = (Caches::default(), Vec::new());
        for _ in 0..3 {
            assert!(one.groups(b"/u/42/x", &mut caches, &mut found));
            assert_eq!(found, [Some(Span::new(0, 7)), Some(Span::new(3, 5)), Some(Span::new(6, 7))]);
            assert!(!one.groups(b"/u/x/x", &mut caches, &mut found));
            for (text, expected) in [("a curl", true), ("", true), ("robot", true), ("x", false)] {
                assert_eq!(many.is_match(text.as_bytes(), &mut caches), expected, "{text}");
            }
        }
        assert_eq!(
            (one.group("1"), one.group("rest"), one.group("3"), one.group("x")),
            (Some(1), Some(2), None, None)
        );
    }

    #[test]
    fn wrong_and_huge_expressions_are_refused() {
        assert!(Pattern::compile(&["a("], 0).unwrap_err().contains("unclosed group"));
        assert!(Pattern::compile(&["((a{1000}){1000}){1000}"], 0).unwrap_err().contains("1 MiB"));
    }
}
