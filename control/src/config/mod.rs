//! From the text of a configuration file to a [`Config`] that cannot be wrong, or to every error in it.
//!
//! ```text
//! file ──read──▶ text ──format──▶ tree with positions ──environment, include──▶ one tree ──decode──▶ Config
//!                         │                                  │                      │
//!                         └── syntax ────────────────────────┴──────────────────────┴──▶ report ──▶ ConfigErrors
//! ```
//!
//! `run`, `check` and reload all call [`load`]. [`reference()`] lists the keys; docs/configuration.md explains them.
//!
//! | limit | value | when it is reached |
//! | --- | --- | --- |
//! | size of a file | 16 MiB | refused |
//! | nesting of lists and tables | 80, the TOML parser's | refused |
//! | files of a configuration | 1000 of 64 MiB together, includes 8 deep | refused |
//! | what YAML aliases copy | 64 MiB | refused |
//! | what the environment puts in | 16 MiB | refused |
//! | errors shown | 100 | the rest is counted |
//! | error pages | 1000 of 64 KiB, 100 variables each | refused |
//! | items of a list that requests are compared with | 100 | refused |

mod address;
mod bytes;
mod decode;
mod duration;
mod environment;
mod error;
mod file;
mod format;
mod layout;
mod lines;
mod loading;
mod names;
mod page;
mod reader;
mod reference;
mod report;
mod schema;
mod show;
mod size;
mod sources;
mod suggest;
mod token;
mod tree;
mod types;
mod value;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::Path;

pub use error::{ConfigError, ConfigErrors, Position};
pub(crate) use file::read_regular;
pub use layout::formatted;
pub use reference::{Key, KeyDefault, Section, reference};
pub use schema::schema;
pub use types::*;

/// A duration, and a number of bytes, in their shortest spelling.
pub(crate) mod shown {
    use std::time::Duration;

    pub(crate) fn duration(duration: Duration) -> String {
        super::duration::shown(duration)
    }

    pub(crate) fn bytes(bytes: u64) -> String {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        super::size::shown(bytes).trim_matches('"').to_owned()
    }
}

/// A configuration, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The files that were read: the one that was named, then what it includes, in order.
    pub files: Vec<String>,
}

/// Reads and checks a file, and those that it includes. One code path for `run`, `check` and reload.
///
/// # Errors
///
/// Every error of the files at once. The caller shows them and goes on with what it had.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    load_with(path, &process_environment)
}

/// The same for a text; `file` is used in messages, says the format, and its folder is where relative paths of error pages
/// start. It cannot include anything.
///
/// # Errors
///
/// As [`load`], but for those of reading.
pub fn parse(file: &str, text: &str) -> Result<Config, ConfigErrors> {
    let mut loading = loading::Loading::new(&process_environment);
    loading.text_alone(file, text.to_owned());
    decode_all(loading).map(|loaded| loaded.config)
}

/// Reads a duration as it stands in files: `500ms`, `1m30s`.
///
/// # Errors
///
/// What is wrong with it, and what could be meant.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    duration::parse(text)
}

/// The text of a file alone, not looked into.
///
/// # Errors
///
/// Why there is none.
pub fn read(path: &Path) -> Result<String, ConfigErrors> {
    let name = path.display().to_string();
    file::read(path).map_err(|unreadable| match unreadable {
        file::Unreadable::Whole(message) => ConfigErrors::whole_file(&name, message),
        file::Unreadable::At { before, message } => {
            let at = before.len();
            ConfigErrors::at(&name, lines::Lines::new(before).position(at), message)
        }
    })
}

fn load_with(path: &Path, environment: environment::Lookup<'_>) -> Result<Loaded, ConfigErrors> {
    let name = path.display().to_string();
    let text = read(path)?;
    let mut loading = loading::Loading::new(environment);
    loading.file(&name, path, text);
    decode_all(loading)
}

fn decode_all(loading: loading::Loading<'_>) -> Result<Loaded, ConfigErrors> {
    let loading::Loading { sources, root, errors, complete, .. } = loading;
    let report = report::Report::new(&sources, errors, complete);
    let config = decode::config(&root, &report);
    match (report.finish(), config) {
        (None, Ok(config)) => Ok(Loaded { config, files: sources.names() }),
        (Some(errors), _) => Err(errors),
        (None, Err(report::Reported)) => unreachable!("whoever returns Reported has reported an error"),
    }
}

fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
