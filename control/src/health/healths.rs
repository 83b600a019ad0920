//! How every endpoint stands, by its checks and by what workers report: what decides it, and what the log, the metrics and
//! the status page are told.
//!
//! Lives on the control thread alone. There is one board for each upstream with checks or outlier detection.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corelane_balancer::health::{Change, Reason, Reported, State as Stands, Trip};
use corelane_engine::health::HealthUpdate;
use corelane_engine::outlier::FailureRow;
use corelane_engine::snapshot::Address;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::group::{Group, Standing, State};
use crate::config;
use crate::log;
use crate::snapshot_builder::Located;

/// An upstream's name and an endpoint's address.
pub(crate) type Key = (Arc<str>, Address);

/// All of them.
#[derive(Debug)]
pub(crate) struct Healths {
    upstreams: RefCell<BTreeMap<Arc<str>, Group>>,
    /// What workers are to be told: one for each endpoint that has come up or gone down since they were.
    waiting: RefCell<Vec<Arc<HealthUpdate>>>,
    /// Something waits, or an ejection ends at another time.
    notify: Notify,
    /// When the next ejection ends, in milliseconds since `started`.
    next_end_ms: Cell<Option<u64>>,
    started: Instant,
}

/// A worker's report that attempts at an endpoint fail.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) worker: usize,
    pub(crate) key: Key,
    pub(crate) trip: Trip,
    pub(crate) reason: String,
    pub(crate) failures: Arc<FailureRow>,
}

/// The boards of a configuration that is about to be put in force.
#[derive(Debug, Default)]
pub(crate) struct Plan(BTreeMap<Arc<str>, Group>);

impl Plan {
    /// Whether an endpoint takes requests in the snapshot that goes with it.
    pub(crate) fn is_up(&self, upstream: &config::Upstream, endpoint: &Located) -> bool {
        let group = self.0.get(&upstream.name);
        group.and_then(|group| group.stands(&endpoint.address)).is_none_or(|it| it == Stands::Available)
    }
}

impl Default for Healths {
    fn default() -> Self {
        Self {
            upstreams: RefCell::default(),
            waiting: RefCell::default(),
            notify: Notify::new(),
            next_end_ms: Cell::default(),
            started: Instant::now(),
        }
    }
}

impl Healths {
    /// Adds an upstream to a plan; `is_checked_as_before` says for which endpoints the checks go on.
    pub(super) fn plan(
        &self,
        plan: &mut Plan,
        upstream: &config::Upstream,
        endpoints: &[Located],
        is_checked_as_before: impl Fn(&Located) -> bool,
    ) {
        let upstreams = self.upstreams.borrow();
        let before = upstreams.get(&upstream.name);
        let group = Group::new(upstream, endpoints, before, is_checked_as_before, self.now_ms());
        plan.0.extend(group.map(|group| (upstream.name.clone(), group)));
    }

    /// Puts a plan in force. Its snapshot was built a moment ago, and is sent now: it says all that waits to be told, and of
    /// endpoints that begin anew it says better.
    pub(super) fn put_in_force(&self, plan: Plan) {
        self.waiting.borrow_mut().clear();
        let mut upstreams = self.upstreams.borrow_mut();
        *upstreams = plan.0;
        for (name, group) in &mut *upstreams {
            // Those that nobody has checked yet are down if they begin so; that is not worth a line.
            if group.is_known() {
                group.settle(name);
            }
        }
        self.note_next_end(&upstreams);
    }

    /// Waits until endpoints have come up or gone down. Cancel-safe.
    pub(super) async fn changed(&self) {
        while self.waiting.borrow().is_empty() {
            let end = self.next_end_ms.get().map(|end_ms| self.started + Duration::from_millis(end_ms));
            tokio::select! {
                () = self.notify.notified() => {}
                () = until(end) => self.advance(),
            }
        }
    }

    /// What workers are to be told since the last call; says what it means for whole upstreams.
    pub(super) fn take_changes(&self) -> Vec<Arc<HealthUpdate>> {
        let changes = self.waiting.take();
        let mut upstreams = self.upstreams.borrow_mut();
        for change in &changes {
            if let Some(group) = upstreams.get_mut(&change.upstream) {
                group.settle(&change.upstream);
            }
        }
        changes
    }

    /// A check has ended: what was wrong, if it has failed.
    pub(super) fn check(&self, key: &Key, outcome: Result<(), String>) {
        self.with(key, |group, place, now_ms| {
            let passed = outcome.is_ok();
            group.watched[place].note_check(outcome);
            group.board.check(place, passed, now_ms)
        });
    }

