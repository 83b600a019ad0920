//! From the text of a configuration file to a [`Config`] that cannot be wrong, or to every error in it.
//!
//! ```text
//! file ──read──▶ text ──toml──▶ tree with positions ──decode──▶ Config
//!                        │              │
//!                        └── syntax ────┴──▶ report ──▶ ConfigErrors
//! ```
//!
//! `run`, `check` and reload all call [`load`]. [`reference()`] lists the keys; docs/configuration.md explains them.
//!
//! | limit | value | when it is reached |
//! | --- | --- | --- |
//! | size of a file | 16 MiB | refused |
//! | nesting of lists and tables | 80, the parser's | refused |
//! | errors shown | 100 | the rest is counted |
//! | error pages | 1000 of 64 KiB, 100 variables each | refused |
//! | items of a list that requests are compared with | 100 | refused |

mod address;
mod decode;
mod duration;
mod error;
mod file;
mod lines;
mod names;
mod page;
mod reader;
mod reference;
mod report;
mod show;
mod size;
mod suggest;
mod syntax;
mod token;
mod types;
mod unclosed;
mod value;

#[cfg(test)]
mod tests;

use std::path::Path;

use toml::de::DeTable;

pub use error::{ConfigError, ConfigErrors, Position};
pub use reference::{Key, KeyDefault, Section, reference};
pub use types::*;

/// Reads and checks a file. One code path for `run`, `check` and reload.
///
/// # Errors
///
/// Every error of the file at once. The caller shows them and goes on with what it had.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let name = path.display().to_string();
    parse(&name, &file::read(&name, path)?)
}

/// The same for a text; `file` is used in messages, and its folder is where relative paths of error pages start.
///
/// # Errors
///
/// As [`load`], but for those of reading.
pub fn parse(file: &str, text: &str) -> Result<Config, ConfigErrors> {
    let lines = lines::Lines::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let report = report::Report::new(&lines, syntax::read(&lines, root.get_ref(), &errors));
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let config = decode::config(root.get_ref(), folder, &report);
    match (report.finish(file), config) {
        (None, Ok(config)) => Ok(config),
        (Some(errors), _) => Err(errors),
        (None, Err(report::Reported)) => unreachable!("whoever returns Reported has reported an error"),
    }
}
