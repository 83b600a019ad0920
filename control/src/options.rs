//! What the command line asks of the supervisor, and what it gets back.

use std::io;
use std::path::PathBuf;

use crate::config::{self, ConfigErrors, Loaded};

/// How to run.
pub struct RunOptions {
    /// The configuration.
    pub source: ConfigSource,
    /// Called once, on the control thread, when every worker serves.
    pub on_ready: Option<Box<dyn FnOnce()>>,
    /// Makes the allocator give memory back to the system that the calling thread has freed.
    pub trim: fn(),
    /// What runs.
    pub build: Build,
}

/// What the process was made from, beside its version.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The commit.
    pub revision: &'static str,
    /// The compiler's version.
    pub rust_version: &'static str,
}

impl Default for Build {
    fn default() -> Self {
        Self { revision: "unknown", rust_version: "unknown" }
    }
}

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum ConfigSource {
    /// A file; SIGHUP reads it again.
    File(PathBuf),
    /// A text that the command line made; there is nothing to reload.
    Text {
        /// What messages call it.
        name: String,
        /// The configuration.
        text: String,
    },
}

impl ConfigSource {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    ///
    /// Every error in it.
    pub fn load(&self) -> Result<Loaded, ConfigErrors> {
        match self {
            Self::File(path) => config::load(path),
            Self::Text { name, text } => {
                let config = config::parse(name, text)?;
                Ok(Loaded { config, files: Vec::new() })
            }
        }
    }
}

/// How the process was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// By one signal, and every connection has ended. Exit status 0.
    Drained,
    /// By one signal, and drain_timeout was over before every connection had ended. Exit status 0.
    Cut,
    /// By a second one, of this number. Exit status 128 plus the number.
    Forced(i32),
}

/// Why the process could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The configuration is wrong; one line an error.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The machine refuses what the configuration asks for; one line an error.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// A driver, descriptor or thread that cannot be had.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    /// Nobody is left to serve.
    #[error("every worker has failed")]
    WorkersLost,
}