    /// A worker finds that attempts at an endpoint fail.
    pub(crate) fn report(&self, failing: Failing) {
        let Failing { worker, key, trip, reason, failures } = failing;
        self.with(&key, |group, place, now_ms| match group.board.report(place, trip, now_ms) {
            Reported::Ejected(change) => {
                let until_ms = group.board.ejection(place).map_or(now_ms, |(_, until_ms)| until_ms);
                let time = Duration::from_millis(until_ms - now_ms);
                log::warning!(
                    "endpoint is ejected",
                    upstream = key.0,
                    endpoint = key.1,
                    reason = Reason::from(trip).word(),
                    last = reason,
                    time = config::shown::duration(time),
                    worker = worker
                );
                group.watched[place].note_ejection(trip, reason, failures);
                Some(change)
            }
            Reported::Unavailable => None,
            Reported::Spared => {
                group.spare(&key, place, &reason, now_ms);
                None
            }
        });
    }

    /// Ends the ejections whose time is over.
    fn advance(&self) {
        let now_ms = self.now_ms();
        let mut upstreams = self.upstreams.borrow_mut();
        for (name, group) in &mut *upstreams {
            if group.board.next_end_ms().is_some_and(|end_ms| end_ms <= now_ms) {
                self.advance_group(name, group, now_ms);
            }
        }
        self.note_next_end(&upstreams);
    }

    fn advance_group(&self, name: &Arc<str>, group: &mut Group, now_ms: u64) {
        while let Some(change) = group.board.advance(now_ms) {
            self.apply(name, group, change);
        }
        group.forget_ended();
    }

    /// Runs `happen` on an endpoint's board and does what follows from the change.
    fn with(&self, key: &Key, happen: impl FnOnce(&mut Group, usize, u64) -> Option<Change>) {
        let now_ms = self.now_ms();
        let mut upstreams = self.upstreams.borrow_mut();
        let Some(group) = upstreams.get_mut(&key.0) else { return };
        let Some(&place) = group.places.get(&key.1) else { return };
        let Some(change) = happen(group, place, now_ms) else { return };
        self.apply(&key.0, group, change);
        self.advance_group(&key.0, group, now_ms);
        self.note_next_end(&upstreams);
    }

    /// Says that an endpoint has changed, and lets workers know.
    fn apply(&self, upstream: &Arc<str>, group: &mut Group, change: Change) {
        let watched = &mut group.watched[change.endpoint];
        watched.note(upstream, change, SystemTime::now());
        let is_up = change.to == Stands::Available;
        if is_up == (change.from == Stands::Available) {
            return;
        }
        if is_up && let Some(failures) = watched.failures.take() {
            failures.put_on_parole(&group.outlier.rules);
        }
        let update = HealthUpdate { upstream: upstream.clone(), address: watched.address.clone(), is_up };
        self.waiting.borrow_mut().push(Arc::new(update));
        self.notify.notify_one();
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn note_next_end(&self, upstreams: &BTreeMap<Arc<str>, Group>) {
        let next_end_ms = upstreams.values().filter_map(|group| group.board.next_end_ms()).min();
        if self.next_end_ms.replace(next_end_ms) != next_end_ms {
            self.notify.notify_one();
        }
    }

    /// The first endpoint behind `key`, or of all, with its state.
    pub(crate) fn next(&self, key: Option<&Key>) -> Option<(Key, State)> {
        let upstreams = self.upstreams.borrow();
        let (from, mut after) = match key {
            Some((upstream, address)) => (Bound::Included(upstream), Bound::Excluded(address)),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        for (name, group) in upstreams.range::<Arc<str>, _>((from, Bound::Unbounded)) {
            if key.is_some_and(|(upstream, _)| upstream != name) {
                after = Bound::Unbounded;
            }
            if let Some((address, &place)) =
                group.places.range::<Address, _>((after, Bound::Unbounded)).next()
            {
                return Some(((name.clone(), address.clone()), group.state(place, self.now_ms())));
            }
        }
        None
    }

    /// How an endpoint stands; `None`: nobody looks.
    pub(crate) fn state(&self, upstream: &str, endpoint: &Address) -> Option<State> {
        let upstreams = self.upstreams.borrow();
        let group = upstreams.get(upstream)?;
        Some(group.state(*group.places.get(endpoint)?, self.now_ms()))
    }

    /// Whether so few endpoints of an upstream are up that all are used.
    pub(crate) fn is_panic(&self, upstream: &str) -> bool {
        self.upstreams.borrow().get(upstream).is_some_and(|group| group.standing == Standing::Panic)
    }

    /// Each upstream that is looked after, ordered.
    pub(crate) fn upstreams(&self) -> Vec<(Arc<str>, Standing)> {
        self.upstreams.borrow().iter().map(|(name, group)| (name.clone(), group.standing)).collect()
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
