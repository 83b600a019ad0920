//! docs/access-log.md and the access log say the same.

use std::collections::BTreeSet;

use corelane_engine::record::{COMBINED, COMMON, JSON_FIELDS, variable_names};

use super::completed;
use super::good;

const DOCUMENT: &str = include_str!("../../../../docs/access-log.md");

/// The part below a heading.
fn chapter(heading: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(&format!("\n## {heading}\n")).expect("the chapter is there");
    rest.split("\n## ").next().unwrap_or_default()
}

/// What stands in the first column of its tables, between backticks.
fn first_column(heading: &str) -> Vec<&'static str> {
    let rows = chapter(heading).lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| row.split(" |").next().unwrap_or_default().split("`, `"))
        .map(|name| name.trim_end_matches('`'))
        .collect()
}

#[test]
fn every_variable_is_documented_once_and_no_other() {
    let documented = first_column("Variables");
    let names: Vec<String> = variable_names().map(|name| format!("{{{name}}}")).collect();
    let set: BTreeSet<&str> = documented.iter().copied().collect();
    assert_eq!(set, names.iter().map(String::as_str).collect());
    assert_eq!(set.len(), documented.len());
}

#[test]
fn every_field_is_documented_in_its_order() {
    assert_eq!(first_column("Fields"), JSON_FIELDS);
}

#[test]
fn the_named_formats_are_what_the_document_says() {
    let formats = chapter("Formats");
    assert!(formats.contains(&format!("`{COMMON}`")));
    let more = COMBINED.strip_prefix(COMMON).expect("it goes on where the other ends");
    assert!(formats.contains(&format!("`{}`", more.trim_start())));
}

#[test]
fn every_example_is_allowed() {
    let blocks: Vec<&str> = DOCUMENT
        .split("```toml\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap_or_default())
        .collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        let route = "[[routes]]\nname = \"assets\"\nupstream = \"api\"\npath = { prefix = \"/assets\" }\n";
        good::parsed(&completed(&format!("{block}\n{route}")));
    }
}
