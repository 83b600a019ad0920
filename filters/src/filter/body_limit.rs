//! `body_limit`: how long a request's body may be. The engine refuses longer ones (413, RFC 9110 §15.5.14).

use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::filters::Build;
use crate::settings::{Key, Kind, Read};

/// The limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes, at least 1: 0 is no limit elsewhere, and would be taken for that. The smallest of this, of other filters' and of
    /// the route's holds.
    pub bytes_max: u64,
}

/// The keys of its table.
pub const KEYS: &[Key] = &[Key::required("bytes_max", Kind::Size).says(
    "The largest body of a request; the smallest of this, of other filters' and of the route's holds.",
    "1 byte and more",
    "\"10MiB\"",
)];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        Some(Self { bytes_max: table.size("bytes_max")? })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    bytes_max: u64,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        if settings.bytes_max == 0 {
            build.problem("bytes_max", "0 would be no limit; give 1 byte or more");
        }
        Some(Self { bytes_max: settings.bytes_max })
    }

    fn request(&self, _context: &Context<'_>, edits: &mut Edits) -> Flow {
        let limit = &mut edits.limits.request_body_bytes_max;
        if limit.is_some_and(|limit| limit <= self.bytes_max) {
            return Flow::Passed;
        }
        *limit = Some(self.bytes_max);
        Flow::Acted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    #[test]
    fn the_smallest_limit_holds() {
        let limits = [20, 10, 30].map(|bytes_max| Any::BodyLimit(Settings { bytes_max }));
        let seen = Sent::get("/").through(&chain(limits));
        assert_eq!(seen.edits.limits().request_body_bytes_max, Some(10));
        assert_eq!(Sent::get("/").through(&chain([])).edits.limits().request_body_bytes_max, None);
        assert!(problems(Any::BodyLimit(Settings { bytes_max: 0 })).starts_with("bytes_max: 0 would"));
    }
}
