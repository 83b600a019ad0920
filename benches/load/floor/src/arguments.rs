//! The command line: a command, `--name value` pairs and plain words.

use std::collections::HashMap;
use std::io;
use std::str::FromStr;

/// What the process was started with.
pub(crate) struct Arguments {
    command: Option<String>,
    named: HashMap<String, String>,
    plain: Vec<String>,
}

/// The options without a value.
const FLAGS: &[&str] = &["close", "tls", "resume"];

impl Arguments {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        let mut words = std::env::args().skip(1);
        let command = words.next();
        let (mut named, mut plain) = (HashMap::new(), Vec::new());
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(flag) if FLAGS.contains(&flag) => _ = named.insert(flag.to_owned(), String::new()),
                Some(name) => _ = named.insert(name.to_owned(), words.next().unwrap_or_default()),
                None => plain.push(word),
            }
        }
        Self { command, named, plain }
    }

    /// The subcommand.
    pub(crate) fn command(&self) -> Option<String> {
        self.command.clone()
    }

    /// The value of `--name`.
    ///
    /// # Errors
    /// It is missing or means nothing.
    pub(crate) fn value<T: FromStr>(&self, name: &str) -> io::Result<T> {
        let value = self.named.get(name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| invalid(format!("--{name} needs a value")))
    }

    /// Whether the flag `--name` was given.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// The words that belong to no option, as numbers.
    ///
    /// # Errors
    /// One is no number of its type.
    pub(crate) fn numbers<T: FromStr>(&self) -> io::Result<Vec<T>> {
        let number = |word: &String| word.parse().map_err(|_| invalid(format!("{word} is no number")));
        self.plain.iter().map(number).collect()
    }
}

/// An error in what somebody sent or wrote.
pub(crate) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}
