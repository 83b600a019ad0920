//! `rate_limit`: so many requests in so much time for each key, exactly over all workers.
//!
//! The generic cell rate algorithm (GCRA, ITU-T I.371): a key's number is the time at which its requests so far would have
//! come if they came evenly. A request passes if that is not further ahead than the burst. No window begins or ends, so
//! that there is no edge at which twice the rate passes.
//!
//! A key costs one place in a table of fixed size. A key that has been quiet for as long as its requests take at the rate
//! says nothing more than one that was never there, and its place is free. If all places of a set are in use, the key whose
//! debt ends first is forgotten, and counted: its client gets a new burst. `keys_max` should be above the keys that are
//! busy at one time.
//!
//! The fields are those of draft-ietf-httpapi-ratelimit-headers-10.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::{Filter, Flow};
use crate::context::{Context, ResponseContext};
use crate::edits::Edits;
use crate::field_name::FieldName;
use crate::filters::Build;
use crate::key::Key;
use crate::key::{PART, parts};
use crate::reason::Reason;
use crate::settings::{Key as SettingKey, Kind, Read};
use crate::table::{Meaning, Refused, Rule, Table};
use crate::text::write_display;
use crate::variable::Variable;

pub use crate::key::KeyPart;

/// The limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is counted by; together they are one key.
    pub key: Vec<KeyPart>,
    /// How many requests in `per`.
    pub requests: u64,
    /// The time for `requests`.
    pub per: Duration,
    /// How many may come at once; `requests` if not given.
    pub burst: Option<u64>,
    /// How many keys there is room for; 64 bytes each at most.
    pub keys_max: u32,
    /// Which answers have RateLimit and RateLimit-Policy.
    pub fields: Fields,
}

/// Which answers have RateLimit and RateLimit-Policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// All.
    #[default]
    Always,
    /// Refusals.
    Refused,
    /// None.
    Never,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key: vec![KeyPart::CLIENT],
            requests: 0,
            per: Duration::from_secs(1),
            burst: None,
            keys_max: 65_536,
            fields: Fields::Always,
        }
    }
}

