//! Regular expressions as routes hold them: over bytes, in linear time, of bounded size.

use std::fmt;
use std::hash::{Hash, Hasher};

use regex_automata::meta::{Cache, Config, Regex};
use regex_automata::util::primitives::{NonMaxUsize, PatternID};
use regex_automata::{Input, util::syntax};
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, Look};

use crate::PatternError;

/// A regular expression. It is found anywhere in a text unless `^` and `$` say where.
///
/// `\w`, `\d`, `\s` and `.` are about ASCII, as what arrives is bytes. Two are equal if they are written alike.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    case: Case,
    regex: Regex,
    literal: Box<[u8]>,
}

/// Whether letters in another case match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Case {
    /// They do not.
    Sensitive,
    /// They do, those of ASCII.
    Ignored,
}

/// Bytes of a compiled regex: some 2000 states. A search that no cache speeds up takes a step for each state and byte.
const NFA_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a regex's text.
const TEXT_BYTES_MAX: usize = 4096;

/// Bytes that each of a regex's caches may grow to on one worker; a full one is emptied. A guess that keeps what short
/// texts need.
const CACHE_BYTES_MAX: usize = 64 * 1024;

impl Pattern {
    /// Compiles a regex.
    ///
    /// # Errors
    ///
    /// [`PatternError`] says what the text breaks; the configuration is to be refused.
    pub fn new(text: &str, case: Case) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::RegexEmpty);
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(PatternError::RegexTooLarge);
        }
        let syntax = syntax::Config::new().unicode(false).utf8(false).case_insensitive(case == Case::Ignored);
        let hir = syntax::parse_with(text, &syntax).map_err(|error| syntax_error(&error))?;
        let config = Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(NFA_BYTES_MAX))
            .onepass_size_limit(Some(NFA_BYTES_MAX))
            .hybrid_cache_capacity(CACHE_BYTES_MAX);
        // Whatever the parser took and the compiler does not is too large for it.
        let regex = Regex::builder().configure(config).build_from_hir(&hir);
        let regex = regex.map_err(|_| PatternError::RegexTooLarge)?;
        Ok(Self { text: text.into(), case, regex, literal: literal(&hir).into() })
    }

    /// The regex as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is found in a text. Makes the memory that it needs: for what is rare.
    #[must_use]
    pub fn is_found_in(&self, text: &[u8]) -> bool {
        self.is_match(text, &mut self.cache())
    }

    /// The names of its groups, in order.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.regex.group_info().pattern_names(PatternID::ZERO).flatten()
    }

    /// What every text that it matches begins with; possibly nothing.
    pub(crate) fn literal(&self) -> &[u8] {
        &self.literal
    }

    /// Memory that searches need.
    pub(crate) fn cache(&self) -> Cache {
        self.regex.create_cache()
    }

    /// Slots for the groups.
    pub(crate) fn slots(&self) -> usize {
        self.regex.group_info().slot_len()
    }

    pub(crate) fn is_match(&self, text: &[u8], cache: &mut Cache) -> bool {
        self.regex.search_half_with(cache, &Input::new(text).earliest(true)).is_some()
    }

    /// Where the groups are, a start and an end for each, the whole match first. Whether there is a match.
    pub(crate) fn capture(&self, text: &[u8], cache: &mut Cache, slots: &mut [Option<NonMaxUsize>]) -> bool {
        self.regex.search_slots_with(cache, &Input::new(text), slots).is_some()
    }

    /// The number of a group.
    pub(crate) fn group(&self, name: &str) -> Option<usize> {
        self.regex.group_info().to_index(PatternID::ZERO, name)
    }
}

/// The parser's errors are drawn in several lines; only what they say is kept.
fn syntax_error(error: &regex_syntax::Error) -> PatternError {
    let (what, column) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.column),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span().start.column),
        _ => ("it is not understood".to_owned(), 1),
    };
    PatternError::Regex { what: what.into(), column }
}

fn literal(hir: &Hir) -> Vec<u8> {
    if !hir.properties().look_set_prefix().contains(Look::Start) {
        return Vec::new();
    }
    Extractor::new().extract(hir).longest_common_prefix().unwrap_or_default().to_vec()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.case) == (&other.text, other.case)
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.text, self.case).cmp(&(&other.text, other.case))
    }
}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.text, self.case).hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text, Case::Sensitive).expect(text)
    }

    fn is_match(pattern: &Pattern, text: &[u8]) -> bool {
        pattern.is_match(text, &mut pattern.cache())
    }

    #[test]
    fn matches_anywhere_unless_anchored() {
        assert!(is_match(&pattern("b+"), b"abc"));
        assert!(!is_match(&pattern("^b+"), b"abc"));
        assert!(!is_match(&pattern("b+$"), b"abc"));
        assert!(is_match(&Pattern::new("^ABC$", Case::Ignored).expect("a regex"), b"aBc"));
        assert!(is_match(&pattern("^.$"), b"\xff"), "bytes need not be text");
    }

    #[test]
    fn knows_what_a_match_begins_with() {
        for (text, literal) in [
            ("^/users/(?<id>[0-9]+)$", "/users/"),
            ("^/users/?", "/users"),
            ("^/a/(b|c)", "/a/"),
            ("^(/a/b|/a/c)$", "/a/"),
            ("^/a|^/b", "/"),
            ("^/a|/b", ""),
            ("/users/", ""),
            ("(?m)^/users", ""),
            ("(?i)^/a", "/"),
            ("^$", ""),
            ("^[^/]*", ""),
        ] {
            assert_eq!(pattern(text).literal(), literal.as_bytes(), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_regex_or_too_large() {
        let refused = |text: &str| Pattern::new(text, Case::Sensitive).expect_err(text).to_string();
        assert_eq!(refused("^/a("), "not a regex: unclosed group, at character 4");
        assert_eq!(
            refused("(?=a)"),
            "not a regex: look-around, including look-ahead and look-behind, is not supported, at character 1"
        );
        assert!(refused("\\pL").starts_with("not a regex: Unicode"), "{}", refused("\\pL"));
        assert_eq!(Pattern::new("", Case::Sensitive), Err(PatternError::RegexEmpty));
        for text in ["(a{1000}){1000}", "[a-z]{1,60000}", &"a".repeat(5000)] {
            assert_eq!(Pattern::new(text, Case::Sensitive), Err(PatternError::RegexTooLarge));
        }
    }

    #[test]
    fn names_its_groups() {
        let pattern = pattern("^/(?<a>x)/(y)/(?P<b>z)$");
        assert_eq!(pattern.group_names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((pattern.group("b"), pattern.group("c")), (Some(3), None));
    }

    #[test]
    fn a_long_text_takes_time_in_proportion() {
        // With backtracking this would outlast the machine.
        let text = vec![b'a'; 60_000];
        assert!(!is_match(&pattern("^(a*)*(a*)*(a*)*b$"), &text));
    }
}
