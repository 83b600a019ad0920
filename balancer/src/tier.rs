//! The endpoints of one priority on one worker, and the state of the policy that picks among them.

use std::sync::Arc;

use crate::group::{Level, Member, Policy};
use crate::maglev::Maglev;
use crate::policy::{Chance, Least, Quotient, RoundRobin, Weighted};
use crate::rendezvous::unit;
use crate::view::{Ask, Share, View};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Tier {
    pub(crate) priority: u32,
    pub(crate) entries: Box<[Entry]>,
    state: State,
}

/// An endpoint as policies see it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) endpoint: usize,
    pub(crate) name: u64,
    pub(crate) weight: u32,
    pub(crate) share: Share,
    /// The weight times the share: nothing is picked where it is 0.
    pub(crate) scaled: u64,
}

/// A pick is a position among the entries.
#[derive(Clone, Debug)]
enum State {
    RoundRobin(RoundRobin),
    Weighted(Weighted),
    LeastConnections(Least),
    LeastBandwidth(Chance),
    Random(Chance),
    P2c(Chance),
    Ewma(Chance),
    /// The table; chance for requests without a key.
    Hash(Option<Arc<Maglev>>, Chance),
}

impl Tier {
    pub(crate) fn new(policy: Policy, level: &Level, start: u64) -> Self {
        let entry = |&(endpoint, Member { name, weight, .. }): &(usize, Member)| Entry {
            endpoint,
            name,
            weight,
            share: Share::FULL,
            scaled: weight * Share::FULL,
        };
        let entries: Box<[Entry]> = level.members.iter().map(entry).collect();
        let state = match policy {
            Policy::RoundRobin => State::RoundRobin(RoundRobin::new(&entries, start)),
            Policy::Weighted => State::Weighted(Weighted::new(&entries, start)),
            Policy::LeastConnections => State::LeastConnections(Least::new(&entries, start)),
            Policy::LeastBandwidth => State::LeastBandwidth(Chance::new(&entries)),
            Policy::Random => State::Random(Chance::new(&entries)),
            Policy::P2c => State::P2c(Chance::new(&entries)),
            Policy::Ewma => State::Ewma(Chance::new(&entries)),
            Policy::Hash => State::Hash(level.table.clone(), Chance::new(&entries)),
        };
        Self { priority: level.priority, entries, state }
    }

    /// The endpoint that the policy picks.
    #[inline(always)]
    pub(crate) fn pick(&mut self, ask: &Ask<'_>, view: &impl View) -> Option<usize> {
        let entries = &*self.entries;
        let may = |entry: &Entry| {
            entry.scaled > 0 && !ask.excluded.contains(&entry.endpoint) && !view.is_full(entry.endpoint)
        };
        let position = match &mut self.state {
            State::RoundRobin(turn) => turn.pick(entries, may),
            State::Weighted(credits) => credits.pick(entries, may),
            State::LeastConnections(least) => least.pick(entries, may, |it| view.outstanding(it)),
            State::Random(chance) => chance.pick(entries, may, ask.random),
            State::P2c(chance) => chance.better_of_two(entries, may, ask.random, |one, other| {
                let [of_one, of_other] =
                    [one, other].map(|it| Quotient::new(view.outstanding(it.endpoint), it.scaled));
                of_other.with_one_more() <= of_one
            }),
            State::Ewma(chance) => chance.better_of_two(entries, may, ask.random, |one, other| {
                let lighter = one.scaled.min(other.scaled);
                expected_wait(other, lighter, view) < expected_wait(one, lighter, view)
            }),
            State::LeastBandwidth(chance) => {
                let drawn = unit(!ask.random);
                chance.better_of_two(entries, may, ask.random, |one, other| {
                    drawn > ratio_of_bandwidths(one, other, view).powi(2)
                })
            }
            State::Hash(table, chance) => match (table, ask.key) {
                (Some(table), Some(key)) => table.pick(entries, may, key),
                _ => chance.pick(entries, may, ask.random),
            },
        };
        position.map(|position| entries[position].endpoint)
    }

    /// Takes note of new shares.
    pub(crate) fn weigh(&mut self) {
        for entry in &mut self.entries {
            entry.scaled = entry.weight * entry.share;
        }
        match &mut self.state {
            State::LeastBandwidth(chance)
            | State::Random(chance)
            | State::P2c(chance)
            | State::Ewma(chance)
            | State::Hash(_, chance) => {
                chance.weigh(&self.entries);
            }
            State::LeastConnections(least) => least.weigh(&self.entries),
            // They read the entries as they are.
            State::RoundRobin(_) | State::Weighted(_) => {}
        }
    }

    /// Goes on where `previous` was.
    pub(crate) fn take_over(&mut self, previous: &Self) {
        let (now, before) = (&*self.entries, &*previous.entries);
        match (&mut self.state, &previous.state) {
            (State::RoundRobin(turn), State::RoundRobin(known)) => turn.take_over(now, known, before),
            (State::Weighted(credits), State::Weighted(known)) => credits.take_over(now, known, before),
            (State::LeastConnections(least), State::LeastConnections(known)) => {
                least.take_over(now, known, before);
            }
            // Another policy, or one that remembers nothing.
            _ => {}
        }
    }
}

/// When an endpoint is expected to have answered one more request. The lighter one of two has a place for one request at a
/// time, the other one as many more as it is heavier.
fn expected_wait(entry: &Entry, lighter: u64, view: &impl View) -> f64 {
    let (latency_us, outstanding) = (view.latency_us(entry.endpoint), view.outstanding(entry.endpoint));
    if latency_us == 0 {
        // Not known, or not any more: one request at a time to find out.
        return if outstanding == 0 { 0.0 } else { f64::INFINITY };
    }
    let rounds = (outstanding as f64 + 1.0) * lighter as f64 / entry.scaled as f64;
    latency_us as f64 * rounds.max(1.0)
}

/// What another endpoint would carry with one more request, as a part of what this one carries, each for its weight.
///
/// The other is preferred with a chance of 1 less the square of it, not whenever it carries less: bytes are known late, and
/// everything would go to one endpoint until they are (docs/balancing.md).
fn ratio_of_bandwidths(one: &Entry, other: &Entry, view: &impl View) -> f64 {
    let [of_one, of_other] = [one, other].map(|it| view.bytes_per_second(it.endpoint) as f64);
    let one_more = view.request_bytes_per_second().max(1) as f64;
    (of_other + one_more) * one.scaled as f64 / (of_one * other.scaled as f64)
}

/// Entries with these weights.
#[cfg(test)]
pub(crate) fn entries(weights: &[u32]) -> Box<[Entry]> {
    let group = crate::Group::of_weights(Policy::Random, weights);
    Tier::new(Policy::Random, &group.levels[0], 0).entries
}
