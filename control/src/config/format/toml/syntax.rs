//! What the TOML parser complains about, in words for the one who wrote the file.

use toml::de::{DeTable, DeValue};

use super::super::Syntax;
use super::unclosed;
use crate::config::lines::Lines;
use crate::config::show;

/// Rewrites the parser's errors.
pub(super) fn read(lines: &Lines, root: &DeTable<'_>, errors: &[toml::de::Error]) -> Syntax {
    let text = lines.text();
    let complete = errors.iter().all(|error| is_duplicate(error) || is_unquoted(text, error));
    let mut found: Vec<_> = errors.iter().map(|error| (offset(error), reword(lines, root, error))).collect();
    found.sort();
    // One error a line: the rest of the line is what the parser makes of the first.
    found.dedup_by_key(|(offset, _)| lines.line(*offset));
    let runs_on = errors.iter().any(|error| {
        let message = error.message();
        (message.starts_with("unclosed") && !is_header(error)) || message.starts_with("invalid multi-line")
    });
    match runs_on.then(|| unclosed::first_unclosed(text)).flatten() {
        Some((at, close)) => {
            Syntax { errors: cut_at(found, at, close), spoilt_from: at, spoils_lines: true, complete }
        }
        None => Syntax { errors: found, spoilt_from: usize::MAX, spoils_lines: true, complete },
    }
}

/// Leaves out what follows from something unclosed, and names it, or the unclosed string that hides its end.
fn cut_at(mut found: Vec<(usize, String)>, at: usize, close: &str) -> Vec<(usize, String)> {
    let kept = found.partition_point(|(offset, _)| *offset < at);
    let string = found.get(kept).filter(|(_, message)| message == STRING_UNCLOSED).cloned();
    found.truncate(kept);
    let what = match close {
        "]" => "list",
        "}" => "table",
        _ => "string",
    };
    found.push(string.unwrap_or((at, format!("this {what} is never closed; {close} is missing"))));
    found
}

const STRING_UNCLOSED: &str = "this string is never closed; a quote is missing";

fn reword(lines: &Lines, root: &DeTable<'_>, error: &toml::de::Error) -> String {
    let text = lines.text();
    let what = error.span().and_then(|span| text.get(span)).unwrap_or_default();
    let message = error.message();
    if is_duplicate(error) {
        return duplicate(lines, root, offset(error), what);
    }
    if message.starts_with("string values must be quoted") {
        return match what {
            "" => "a value is missing behind \"=\"".to_owned(),
            _ => format!("{} is not a value; a string stands in quotes: {}", bare(what), show::quoted(what)),
        };
    }
    if message.starts_with("unclosed table") || message.starts_with("unclosed array table") {
        return "this section's name is never closed; write [name] or [[name]]".to_owned();
    }
    if message.starts_with("invalid") && message.contains("string") && ends_line(text, offset(error)) {
        return STRING_UNCLOSED.to_owned();
    }
    if message.contains("recursion") || message.contains("recurse") {
        return "lists and tables are nested too deeply; at most 80 levels are read".to_owned();
    }
    if message.starts_with("missing escaped value") {
        return "this \"\\\" begins no escape; write \"\\\\\", or put the string in single quotes".to_owned();
    }
    message.strip_suffix(", expected nothing").unwrap_or(message).to_owned()
}

fn duplicate(lines: &Lines, root: &DeTable<'_>, at: usize, key: &str) -> String {
    let (line, header) = (lines.line(at), header_of(lines, at));
    let first = match header {
        Some(header) => first_header(lines, line, header),
        None => last_key_before(root, at, key.trim_matches(['"', '\''])).map(|at| lines.line(at) + 1),
    };
    let what = match header {
        Some(header) => format!("section {}", bare(header)),
        None => format!("key {}", show::quoted(key.trim_matches(['"', '\'']))),
    };
    match first {
        Some(line) => format!("{what} is already defined in line {line}"),
        None => format!("{what} is already defined"),
    }
}

/// `[upstreams.api]`, when the offset is inside of one.
fn header_of(lines: &Lines, at: usize) -> Option<&str> {
    let line = lines.text()[..at].rfind('\n').map_or(0, |feed| feed + 1);
    header(lines.text()[line..].lines().next()?)
}

fn header(line: &str) -> Option<&str> {
    let line = line.trim();
    let end = line.rfind(']')?;
    line.starts_with('[').then(|| &line[..=end])
}

/// The line, from 1, in which a section was opened before.
fn first_header(lines: &Lines, before: usize, name: &str) -> Option<usize> {
    lines
        .text()
        .lines()
        .take(before)
        .position(|line| {
            header(line)
                .is_some_and(|header| header.trim_matches(['[', ']']) == name.trim_matches(['[', ']']))
        })
        .map(|line| line + 1)
}

/// The nearest place before an offset where a key of this name is set.
fn last_key_before(table: &DeTable<'_>, at: usize, name: &str) -> Option<usize> {
    let here = table.keys().filter(|key| key.get_ref() == name).map(|key| key.span().start);
    let below = table.values().flat_map(|value| tables(value.get_ref()));
    let below = below.filter_map(|table| last_key_before(table, at, name));
    here.chain(below).filter(|start| *start < at).max()
}

fn tables<'v, 'i>(value: &'v DeValue<'i>) -> Vec<&'v DeTable<'i>> {
    match value {
        DeValue::Table(table) => vec![table],
        DeValue::Array(items) => items.iter().filter_map(|item| item.get_ref().as_table()).collect(),
        _ => Vec::new(),
    }
}

fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message() == "duplicate key"
}

/// `10s` where `"10s"` was meant: nothing else of the file is lost.
fn is_unquoted(text: &str, error: &toml::de::Error) -> bool {
    let what = error.span().and_then(|span| text.get(span)).unwrap_or_default();
    error.message().starts_with("string values must be quoted") && !what.is_empty()
}

fn is_header(error: &toml::de::Error) -> bool {
    error.message().starts_with("unclosed table") || error.message().starts_with("unclosed array table")
}

fn ends_line(text: &str, at: usize) -> bool {
    text.get(at..).is_none_or(|rest| rest.is_empty() || rest.starts_with(['\n', '\r']))
}

fn offset(error: &toml::de::Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// As it stands, escaped.
fn bare(text: &str) -> String {
    let quoted = show::quoted(text);
    quoted.trim_matches('"').to_owned()
}