/// The keys of its table.
pub const KEYS: &[SettingKey] = &[
    SettingKey::or("key", Kind::Items(PART), "[\"client\"]").says(
        "What is counted by; several parts are one key together.",
        "\"client\", \"host\", \"user\", \"api_key\", and { header = \"...\" }, { cookie = \"...\" }, { query = \"...\" }, { client = { ipv4_prefix = 24 } }",
        "[\"host\", { header = \"X-Tenant\" }]",
    ),
    SettingKey::required("requests", Kind::Integer).says(
        "How many requests in `per`.",
        "1 to 1000000000",
        "100",
    ),
    SettingKey::or("per", Kind::Duration, "\"1s\"").says(
        "The time for `requests`.",
        "\"1ms\" to \"24h\"",
        "\"1m\"",
    ),
    SettingKey::optional("burst", Kind::Integer, "as many as requests").says(
        "How many may come at once.",
        "1 to 1000000000",
        "20",
    ),
    SettingKey::or("keys_max", Kind::Integer, "65536").says(
        "How many keys there is room for; 64 bytes each at most.",
        "1 to 16777216",
        "1048576",
    ),
    SettingKey::or("fields", Kind::Text, "\"always\"").says(
        "Which answers have RateLimit and RateLimit-Policy.",
        "\"always\", \"refused\" or \"never\"",
        "\"refused\"",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let fields = [Fields::Always, Fields::Refused, Fields::Never];
        let (key, per) = (parts(table), table.duration("per"));
        let requests = table.integer("requests", 1..=1_000_000_000);
        let burst = table.integer("burst", 1..=1_000_000_000);
        let keys_max = table.integer("keys_max", 1..=KEYS_MAX);
        let choice = table.choice("fields", &["always", "refused", "never"]);
        Some(Self {
            key,
            requests: requests?,
            per: per?,
            burst,
            keys_max: u32::try_from(keys_max?).ok()?,
            fields: fields[choice?],
        })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    key: Key,
    table: Arc<Table>,
    /// Between two requests at the rate, in nanoseconds.
    interval: u64,
    /// How far ahead of now a key's time may be.
    depth: u64,
    fields: Fields,
    /// The policy's name, as a structured string (RFC 9651 §3.3.3).
    name: Box<[u8]>,
    policy: Box<[u8]>,
    limit_field: FieldName,
    policy_field: FieldName,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        let per = u64::try_from(settings.per.as_nanos()).unwrap_or(u64::MAX);
        build.within("requests", settings.requests, 1..=1_000_000_000);
        if !(1_000_000..=DAY).contains(&per) {
            build.problem("per", "not from \"1ms\" to \"24h\"");
        }
        let burst = settings.burst.unwrap_or(settings.requests);
        if settings.burst.is_some() {
            build.within("burst", burst, 1..=1_000_000_000);
        }
        build.within("keys_max", u64::from(settings.keys_max), 1..=KEYS_MAX);
        // Rounded up: rather a little less than the rate.
        let interval = per.div_ceil(settings.requests.max(1)).max(1);
        let depth = interval.saturating_mul(burst.max(1));
        if depth > 366 * DAY {
            build.problem("burst", "takes more than a year to come back at this rate");
        }
        let key = Key::compile(&settings.key, build);
        if settings.fields == Fields::Always {
            let place = build.carry(Variable::Note);
            debug_assert_eq!(place, 0, "the note is the only text that is kept");
        }
        let name = quoted(build.name);
        let mut policy = name.clone();
        write_display(&mut policy, format_args!(";q={burst};w={}", seconds(depth)));
        let (limit_field, policy_field) =
            (build.field_name("", "RateLimit")?, build.field_name("", "RateLimit-Policy")?);
        // So that a wrong number does not become a large table.
        let table = build.table(settings.keys_max.clamp(1, 1 << 24), Meaning::Rate { interval, depth });
        let (name, policy, fields) = (name.into(), policy.into(), settings.fields);
        Some(Self { key, table, interval, depth, fields, name, policy, limit_field, policy_field })
    }

    fn table_bytes(settings: &Settings) -> u64 {
        Table::bytes(settings.keys_max)
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let rule = Rate { now: context.now_ns, interval: self.interval, depth: self.depth };
        let key = self.key.of(context, edits);
        let changed = if context.is_served() {
            self.table.change(key, &rule).map(|(number, _)| number)
        } else {
            let number = self.table.number(key);
            self.remark(&rule, number, &mut edits.remark);
            rule.next(number).ok_or(Refused::Limit(number))
        };
        let number = match changed {
            Ok(number) => {
                if self.fields == Fields::Always {
                    edits.note(|out| self.write_limit(rule.left(number), rule.ahead(number), out));
                }
                return Flow::Passed;
            }
            Err(Refused::Limit(number)) => number,
            // Nobody's fault, and over in a moment.
            Err(Refused::Full) => context.now_ns,
        };
        edits.with_text(|edits, text| {
            if self.fields != Fields::Never {
                self.write_limit(0, rule.ahead(number), text);
                edits.response.add(self.limit_field.text(), text);
                edits.response.add(self.policy_field.text(), &self.policy);
                text.clear();
            }
            write_display(&mut *text, seconds(rule.wait(number)).max(1));
            edits.response.add(b"Retry-After", text);
        });
        edits.refuse(429, Reason::RateLimited);
        Flow::Answered
    }

    fn response(&self, context: &ResponseContext<'_>, base: usize, edits: &mut Edits) -> Flow {
        if self.fields != Fields::Always || context.carry.text(base).is_empty() {
            // A refusal has its fields already.
            return Flow::Passed;
        }
        let (fields, bytes) = (&context.head.fields, context.bytes);
        edits.response.set(&self.limit_field, context.carry.text(base), fields, bytes);
        edits.response.set(&self.policy_field, &self.policy, fields, bytes);
        Flow::Passed
    }
}

impl Step {
    /// How the key stands, for people.
    fn remark(&self, rule: &Rate, number: u64, out: &mut String) {
        // Writing to a string does not fail.
        let _ = write!(out, "{} of {} left", rule.left(number), self.depth / self.interval);
        if rule.wait(number) > 0 {
            let _ = write!(out, ", the next in {} s", seconds(rule.wait(number)));
        }
    }

    /// What is left, and until when all is back.
    fn write_limit(&self, left: u64, ahead: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.name);
        write_display(out, format_args!(";r={left};t={}", seconds(ahead)));
    }
}

