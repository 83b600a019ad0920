//! What commands say on standard output.

use std::io::{self, Write as _};

/// A reader that has seen enough, as `head` has, is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
