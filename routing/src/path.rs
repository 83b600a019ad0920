//! The path that a rule holds.

use std::fmt;

use crate::PatternError;

/// A path that a route matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path alone.
    Exact(Box<str>),
    /// This path and everything below it, by whole segments; `/` is every path. Never ends in `/` except for the root.
    Prefix(Box<str>),
}

impl PathPattern {
    /// This path and everything below it. Trailing slashes are dropped: `/api/` is `/api`, which matches `/api`, `/api/`
    /// and `/api/x` but not `/apix`.
    ///
    /// # Errors
    ///
    /// [`PatternError`] says what the text breaks; the configuration is to be refused.
    pub fn prefix(text: &str) -> Result<Self, PatternError> {
        let path = checked(text)?.trim_end_matches('/');
        Ok(Self::Prefix(if path.is_empty() { "/" } else { path }.into()))
    }

    /// This path alone, byte for byte: `/a/` is not `/a`.
    ///
    /// # Errors
    ///
    /// [`PatternError`] says what the text breaks; the configuration is to be refused.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        Ok(Self::Exact(checked(text)?.into()))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) | Self::Prefix(path) => f.write_str(path),
        }
    }
}

fn checked(text: &str) -> Result<&str, PatternError> {
    if !text.starts_with('/') {
        return Err(PatternError::PathRelative);
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
        None => Ok(text),
        Some('?') => Err(PatternError::PathQuery),
        Some('#') => Err(PatternError::PathFragment),
        Some(character) => Err(PatternError::PathCharacter(character)),
    }
}

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
    fn exact_paths_stay_as_they_are() {
        for text in ["/", "/a/", "//", "/a%20b", "/A;b=c,d", "/*"] {
            let pattern = PathPattern::exact(text).expect(text);
            assert_eq!(pattern, PathPattern::Exact(text.into()));
            assert_eq!(pattern.to_string(), text);
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
        ] {
            assert_eq!(PathPattern::prefix(text), Err(error), "{text:?}");
            assert_eq!(PathPattern::exact(text), Err(error), "{text:?}");
        }
    }
}
