//! `response_fields`: changes to the fields that the client gets (RFC 9110 §5).

use super::request_fields::Changes;
use super::{Filter, Flow};
use crate::context::ResponseContext;
use crate::edits::Edits;
use crate::filters::Build;
use crate::settings::Key;
use crate::template::Template;
use crate::variable::Phase;

/// The changes, as those of `request_fields`.
pub type Settings = super::request_fields::Settings;

/// The keys of its table.
pub const KEYS: &[Key] = super::request_fields::KEYS;

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step(Changes);

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        Changes::compile(settings, Phase::Response, build).map(Self)
    }

    fn response(&self, context: &ResponseContext<'_>, base: usize, edits: &mut Edits) -> Flow {
        let write =
            |value: &Template, _: &Edits, text: &mut Vec<u8>| value.write_response(context, base, text);
        self.0.make(edits, |edits| &mut edits.response, (&context.head.fields, context.bytes), write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, response_fields};

    #[test]
    fn fields_of_a_response_know_its_request() {
        let set = |name: &str, value: &str| Settings {
            set: vec![(name.to_owned(), value.to_owned())],
            remove: vec!["server".to_owned()],
            ..Settings::default()
        };
        let settings = [
            Any::ResponseFields(set("X-A", "{status} {endpoint} {duration_ms} {host}{path} {host}")),
            Any::RequestFields(Settings { remove: vec!["X-Env".to_owned()], ..Settings::default() }),
            Any::ResponseFields(set("X-B", "{header.X-Env}{client.ip}")),
            Any::ResponseFields(set("X-B", "first")),
        ];
        let chain = chain(settings);
        let seen = Sent::with("/p", "X-Env: beta\r\n").through(&chain);
        assert_eq!(seen.upstream_fields(), "");
        let fields = response_fields(&chain, &seen.carry, "Server: s\r\nETag: e\r\n");
        assert_eq!(fields, "ETag: e\nX-B: 192.0.2.7\nX-A: 200 10.0.0.1:80 12 a.example/p a.example\n");
    }
}
