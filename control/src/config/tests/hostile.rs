//! Whatever the text, an answer: no panic, no wrong position, no message that breaks a log line.

use proptest::prelude::*;

use super::completed;
use super::good::CORE;
use crate::config::{ConfigErrors, parse};

/// What is put into a good file.
const SPLINTERS: [&str; 44] = [
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    "#",
    "\n",
    "\r",
    "\r\n",
    "\0",
    "\u{feff}",
    "é",
    "日",
    "\\",
    ".",
    "-1",
    "0",
    "99999999999999999999",
    "1.5",
    "true",
    "nan",
    "1979-05-27",
    "[process]\n",
    "[[listeners]]\n",
    "[upstreams.\"\\u001b\"]\n",
    "[[routes]]\nupstream = \"api\"\n",
    "x.y.z = 1\n",
    "\u{1b}[31m",
    "${",
    "${HOME}",
    "$${",
    "&a ",
    "*a",
    "- ",
    "? ",
    ": ",
    "!!str ",
    "\n---\n",
];

#[derive(Clone, Debug)]
enum Change {
    Insert(usize, usize),
    Cut(usize, usize),
    SwapLines(usize, usize),
    DropLine(usize),
    RepeatLine(usize),
}

fn change(length: usize) -> impl Strategy<Value = Change> {
    let place = 0..length;
    prop_oneof![
        (place.clone(), 0..SPLINTERS.len()).prop_map(|(at, splinter)| Change::Insert(at, splinter)),
        (place.clone(), 1usize..40).prop_map(|(at, bytes)| Change::Cut(at, bytes)),
        (0usize..50, 0usize..50).prop_map(|(a, b)| Change::SwapLines(a, b)),
        (0usize..50).prop_map(Change::DropLine),
        (0usize..50).prop_map(Change::RepeatLine),
    ]
}

/// A text with a few changes.
pub(super) fn spliced(text: &'static str) -> impl Strategy<Value = String> {
    let changes = prop::collection::vec(change(text.len()), 1..8);
    changes.prop_map(|changes| changes.iter().fold(text.to_owned(), changed))
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn changed(text: String, change: &Change) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let count = lines.len().max(1);
    match *change {
        Change::Insert(at, splinter) => {
            let (before, after) = text.split_at(floor(&text, at));
            return [before, SPLINTERS[splinter], after].concat();
        }
        Change::Cut(at, bytes) => {
            return [&text[..floor(&text, at)], &text[floor(&text, at + bytes)..]].concat();
        }
        Change::SwapLines(a, b) if !lines.is_empty() => lines.swap(a % count, b % count),
        Change::DropLine(at) if !lines.is_empty() => {
            lines.remove(at % count);
        }
        Change::RepeatLine(at) if !lines.is_empty() => lines.push(lines[at % count]),
        _ => {}
    }
    lines.concat()
}

fn check(text: &str) -> Result<(), TestCaseError> {
    check_of("t.toml", text)
}

/// Whatever the text says, the answer is right.
pub(super) fn check_of(file: &str, text: &str) -> Result<(), TestCaseError> {
    let Err(errors) = parse(file, text) else { return Ok(()) };
    check_errors(text, &errors)
}

fn check_errors(text: &str, errors: &ConfigErrors) -> Result<(), TestCaseError> {
    let lines: Vec<_> = text.split('\n').collect();
    let mut last = None;
    prop_assert!(errors.iter().count() > 0);
    for error in errors {
        prop_assert!(!error.message.contains(char::is_control), "{:?}", error.message);
        prop_assert!(error.message.chars().count() < 1000, "{}", error.message);
        let Some(position) = error.position else { continue };
        prop_assert!(last <= Some(position), "sorted: {error}");
        last = Some(position);
        let line = lines.get(position.line - 1);
        prop_assert!(line.is_some_and(|line| position.column <= line.chars().count() + 1), "{error}");
    }
    Ok(())
}

