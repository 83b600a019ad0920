//! The health of an upstream's endpoints, from both sources: what the control thread keeps.

use super::checks::{CheckRules, Checks};
use super::ejection::{Ejection, EjectionRules};
use super::outlier::Trip;
use super::standing::{Reason, Standing, State};

/// What is set for an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoardRules {
    /// `None`: it is not checked, which is as if every check passed.
    pub checks: Option<CheckRules>,
    /// How long ejections last.
    pub ejection: EjectionRules,
}

/// The endpoints of one upstream, by index.
#[derive(Clone, Debug)]
pub struct Board {
    rules: BoardRules,
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Copy, Debug)]
struct Endpoint {
    name: u64,
    checks: Option<Checks>,
    ejection: Ejection,
    state: State,
    since_ms: u64,
}

/// An endpoint became available or unavailable, or is unavailable for another reason: to be logged, counted and published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its index.
    pub endpoint: usize,
    /// What it was.
    pub from: State,
    /// What it is now.
    pub to: State,
}

impl Board {
    /// The endpoints with these names (those of [`Member`](crate::Member)). What `previous` knows of them is taken over;
    /// one that is new begins as the rules say, and ramps if there was a previous board.
    #[must_use]
    pub fn new(rules: BoardRules, names: &[u64], previous: Option<&Self>, now_ms: u64) -> Self {
        let endpoint = |&name: &u64| {
            let known = previous.and_then(|previous| previous.endpoints.iter().find(|it| it.name == name));
            let mut checks = rules.checks.as_ref().map(Checks::new);
            if let (Some(_), Some(known)) = (checks, known.and_then(|known| known.checks)) {
                checks = Some(known);
            }
            let since_ms = if previous.is_some() { now_ms } else { 0 };
            let (ejection, since_ms) = known
                .map_or_else(|| (Ejection::default(), since_ms), |known| (known.ejection, known.since_ms));
            let mut endpoint = Endpoint { name, checks, ejection, state: State::Available, since_ms };
            endpoint.state = endpoint.state_now();
            endpoint
        };
        Self { rules, endpoints: names.iter().map(endpoint).collect() }
    }

    /// A check of an endpoint has passed or failed.
    pub fn check(&mut self, endpoint: usize, passed: bool, now_ms: u64) -> Option<Change> {
        let rules = self.rules.checks.as_ref()?;
        self.endpoints.get_mut(endpoint)?.checks.as_mut()?.record(rules, passed);
        self.settle(endpoint, now_ms)
    }

    /// A worker wants an endpoint ejected. `None` if it is already, or if too many were unavailable then.
    pub fn report(&mut self, endpoint: usize, trip: Trip, now_ms: u64) -> Option<Change> {
        if !self.may_lose(endpoint) {
            return None;
        }
        self.endpoints.get_mut(endpoint)?.ejection.eject(&self.rules.ejection, trip, now_ms);
        self.settle(endpoint, now_ms)
    }

    /// Ends the ejections whose time is over; one change for a call, until there is none. To be called at
    /// [`Self::next_end_ms`].
    pub fn advance(&mut self, now_ms: u64) -> Option<Change> {
        for endpoint in &mut self.endpoints {
            endpoint.ejection.advance(now_ms);
        }
        (0..self.endpoints.len()).find_map(|endpoint| self.settle(endpoint, now_ms))
    }

    /// When the next ejection ends.
    #[must_use]
    pub fn next_end_ms(&self) -> Option<u64> {
        self.endpoints.iter().filter_map(|endpoint| Some(endpoint.ejection.current()?.1)).min()
    }

    /// What an endpoint is.
    #[must_use]
    pub fn state(&self, endpoint: usize) -> Option<State> {
        self.endpoints.get(endpoint).map(|endpoint| endpoint.state)
    }

    /// What workers are to know of an endpoint.
    #[must_use]
    pub fn standing(&self, endpoint: usize) -> Option<Standing> {
        let endpoint = self.endpoints.get(endpoint)?;
        Some(match endpoint.state {
            State::Available => Standing::Available { since_ms: endpoint.since_ms },
            State::Unavailable(_) => Standing::Unavailable,
        })
    }

    /// Whether so few are unavailable that this one may become it, too.
    fn may_lose(&self, endpoint: usize) -> bool {
        let is_left = |(index, it): &(usize, &Endpoint)| *index != endpoint && it.state == State::Available;
        let all = self.endpoints.len();
        let left = self.endpoints.iter().enumerate().filter(is_left).count();
        let lost_max = all * usize::from(self.rules.ejection.ejected_percent_max) / 100;
        left > 0 && all - left <= lost_max.max(1)
    }

    fn settle(&mut self, endpoint: usize, now_ms: u64) -> Option<Change> {
        let it = self.endpoints.get_mut(endpoint)?;
        let (from, to) = (it.state, it.state_now());
        if from == to {
            return None;
        }
        it.state = to;
        if to == State::Available {
            it.since_ms = now_ms;
        }
        Some(Change { endpoint, from, to })
    }
}

impl Endpoint {
    fn state_now(&self) -> State {
        match (&self.checks, self.ejection.current()) {
            (Some(checks), _) if !checks.is_up() && checks.is_checked() => {
                State::Unavailable(Reason::ChecksFailed)
            }
            (Some(checks), _) if !checks.is_up() => State::Unavailable(Reason::NotChecked),
            (_, Some((trip, _))) => State::Unavailable(trip.into()),
            _ => State::Available,
        }
    }
}
