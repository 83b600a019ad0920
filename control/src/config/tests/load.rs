//! Files that cannot be read.

use std::fs;
use std::path::Path;

use super::completed;
use crate::config::{Config, PageSegment, PageVariable, file::FILE_BYTES_MAX, load, parse};

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

/// A configuration with a page in a file, beside it a file with these bytes.
fn loaded_with_page(page: &[u8]) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("pages")).unwrap();
    fs::write(directory.path().join("pages/503.html"), page).unwrap();
    let text = completed("[[error_pages]]\nstatuses = [503]\nfile = \"pages/503.html\"\n");
    let path = directory.path().join("c.toml");
    fs::write(&path, text).unwrap();
    let shown = path.display().to_string();
    load(&path).map(|loaded| loaded.config).map_err(|errors| errors.to_string().replace(&shown, "c.toml"))
}

#[test]
fn reads_pages_from_the_folder_of_the_file() {
    let config = loaded_with_page(b"<b>{status}</b>\xff").unwrap();
    let text = |bytes: &[u8]| PageSegment::Text(bytes.into());
    let expected = [text(b"<b>"), PageSegment::Variable(PageVariable::Status), text(b"</b>\xff")];
    assert_eq!(config.error_pages[0].segments, expected);
    assert_eq!(loaded_with_page(b"").unwrap().error_pages[0].segments, []);
}

#[test]
fn points_at_the_key_of_a_page_that_is_wrong() {
    let error = loaded_with_page(&vec![b'x'; (64 << 10) + 1]).unwrap_err();
    let (place, error) = error.split_once(" as ").unwrap();
    assert_eq!(place, "c.toml:3:8: file \"pages/503.html\" cannot be read");
    assert!(error.ends_with("/pages/503.html\": it has more than 64 KiB"), "{error}");
    let error = loaded_with_page(b"a\nb{stats}").unwrap_err();
    let told = "c.toml:3:8: file \"pages/503.html\" has the unknown variable \"{stats}\" in its line 2; did you mean";
    assert!(error.starts_with(told), "{error}");
}

#[test]
fn does_not_wait_for_a_page_that_is_a_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text = format!("[[error_pages]]\nstatuses = [503]\nfile = \"{}\"\n", pipe.display());
    let error = parse("c.toml", &completed(&text)).unwrap_err().to_string();
    assert!(error.ends_with("cannot be read: it is not a file"), "{error}");
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
