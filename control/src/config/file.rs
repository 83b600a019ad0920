//! Reads the file, and those that it names.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The largest file. A guess: a hundred thousand routes fit.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;

/// Why there is no text.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// For a reason that has no place in it.
    Whole(String),
    /// It is no text from the end of `before` on.
    At { before: String, message: String },
}

/// The text of a file.
pub(super) fn read(path: &Path) -> Result<String, Unreadable> {
    let failed = |error: std::io::Error| Unreadable::Whole(format!("cannot be read: {error}"));
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(Unreadable::Whole("is a directory; name the file in it".to_owned()));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells a full file from one that is too large, and /dev/zero ends too.
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("is too large; a configuration has at most {} MiB", FILE_BYTES_MAX >> 20);
        return Err(Unreadable::Whole(message));
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(&error))
}

/// The bytes of a file that the configuration names; any, but not one more than `bytes_max`.
pub(crate) fn read_regular(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    // A pipe that nobody writes to would be waited for, and the process with it.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| error.to_string())?;
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > bytes_max {
        return Err(format!("it has more than {} KiB", bytes_max >> 10));
    }
    Ok(bytes)
}

fn not_utf8(error: &std::string::FromUtf8Error) -> Unreadable {
    let (bytes, at) = (error.as_bytes(), error.utf8_error().valid_up_to());
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let message = "is UTF-16; a configuration is UTF-8 text".to_owned();
        return Unreadable::At { before: String::new(), message };
    }
    let before = std::str::from_utf8(&bytes[..at]).unwrap_or_default().to_owned();
    Unreadable::At { before, message: format!("byte 0x{:02x} is not UTF-8 text", bytes[at]) }
}
