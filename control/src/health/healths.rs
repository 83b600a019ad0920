//! How every endpoint with checks stands: what the log, the metrics and the status page are told.
//!
//! Lives on the control thread alone; the checks write it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use corelane_engine::health::is_panic;
use corelane_engine::snapshot::Address;

use super::rise_fall::RiseFall;
use super::subject::Subject;

/// An upstream's name and an endpoint's address.
pub(crate) type Key = (Arc<str>, Address);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Healths {
    pub(super) endpoints: RefCell<BTreeMap<Key, Rc<Watched>>>,
    pub(super) upstreams: RefCell<BTreeMap<Arc<str>, Group>>,
}

/// One endpoint that is checked.
#[derive(Debug)]
pub(crate) struct Watched(RefCell<State>);

/// How an endpoint stands.
#[derive(Clone, Debug)]
pub(crate) struct State {
    results: RiseFall,
    /// Since when it is what it is.
    pub(crate) since: SystemTime,
    /// What was wrong with the last check that failed; empty before.
    pub(crate) reason: String,
    /// Checks in a row, to the last one, that have passed or failed: one of both is 0.
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// When the last one ended.
    pub(crate) checked: Option<SystemTime>,
    pub(crate) passed_total: u64,
    pub(crate) failed_total: u64,
    /// How often it came up or went down.
    pub(crate) changes_total: u64,
}

/// The endpoints of an upstream that take requests, and how they stand together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) members: Vec<Rc<Watched>>,
    pub(super) panic_percent: u8,
    pub(super) standing: Standing,
}

/// How an upstream's endpoints stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Those that are up are used.
    Enough,
    /// Too few are up: all are used.
    Panic,
    /// None is up: requests are answered 503.
    NoneUp,
}

impl Watched {
    /// `before`: the same endpoint as it was checked before, whose counts go on.
    pub(super) fn new(subject: &Subject, before: Option<&Self>, now: SystemTime) -> Self {
        let before = before.map(Self::state);
        let (passed_total, failed_total, changes_total) =
            before.map_or((0, 0, 0), |it| (it.passed_total, it.failed_total, it.changes_total));
        Self(RefCell::new(State {
            results: RiseFall::new(&subject.health),
            since: now,
            reason: String::new(),
            passed: 0,
            failed: 0,
            checked: None,
            passed_total,
            failed_total,
            changes_total,
        }))
    }

    /// A copy.
    pub(crate) fn state(&self) -> State {
        self.0.borrow().clone()
    }

    /// Whether it takes requests.
    pub(crate) fn is_up(&self) -> bool {
        self.0.borrow().results.is_up()
    }

    /// Whether a check has ended.
    pub(super) fn is_checked(&self) -> bool {
        self.0.borrow().checked.is_some()
    }

    /// Takes note of a check: what was wrong, if it has failed. If that is news: for how many seconds the endpoint was what it was. It is if the endpoint has
    /// changed by it, or was taken to be down and is.
    pub(super) fn record(&self, outcome: Result<(), String>, now: SystemTime) -> Option<u64> {
        let state = &mut *self.0.borrow_mut();
        let is_first = state.checked.replace(now).is_none();
        let is_changed = state.results.record(outcome.is_ok());
        match outcome {
            Ok(()) => {
                (state.passed, state.failed) = (state.passed + 1, 0);
                state.passed_total += 1;
            }
            Err(reason) => {
                (state.passed, state.failed) = (0, state.failed + 1);
                state.failed_total += 1;
                state.reason = reason;
            }
        }
        let is_news = is_changed || (is_first && !state.is_up());
        is_news.then(|| {
            state.changes_total += u64::from(is_changed);
            let before = std::mem::replace(&mut state.since, now);
            now.duration_since(before).unwrap_or_default().as_secs()
        })
    }
}

impl State {
    /// Whether it takes requests.
    pub(crate) fn is_up(&self) -> bool {
        self.results.is_up()
    }
}

impl Group {
    /// How they stand now.
    pub(super) fn standing_now(&self) -> Standing {
        let (up, all) = (self.up(), self.members.len());
        if is_panic(up, all, self.panic_percent) {
            Standing::Panic
        } else if up == 0 && all > 0 {
            Standing::NoneUp
        } else {
            Standing::Enough
        }
    }

    /// How many are up.
    pub(super) fn up(&self) -> usize {
        self.members.iter().filter(|member| member.is_up()).count()
    }
}

impl Healths {
    /// The first endpoint behind `key`, or of all, with its state.
    pub(crate) fn next(&self, key: Option<&Key>) -> Option<(Key, State)> {
        let endpoints = self.endpoints.borrow();
        let start = key.map_or(Bound::Unbounded, Bound::Excluded);
        let (key, watched) = endpoints.range((start, Bound::Unbounded)).next()?;
        Some((key.clone(), watched.state()))
    }

    /// How an endpoint stands; `None`: it is not checked.
    pub(crate) fn state(&self, upstream: &Arc<str>, endpoint: &Address) -> Option<State> {
        let endpoints = self.endpoints.borrow();
        endpoints.get(&(upstream.clone(), endpoint.clone())).map(|watched| watched.state())
    }

    /// Whether so few endpoints of an upstream are up that all are used.
    pub(crate) fn is_panic(&self, upstream: &str) -> bool {
        self.upstreams.borrow().get(upstream).is_some_and(|group| group.standing == Standing::Panic)
    }

    /// Whether an endpoint takes requests; `None`: it is not checked.
    pub(crate) fn is_up(&self, upstream: &Arc<str>, endpoint: &Address) -> Option<bool> {
        self.state(upstream, endpoint).map(|state| state.is_up())
    }

    /// Each upstream with checks, ordered.
    pub(crate) fn upstreams(&self) -> Vec<(Arc<str>, Standing)> {
        self.upstreams.borrow().iter().map(|(name, group)| (name.clone(), group.standing)).collect()
    }
}
