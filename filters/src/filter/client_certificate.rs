//! `client_certificate`: which clients are let in, by the certificate that they have proved to hold (RFC 8446 §4.4.2).

use super::field_rule::Rules;
use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::filters::Build;
use crate::reason::Reason;
use crate::settings::{Key, Kind};

pub use super::field_rule::{Settings, Values};

const VALUES: &[Key] = &[
    Key::optional("exact", Kind::Text, "not this one alone").says(
        "This subject (RFC 4514) or this fingerprint (SHA-256, lower-case hexadecimal).",
        "a text",
        "\"CN=app,O=Example\"",
    ),
    Key::optional("regex", Kind::Text, "no expression").says(
        "Those in whose subject or fingerprint the expression finds something.",
        "a regular expression",
        "\"(^|,)O=Example(,|$)\"",
    ),
    Key::optional("empty", Kind::Flag, "not those without").says(
        "Clients without a certificate.",
        "true",
        "true",
    ),
];

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::optional("allow", Kind::Items(VALUES), "every certificate but those of deny").says(
        "Who is let in.",
        "texts, { regex = \"...\" } and { empty = true }",
        "[{ regex = \"(^|,)O=Example(,|$)\" }]",
    ),
    Key::optional("deny", Kind::Items(VALUES), "nobody beside allow").says(
        "Who is refused; it goes before allow.",
        "texts, { regex = \"...\" } and { empty = true }",
        "[\"CN=old,O=Example\"]",
    ),
];

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step(Rules);

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        Some(Self(Rules::compile(settings, build)))
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let tls = context.tls.unwrap_or_default();
        let says = [tls.client_subject, tls.client_fingerprint.as_bytes()];
        let is_allowed = edits.with_caches(|_, caches| match says {
            // Nobody who shows none is let in by a list of others.
            [[], []] => self.0.allow_names(b"", caches) && !self.0.denies(b"", caches),
            says => {
                // A subject may be empty; that is not the same as no certificate.
                let says = || says.iter().filter(|it| !it.is_empty());
                says().any(|it| self.0.allows(it, caches)) && !says().any(|it| self.0.denies(it, caches))
            }
        });
        if is_allowed {
            return Flow::Passed;
        }
        edits.refuse(403, Reason::ClientCertificateDenied);
        Flow::Answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    #[test]
    fn a_certificate_is_needed_and_its_subject_decides() {
        let exact = |text: &str| Values::Exact(text.to_owned());
        let me = || exact("CN=me\r\nX: y");
        let regex = |text: &str| Values::Regex(text.to_owned());
        for (allow, deny, by_tls, without) in [
            (vec![], vec![], true, false),
            (vec![me()], vec![], true, false),
            (vec![exact("CN=you")], vec![], false, false),
            (vec![exact("CN=you"), regex("^CN=m")], vec![], true, false),
            (vec![], vec![me()], false, false),
            (vec![], vec![exact("CN=you")], true, false),
            (vec![regex("^CN=")], vec![regex("me")], false, false),
            (vec![Values::Empty], vec![], false, true),
            (vec![Values::Empty, me()], vec![], true, true),
        ] {
            let chain =
                chain([Any::ClientCertificate(Settings { allow: allow.clone(), deny: deny.clone() })]);
            let answer = |tls| Sent { tls, ..Sent::get("/") }.through(&chain).answer();
            let refused = "403 client_certificate_denied\n";
            assert_eq!(answer(true), if by_tls { "" } else { refused }, "{allow:?} {deny:?}");
            assert_eq!(answer(false), if without { "" } else { refused }, "{allow:?} {deny:?}");
        }
    }

    #[test]
    fn wrong_settings_are_told() {
        let settings = Settings { allow: vec![Values::Regex("[".into())], deny: vec![] };
        assert!(problems(Any::ClientCertificate(settings)).starts_with("allow: not a regular expression"));
    }
}
