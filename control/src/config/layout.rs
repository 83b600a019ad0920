//! `corelane fmt`: one layout for every file, comments and order kept.
//!
//! Formatting what is formatted changes nothing, and never what a file says. YAML is refused: no parser of it that we know
//! gives comments back where they were.

pub(super) mod json;
mod toml;

use super::error::ConfigErrors;
use super::format::{self, Format};
use super::lines::Lines;
use super::report::Report;
use super::sources::Sources;

/// Lines are kept shorter than this where a list can be broken.
const COLUMNS_MAX: usize = 100;

/// The text of a file in the layout of its format, which the file's name says.
///
/// # Errors
///
/// Those of the syntax, or that the format has no layout.
pub fn formatted(file: &str, text: &str) -> Result<String, ConfigErrors> {
    let kind = Format::of(file);
    if kind == Format::Yaml {
        let message = "is YAML, which is left as it is: its comments could not be kept".to_owned();
        return Err(ConfigErrors::whole_file(file, message));
    }
    let lines = Lines::new(text.to_owned());
    let format::Understood { root, syntax } = format::read(kind, &lines, 0);
    let mut sources = Sources::new();
    sources.push(file, std::path::Path::new(""), lines, syntax);
    match Report::new(&sources, Vec::new(), true).finish() {
        Some(errors) => Err(errors),
        None if kind == Format::Json => Ok(json::text(&root)),
        None => Ok(toml::text(text)),
    }
}
