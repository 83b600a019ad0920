//! Why a file cannot be used.

use std::fmt;
use std::path::{Path, PathBuf};

/// Displayed as what is wrong, with the file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The file; `None`: it is the fault of none.
    pub(crate) file: Option<PathBuf>,
    text: String,
}

impl Fault {
    /// `edge.pem has no certificate`
    pub(crate) fn has(file: &Path, what: &str) -> Self {
        Self { file: Some(file.to_owned()), text: format!("{} {what}", file.display()) }
    }

    /// `edge.pem: No such file or directory`
    pub(crate) fn of(file: &Path, why: impl fmt::Display) -> Self {
        Self { file: Some(file.to_owned()), text: format!("{}: {why}", file.display()) }
    }

    /// Of the settings, or of the system.
    pub(crate) fn of_no_file(text: impl Into<String>) -> Self {
        Self { file: None, text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Fault> for Vec<Fault> {
    fn from(fault: Fault) -> Self {
        vec![fault]
    }
}
