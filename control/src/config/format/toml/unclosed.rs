//! Finds the bracket or the long string that is never closed.
//!
//! The parser takes a forgotten `]` for a list that goes on to the end of the file and complains about every line of
//! it. The one place that helps is where the list opens.

use std::iter::Peekable;
use std::str::CharIndices;

/// The first `[` or `{` of a value, or string in three quotes, that is not closed where its surroundings are: its
/// offset and what would close it.
pub(super) fn first_unclosed(text: &str) -> Option<(usize, &'static str)> {
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut line_begins = true;
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            '\n' => {
                line_begins = true;
                continue;
            }
            ' ' | '\t' | '\r' | '\u{feff}' => continue,
            '#' => skip_comment(&mut rest),
            '"' | '\'' if !skip_string(&mut rest, c) => {
                return Some((at, if c == '"' { "\"\"\"" } else { "'''" }));
            }
            '"' | '\'' => {}
            '[' if line_begins && open.is_empty() => skip_comment(&mut rest),
            '[' | '{' => open.push((at, c)),
            ']' | '}' => {
                let opening = if c == ']' { '[' } else { '{' };
                match open.pop() {
                    Some((at, other)) if other != opening => return Some((at, closing(other))),
                    _ => {}
                }
            }
            _ => {}
        }
        line_begins = false;
    }
    open.first().map(|(at, opening)| (*at, closing(*opening)))
}

fn closing(opening: char) -> &'static str {
    if opening == '[' { "]" } else { "}" }
}

/// Leaves the line feed: it begins a line.
fn skip_comment(rest: &mut Peekable<CharIndices<'_>>) {
    while rest.next_if(|(_, c)| *c != '\n').is_some() {}
}

/// Behind a string, its first quote read. A short one ends with its line at the latest; false: a long one never ends.
fn skip_string(rest: &mut Peekable<CharIndices<'_>>, quote: char) -> bool {
    if rest.next_if(|(_, c)| *c == quote).is_some() {
        return rest.next_if(|(_, c)| *c == quote).is_none() || skip_long_string(rest, quote);
    }
    while let Some((_, c)) = rest.next_if(|(_, c)| *c != '\n') {
        if c == quote {
            return true;
        }
        if c == '\\' && quote == '"' {
            rest.next_if(|(_, c)| *c != '\n');
        }
    }
    true
}

/// Behind a string in three quotes, those read.
fn skip_long_string(rest: &mut Peekable<CharIndices<'_>>, quote: char) -> bool {
    let mut quotes = 0;
    while let Some((_, c)) = rest.next() {
        quotes = if c == quote { quotes + 1 } else { 0 };
        if c == '\\' && quote == '"' {
            rest.next();
        }
        if quotes == 3 {
            // Up to two quotes may belong to the string's end: `"""a"""""`.
            while rest.next_if(|(_, c)| *c == quote).is_some() {}
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_opening() {
        for (text, expected) in [
            ("a = [1, 2]\nb = {c = [3]}\n", None),
            ("a = [1, 2\nb = 3\n", Some((4, "]"))),
            ("a = [\"]\", 2\n[[routes]]\nb = [3]\n", Some((4, "]"))),
            ("[u]\na = [{x = 1}, {y = 2]\n", Some((18, "}"))),
            ("a = [ # ]\n", Some((4, "]"))),
            ("a = [\n[[b]]\nc = [1\n", Some((4, "]"))),
            ("a = [ '''\n]''' , \"\"\"]\\\"\"\"\"\n", Some((4, "]"))),
            ("a = \"[\\\"[\"\n[b\nc = 1", None),
            ("a = ''\nb = [", Some((11, "]"))),
            ("a = ]", None),
            ("a = [\n\"\"\"\nb = 1\n", Some((6, "\"\"\""))),
            ("a = '''b''\n", Some((4, "'''"))),
        ] {
            assert_eq!(first_unclosed(text), expected, "{text}");
        }
    }
}
