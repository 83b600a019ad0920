//! `request_id`: a name for the request, for logs, errors, the upstream and the client.
//!
//! Without this filter the engine's own id is in logs and errors. A received one is taken over only if it is short and plain,
//! so that it cannot forge a line of a log.

use super::{Filter, Flow};
use crate::context::{Context, ResponseContext};
use crate::edits::Edits;
use crate::field_name::FieldName;
use crate::filters::Build;
use crate::settings::{Key, Kind, Read};
use crate::variable::Variable;

/// Which id, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The field.
    pub header: String,
    /// Whose ids are kept.
    pub keep: Keep,
    /// Whether the response has the field, too.
    pub respond: bool,
}

/// Whose ids are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Those of trusted proxies.
    #[default]
    Trusted,
    /// Everybody's.
    Always,
    /// Nobody's.
    Never,
}

impl Default for Settings {
    fn default() -> Self {
        Self { header: "X-Request-Id".to_owned(), keep: Keep::Trusted, respond: true }
    }
}

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::or("header", Kind::Text, "\"X-Request-Id\"").says(
        "The field.",
        "a field's name",
        "\"X-Correlation-Id\"",
    ),
    Key::or("keep", Kind::Text, "\"trusted\"").says(
        "Whose ids are kept, those of trusted proxies, everybody's or nobody's.",
        "\"trusted\", \"always\" or \"never\"",
        "\"never\"",
    ),
    Key::or("respond", Kind::Flag, "true").says(
        "Whether the response has the field, too.",
        "true or false",
        "false",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let keep = [Keep::Trusted, Keep::Always, Keep::Never];
        let (header, respond) = (table.text("header"), table.flag("respond"));
        let choice = table.choice("keep", &["trusted", "always", "never"]);
        Some(Self { header: header?, keep: keep[choice?], respond: respond? })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    name: FieldName,
    keep: Keep,
    respond: bool,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        if settings.respond {
            let place = build.carry(Variable::RequestId);
            debug_assert_eq!(place, 0, "the id is the only text that is kept");
        }
        let name = build.editable("header", &settings.header)?;
        Some(Self { name, keep: settings.keep, respond: settings.respond })
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let may_keep = match self.keep {
            Keep::Trusted => context.trusted,
            Keep::Always => true,
            Keep::Never => false,
        };
        let (fields, bytes) = (&context.head.fields, context.bytes);
        edits.with_text(|edits, text| {
            let is_kept = {
                let mut received = edits.request.values(&self.name, fields, bytes);
                // More than one is nobody's.
                let received = received.next().filter(|_| received.next().is_none());
                received.filter(|id| may_keep && is_id(id)).map(|id| text.extend_from_slice(id)).is_some()
            };
            if is_kept {
                edits.request_id.set(text);
                return Flow::Passed;
            }
            text.extend_from_slice(edits.request_id_now(context));
            edits.request.set(&self.name, text, fields, bytes);
            Flow::Acted
        })
    }

    fn response(&self, context: &ResponseContext<'_>, base: usize, edits: &mut Edits) -> Flow {
        if !self.respond {
            return Flow::Passed;
        }
        edits.response.set(&self.name, context.carry.text(base), &context.head.fields, context.bytes);
        Flow::Acted
    }
}

/// Whether a received id may stand in logs.
fn is_id(id: &[u8]) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=:@".contains(byte))
}

/// Twice what is in use: a UUID has 36, and some put a place and a time before it.
const ID_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems, response_fields};

    #[test]
    fn ids_are_kept_from_those_who_may_and_made_for_others() {
        let made = "0123456789abcdef0123456789abcdef";
        let long = "a".repeat(129);
        for (keep, trusted, lines, id) in [
            (Keep::Trusted, true, "x-request-id: a-1\r\n", "a-1"),
            (Keep::Trusted, false, "x-request-id: a-1\r\n", made),
            (Keep::Always, false, "x-request-id: a-1\r\n", "a-1"),
            (Keep::Never, true, "x-request-id: a-1\r\n", made),
            (Keep::Always, true, "", made),
            (Keep::Always, true, "x-request-id: a b\r\n", made),
            (Keep::Always, true, "x-request-id: a\r\nX-Request-Id: b\r\n", made),
            (Keep::Always, true, &format!("x-request-id: {long}\r\n"), made),
        ] {
            let chain = chain([Any::RequestId(Settings { keep, ..Settings::default() })]);
            let seen = Sent { trusted, ..Sent::with("/", lines) }.through(&chain);
            let fields = seen.upstream_fields();
            assert_eq!(fields.to_ascii_lowercase(), format!("x-request-id: {id}\n"), "{lines}");
            assert_eq!(
                seen.edits.request_id().map(<[u8]>::to_vec),
                (id != made).then(|| id.as_bytes().to_vec())
            );
            let response = response_fields(&chain, &seen.carry, "X-REQUEST-ID: theirs\r\n");
            assert_eq!(response, format!("X-Request-Id: {id}\n"));
        }
        let quiet = chain([Any::RequestId(Settings { respond: false, ..Settings::default() })]);
        let seen = Sent::get("/").through(&quiet);
        assert_eq!(response_fields(&quiet, &seen.carry, "A: b\r\n"), "A: b\n");
        let wrong = Settings { header: "Host".into(), ..Settings::default() };
        assert!(problems(Any::RequestId(wrong)).starts_with("header: "));
    }
}
