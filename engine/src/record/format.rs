//! How records are written, compiled when the configuration is loaded.

use corelane_filters::{Piece, TemplateError, pieces};

use super::redaction::Redaction;
use super::sampling::{LogPolicy, SamplingRule};
use super::variable::{Named, Surroundings, Variable, Words};
use crate::retry::ATTEMPTS_MAX;

/// What the access log is to say, and of which requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLog {
    /// What a record looks like.
    pub format: LogFormat,
    /// Which parameters are secret.
    pub redaction: Redaction,
    /// Which requests have a record.
    pub sampling: Vec<SamplingRule>,
    /// Which of the rules hold for requests without a route.
    pub unrouted: LogPolicy,
}

/// What a record looks like. The default is a JSON object without further fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFormat {
    pub(crate) shape: Shape,
    pub(crate) words: Words,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A JSON object, with these fields behind the others.
    Json(Vec<Field>),
    /// A line of text.
    Text(Vec<Part>),
}

impl Default for Shape {
    fn default() -> Self {
        Self::Json(Vec::new())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// `,"user_agent":`
    pub(crate) key: Box<[u8]>,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Variable(Variable),
    /// With its quotes.
    Text(Box<[u8]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(Box<[u8]>),
    Variable(Variable),
}

/// The Common Log Format.
pub const COMMON: &str = r#"{client.ip} - {remote_user} [{time.clf}] "{request}" {status} {body_bytes}"#;

/// The same with Referer and User-Agent: nginx's `combined`.
pub const COMBINED: &str = r#"{client.ip} - {remote_user} [{time.clf}] "{request}" {status} {body_bytes} "{header.referer}" "{header.user-agent}""#;

/// The fields of every JSON record, in their order; the last two are there while requests are traced, and where more than
/// one endpoint was tried.
pub const JSON_FIELDS: [&str; 23] = [
    "time",
    "request_id",
    "client",
    "listener",
    "route",
    "upstream",
    "endpoint",
    "method",
    "host",
    "path",
    "query",
    "status",
    "reason",
    "suspicious",
    "request_bytes",
    "response_bytes",
    "attempts",
    "reused",
    "connect_us",
    "response_head_us",
    "duration_us",
    "trace_id",
    "tries",
];

impl LogFormat {
    /// A JSON object with a further field: its name, of letters, digits, `_`, `.` and `-`, and a variable.
    ///
    /// # Errors
    ///
    /// What is wrong with the name or the variable.
    pub fn add_field(&mut self, key: &str, name: &str, around: &Surroundings<'_>) -> Result<(), String> {
        let Shape::Json(fields) = &mut self.shape else {
            return Err("a line of text has no fields".to_owned());
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if key.is_empty() || key.len() > FIELD_BYTES_MAX || !key.bytes().all(is_plain) {
            return Err(format!(
                "the name of a field has 1 to {FIELD_BYTES_MAX} letters, digits, _, . and -"
            ));
        }
        if name.contains(char::is_control) {
            return Err("the variable's name has a control character".to_owned());
        }
        let key_text: Box<[u8]> = format!(",\"{key}\":").into_bytes().into();
        if JSON_FIELDS.contains(&key) || fields.iter().any(|field| field.key == key_text) {
            return Err("every record has a field of this name already".to_owned());
        }
        if let Some(plain) = name.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            return Err(format!("write the variable's name without braces: {plain}"));
        }
        let value = match self.words.named(name, around)? {
            Named::Variable(variable) => Value::Variable(variable),
            Named::Text(text) => {
                let mut quoted = vec![b'"'];
                super::escape(&mut quoted, text.as_bytes());
                quoted.push(b'"');
                Value::Text(quoted.into())
            }
        };
        fields.push(Field { key: key_text, value });
        Ok(())
    }

    /// A line of text with variables.
    ///
    /// # Errors
    ///
    /// What is wrong, and where.
    pub fn text(template: &str, around: &Surroundings<'_>) -> Result<Self, TemplateError> {
        let (mut words, mut parts, mut literal) = (Words::default(), Vec::new(), String::new());
        let push_text = |literal: &mut String, parts: &mut Vec<Part>| {
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(literal).into_bytes().into()));
            }
        };
        for piece in pieces(template)? {
            match piece {
                Piece::Text(text) => literal.push_str(text),
                Piece::Name(name, position) => {
                    let named = words.named(name, around);
                    match named.map_err(|message| TemplateError { position, message })? {
                        Named::Text(text) => literal.push_str(&text),
                        Named::Variable(variable) => {
                            push_text(&mut literal, &mut parts);
                            parts.push(Part::Variable(variable));
                        }
                    }
                }
            }
        }
        push_text(&mut literal, &mut parts);
        Ok(Self { shape: Shape::Text(parts), words })
    }

    /// Whether something of a request's head, or of a response's, is kept until the record is written.
    #[must_use]
    pub fn keeps_words(&self) -> bool {
        !self.words.request.is_empty() || !self.words.response.is_empty()
    }

    /// How much of two heads a record can hold at most, in heads, before it is escaped; at least one.
    #[must_use]
    pub fn heads_max(&self) -> usize {
        // Every JSON record has the host and the target.
        let fixed = usize::from(matches!(self.shape, Shape::Json(_)));
        (fixed + self.heads_of(&self.variables())).max(1)
    }

    fn variables(&self) -> Vec<&Variable> {
        match &self.shape {
            Shape::Json(fields) => fields
                .iter()
                .filter_map(|field| match &field.value {
                    Value::Variable(variable) => Some(variable),
                    Value::Text(_) => None,
                })
                .collect(),
            Shape::Text(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    Part::Variable(variable) => Some(variable),
                    Part::Text(_) => None,
                })
                .collect(),
        }
    }

    /// What is of the first line overlaps; what is of fields does so only with itself.
    fn heads_of(&self, variables: &[&Variable]) -> usize {
        let of_line = variables.iter().filter(|it| it.is_of_line(&self.words)).count();
        let repeats = |one: &&Variable| variables.iter().filter(|other| *other == one).count();
        let of_fields = variables.iter().filter(|it| it.is_of_field(&self.words)).map(repeats).max();
        of_line + of_fields.unwrap_or(0)
    }

    /// What of a record is in no head, in bytes.
    #[must_use]
    pub fn fixed_bytes(&self) -> usize {
        match &self.shape {
            Shape::Json(fields) => {
                let fields = fields.iter().map(|field| field.key.len() + value_bytes_max(&field.value));
                TRIES_BYTES_MAX + fields.sum::<usize>()
            }
            Shape::Text(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text.len(),
                    Part::Variable(variable) => variable_bytes_max(variable),
                })
                .sum(),
        }
    }
}

