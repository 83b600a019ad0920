//! YAML 1.2 with its core schema (§10.3): `no` is a string, and `010` is refused because it means two things.
//!
//! Aliases are copies; what they may add up to is bounded. Tags but `!!str`, merge keys and a second document are refused.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{DEPTH_MAX, Errors, Fatal, Keys, TOO_DEEP};
use crate::config::show;
use crate::config::tree::{Integer, Spanned, Table, Value};

pub(super) fn read(text: &str, base: usize, errors: &mut Errors<'_>) -> Result<Table, Fatal> {
    let mut options =
        granit_parser::options! { flow_nesting_limit: DEPTH_MAX + 1, block_nesting_limit: DEPTH_MAX + 1 };
    options.set_emit_comments(false);
    let events = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { events, base, anchors: HashMap::new(), copied: 0, errors };
    reader.document()
}

struct Reader<'t, 'a, 'e> {
    events: Parser<'t, StrInput<'t>>,
    base: usize,
    anchors: HashMap<usize, Value>,
    /// What aliases and anchors have copied so far.
    copied: usize,
    errors: &'a mut Errors<'e>,
}

/// What aliases may copy, in bytes as [`weight`] counts them. A guess: a hundred times a large file that uses them.
const COPIED_MAX: usize = 64 << 20;

impl<'t> Reader<'t, '_, '_> {
    fn document(&mut self) -> Result<Table, Fatal> {
        let mut root = None;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root.unwrap_or_default()),
                Event::DocumentStart(..) if root.is_some() => {
                    return Err((at.start, "a second document begins here; a file has one".to_owned()));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => {
                    let node = self.node(event, at.clone(), 1)?;
                    root = Some(match node.into_inner() {
                        Value::Table(table) => table,
                        // A file of comments.
                        Value::Null => Table::default(),
                        other => {
                            let message =
                                format!("the file is {}; write sections with keys", show::kind(&other));
                            return Err((at.start, message));
                        }
                    });
                }
            }
        }
    }

    /// The next event and where it is in the text.
    fn next(&mut self) -> Result<(Event<'t>, Range<usize>), Fatal> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, range(span))),
            Some(Err(error)) => {
                let at = error.marker().byte_offset().unwrap_or(0);
                let message = match error.kind() {
                    granit_parser::ErrorKind::RecursionLimitExceeded => TOO_DEEP.to_owned(),
                    kind => kind.to_string(),
                };
                Err((at, show::on_one_line(&message)))
            }
            None => Ok((Event::StreamEnd, 0..0)),
        }
    }

    fn node(&mut self, event: Event<'t>, at: Range<usize>, depth: usize) -> Result<Spanned<Value>, Fatal> {
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, at, depth),
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref(), &at)?, anchor),
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), "seq", &at)?;
                (self.sequence(&at, depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", &at)?;
                (self.mapping(&at, depth)?, anchor)
            }
            _ => return Err((at.start, "a value is missing here".to_owned())),
        };
        if anchor > 0 {
            self.charge(&value, &at)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(self.placed(at, value))
    }

    fn alias(&mut self, anchor: usize, at: Range<usize>, depth: usize) -> Result<Spanned<Value>, Fatal> {
        let Some(value) = self.anchors.get(&anchor).cloned() else {
            return Err((at.start, "this alias stands within what it names".to_owned()));
        };
        self.charge(&value, &at)?;
        if depth + levels(&value) > DEPTH_MAX + 1 {
            return Err((at.start, TOO_DEEP.to_owned()));
        }
        Ok(self.placed(at, value))
    }

    fn charge(&mut self, value: &Value, at: &Range<usize>) -> Result<(), Fatal> {
        self.copied += weight(value);
        if self.copied > COPIED_MAX {
            let message = format!("aliases make the file too large; they may add {} MiB", COPIED_MAX >> 20);
            return Err((at.start, message));
        }
        Ok(())
    }

    fn sequence(&mut self, at: &Range<usize>, depth: usize) -> Result<Value, Fatal> {
        refuse_depth(depth, at)?;
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, at: &Range<usize>, depth: usize) -> Result<Value, Fatal> {
        refuse_depth(depth, at)?;
        let mut entries = Vec::new();
        loop {
            let (key, at) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, style, 0, None), at) => {
                    if text == "<<" && style == ScalarStyle::Plain {
                        let message = "merge keys (<<) are no part of YAML 1.2; write the keys out";
                        return Err((at.start, message.to_owned()));
                    }
                    (text.into_owned(), at)
                }
                (_, at) => return Err((at.start, "a key is a plain or quoted string here".to_owned())),
            };
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at, depth + 1)?;
            entries.push((self.placed(at, key), value));
        }
        let mut keys = Keys::new(self.errors);
        for (key, value) in entries {
            keys.push(key, value);
        }
        Ok(Value::Table(keys.table))
    }

    fn placed<T>(&self, at: Range<usize>, value: T) -> Spanned<T> {
        Spanned::new(at.start + self.base..at.end + self.base, value)
    }
}

