//! `${NAME}` and `${NAME:-default}` in the strings of a file; `$${` is the text `${`.
//!
//! Keys are left alone, and what a variable holds is read once: a `${` in it is text.

use std::ffi::OsString;

use super::show;
use super::sources::{Mark, Sources};
use super::tree::{Table, Text, Value};

/// Asks for a variable.
pub(super) type Lookup<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// Puts the environment's values in, within a bound over all files.
pub(super) struct Environment<'e> {
    lookup: Lookup<'e>,
    bytes_left: usize,
}

/// What substitutions may make, over all files: as much as the largest file has.
const BYTES_MAX: usize = super::file::FILE_BYTES_MAX;

/// What a string becomes.
#[derive(Debug, PartialEq)]
struct Substituted {
    text: String,
    /// `${A} and ${B}`: those whose value came from the environment.
    from: Vec<String>,
    /// The string was one substitution and nothing else.
    whole: bool,
}

impl<'e> Environment<'e> {
    pub(super) fn new(lookup: Lookup<'e>) -> Self {
        Self { lookup, bytes_left: BYTES_MAX }
    }

    /// Changes every string of a table; errors have the string's place.
    pub(super) fn substitute(
        &mut self,
        table: &mut Table,
        sources: &mut Sources,
        errors: &mut Vec<(usize, String)>,
    ) {
        for value in table.values_mut() {
            let at = value.span().start;
            self.value(value.get_mut(), at, sources, errors);
        }
    }

    fn value(
        &mut self,
        value: &mut Value,
        at: usize,
        sources: &mut Sources,
        errors: &mut Vec<(usize, String)>,
    ) {
        match value {
            Value::Table(table) => self.substitute(table, sources, errors),
            Value::Array(items) => {
                for item in items {
                    let at = item.span().start;
                    self.value(item.get_mut(), at, sources, errors);
                }
            }
            Value::String(text) if text.contains("${") => match self.text(text) {
                Ok(Substituted { text: new, from, whole }) => {
                    if !from.is_empty() {
                        sources.mark(at, Mark::Environment(from.join(", ")));
                    }
                    *text = if whole { Text::substituted(new) } else { new.into() };
                }
                Err(message) => {
                    errors.push((at, message));
                    sources.mark(at, Mark::Told);
                }
            },
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> Result<Substituted, String> {
        let mut made = Substituted { text: String::new(), from: Vec::new(), whole: false };
        let mut rest = text;
        while let Some(dollar) = rest.find("${") {
            let (before, behind) = rest.split_at(dollar);
            if let Some(before) = before.strip_suffix('$') {
                made.text.push_str(before);
                made.text.push_str("${");
                rest = &behind[2..];
                continue;
            }
            made.text.push_str(before);
            let end = behind
                .find('}')
                .ok_or("\"${\" is never closed; } is missing, or write $${ for the text ${")?;
            made.whole = dollar == 0 && rest.len() == text.len() && end + 1 == rest.len();
            self.variable(&behind[2..end], &mut made)?;
            rest = &behind[end + 1..];
        }
        made.text.push_str(rest);
        Ok(made)
    }

    /// What stands between the braces.
    fn variable(&mut self, inside: &str, made: &mut Substituted) -> Result<(), String> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(format!(
                "{} is not the name of a variable; write ${{NAME}} or ${{NAME:-default}}, or $${{ for the text ${{",
                show::quoted(name)
            ));
        }
        let shown = show::list([name]);
        if default.is_some_and(|default| default.contains("${")) {
            return Err(format!("the default of ${{{shown}}} has a ${{ in it; a default is plain text"));
        }
        let value = (self.lookup)(name).filter(|value| default.is_none() || !value.is_empty());
        let value = match (value, default) {
            (Some(value), _) => {
                let value = value.into_string();
                made.from.push(format!("${{{shown}}}"));
                value.map_err(|_| format!("the environment variable {shown} is not UTF-8 text"))?
            }
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                return Err(format!(
                    "the environment variable {shown} is not set; set it, or write a default: ${{{shown}:-...}}"
                ));
            }
        };
        self.bytes_left = self
            .bytes_left
            .checked_sub(value.len())
            .ok_or_else(|| format!("environment variables make more than {} MiB here", BYTES_MAX >> 20))?;
        made.text.push_str(&value);
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A guess: messages show names.
const NAME_CHARS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn substituted(text: &str) -> Result<(String, usize, bool), String> {
        let lookup = |name: &str| match name {
            "HOST" => Some("a.example".into()),
            "EMPTY" => Some("".into()),
            "NESTED" => Some("${HOST}".into()),
            "BAD" => Some(OsString::from_vec(vec![0xff])),
            "_x9" => Some("9".into()),
            _ => None,
        };
        let made = Environment::new(&lookup).text(text)?;
        Ok((made.text, made.from.len(), made.whole))
    }

    #[test]
    fn puts_values_in() {
        for (text, expected, from, whole) in [
            ("${HOST}", "a.example", 1, true),
            ("x ${HOST}:${_x9}", "x a.example:9", 2, false),
            ("${HOST}${HOST}", "a.examplea.example", 2, false),
            ("${EMPTY}", "", 1, true),
            ("${EMPTY:-b}", "b", 0, true),
            ("${NONE:-}", "", 0, true),
            ("${NONE:-a:-b {x}", "a:-b {x", 0, true),
            ("${NESTED}", "${HOST}", 1, true),
            ("$${HOST} $$${HOST}", "${HOST} $${HOST}", 0, false),
            ("$ {HOST} $HOST $", "$ {HOST} $HOST $", 0, false),
        ] {
            assert_eq!(substituted(text), Ok((expected.to_owned(), from, whole)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        let name = "is not the name of a variable; write ${NAME} or ${NAME:-default}, or $${ for the text ${";
        for (text, expected) in [
            (
                "${NONE}",
                "the environment variable NONE is not set; set it, or write a default: ${NONE:-...}"
                    .to_owned(),
            ),
            ("${BAD}", "the environment variable BAD is not UTF-8 text".to_owned()),
            ("${", "\"${\" is never closed; } is missing, or write $${ for the text ${".to_owned()),
            ("${}", format!("\"\" {name}")),
            ("${1}", format!("\"1\" {name}")),
            ("${A B}", format!("\"A B\" {name}")),
            ("${A:-${B}}", "the default of ${A} has a ${ in it; a default is plain text".to_owned()),
        ] {
            assert_eq!(substituted(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn bounds_what_it_makes() {
        let lookup = |_: &str| Some("x".repeat(1 << 20).into());
        let mut environment = Environment::new(&lookup);
        assert!(environment.text(&"${A}".repeat(16)).is_ok());
        assert_eq!(environment.text("${A}").unwrap_err(), "environment variables make more than 16 MiB here");
    }
}
