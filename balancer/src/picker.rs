//! One worker's state of one upstream's policy.

use std::sync::Arc;

use crate::group::{Group, Level, Member, Policy};
use crate::maglev::Maglev;
use crate::policy::{Chance, Least, RoundRobin, Weighted, least};
use crate::view::{Ask, NoEndpoint, Share, View};

/// Chooses. Made when a worker gets a snapshot; a pick changes nothing but this and allocates nothing.
#[derive(Clone, Debug)]
pub struct Picker {
    tiers: Box<[Tier]>,
    /// By endpoint.
    shares: Box<[Share]>,
    panic_percent: u8,
    /// The tier that is asked first.
    first: usize,
    is_panicking: bool,
}

/// What [`Picker::admit`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The priority that is asked first; `None` if no endpoint is available.
    pub priority: Option<u32>,
    /// Too few are available at every priority: all of the first are used.
    pub is_panicking: bool,
    /// Some have less than their full share: to be called again in a while.
    pub is_ramping: bool,
}

/// The endpoints of one priority.
#[derive(Clone, Debug)]
struct Tier {
    priority: u32,
    entries: Box<[Entry]>,
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
    LeastBandwidth(Least),
    Random(Chance),
    P2c(Chance),
    Ewma(Chance),
    /// The table; chance for requests without a key.
    Hash(Option<Arc<Maglev>>, Chance),
}

impl Picker {
    /// `start` moves the start of the cycle of policies that go in turn, so that workers with different ones do not send
    /// their first requests to the same endpoint; 0 starts at the first. Every endpoint is available.
    #[must_use]
    pub fn new(group: &Group, start: u64) -> Self {
        let policy = group.rules.policy;
        let mut picker = Self {
            tiers: group.levels.iter().map(|level| Tier::new(policy, level, start)).collect(),
            shares: vec![Share::FULL; group.members].into(),
            panic_percent: group.rules.panic_percent,
            first: 0,
            is_panicking: false,
        };
        picker.admit(|_| Share::FULL);
        picker
    }

    /// Goes on where `previous` was, for a group that replaces its group: turns and credits of endpoints that stay, by
    /// their names. What is available is not taken over.
    pub fn take_over(&mut self, previous: &Self) {
        for tier in &mut self.tiers {
            if let Some(previous) = previous.tiers.iter().find(|it| it.priority == tier.priority) {
                tier.take_over(previous);
            }
        }
    }

    /// Takes note of what is available. To be called whenever that has changed, and while some ramp, ten times a second,
    /// say; not for each pick. Linear in the number of endpoints.
    pub fn admit(&mut self, share: impl Fn(usize) -> Share) -> Admission {
        let mut enough = None;
        let mut is_ramping = false;
        for (index, tier) in self.tiers.iter_mut().enumerate() {
            let (mut available, mut all) = (0_usize, 0_usize);
            for entry in &mut tier.entries {
                entry.share = share(entry.endpoint);
                self.shares[entry.endpoint] = entry.share;
                is_ramping |= entry.share > Share::NONE && entry.share < Share::FULL;
                all += usize::from(entry.weight > 0);
                available += usize::from(entry.weight > 0 && entry.share > Share::NONE);
            }
            let is_enough = available > 0 && available * 100 >= all * usize::from(self.panic_percent);
            if is_enough && enough.is_none() {
                enough = Some(index);
            }
        }
        self.is_panicking = enough.is_none() && self.panic_percent > 0;
        self.first = enough.unwrap_or(0);
        if self.is_panicking {
            self.panic();
        }
        for tier in &mut self.tiers {
            tier.weigh();
        }
        let is_any = enough.is_some() || self.is_panicking;
        let priority = self.tiers.get(self.first).filter(|_| is_any).map(|tier| tier.priority);
        Admission { priority, is_panicking: self.is_panicking && priority.is_some(), is_ramping }
    }

    /// Uses all endpoints of the first priority that has one with a weight.
    fn panic(&mut self) {
        let has_weight = |tier: &Tier| tier.entries.iter().any(|entry| entry.weight > 0);
        self.first = self.tiers.iter().position(has_weight).unwrap_or(0);
        let Some(tier) = self.tiers.get_mut(self.first) else { return };
        for entry in &mut tier.entries {
            entry.share = Share::FULL;
            self.shares[entry.endpoint] = Share::FULL;
        }
    }

    /// Whether clients that stay at this endpoint (by a [cookie](crate::CookieKey)) may go on: it is available,
    /// though it may have weight 0. Whether it is full is for the caller to see.
    #[must_use]
    pub fn keeps_sessions(&self, endpoint: usize) -> bool {
        self.shares.get(endpoint).is_some_and(|&share| share > Share::NONE)
    }

