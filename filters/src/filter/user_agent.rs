//! `user_agent`: which programs are let in, by what they say of themselves (RFC 9110 §10.1.5).
//!
//! A client can say anything there: this keeps out who means no harm.

use super::field_rule::Rules;
use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::field_name::FieldName;
use crate::filters::Build;
use crate::reason::Reason;
use crate::settings::Key;

pub use super::field_rule::{Settings, Values};

/// The keys of its table.
pub const KEYS: &[Key] = super::field_rule::KEYS;

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    name: FieldName,
    rules: Rules,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        let rules = Rules::compile(settings, build);
        Some(Self { name: build.field_name("", "User-Agent")?, rules })
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let mut caches = std::mem::take(&mut edits.caches);
        let is_allowed = self.rules.allow(edits.field(&self.name, context).unwrap_or_default(), &mut caches);
        edits.caches = caches;
        if is_allowed {
            return Flow::Passed;
        }
        edits.refuse(403, Reason::UserAgentDenied);
        Flow::Answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    #[test]
    fn deny_goes_before_allow() {
        let deny = vec![Values::Regex("(?i)bad".into()), Values::Empty];
        let allow = vec![Values::Exact("one".into()), Values::Regex("^g[o]+d".into())];
        let both = Settings { allow, deny: deny.clone() };
        let deny = Settings { allow: vec![], deny };
        for (value, by_both, by_deny) in [
            ("one", true, true),
            ("good", true, true),
            ("goodBAD", false, false),
            ("One", false, true),
            ("", false, false),
            ("bad\u{e9}", false, false),
        ] {
            for (settings, is_in) in [(&both, by_both), (&deny, by_deny)] {
                let chain = chain([Any::UserAgent(settings.clone())]);
                let sent = Sent::with("/", &format!("user-agent: {value}\r\n"));
                let answer = sent.through(&chain).answer();
                assert_eq!(answer, if is_in { "" } else { "403 user_agent_denied\n" }, "{value:?}");
            }
        }
        let missing = Sent::get("/").through(&chain([Any::UserAgent(deny)])).answer();
        assert_eq!(missing, "403 user_agent_denied\n");
    }

    #[test]
    fn wrong_settings_are_told() {
        assert!(problems(Any::UserAgent(Settings::default())).contains("lets everything through"));
        let settings = Settings { allow: vec![], deny: vec![Values::Regex("[".into())] };
        assert!(problems(Any::UserAgent(settings)).starts_with("deny: not a regular expression"));
    }
}
