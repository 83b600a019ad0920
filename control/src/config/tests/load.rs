//! Files that cannot be read.

use std::fs;
use std::path::Path;

use super::completed;
use crate::config::{file::FILE_BYTES_MAX, load};

/// A file with these bytes, and what loading it says, its path left out.
fn loaded(bytes: &[u8]) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    fs::write(&path, bytes).unwrap();
    said(&path)
}

fn said(path: &Path) -> Result<(), String> {
    let shown = path.display().to_string();
    load(path).map(|_| ()).map_err(|errors| errors.to_string().replace(&shown, "c.toml"))
}

#[test]
fn reads_a_file() {
    assert_eq!(loaded(completed("").as_bytes()), Ok(()));
    let errors = loaded(completed("[process]\nworkers = 0\n").as_bytes()).unwrap_err();
    assert_eq!(errors, "c.toml:2:11: workers 0 is out of range; allowed: \"auto\" or 1 to 1024");
}

#[test]
fn says_that_a_file_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let error = said(&directory.path().join("missing.toml")).unwrap_err();
    assert_eq!(error, "c.toml: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn says_that_a_directory_is_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let error = said(directory.path()).unwrap_err();
    assert_eq!(error, "c.toml: is a directory; name the file in it");
}

#[test]
fn points_at_the_first_byte_that_is_not_utf8() {
    let error = loaded(b"[process]\n# \xc3\xa9\xc3\xa9 \xff\xfe\n").unwrap_err();
    assert_eq!(error, "c.toml:2:6: byte 0xff is not UTF-8 text");
    let error = loaded(b"# cut off \xc3").unwrap_err();
    assert_eq!(error, "c.toml:1:11: byte 0xc3 is not UTF-8 text");
    let error = loaded(b"\xff\xfe[\0p\0").unwrap_err();
    assert_eq!(error, "c.toml:1:1: is UTF-16; a configuration is UTF-8 text");
}

#[test]
fn refuses_a_file_of_more_than_16_mib() {
    let mut text = completed("").into_bytes();
    text.resize(FILE_BYTES_MAX, b'#');
    assert_eq!(loaded(&text), Ok(()));
    text.push(b'#');
    let error = loaded(&text).unwrap_err();
    assert_eq!(error, "c.toml: is too large; a configuration has at most 16 MiB");
    let endless = load(Path::new("/dev/zero")).unwrap_err().to_string();
    assert_eq!(endless, "/dev/zero: is too large; a configuration has at most 16 MiB");
}
