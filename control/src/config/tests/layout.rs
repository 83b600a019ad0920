//! `corelane fmt` over whole files.

use proptest::prelude::*;

use super::good::CORE;
use super::hostile::spliced;
use crate::config::{formatted, parse};

#[test]
fn the_core_example_keeps_its_meaning_and_comments() {
    let text = formatted("t.toml", CORE).unwrap();
    assert_eq!(parse("t.toml", &text), parse("t.toml", CORE));
    assert_eq!(text.matches('#').count(), CORE.matches('#').count());
    assert!(
        text.starts_with("[process]\nworkers = \"auto\" # or a number; one pinned worker per core\n"),
        "{text}"
    );
}

/// Found by the property below: what was behind the line's end was taken for the value.
#[test]
fn a_line_may_end_around_the_assignment_in_a_table_in_braces() {
    assert_eq!(formatted("t.toml", "a = { b\n = 1, c =\n 2 }\n").unwrap(), "a = { b = 1, c = 2 }\n");
}

#[test]
fn json_is_indented() {
    let text =
        "{\"a\":{\"b\":[1,2.50,true,null],\"c\":{}},\"d\":[{\"e\":\"\\u00e9\\n\\u0001\\\\/\"},[]],\"f\":[]}";
    let expected = "{\n  \"a\": {\n    \"b\": [1, 2.50, true, null],\n    \"c\": {}\n  },\n  \"d\": [\n    \
                    { \"e\": \"é\\n\\u0001\\\\/\" },\n    []\n  ],\n  \"f\": []\n}\n";
    assert_eq!(formatted("t.json", text).unwrap(), expected);
    assert_eq!(formatted("t.json", expected).unwrap(), expected);
    assert_eq!(formatted("t.json", "{}").unwrap(), "{}\n");
    let long = format!("{{\"a\": [\"{0}\", \"{0}\"]}}", "x".repeat(50));
    assert_eq!(formatted("t.json", &long).unwrap().lines().count(), 6);
}

#[test]
fn what_cannot_be_formatted_is_told() {
    let told = |name: &str, text: &str| formatted(name, text).unwrap_err().to_string();
    assert_eq!(
        told("t.yml", "a: 1"),
        "t.yml: is YAML, which is left as it is: its comments could not be kept"
    );
    assert_eq!(told("t.toml", "a = 1\na = 2\n"), "t.toml:2:1: key \"a\" is already defined in line 1");
    assert_eq!(told("t.json", "{\"a\": 1,\n}"), "t.json:1:8: trailing commas are not allowed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn formatting_changes_no_meaning_and_only_once(text in spliced(CORE)) {
        let Ok(once) = formatted("t.toml", &text) else { return Ok(()) };
        prop_assert_eq!(&formatted("t.toml", &once).unwrap(), &once);
        prop_assert_eq!(once.matches('#').count(), text.matches('#').count());
        let tree = |text: &str| toml::de::DeTable::parse(text.trim_start_matches('\u{feff}')).map(|tree| format!("{:?}", spanless(tree.get_ref())));
        prop_assert_eq!(tree(&once).unwrap(), tree(&text).unwrap());
    }
}

/// A tree without places.
fn spanless(table: &toml::de::DeTable<'_>) -> Vec<(String, String)> {
    let shown = |value: &toml::de::DeValue<'_>| match value {
        toml::de::DeValue::Table(table) => format!("{:?}", spanless(table)),
        toml::de::DeValue::Array(items) => {
            let items = items.iter().map(|item| match item.get_ref().as_table() {
                Some(table) => format!("{:?}", spanless(table)),
                None => without_places(&format!("{:?}", item.get_ref())),
            });
            items.collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    };
    table.iter().map(|(key, value)| (key.get_ref().to_string(), shown(value.get_ref()))).collect()
}

/// A debug text without its `span: 1..2`.
fn without_places(text: &str) -> String {
    let mut pieces = text.split("span: ");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces
        .fold(first, |text, piece| text + piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'))
}
