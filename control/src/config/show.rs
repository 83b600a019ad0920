//! How values stand in messages: quoted, escaped and cut short.

use super::tree::Value;

/// Characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 60;

/// Names that a message lists.
const LISTED_MAX: usize = 12;

/// A string in quotes, without control characters, cut short.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// A value as in `workers 0`, `workers "x"`; lists and tables are only named.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => quoted(text),
        Value::Integer(number) => cut(&number.to_string()),
        Value::Float(number) => cut(number),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(time) => time.clone(),
        Value::Array(_) => "[…]".to_owned(),
        Value::Table(_) => "{…}".to_owned(),
    }
}

/// `true is a boolean`, `is a list`
pub(super) fn subject(item: &Value) -> String {
    match item {
        Value::Null | Value::Array(_) | Value::Table(_) => format!("is {}", kind(item)),
        _ => format!("{} is {}", value(item), kind(item)),
    }
}

/// What a value is, with its article.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a decimal number",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// `a, b, c`, and how many more.
pub(super) fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut names = names.into_iter();
    let mut shown = Vec::new();
    for name in names.by_ref().take(LISTED_MAX) {
        // Quoted only where something has to be escaped or cut.
        let plain = name.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '"' && c != ',');
        let fits = name.chars().count() <= SHOWN_CHARS_MAX;
        shown.push(if plain && fits && !name.is_empty() { name.to_owned() } else { quoted(name) });
    }
    let rest = names.count();
    if rest > 0 {
        shown.push(format!("and {rest} more"));
    }
    shown.join(", ")
}

/// A parser's message, which may have more than one line or show the file.
pub(super) fn on_one_line(message: &str) -> String {
    cut_at(&message.replace(char::is_control, " "), MESSAGE_CHARS_MAX)
}

/// Characters of a parser's message.
const MESSAGE_CHARS_MAX: usize = 300;

fn cut(text: &str) -> String {
    cut_at(text, SHOWN_CHARS_MAX)
}

fn cut_at(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_cuts() {
        assert_eq!(quoted("a\u{1b}[31m\"b"), r#""a\u{1b}[31m\"b""#);
        assert_eq!(quoted(&"é".repeat(100)), format!("\"{}\"…", "é".repeat(60)));
    }

    #[test]
    fn lists_a_dozen_names() {
        let names: Vec<_> = (0..14).map(|n| format!("n{n}")).collect();
        let shown = list(names.iter().map(String::as_str));
        assert_eq!(shown, "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, and 2 more");
        assert_eq!(list(["a b", ""]), r#""a b", """#);
    }
}