    /// The endpoint for the next attempt, of the first priority that has one.
    ///
    /// # Errors
    ///
    /// [`NoEndpoint`] says why there is none: answer 503 at once, give up, or wait.
    #[inline]
    pub fn pick(&mut self, ask: &Ask<'_>, view: &impl View) -> Result<usize, NoEndpoint> {
        let (before, from_first) = self.tiers.split_at_mut(self.first);
        for tier in from_first.iter_mut().chain(before) {
            if let Some(endpoint) = tier.pick(ask, view) {
                return Ok(endpoint);
            }
        }
        Err(self.why_none(ask))
    }

    #[cold]
    fn why_none(&self, ask: &Ask<'_>) -> NoEndpoint {
        let entries = || self.tiers.iter().flat_map(|tier| &tier.entries).filter(|entry| entry.scaled > 0);
        if entries().next().is_none() {
            NoEndpoint::Down
        } else if entries().all(|entry| ask.excluded.contains(&entry.endpoint)) {
            NoEndpoint::Tried
        } else {
            NoEndpoint::Full
        }
    }
}

impl Tier {
    fn new(policy: Policy, level: &Level, start: u64) -> Self {
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
            Policy::LeastBandwidth => State::LeastBandwidth(Least::new(&entries, start)),
            Policy::Random => State::Random(Chance::new(&entries)),
            Policy::P2c => State::P2c(Chance::new(&entries)),
            Policy::Ewma => State::Ewma(Chance::new(&entries)),
            Policy::Hash => State::Hash(level.table.clone(), Chance::new(&entries)),
        };
        Self { priority: level.priority, entries, state }
    }

    #[inline]
    fn pick(&mut self, ask: &Ask<'_>, view: &impl View) -> Option<usize> {
        let entries = &*self.entries;
        let may = |entry: &Entry| {
            entry.scaled > 0 && !ask.excluded.contains(&entry.endpoint) && !view.is_full(entry.endpoint)
        };
        let position = match &mut self.state {
            State::RoundRobin(turn) => turn.pick(entries, may),
            State::Weighted(credits) => credits.pick(entries, may),
            State::LeastConnections(least) => least.pick(entries, may, |it| view.outstanding(it)),
            State::LeastBandwidth(least) => least.pick(entries, may, |it| view.bytes_per_second(it)),
            State::Random(chance) => chance.pick(entries, may, ask.random),
            State::P2c(chance) => chance.better_of_two(entries, may, ask.random, |one, other| {
                let [of_one, of_other] = [one, other].map(|it| view.outstanding(it.endpoint));
                least::is_less((of_other, other.scaled), (of_one, one.scaled))
            }),
            State::Ewma(chance) => chance.better_of_two(entries, may, ask.random, |one, other| {
                let heavier = one.scaled.max(other.scaled);
                let [of_one, of_other] = [one, other].map(|it| expected_wait(it, heavier, view));
                of_other < of_one
            }),
            State::Hash(table, chance) => match (table, ask.key) {
                (Some(table), Some(key)) => table.pick(entries, may, key),
                _ => chance.pick(entries, may, ask.random),
            },
        };
        position.map(|position| entries[position].endpoint)
    }

    /// Takes note of new shares.
    fn weigh(&mut self) {
        for entry in &mut self.entries {
            entry.scaled = entry.weight * entry.share;
        }
        match &mut self.state {
            State::Random(chance) | State::P2c(chance) | State::Ewma(chance) | State::Hash(_, chance) => {
                chance.weigh(&self.entries);
            }
            // They read the entries as they are.
            State::RoundRobin(_)
            | State::Weighted(_)
            | State::LeastConnections(_)
            | State::LeastBandwidth(_) => {}
        }
    }

    fn take_over(&mut self, previous: &Self) {
        let (now, before) = (&*self.entries, &*previous.entries);
        match (&mut self.state, &previous.state) {
            (State::RoundRobin(turn), State::RoundRobin(known)) => turn.take_over(now, known, before),
            (State::Weighted(credits), State::Weighted(known)) => credits.take_over(now, known, before),
            (State::LeastConnections(least), State::LeastConnections(known))
            | (State::LeastBandwidth(least), State::LeastBandwidth(known)) => {
                least.take_over(now, known, before);
            }
            // Another policy, or one that remembers nothing.
            _ => {}
        }
    }
}

/// When an endpoint is expected to have answered one more request. Where nothing is in progress that is its latency
/// whatever its weight, since that is in the chance to be drawn already.
fn expected_wait(entry: &Entry, heavier: u64, view: &impl View) -> f64 {
    let (latency_us, outstanding) = (view.latency_us(entry.endpoint), view.outstanding(entry.endpoint));
    if latency_us == 0 {
        // Not known, or not any more: one request at a time to find out.
        return if outstanding == 0 { 0.0 } else { f64::INFINITY };
    }
    let in_proportion = outstanding as f64 * heavier as f64 / entry.scaled as f64;
    latency_us as f64 * (in_proportion + 1.0)
}