/// The rule for a key's number at one moment.
struct Rate {
    now: u64,
    interval: u64,
    depth: u64,
}

impl Rate {
    /// How many more requests would pass now.
    fn left(&self, number: u64) -> u64 {
        self.depth.saturating_sub(self.ahead(number)) / self.interval
    }

    fn ahead(&self, number: u64) -> u64 {
        number.saturating_sub(self.now)
    }

    /// Until the next request would pass.
    fn wait(&self, number: u64) -> u64 {
        (self.ahead(number) + self.interval).saturating_sub(self.depth)
    }
}

impl Rule for Rate {
    fn next(&self, number: u64) -> Option<u64> {
        let next = number.max(self.now).saturating_add(self.interval);
        (next <= self.now.saturating_add(self.depth)).then_some(next)
    }

    fn is_idle(&self, number: u64) -> bool {
        number <= self.now
    }

    // A wrong key's number that was moved stays so: too strict once, in a case that needs two equal nanoseconds.
    const EVICTS: bool = true;
}

/// Rounded up.
fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(1_000_000_000)
}

/// A name as a structured string; what such a string cannot hold is left out.
fn quoted(name: &str) -> Vec<u8> {
    let mut out = vec![b'"'];
    for byte in name.bytes().filter(|byte| matches!(byte, b' '..=b'~')) {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
    out
}

/// In nanoseconds.
const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;

/// A table of 1 GiB.
pub(crate) const KEYS_MAX: u64 = 1 << 24;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::fixtures::{Sent, chain, environment, problems, response_fields};
    use crate::{Chain, Filters, Purpose, Scope, Settings as Any, Verdict};

    const SECOND: u64 = 1_000_000_000;

    fn five_per_second() -> Settings {
        Settings { requests: 5, burst: Some(3), ..Settings::default() }
    }

    fn at(now_ns: u64, client: &'static str) -> Sent {
        Sent { now_ns, client, ..Sent::get("/") }
    }

    #[test]
    fn a_burst_and_then_the_rate_for_each_key() {
        let chain = chain([Any::RateLimit(five_per_second())]);
        let passes = |now, client| at(now, client).through(&chain).answer().is_empty();
        let start = 7 * SECOND;
        assert!((0..3).all(|_| passes(start, "10.0.0.1")));
        assert!(!passes(start, "10.0.0.1") && passes(start, "10.0.0.2"));
        assert!(!passes(start + SECOND / 5 - 1, "10.0.0.1"));
        assert!(passes(start + SECOND / 5, "10.0.0.1"));
        assert!(!passes(start + SECOND / 5, "10.0.0.1"));
        assert!(!passes(start - SECOND, "10.0.0.1"), "a worker whose clock is a little behind");
        assert!((0..3).all(|_| passes(start + 60 * SECOND, "10.0.0.1")));
        assert!(!passes(start + 60 * SECOND, "10.0.0.1"));
    }

    #[test]
    fn answers_say_what_is_left() {
        let chain = chain([Any::RateLimit(five_per_second())]);
        let first = at(0, "10.0.0.1").through(&chain);
        assert_eq!(
            response_fields(&chain, &first.carry, "RateLimit: theirs\r\n"),
            "RateLimit: \"f0\";r=2;t=1\nRateLimit-Policy: \"f0\";q=3;w=1\n"
        );
        let explained = Sent { purpose: Purpose::Explain, ..at(0, "10.0.0.1") };
        for _ in 0..9 {
            let asked = explained.through(&chain);
            assert_eq!((asked.answer(), &*asked.edits.remark), (String::new(), "2 of 3 left"));
        }
        for _ in 0..2 {
            assert_eq!(at(0, "10.0.0.1").through(&chain).answer(), "");
        }
        let refused =
            "429 rate_limited\nRateLimit: \"f0\";r=0;t=1\nRateLimit-Policy: \"f0\";q=3;w=1\nRetry-After: 1\n";
        assert_eq!(at(0, "10.0.0.1").through(&chain).answer(), refused);
        assert_eq!(explained.through(&chain).answer(), refused);
        assert_eq!(explained.through(&chain).edits.remark, "0 of 3 left, the next in 1 s");

        let slow = Settings {
            requests: 1,
            per: Duration::from_secs(90),
            fields: Fields::Never,
            ..Settings::default()
        };
        let slow = super::tests::chain([Any::RateLimit(slow)]);
        assert_eq!(response_fields(&slow, &at(0, "::1").through(&slow).carry, "A: b\r\n"), "A: b\n");
        assert_eq!(at(30 * SECOND, "::1").through(&slow).answer(), "429 rate_limited\nRetry-After: 60\n");
        assert_eq!(quoted("a\"\\\u{e9}\n"), b"\"a\\\"\\\\\"");
    }

    #[test]
    fn a_table_that_is_full_forgets_whose_debt_ends_first() {
        let mut filters = Filters::default();
        let settings = Settings { keys_max: 1, ..five_per_second() };
        let id = filters.define("f", Any::RateLimit(settings), &environment).unwrap();
        let chain = filters.chain(&[id], &Scope::default(), &environment).unwrap();
        let clients = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"];
        for client in clients {
            while at(0, client).through(&chain).answer().is_empty() {}
        }
        assert_eq!(filters.evictions(id), 0);
        assert_eq!(at(0, "10.0.0.8").through(&chain).answer(), "");
        assert_eq!(filters.evictions(id), 1);
        let later = Filters::after(&filters);
        assert_eq!(later.evictions(id), 0);
    }

    #[test]
    fn counts_go_on_in_the_next_configuration() {
        let mut filters = Filters::default();
        let first = filters.define("f", Any::RateLimit(five_per_second()), &environment).unwrap();
        let chain = filters.chain(&[first], &Scope::default(), &environment).unwrap();
        while at(0, "::1").through(&chain).answer().is_empty() {}
        let mut next = Filters::after(&filters);
        let other = next.define("g", Any::RateLimit(five_per_second()), &environment).unwrap();
        let same = next.define("f", Any::RateLimit(five_per_second()), &environment).unwrap();
        let chain = |id| next.chain(&[id], &Scope::default(), &environment).unwrap();
        assert!(at(0, "::1").through(&chain(other)).answer().is_empty());
        assert!(!at(0, "::1").through(&chain(same)).answer().is_empty());
    }

    /// The bound: what has passed took an interval each, and no key's time is further than `depth` ahead of the last now.
    #[test]
    fn never_more_than_burst_and_rate_over_four_threads() {
        const KEYS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
        let settings = Settings { requests: 1_000, burst: Some(50), ..Settings::default() };
        let chain: Chain = chain([Any::RateLimit(settings)]);
        let clock = AtomicU64::new(SECOND);
        let passed: [AtomicU64; 3] = Default::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (chain, clock, passed) = (&chain, &clock, &passed);
                scope.spawn(move || {
                    let mut edits = Edits::default();
                    let mut sent = Sent::get("/");
                    for turn in 0..40_000 {
                        let key = (turn + thread) % KEYS.len();
                        sent.client = KEYS[key];
                        sent.now_ns = clock.fetch_add(10_000, Ordering::Relaxed);
                        let verdict = chain.request(&sent.context(), &mut edits);
                        let mut carry = edits.take_carry();
                        chain.finish(&mut carry);
                        edits.give_back(carry);
                        if verdict == Verdict::Continue {
                            passed[key].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let elapsed = clock.load(Ordering::Relaxed) - SECOND;
        for passed in &passed {
            let passed = passed.load(Ordering::Relaxed);
            let bound = 50 + elapsed / 1_000_000;
            assert!(passed <= bound, "{passed} of {bound}");
            assert!(passed >= bound * 95 / 100, "{passed} of {bound}: far fewer than allowed");
        }
    }

    #[test]
    fn wrong_settings_are_told() {
        let settings = Settings {
            key: vec![KeyPart::Client { ipv4_prefix: 33, ipv6_prefix: 0 }, KeyPart::Cookie("a b".into())],
            requests: 0,
            per: Duration::ZERO,
            burst: Some(0),
            keys_max: 0,
            fields: Fields::Always,
        };
        let text = problems(Any::RateLimit(settings));
        for key in ["key[0]: ", "key[1]: ", "requests: ", "per: ", "burst: ", "keys_max: "] {
            assert!(text.lines().any(|line| line.starts_with(key)), "{key}: {text}");
        }
        let none = Settings { key: vec![], ..five_per_second() };
        assert!(problems(Any::RateLimit(none)).starts_with("key: "));
    }
}