fn range(span: Span) -> Range<usize> {
    span.byte_range().expect("a parser of a string knows offsets")
}

fn refuse_depth(depth: usize, at: &Range<usize>) -> Result<(), Fatal> {
    if depth > DEPTH_MAX { Err((at.start, TOO_DEEP.to_owned())) } else { Ok(()) }
}

fn refuse_tag(tag: Option<&Tag>, own: &str, at: &Range<usize>) -> Result<(), Fatal> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema_tag(own) => {
            Err((at.start, "this tag is not known; only !!str is of use here".to_owned()))
        }
        _ => Ok(()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, at: &Range<usize>) -> Result<Value, Fatal> {
    refuse_tag(tag, "str", at)?;
    if style != ScalarStyle::Plain || tag.is_some() {
        return Ok(Value::String(text.to_owned().into()));
    }
    plain(text).map_err(|message| (at.start, message))
}

/// YAML 1.2.2 §10.3.2.
fn plain(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Boolean(true),
        "false" | "False" | "FALSE" => Value::Boolean(false),
        _ => match (integer(text), is_float(text)) {
            (Some(number), _) => {
                let digits = number.digits.trim_start_matches(['+', '-']);
                if number.radix == 10 && digits.len() > 1 && digits.starts_with('0') {
                    let shown = show::quoted(text);
                    let bare = show::list([text]);
                    return Err(format!("{bare} begins with 0; a string stands in quotes: {shown}"));
                }
                Value::Integer(number)
            }
            (None, true) => Value::Float(text.to_owned()),
            (None, false) => Value::String(text.to_owned().into()),
        },
    })
}

fn integer(text: &str) -> Option<Integer> {
    let (digits, radix) = match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
        (Some(digits), _) => (digits, 8),
        (_, Some(digits)) => (digits, 16),
        (None, None) => (text, 10),
    };
    let unsigned = if radix == 10 { digits.strip_prefix(['+', '-']).unwrap_or(digits) } else { digits };
    let is_number = !unsigned.is_empty() && unsigned.chars().all(|c| c.is_digit(radix));
    is_number.then(|| Integer { digits: digits.to_owned(), radix })
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    // What Rust reads beyond the schema has letters.
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && unsigned.parse::<f64>().is_ok()
}

/// The bytes that a copy takes, about.
fn weight(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| weight(item.get_ref())).sum(),
        Value::Table(table) => {
            table.iter().map(|(key, value)| NODE_BYTES + key.get_ref().len() + weight(value.get_ref())).sum()
        }
        _ => 0,
    };
    NODE_BYTES + inside
}

const NODE_BYTES: usize = size_of::<Spanned<Value>>();

/// How many levels of lists and tables a value has.
fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(|item| levels(item.get_ref())).max().unwrap_or(0),
        Value::Table(table) => 1 + table.iter().map(|(_, value)| levels(value.get_ref())).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `null`, `bool`, `int`, `float` or `str`.
    fn kind(text: &str) -> &'static str {
        match plain(text) {
            Ok(Value::Null) => "null",
            Ok(Value::Boolean(_)) => "bool",
            Ok(Value::Integer(_)) => "int",
            Ok(Value::Float(_)) => "float",
            Ok(Value::String(_)) => "str",
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_core_schema() {
        for (expected, texts) in [
            ("null", &["", "~", "null", "Null", "NULL"][..]),
            ("bool", &["true", "True", "TRUE", "false", "False", "FALSE"]),
            ("int", &["0", "7", "-19", "+12", "0o7", "0x3A"]),
            ("float", &["0.", "-0.0", ".5", "12e03", "-2E+05", "1.5", ".inf", "-.Inf", ".NAN"]),
            (
                "str",
                &[
                    "no", "yes", "on", "off", "y", "nULL", "1:30", "0b1", "1_000", "inf", "nan", "+", "1s",
                    "-.nan", "0x", "1e", ".",
                ],
            ),
        ] {
            for text in texts {
                assert_eq!(kind(text), expected, "{text}");
            }
        }
        assert_eq!(plain("0755").unwrap_err(), "0755 begins with 0; a string stands in quotes: \"0755\"");
    }
}
