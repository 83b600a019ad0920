//! How values stand in messages: quoted, escaped and cut short.

use toml::de::DeValue;

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
pub(super) fn value(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => cut(&number.to_string()),
        DeValue::Float(number) => cut(&number.to_string()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "[…]".to_owned(),
        DeValue::Table(_) => "{…}".to_owned(),
    }
}

/// `true is a boolean`, `is a list`
pub(super) fn subject(item: &DeValue<'_>) -> String {
    match item {
        DeValue::Array(_) | DeValue::Table(_) => format!("is {}", kind(item)),
        _ => format!("{} is {}", value(item), kind(item)),
    }
}

/// What a value is, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
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

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
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
