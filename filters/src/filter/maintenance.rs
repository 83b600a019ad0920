//! `maintenance`: every request gets 503 and the listener's error page (RFC 9110 §15.6.4).

use std::time::Duration;

use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::filters::Build;
use crate::reason::Reason;
use crate::settings::{Key, Kind, Read};

/// For how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What clients are told, in whole seconds (RFC 9110 §10.2.3); `None`: nothing.
    pub retry_after: Option<Duration>,
}

/// The keys of its table.
pub const KEYS: &[Key] = &[Key::optional("retry_after", Kind::Duration, "clients are not told").says(
    "When clients may try again (Retry-After).",
    "a duration of whole seconds",
    "\"5m\"",
)];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        Some(Self { retry_after: table.duration("retry_after") })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    retry_after: Option<Box<[u8]>>,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        if settings.retry_after.is_some_and(|time| time.is_zero() || time.subsec_nanos() > 0) {
            build.problem("retry_after", "not a time of whole seconds, such as \"5m\"");
            return None;
        }
        let text = |time: Duration| time.as_secs().to_string().into_bytes().into_boxed_slice();
        Some(Self { retry_after: settings.retry_after.map(text) })
    }

    fn request(&self, _context: &Context<'_>, edits: &mut Edits) -> Flow {
        if let Some(seconds) = &self.retry_after {
            edits.response.add(b"Retry-After", seconds);
        }
        edits.refuse(503, Reason::Maintenance);
        Flow::Answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain};
    use crate::{Body, Edits, Verdict};

    #[test]
    fn refuses_everything_for_a_while() {
        for (retry_after, lines) in [(Some(Duration::from_secs(300)), 1), (None, 0)] {
            let chain = chain([Any::Maintenance(Settings { retry_after })]);
            let mut edits = Edits::default();
            assert_eq!(chain.request(&Sent::get("/").context(), &mut edits), Verdict::Answer);
            let answer = edits.answer().unwrap();
            assert_eq!((answer.status, answer.reason, answer.body), (503, Reason::Maintenance, Body::Page));
            assert_eq!(edits.response.added().count(), lines);
            assert!(edits.response.added().all(|line| line == (&b"Retry-After"[..], &b"300"[..])));
            drop(edits.take_carry());
        }
    }
}
