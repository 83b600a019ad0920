//! The errors of a configuration file, as they are shown to the one who wrote it.

use std::fmt;
use std::sync::Arc;

/// Everything that is wrong with a configuration file: never empty, in the order of the file. Displayed one to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

/// One error. Displayed as `file:line:column: message`, or `file: message` where the whole file is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named on the command line.
    pub file: Arc<str>,
    /// Where; `None` when the file could not be read or the message is about all of it.
    pub position: Option<Position>,
    /// What is wrong, the value and what is allowed; one line without control characters.
    pub message: String,
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl ConfigErrors {
    /// `None` when there is no error.
    pub(super) fn new(errors: Vec<ConfigError>) -> Option<Self> {
        if errors.is_empty() { None } else { Some(Self(errors)) }
    }

    /// An error about the file as a whole.
    pub(super) fn whole_file(file: &str, message: String) -> Self {
        Self(vec![ConfigError { file: file.into(), position: None, message }])
    }

    /// An error at one place.
    pub(super) fn at(file: &str, position: Position, message: String) -> Self {
        Self(vec![ConfigError { file: file.into(), position: Some(position), message }])
    }

    /// The errors one by one, for a log line each.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for ConfigErrors {}
impl std::error::Error for ConfigError {}
