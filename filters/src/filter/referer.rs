//! `referer`: from which pages requests may come (RFC 9110 §10.1.3).
//!
//! A client can say anything there: this keeps out who means no harm.

use super::field_rule::Guard;
use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::filters::Build;
use crate::reason::Reason;
use crate::settings::Key;

pub use super::field_rule::{Settings, Values};

/// The keys of its table.
pub const KEYS: &[Key] = super::field_rule::KEYS;

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step(Guard);

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        Guard::compile("Referer", Reason::RefererDenied, settings, build).map(Self)
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        self.0.request(context, edits)
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings as Any;
    use crate::filter::field_rule::tests;

    #[test]
    fn deny_goes_before_allow() {
        tests::deny_goes_before_allow(Any::Referer, "referer", "403 referer_denied\n");
    }

    #[test]
    fn wrong_settings_are_told() {
        tests::wrong_settings_are_told(Any::Referer);
    }
}
