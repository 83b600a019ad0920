//! Where in the files other files are named.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::error::{ConfigError, Position};

/// Where the files of a `tls` are named, so that what is wrong with one can be told there. Equal to any other: what a
/// configuration says does not depend on where it says it.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Where the whole stands; `None`: in no file.
    whole: Option<Place>,
    files: Vec<(PathBuf, Place)>,
}

/// A file and a place in it.
type Place = (Arc<str>, Position);

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Places {}

impl Places {
    pub(in crate::config) fn new(whole: Place) -> Self {
        Self { whole: Some(whole), files: Vec::new() }
    }

    /// Adds a file.
    pub(in crate::config) fn add(&mut self, file: PathBuf, place: Place) {
        self.files.push((file, place));
    }

    /// Says something about a file, or about the whole: at the place where the file is named, or its folder.
    pub(crate) fn tell(&self, file: Option<&Path>, message: impl fmt::Display) -> String {
        match file.and_then(|file| self.of(file)).or(self.whole.as_ref()) {
            Some((file, position)) => {
                let (file, position) = (file.clone(), Some(*position));
                ConfigError { file, position, message: message.to_string() }.to_string()
            }
            None => message.to_string(),
        }
    }

    /// `edge.toml:7:12`, where a file is named, or its folder.
    pub(crate) fn at(&self, file: &Path) -> Option<String> {
        let (file, Position { line, column }) = self.of(file)?;
        Some(format!("{file}:{line}:{column}"))
    }

    fn of(&self, file: &Path) -> Option<&Place> {
        let named =
            |wanted: &Path| self.files.iter().find(|(file, _)| file == wanted).map(|(_, place)| place);
        named(file).or_else(|| named(file.parent()?))
    }
}
