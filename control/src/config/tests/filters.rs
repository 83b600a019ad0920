//! Each type of filter has a page that says the same as the keys in its file; examples and defaults of keys are right.

use std::collections::BTreeSet;
use std::path::PathBuf;

use corelane_filters::Settings;
use corelane_filters::settings::{Default, Key, Kind};

use super::completed;
use crate::config::parse;

/// Keys that another must stand beside.
const BESIDE: [(&str, &str, &str); 3] = [
    ("redirect", "status", "scheme = \"https\""),
    ("hsts of security_headers", "preload", "include_subdomains = true, max_age = \"8760h\""),
    ("hsts of security_headers", "include_subdomains", "max_age = \"8760h\""),
];

fn pages() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/filters")
}

fn page(kind: &str) -> String {
    let path = pages().join(format!("{kind}.md"));
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("docs/filters/{kind}.md: {error}"))
}

/// The settings of `[filters.a]` with these lines.
fn settings(kind: &str, lines: &[String]) -> Settings {
    let text = completed(&format!("[filters.a]\ntype = \"{kind}\"\n{}\n", lines.join("\n")));
    let config = parse("t.toml", &text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    config.filters[0].settings.clone()
}

/// What must stand in a table beside a key.
fn beside(table: &str, keys: &[Key], key: &Key) -> Vec<String> {
    let required = keys.iter().filter(|it| it.default == Default::Required && it.name != key.name);
    let others = BESIDE.iter().filter(|(of, name, _)| *of == table && *name == key.name);
    let required = required.map(|key| format!("{} = {}", key.name, key.example));
    required.chain(others.map(|(.., text)| (*text).to_owned())).collect()
}

/// A key's example, its default, and for a table one for each key inside.
fn values(table: &str, key: &Key) -> Vec<String> {
    let mut all = vec![key.example.to_owned()];
    if let Default::Value(value) = key.default {
        all.push(value.to_owned());
    }
    let (Kind::Table(keys) | Kind::Items(keys)) = key.kind else { return all };
    let within = format!("{} of {table}", key.name);
    for inner in keys {
        for value in values(&within, inner) {
            let mut entries = vec![format!("{} = {value}", inner.name)];
            entries.extend(beside(&within, keys, inner));
            let entries = entries.join(", ");
            all.push(match key.kind {
                Kind::Items(_) => format!("[{{ {entries} }}]"),
                _ => format!("{{ {entries} }}"),
            });
        }
    }
    all
}

#[test]
fn examples_are_allowed_and_defaults_are_what_holds_without_the_key() {
    for kind in Settings::KINDS {
        let keys = Settings::keys(kind).unwrap();
        for key in keys {
            let others = beside(kind, keys, key);
            let with = |value: &str| {
                let line = format!("{} = {value}", key.name);
                settings(kind, &[vec![line], others.clone()].concat())
            };
            for value in values(kind, key) {
                assert_eq!(with(&value).kind(), *kind);
            }
            if let Default::Value(value) = key.default
                && !others.is_empty()
            {
                assert_eq!(with(value), settings(kind, &others), "{kind}.{}", key.name);
            }
        }
    }
}

/// The rows that a page must have, up to what the key is for.
fn rows(prefix: &str, keys: &[Key]) -> Vec<String> {
    let mut rows = Vec::new();
    for key in keys {
        let takes = match key.kind {
            Kind::Text => "string",
            Kind::Texts => "list of strings",
            Kind::Pairs | Kind::Secrets => "table of strings",
            Kind::Integer => "integer",
            Kind::Duration => "duration",
            Kind::Size => "size",
            Kind::Flag => "boolean",
            Kind::Table(_) => "table",
            Kind::Items(_) => "list of strings and tables",
        };
        let default = match key.default {
            Default::Required => "required".to_owned(),
            Default::Value(value) => format!("`{value}`"),
            Default::Absent(meaning) => meaning.to_owned(),
        };
        let name = format!("{prefix}{}", key.name);
        rows.push(format!("| `{name}` | {takes} | {default} | {} |", key.allowed));
        match key.kind {
            Kind::Table(keys) => rows.extend(self::rows(&format!("{name}."), keys)),
            Kind::Items(keys) => rows.extend(self::rows(&format!("{name}[]."), keys)),
            _ => {}
        }
    }
    rows
}

#[test]
fn each_page_has_every_key_and_no_other() {
    for kind in Settings::KINDS {
        let page = page(kind);
        let expected = rows("", Settings::keys(kind).unwrap());
        let table = page.lines().skip_while(|line| *line != "| key | takes | default | allowed | what |");
        let found: Vec<&str> = table.skip(2).take_while(|line| line.starts_with("| `")).collect();
        assert_eq!(found.len(), expected.len(), "{kind}: {expected:#?}");
        for (found, expected) in found.iter().zip(&expected) {
            let what =
                found.strip_prefix(&**expected).unwrap_or_else(|| panic!("{kind}: {expected}\n{found}"));
            assert!(what.len() > 5, "{kind}: what is it for? {found}");
        }
    }
}

#[test]
fn each_page_has_an_example_that_is_right_as_it_stands() {
    for kind in Settings::KINDS {
        let page = page(kind);
        assert!(page.starts_with(&format!("# {kind}\n")), "{kind}");
        let examples: Vec<_> = page.split("```toml\n").skip(1).collect();
        assert!(!examples.is_empty(), "{kind} has no example");
        for example in examples {
            let text = completed(example.split("```").next().unwrap());
            let config = parse("t.toml", &text).unwrap_or_else(|errors| panic!("{kind}: {errors}\n{text}"));
            assert!(config.filters.iter().any(|filter| filter.settings.kind() == *kind), "{kind}: {text}");
        }
    }
}

#[test]
fn each_type_has_a_row_in_the_overview_and_no_page_is_left_over() {
    let overview = page("README");
    for kind in Settings::KINDS {
        let summary = page(kind).lines().nth(2).unwrap().to_owned();
        let row = format!("| [{kind}]({kind}.md) | {summary} |");
        assert!(overview.lines().any(|line| line == row), "lacks: {row}");
    }
    let pages = std::fs::read_dir(pages()).unwrap().map(|entry| entry.unwrap().file_name());
    let pages: BTreeSet<String> = pages.map(|name| name.into_string().unwrap().replace(".md", "")).collect();
    let known: BTreeSet<String> =
        Settings::KINDS.iter().copied().chain(["README"]).map(str::to_owned).collect();
    assert_eq!(pages, known);
}

#[test]
fn the_overview_has_an_example_that_is_right_and_variables_that_are_known() {
    let overview = page("README");
    let example = overview.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    parse("t.toml", &completed(example)).unwrap_or_else(|errors| panic!("{errors}"));
    let table = overview.split_once("| variable | what |\n").unwrap().1;
    let rows: Vec<&str> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let names = row.split('|').nth(1).unwrap();
        for name in names.split('`').skip(1).step_by(2) {
            // Groups of a path and of a regex are known only beside those, the environment's variables are the user's.
            if name.starts_with("{match.") || name.starts_with("{env.") {
                continue;
            }
            let text = format!("[filters.a]\ntype = \"response_fields\"\nset = {{ A = \"{name}\" }}\n");
            parse("t.toml", &completed(&text)).unwrap_or_else(|errors| panic!("{errors}"));
        }
    }
}
