//! The path that a rule holds.

use std::fmt;

use corelane_semantics::{PathBuffers, PathError, PathPolicies, PathPolicy};

use crate::PatternError;
use crate::pattern::{Case, Pattern};

/// A path that a route matches, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path alone.
    Exact(Box<str>),
    /// This path and everything below it, by whole segments; `/` is every path. Never ends in `/` except for the root.
    Prefix(Box<str>),
    /// Every canonical path that the regex is found in.
    Regex(Pattern),
}

impl PathPattern {
    /// This path and everything below it. Trailing slashes are dropped: `/api/` is `/api`, which matches `/api`, `/api/`
    /// and `/api/x` but not `/apix`.
    ///
    /// # Errors
    ///
    /// [`PatternError`] says what the text breaks; the configuration is to be refused.
    pub fn prefix(text: &str) -> Result<Self, PatternError> {
        let path = match text.trim_end_matches('/') {
            "" if !text.is_empty() => "/",
            path => path,
        };
        canonical(path).map(Self::Prefix)
    }

    /// Paths that a regex is found in, in their canonical form: without escapes but where one is needed, in capitals there.
    ///
    /// # Errors
    ///
    /// [`PatternError`] says what the text breaks; the configuration is to be refused.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        Pattern::new(text, Case::Sensitive).map(Self::Regex)
    }

    /// The number of a group of its regex, by name; see [`crate::Router::captures`].
    #[must_use]
    pub fn group(&self, name: &str) -> Option<usize> {
        match self {
            Self::Regex(pattern) => pattern.group(name),
            Self::Exact(_) | Self::Prefix(_) => None,
        }
    }

    /// The names of the groups of its regex.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        let pattern = if let Self::Regex(pattern) = self { Some(pattern) } else { None };
        pattern.into_iter().flat_map(Pattern::group_names)
    }

    /// This path alone: `/a/` is not `/a`.
    ///
    /// # Errors
    ///
    /// [`PatternError`] says what the text breaks; the configuration is to be refused.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        canonical(text).map(Self::Exact)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) | Self::Prefix(path) => f.write_str(path),
            Self::Regex(pattern) => pattern.fmt(f),
        }
    }
}

/// The text in the form that requests are compared in, so that `/a%21` and `/a!` are one pattern.
fn canonical(text: &str) -> Result<Box<str>, PatternError> {
    if !text.starts_with('/') {
        return Err(PatternError::PathRelative);
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
        None => {}
        Some('?') => return Err(PatternError::PathQuery),
        Some('#') => return Err(PatternError::PathFragment),
        Some(character) => return Err(PatternError::PathCharacter(character)),
    }
    let mut buffers = PathBuffers::default();
    let paths = buffers.canonicalise(text.as_bytes(), &POLICIES).map_err(refusal)?;
    // ASCII, so nothing is lost.
    Ok(String::from_utf8_lossy(paths.canonical).into())
}

const fn refusal(error: PathError) -> PatternError {
    match error {
        PathError::EncodedSlash | PathError::Backslash => PatternError::PathSeparator,
        PathError::DotSegment | PathError::DotAmbiguous | PathError::AboveRoot => {
            PatternError::PathDotSegment
        }
        PathError::Parameter => PatternError::PathParameter,
        PathError::EmptySegment => PatternError::PathEmptySegment,
        // The policies pass the latter two.
        PathError::EscapeInvalid | PathError::EncodedControl | PathError::EncodedDelimiter => {
            PatternError::PathEscape
        }
    }
}

/// What no canonical path holds is refused: such a pattern would never match.
const POLICIES: PathPolicies = PathPolicies {
    encoded_slash: PathPolicy::Reject,
    backslash: PathPolicy::Reject,
    encoded_control: PathPolicy::Pass,
    encoded_delimiter: PathPolicy::Pass,
    dot_segments: PathPolicy::Reject,
    parameters: PathPolicy::Reject,
    empty_segments: PathPolicy::Reject,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_lose_trailing_slashes() {
        for (text, shown) in
            [("/", "/"), ("//", "/"), ("/api", "/api"), ("/api/", "/api"), ("/a/b///", "/a/b")]
        {
            let pattern = PathPattern::prefix(text).expect(text);
            assert_eq!(pattern, PathPattern::Prefix(shown.into()));
            assert_eq!(pattern.to_string(), shown);
        }
    }

    #[test]
    fn paths_are_held_in_canonical_form() {
        for (text, shown) in [
            ("/", "/"),
            ("/a/", "/a/"),
            ("/a%20b", "/a%20b"),
            ("/A=b,c:d", "/A=b,c:d"),
            ("/*", "/*"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%21%7E", "/a!~"),
            ("/%2a", "/*"),
            ("/a%3bb%25", "/a%3Bb%25"),
            ("/a%00%3f%23", "/a%00%3F%23"),
            ("/.well-known/..a", "/.well-known/..a"),
        ] {
            let pattern = PathPattern::exact(text).expect(text);
            assert_eq!(pattern, PathPattern::Exact(shown.into()));
            assert_eq!(pattern.to_string(), shown);
            let prefix = PathPattern::prefix(&format!("{text}/")).expect(text);
            assert_eq!(prefix.to_string(), if text == "/" { "/" } else { shown.trim_end_matches('/') });
        }
    }

    #[test]
    fn refuses_what_no_request_path_is() {
        for (text, error) in [
            ("", PatternError::PathRelative),
            ("api", PatternError::PathRelative),
            ("*", PatternError::PathRelative),
            (" /", PatternError::PathRelative),
            ("http://a/", PatternError::PathRelative),
            ("/a?b", PatternError::PathQuery),
            ("/a#b", PatternError::PathFragment),
            ("/a b", PatternError::PathCharacter(' ')),
            ("/a\0", PatternError::PathCharacter('\0')),
            ("/a\r\n", PatternError::PathCharacter('\r')),
            ("/a\u{7f}", PatternError::PathCharacter('\u{7f}')),
            ("/é", PatternError::PathCharacter('é')),
            ("/a%2", PatternError::PathEscape),
            ("/a%zz", PatternError::PathEscape),
            ("/a%2fb", PatternError::PathSeparator),
            ("/a%5Cb", PatternError::PathSeparator),
            ("/a\\b", PatternError::PathSeparator),
            ("/a/./b", PatternError::PathDotSegment),
            ("/a/%2e%2E", PatternError::PathDotSegment),
            ("/..", PatternError::PathDotSegment),
            ("/a;b", PatternError::PathParameter),
            ("/..;/b", PatternError::PathParameter),
            ("//a", PatternError::PathEmptySegment),
            ("/a//b", PatternError::PathEmptySegment),
        ] {
            assert_eq!(PathPattern::prefix(text), Err(error.clone()), "{text:?}");
            assert_eq!(PathPattern::exact(text), Err(error), "{text:?}");
        }
        // A prefix loses its slashes at the end, a path alone does not.
        assert_eq!(PathPattern::exact("//"), Err(PatternError::PathEmptySegment));
        assert_eq!(PathPattern::exact("/a//"), Err(PatternError::PathEmptySegment));
    }
}
