//! `respond`: a fixed answer.

use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::field_name::FieldName;
use crate::filters::Build;
use crate::reason::Reason;
use crate::settings::{Key, Kind, Read};
use crate::template::Template;
use crate::text::write_display;
use crate::variable::Phase;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// 200 to 599, but not 204, 205 or 304 with a body.
    pub status: u16,
    /// Of the body.
    pub content_type: String,
    /// With variables: their values are escaped in HTML and JSON.
    pub body: String,
    /// More fields, with variables.
    pub fields: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        let content_type = "text/plain; charset=utf-8".to_owned();
        Self { status: 200, content_type, body: String::new(), fields: Vec::new() }
    }
}

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::or("status", Kind::Integer, "200").says("The status.", "200 to 599", "200"),
    Key::or("content_type", Kind::Text, "\"text/plain; charset=utf-8\"").says(
        "The type of the body.",
        "a media type",
        "\"application/json\"",
    ),
    Key::or("body", Kind::Text, "\"\"").says(
        "The body; in HTML and JSON the values of variables are escaped.",
        "a text with variables",
        "\"ok\\n\"",
    ),
    Key::optional("fields", Kind::Pairs, "none").says(
        "More fields.",
        "names of fields, and values with variables",
        "{ \"Cache-Control\" = \"no-store\" }",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let status = table.integer("status", 200..=599);
        let (content_type, body) = (table.text("content_type"), table.text("body"));
        let fields = table.pairs("fields").unwrap_or_default();
        let status = u16::try_from(status?).ok()?;
        Some(Self { status, content_type: content_type?, body: body?, fields })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    status: u16,
    content_type: Box<[u8]>,
    /// `None` for an empty one.
    body: Option<Template>,
    fields: Box<[(FieldName, Template)]>,
    escape: fn(&[u8], &mut Vec<u8>),
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        build.within("status", u64::from(settings.status), 200..=599);
        if !settings.body.is_empty() && matches!(settings.status, 204 | 205 | 304) {
            build.problem("body", format!("a response with the status {} has none", settings.status));
        }
        let content_type = settings.content_type.as_str();
        if content_type.is_empty() || !content_type.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            build.problem("content_type", format!("{content_type:?} is not a media type"));
        }
        let mut fields = Vec::new();
        for (name, value) in &settings.fields {
            let key = format!("fields.{name}");
            let value = build.template(key.as_str(), value, Phase::Request);
            fields.extend(build.editable(key, name).map(|name| (name, value)));
        }
        // Line ends are usual here, and variables' values cannot bring any.
        let lines: Vec<_> = settings.body.split('\n').collect();
        let body = (!settings.body.is_empty()).then(|| {
            let (mut parts, mut start) = (Vec::new(), 0);
            for (index, line) in lines.iter().enumerate() {
                parts.push(build.template_at("body", start, line.trim_end_matches('\r'), Phase::Request));
                start += line.len() + 1;
                if index + 1 < lines.len() {
                    parts.push(Template::text(b"\n"));
                }
            }
            Template::join(parts)
        });
        let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let escape = match media.as_str() {
            "text/html" | "application/xhtml+xml" | "image/svg+xml" | "text/xml" | "application/xml" => {
                escape_html
            }
            json if json == "application/json" || json.ends_with("+json") => escape_json,
            _ => escape_nothing,
        };
        Some(Self {
            status: settings.status,
            content_type: content_type.as_bytes().into(),
            body,
            fields: fields.into(),
            escape,
        })
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        edits.with_texts(|edits, text, spare| {
            for (name, value) in &self.fields {
                text.clear();
                value.write(context, edits, text);
                edits.response.add(name.text(), text);
            }
            match &self.body {
                Some(body) => {
                    edits.response.add(b"Content-Type", &self.content_type);
                    text.clear();
                    body.write_with(context, edits, spare, text, self.escape);
                    edits.answer_text(self.status, Reason::Responded, text);
                }
                None => edits.answer_empty(self.status, Reason::Responded),
            }
        });
        Flow::Answered
    }
}

fn escape_nothing(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(value);
}

fn escape_html(value: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        match byte {
            b'<' | b'>' | b'&' | b'"' | b'\'' => {
                out.extend_from_slice(b"&#");
                write_display(out, byte);
                out.push(b';');
            }
            _ => out.push(byte),
        }
    }
}

/// Within a string. Bytes that are no UTF-8 become U+FFFD.
fn escape_json(value: &[u8], out: &mut Vec<u8>) {
    for chunk in value.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' | b'\\' => out.extend([b'\\', byte]),
                b'<' | 0..0x20 => write_display(out, format_args!("\\u{byte:04x}")),
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    #[test]
    fn answers_with_fields_and_values_that_cannot_break_out() {
        let settings = |content_type: &str| Settings {
            status: 418,
            content_type: content_type.into(),
            body: "{{\r\n\"{header.X}\"}}\n".into(),
            fields: vec![("X-H".into(), "{host}".into())],
        };
        for (content_type, value) in [
            ("text/html; charset=utf-8", "&#60;&#34;&#38;\u{e9}\\"),
            ("application/problem+json", "\\u003c\\\"&\u{e9}\\\\"),
            ("text/plain", "<\"&\u{e9}\\"),
        ] {
            let sent = Sent::with("/", "X: <\"&\u{e9}\\\r\n");
            let seen = sent.through(&chain([Any::Respond(settings(content_type))]));
            let expected =
                format!("418 responded\nX-H: a.example\nContent-Type: {content_type}\n\n{{\n\"{value}\"}}\n");
            assert_eq!(seen.answer(), expected);
        }
        let seen =
            Sent::get("/").through(&chain([Any::Respond(Settings { status: 204, ..Settings::default() })]));
        assert_eq!(seen.answer(), "204 responded\n");
    }

    #[test]
    fn wrong_settings_are_told() {
        let settings = Settings {
            status: 100,
            content_type: "a\n".into(),
            body: "{x}".into(),
            fields: vec![("Host".into(), String::new())],
        };
        let text = problems(Any::Respond(settings));
        for key in ["status: ", "content_type: ", "body: ", "fields.Host: "] {
            assert!(text.lines().any(|line| line.starts_with(key)), "{key}: {text}");
        }
        let settings = Settings { status: 204, body: "a".into(), ..Settings::default() };
        assert_eq!(problems(Any::Respond(settings)), "body: a response with the status 204 has none\n");
    }
}
