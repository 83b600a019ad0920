//! `concurrency_limit`: so many requests in flight for each key, exactly over all workers.
//!
//! A request holds its place until its exchange ends, however it ends: [`crate::Chain::finish`] gives it back. When the table
//! has no room for a new key, because all of its set have requests in flight, the request is refused: what cannot be
//! counted is not let through.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::rate_limit::KEYS_MAX;
use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::filters::Build;
use crate::key::Key;
use crate::key::{PART, parts};
use crate::reason::Reason;
use crate::settings::{Key as SettingKey, Kind, Read};
use crate::table::{Meaning, Rule, Table};

pub use crate::key::KeyPart;

/// The limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is counted by; together they are one key.
    pub key: Vec<KeyPart>,
    /// How many requests of a key may be in flight.
    pub requests_max: u32,
    /// How many keys there is room for; 64 bytes each at most.
    pub keys_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { key: vec![KeyPart::CLIENT], requests_max: 0, keys_max: 65_536 }
    }
}

/// The keys of its table.
pub const KEYS: &[SettingKey] = &[
    SettingKey::or("key", Kind::Items(PART), "[\"client\"]").says(
        "What is counted by; several parts are one key together.",
        "\"client\", \"host\", \"user\", \"api_key\", and { header = \"...\" }, { cookie = \"...\" }, { query = \"...\" }, { client = { ipv4_prefix = 24 } }",
        "[\"host\", { header = \"X-Tenant\" }]",
    ),
    SettingKey::required("requests_max", Kind::Integer).says(
        "How many requests of a key may be in flight.",
        "1 to 1000000",
        "10",
    ),
    SettingKey::or("keys_max", Kind::Integer, "65536").says(
        "How many keys there is room for; 64 bytes each at most.",
        "1 to 16777216",
        "1048576",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let number = |key, range| table.integer(key, range).and_then(|number| u32::try_from(number).ok());
        let (key, keys_max) = (parts(table), number("keys_max", 1..=KEYS_MAX));
        Some(Self { key, requests_max: number("requests_max", 1..=1_000_000)?, keys_max: keys_max? })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    key: Key,
    table: Arc<Table>,
    rule: InFlight,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        build.within("requests_max", u64::from(settings.requests_max), 1..=1_000_000);
        build.within("keys_max", u64::from(settings.keys_max), 1..=KEYS_MAX);
        let key = Key::compile(&settings.key, build);
        let table = build.table(settings.keys_max.clamp(1, 1 << 24), Meaning::InFlight);
        Some(Self { key, table, rule: InFlight { max: u64::from(settings.requests_max) } })
    }

    fn table_bytes(settings: &Settings) -> u64 {
        Table::bytes(settings.keys_max)
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let key = self.key.of(context, edits);
        let is_free = if context.is_served() {
            let changed = self.table.change(key, &self.rule);
            let entry = edits.entry;
            changed.map(|(_, place)| edits.carry.places.push((entry, place))).is_ok()
        } else {
            let number = self.table.number(key);
            // Writing to a string does not fail.
            let _ = write!(edits.remark, "{number} of {} in flight", self.rule.max);
            self.rule.next(number).is_some()
        };
        if is_free {
            return Flow::Passed;
        }
        edits.response.add(b"Retry-After", b"1");
        edits.refuse(503, Reason::ConcurrencyLimited);
        Flow::Answered
    }

    fn release(&self, place: u32) {
        self.table.decrease(place);
    }
}

/// A key's number is how many are in flight.
#[derive(Debug)]
struct InFlight {
    max: u64,
}

impl Rule for InFlight {
    fn next(&self, number: u64) -> Option<u64> {
        (number < self.max).then_some(number + 1)
    }

    fn is_idle(&self, number: u64) -> bool {
        number == 0
    }

    const EVICTS: bool = false;

    fn undo(&self, number: &AtomicU64) {
        number.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};
    use crate::{Purpose, Verdict};

    fn two() -> Settings {
        Settings { requests_max: 2, ..Settings::default() }
    }

    #[test]
    fn places_come_back_at_the_end() {
        let chain = chain([Any::ConcurrencyLimit(two()), Any::ConcurrencyLimit(two())]);
        let mut first = Sent::get("/").through(&chain);
        let mut second = Sent::get("/").through(&chain);
        let mut third = Sent::get("/").through(&chain);
        assert_eq!(third.answer(), "503 concurrency_limited\nRetry-After: 1\n");
        assert!(third.carry.is_empty());
        chain.finish(&mut third.carry);
        let explained = Sent { purpose: Purpose::Explain, ..Sent::get("/") };
        assert_eq!(explained.through(&chain).verdict, Verdict::Answer);
        chain.finish(&mut first.carry);
        chain.finish(&mut first.carry);
        assert_eq!(explained.through(&chain).verdict, Verdict::Continue);
        let mut fourth = Sent::get("/").through(&chain);
        assert_eq!(fourth.verdict, Verdict::Continue);
        assert_eq!(Sent::get("/").through(&chain).verdict, Verdict::Answer);
        chain.finish(&mut second.carry);
        chain.finish(&mut fourth.carry);
    }

    #[test]
    fn a_later_refusal_keeps_nothing_that_is_not_given_back() {
        let refuse = crate::filter::respond::Settings::default();
        let chain = chain([Any::ConcurrencyLimit(two()), Any::Respond(refuse)]);
        for _ in 0..5 {
            let mut seen = Sent::get("/").through(&chain);
            assert_eq!(seen.answer(), "200 responded\n");
            assert!(!seen.carry.is_empty());
            chain.finish(&mut seen.carry);
        }
    }

    #[test]
    fn wrong_settings_are_told() {
        let settings = Settings { requests_max: 0, keys_max: 1 << 25, key: vec![] };
        let text = problems(Any::ConcurrencyLimit(settings));
        for key in ["requests_max: ", "keys_max: ", "key: "] {
            assert!(text.lines().any(|line| line.starts_with(key)), "{key}: {text}");
        }
    }
}
