//! The files in examples/ are right, formatted, and known to the schema.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{formatted, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|ending| ending.to_str()) {
            _ if path.is_dir() => files(&path, found),
            Some("toml" | "yaml" | "json") => found.push(path),
            _ => {}
        }
    }
    found.sort();
}

/// Every file by name, those that others include too.
pub(super) fn all() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&folder(), &mut found);
    found.iter().map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_example_is_right() {
    let mut whole = 0;
    let mut read = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path.extension().is_some_and(|ending| ending == "md") {
            continue;
        }
        let loaded = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        whole += 1;
        read += loaded.files.len();
    }
    assert!(whole >= 4, "{whole}");
    assert_eq!(read, all().len(), "every file is read by one");
}

#[test]
fn every_example_is_formatted() {
    for (name, text) in all() {
        if !name.ends_with("yaml") {
            assert!(formatted(&name, &text).unwrap() == text, "{name}: run corelane fmt");
        }
    }
}
