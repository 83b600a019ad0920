//! JSON, indented by two spaces. What holds no lists and objects stays on one line if it fits.

use super::COLUMNS_MAX;
use crate::config::tree::{Table, Value};

/// A file with an object.
pub(in crate::config) fn text(root: &Table) -> String {
    let mut text = String::new();
    object(root, 0, &mut text);
    text.push('\n');
    text
}

fn value(value: &Value, indent: usize, before: usize, out: &mut String) {
    if let Some(line) = one_line(value)
        && before + line.chars().count() < COLUMNS_MAX
    {
        out.push_str(&line);
        return;
    }
    match value {
        Value::Table(table) => object(table, indent, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                new_line(index, indent + 1, out);
                self::value(item.get_ref(), indent + 1, INDENT * (indent + 1), out);
            }
            new_line(0, indent, out);
            out.push(']');
        }
        scalar => out.push_str(&self::scalar(scalar)),
    }
}

fn object(table: &Table, indent: usize, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in table.iter().enumerate() {
        new_line(index, indent + 1, out);
        let key = quoted(key.get_ref());
        out.push_str(&key);
        out.push_str(": ");
        self::value(value.get_ref(), indent + 1, INDENT * (indent + 1) + key.chars().count() + 2, out);
    }
    if table.iter().len() > 0 {
        new_line(0, indent, out);
    }
    out.push('}');
}

/// A list or object of scalars, or nothing.
fn one_line(value: &Value) -> Option<String> {
    let is_scalar = |value: &Value| !matches!(value, Value::Array(_) | Value::Table(_));
    match value {
        Value::Array(items) if items.iter().all(|item| is_scalar(item.get_ref())) => {
            let items: Vec<_> = items.iter().map(|item| scalar(item.get_ref())).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        Value::Table(table) if table.iter().len() == 0 => Some("{}".to_owned()),
        Value::Table(table) if table.iter().all(|(_, value)| is_scalar(value.get_ref())) => {
            let entries = table
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(key.get_ref()), scalar(value.get_ref())));
            Some(format!("{{ {} }}", entries.collect::<Vec<_>>().join(", ")))
        }
        _ => None,
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null | Value::Array(_) | Value::Table(_) => "null".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.clone(),
        Value::Datetime(time) => quoted(time),
        Value::String(text) => quoted(text),
    }
}

/// RFC 8259 §7, with no more escapes than it asks for.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn new_line(index: usize, indent: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
    out.push('\n');
    out.push_str(&" ".repeat(INDENT * indent));
}

const INDENT: usize = 2;