#[test]
fn keeps_messages_on_one_line() {
    for line in [
        "access_log.path = \"s\\tdout\"",
        "access_log.path = \"\\u001b[2J/\"",
        "\"\\n\" = 1",
        "process.driver = \"\\r\\n\"",
        "process.drain_timeout = \"1\\u0007\"",
        "admin.address = \"\\n:80\"",
        "admin.address = \"127.0.0.1:\\n\"",
        "resolver.servers = [\"\\n\"]",
        "upstreams.\"\\n\" = 3",
        "upstreams.\"\\n\".endpoints = [\"http://\\n\", \"unix:\\n\", \"\\n:1\", \"/\\n\"]",
        "routes = [{ upstream = \"\\n\", host = \"pre\\nserve\", hosts = [\"\\n\"], path = \"/\\n\" }]",
        "listeners = [{ name = \"\\n\", address = \"\\n\", trusted_proxies = [\"\\n\"], head_bytes_max = \"1\\n\" }]",
        "error_pages = [{ statuses = [\"\\n\"], file = \"\\n\", content_type = \"\\n\", listeners = [\"\\n\"] }]",
        "error_pages = [{ statuses = [503], body = \"{x}\\n{y}\" }]",
        "[\"\\n\"]\n[\"\\n\"]",
    ] {
        let errors = parse("t.toml", line).unwrap_err();
        check_errors(line, &errors).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn keeps_messages_short() {
    let (zeros, word) = ("0".repeat(100_000), "x".repeat(100_000));
    for line in [
        format!("process.workers = 1{zeros}"),
        format!("process.workers = \"{zeros}1\""),
        format!("process.drain_timeout = 1{zeros}"),
        format!("process.drain_timeout = \"1{zeros}kb\""),
        format!("process.{word} = {word}"),
        format!("admin.address = \":{zeros}80\""),
        format!("admin.address = \"localhost:{zeros}80\""),
        format!(
            "listeners = [{{ name = \"{word}\", address = \"{word}\", head_bytes_max = \"1{zeros}kb\" }}]"
        ),
        format!(
            "error_pages = [{{ statuses = [{zeros}5], body = \"{{{word}}}\", content_type = \"{word}\" }}]"
        ),
        format!("error_pages = [{{ statuses = [\"{word}\"], file = \"{word}\" }}]"),
        format!("listeners = [{{ trailers = [\"{word}\"], methods_refused = [\"{word}\"] }}]"),
        format!("upstreams.{word}.endpoints = [\"{word}:80\", \"::1:{zeros}80\", {zeros}]"),
        format!(
            "routes = [{{ upstream = \"{word}\", host = \"{word}\", hosts = [\"{word}\"], path = \"/{word}\" }}]"
        ),
    ] {
        let errors = parse("t.toml", &line).unwrap_err();
        check_errors(&line, &errors).unwrap_or_else(|error| panic!("{error}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn answers_to_changed_files(text in spliced(CORE)) {
        check(&text)?;
    }

    #[test]
    fn answers_to_splinters(splinters in prop::collection::vec(0..SPLINTERS.len(), 0..40)) {
        let text: String = splinters.into_iter().map(|splinter| SPLINTERS[splinter]).collect();
        check(&text)?;
        check(&completed(&text))?;
    }

    #[test]
    fn answers_to_any_value(value in "\\PC{0,40}", key in 0..crate::config::reference().count()) {
        let key = crate::config::reference().nth(key).unwrap();
        let quoted = format!("'{}'", value.replace('\'', ""));
        for value in [value, format!("[{quoted}]"), quoted] {
            check(&super::documentation::with(key, &value))?;
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    let brackets = format!("a = {}{}", "[".repeat(200_000), "]".repeat(200_000));
    let dots = "a.".repeat(200_000) + "b = 1";
    for text in [brackets, dots] {
        let errors = parse("t.toml", &text).unwrap_err();
        assert!(errors.to_string().contains("too deeply"), "{errors}");
    }
}
