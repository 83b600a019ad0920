//! Which requests have a record: rules, of which the first that fits decides.

use std::ops::RangeInclusive;
use std::rc::Rc;

use corelane_semantics::{Method, MethodSet};

use crate::action::SHARE_ALL;
use crate::spread::Spread;

/// What a request must be like, and which share of those has a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamplingRule {
    /// Empty: every status.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Absent: every method.
    pub methods: Option<MethodSet>,
    /// How long it took at least, in nanoseconds.
    pub duration_min_ns: u64,
    /// Whether it has a reason: Corelane ended it. Absent: either.
    pub failed: Option<bool>,
    /// Of [`SHARE_ALL`] requests so many have a record.
    pub share: u32,
}

/// Which of the rules hold for the requests of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPolicy {
    /// None of them has a record.
    Off,
    /// These, by their index, in this order; what none fits has a record.
    Rules(Vec<usize>),
}

impl Default for LogPolicy {
    fn default() -> Self {
        Self::Rules(Vec::new())
    }
}

/// What a rule asks of an exchange.
pub(crate) struct Asked<'a> {
    pub(crate) status: u16,
    pub(crate) method: Method,
    pub(crate) method_token: &'a [u8],
    pub(crate) duration_ns: u64,
    pub(crate) has_failed: bool,
}

impl SamplingRule {
    fn fits(&self, asked: &Asked<'_>) -> bool {
        (self.statuses.is_empty() || self.statuses.iter().any(|range| range.contains(&asked.status)))
            && self.methods.as_ref().is_none_or(|set| set.contains(asked.method, asked.method_token))
            && asked.duration_ns >= self.duration_min_ns
            && self.failed.is_none_or(|failed| failed == asked.has_failed)
    }
}

/// How much of each rule's share was due and not given yet on this worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spreads(Rc<[Spread]>);

impl Spreads {
    pub(crate) fn new(rules: usize) -> Self {
        Self(std::iter::repeat_with(Spread::default).take(rules).collect())
    }

    /// The share of requests like this one that have a record, if this one has.
    pub(crate) fn sample(&self, rules: &[SamplingRule], held: &[usize], asked: &Asked<'_>) -> Option<u32> {
        let fitting = held.iter().find(|&&rule| rules[rule].fits(asked));
        let Some(&rule) = fitting else { return Some(SHARE_ALL) };
        let share = rules[rule].share;
        self.0[rule].takes(share).then_some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(share: u32) -> SamplingRule {
        SamplingRule { statuses: vec![], methods: None, duration_min_ns: 0, failed: None, share }
    }

    const PLAIN: Asked<'_> =
        Asked { status: 200, method: Method::Get, method_token: b"GET", duration_ns: 5, has_failed: false };

    #[test]
    fn every_condition_of_a_rule_must_hold() {
        let fits = |change: fn(&mut SamplingRule)| {
            let mut rule = rule(0);
            change(&mut rule);
            rule.fits(&PLAIN)
        };
        type Change = fn(&mut SamplingRule);
        let table: [(Change, bool); 10] = [
            (|_| {}, true),
            (|rule| rule.statuses = vec![300..=399, 200..=299], true),
            (|rule| rule.statuses = vec![201..=299], false),
            (|rule| rule.methods = Some(MethodSet::new([&b"GET"[..]])), true),
            (|rule| rule.methods = Some(MethodSet::new([&b"POST"[..]])), false),
            (|rule| rule.duration_min_ns = 5, true),
            (|rule| rule.duration_min_ns = 6, false),
            (|rule| rule.failed = Some(false), true),
            (|rule| rule.failed = Some(true), false),
            (|rule| (rule.statuses, rule.failed) = (vec![200..=200], Some(true)), false),
        ];
        for (number, (change, expected)) in table.into_iter().enumerate() {
            assert_eq!(fits(change), expected, "rule {number}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let errors = SamplingRule { statuses: vec![500..=599], ..rule(SHARE_ALL) };
        let rules = [errors, rule(0)];
        let spreads = Spreads::new(2);
        let sample = |held: &[usize], status| spreads.sample(&rules, held, &Asked { status, ..PLAIN });
        assert_eq!(sample(&[0, 1], 503), Some(SHARE_ALL));
        assert_eq!(sample(&[0, 1], 200), None);
        assert_eq!(sample(&[1, 0], 503), None);
        assert_eq!(sample(&[0], 200), Some(SHARE_ALL), "no rule fits");
        assert_eq!(sample(&[], 200), Some(SHARE_ALL));
    }

    #[test]
    fn a_share_is_exact_and_tells_itself() {
        let spreads = Spreads::new(1);
        let rules = [rule(10_000)];
        let taken: Vec<usize> =
            (0..1_000).filter(|_| spreads.sample(&rules, &[0], &PLAIN) == Some(10_000)).collect();
        assert_eq!(taken.len(), 10);
        assert!(taken.windows(2).all(|pair| pair[1] - pair[0] == 100), "{taken:?}");
    }
}
