//! `timeouts`: times of a route that differ from its upstream's. The engine keeps them.

use std::time::Duration;

use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::filters::Build;
use crate::settings::{Key, Kind, Read};

/// The times; what is not given stays. A later filter's hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// For the whole exchange.
    pub request_timeout: Option<Duration>,
    /// From the request's end to the response's head.
    pub response_head_timeout: Option<Duration>,
    /// Between two pieces of a body.
    pub body_idle_timeout: Option<Duration>,
}

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::optional("request_timeout", Kind::Duration, "the upstream's").says(
        "For the whole exchange.",
        "above \"0s\", at most a day",
        "\"30s\"",
    ),
    Key::optional("response_head_timeout", Kind::Duration, "the upstream's").says(
        "From the request's end to the response's head.",
        "above \"0s\", at most a day",
        "\"10s\"",
    ),
    Key::optional("body_idle_timeout", Kind::Duration, "the upstream's").says(
        "Between two pieces of a response's body.",
        "above \"0s\", at most a day",
        "\"1m\"",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        Some(Self {
            request_timeout: table.duration("request_timeout"),
            response_head_timeout: table.duration("response_head_timeout"),
            body_idle_timeout: table.duration("body_idle_timeout"),
        })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step(Settings);

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        if settings == &Settings::default() {
            build.problem(
                "",
                "changes nothing: give request_timeout, response_head_timeout or body_idle_timeout",
            );
        }
        let times = [
            ("request_timeout", settings.request_timeout),
            ("response_head_timeout", settings.response_head_timeout),
            ("body_idle_timeout", settings.body_idle_timeout),
        ];
        for (key, time) in times {
            if time.is_some_and(|time| time.is_zero() || time > DAY) {
                build.problem(key, "not above \"0s\" and at most \"24h\"");
            }
        }
        Some(Self(settings.clone()))
    }

    fn request(&self, _context: &Context<'_>, edits: &mut Edits) -> Flow {
        let limits = &mut edits.limits;
        limits.request_timeout = self.0.request_timeout.or(limits.request_timeout);
        limits.response_head_timeout = self.0.response_head_timeout.or(limits.response_head_timeout);
        limits.body_idle_timeout = self.0.body_idle_timeout.or(limits.body_idle_timeout);
        Flow::Acted
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    #[test]
    fn later_filters_hold() {
        let seconds = |n| Some(Duration::from_secs(n));
        let one =
            Settings { request_timeout: seconds(1), body_idle_timeout: seconds(2), ..Settings::default() };
        let two = Settings {
            request_timeout: seconds(3),
            response_head_timeout: seconds(4),
            ..Settings::default()
        };
        let seen = Sent::get("/").through(&chain([Any::Timeouts(one), Any::Timeouts(two)]));
        let limits = *seen.edits.limits();
        assert_eq!(
            (limits.request_timeout, limits.response_head_timeout, limits.body_idle_timeout),
            (seconds(3), seconds(4), seconds(2))
        );
        assert!(problems(Any::Timeouts(Settings::default())).contains("changes nothing"));
        let zero = Settings { body_idle_timeout: seconds(0), ..Settings::default() };
        assert!(problems(Any::Timeouts(zero)).starts_with("body_idle_timeout: "));
    }
}