/// Far above any name in use.
const FIELD_BYTES_MAX: usize = 64;

/// The longest value that is of no head: a name of 100 characters, escaped; the tripwires; a path of a Unix socket.
const VALUE_BYTES_MAX: usize = 1024;

/// The longest list of attempts: of each a path of a Unix socket, escaped, a reason, and a time.
const TRIES_BYTES_MAX: usize = ATTEMPTS_MAX as usize * 768;

fn value_bytes_max(value: &Value) -> usize {
    match value {
        Value::Variable(variable) => variable_bytes_max(variable),
        Value::Text(text) => text.len(),
    }
}

fn variable_bytes_max(variable: &Variable) -> usize {
    if *variable == Variable::Tries { TRIES_BYTES_MAX } else { VALUE_BYTES_MAX }
}

#[cfg(test)]
mod tests {
    use super::super::variable::tests::AROUND;
    use super::*;

    #[test]
    fn the_formats_of_nginx_compile() {
        for template in [COMMON, COMBINED] {
            let format = LogFormat::text(template, &AROUND).unwrap();
            assert!(format.keeps_words());
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (template, position) in
            [("{status} {nothing}", 9), ("a{", 1), ("a}", 1), ("{header.cookie}", 0), ("a\nb", 1)]
        {
            assert_eq!(LogFormat::text(template, &AROUND).unwrap_err().position, position, "{template}");
        }
    }

    #[test]
    fn what_is_known_at_once_becomes_text() {
        let format = LogFormat::text("{{{hostname}}} {env.ZONE}\t{pid}", &AROUND).unwrap();
        assert_eq!(format.shape, Shape::Text(vec![Part::Text(b"{edge1} eu-1\t4711"[..].into())]));
        assert!(!format.keeps_words());
    }

    #[test]
    fn further_fields_have_names_of_their_own() {
        let mut format = LogFormat::default();
        assert!(format.add_field("agent", "header.user-agent", &AROUND).is_ok());
        for (key, name) in [
            ("agent", "host"),
            ("status", "status"),
            ("", "host"),
            ("a\"b", "host"),
            ("a", "header.cookie"),
            ("a", "x\ny"),
        ] {
            assert!(format.add_field(key, name, &AROUND).is_err(), "{key} {name}");
        }
        assert_eq!(
            format.add_field("a", "{header.referer}", &AROUND),
            Err("write the variable's name without braces: header.referer".to_owned())
        );
        let mut text = LogFormat::text("x", &AROUND).unwrap();
        assert!(text.add_field("a", "host", &AROUND).is_err());
    }

    #[test]
    fn a_record_is_bounded_by_what_overlaps() {
        for (template, heads) in [
            ("{status}", 1),
            ("{path}", 1),
            ("{request} {target} {query.a}", 3),
            ("{header.a} {header.b} {response.header.a}", 1),
            ("{header.a} {header.a} {path}", 3),
        ] {
            assert_eq!(LogFormat::text(template, &AROUND).unwrap().heads_max(), heads, "{template}");
        }
        let mut format = LogFormat::default();
        assert_eq!(format.heads_max(), 1);
        format.add_field("agent", "header.user-agent", &AROUND).unwrap();
        assert_eq!(format.heads_max(), 2);
        assert!(format.fixed_bytes() >= 1024);
    }
}
