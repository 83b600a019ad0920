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

use super::group::{Group, Standing, State, is_ejected};
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
        self.stands(upstream, endpoint).is_none_or(|it| it == Stands::Available)
    }

    /// Whether it takes none because it is ejected.
    pub(crate) fn is_ejected(&self, upstream: &config::Upstream, endpoint: &Located) -> bool {
        self.stands(upstream, endpoint).is_some_and(is_ejected)
    }

    fn stands(&self, upstream: &config::Upstream, endpoint: &Located) -> Option<Stands> {
        self.0.get(&upstream.name)?.stands(&endpoint.address)
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
            for change in std::mem::take(&mut group.planned) {
                self.apply(name, group, change);
            }
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
        failures.note_decided();
        self.with(&key, |group, place, now_ms| {
            if group.outlier.is_off() {
                // It was found before a reload has turned that off.
                return None;
            }
            match group.board.report(place, trip, failures.has_worked(), now_ms) {
                reported @ (Reported::Ejected(_) | Reported::Exchanged) => {
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
                    match reported {
                        Reported::Ejected(change) => Some(change),
                        _ => group.board.advance(now_ms),
                    }
                }
                Reported::Unavailable => None,
                Reported::AllFail => {
                    log::warning!(
                        "all endpoints fail, and none is ejected for a while",
                        upstream = key.0,
                        endpoint = key.1,
                        last = reason,
                        worker = worker
                    );
                    group.board.advance(now_ms)
                }
                Reported::Spared => {
                    group.spare(&key, place, &reason, now_ms);
                    None
                }
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
        if is_up && let Some(failures) = watched.failures.take() {
            failures.put_on_parole(&group.outlier.rules);
        }
        let update = HealthUpdate {
            upstream: upstream.clone(),
            address: watched.address.clone(),
            is_up,
            is_ejected: is_ejected(change.to),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Health, Initial};
    use crate::fixtures;

    const ADDRESSES: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];

    fn address(index: usize) -> Address {
        Address::Tcp(ADDRESSES[index].parse().expect("an address"))
    }

    fn located(index: usize) -> Located {
        Located {
            address: address(index),
            name: None,
            tls: false,
            weight: 1,
            priority: 0,
            requests_max: 0,
            connections_max: 0,
        }
    }

    fn put_in_force(healths: &Healths, upstream: &config::Upstream, endpoints: &[usize]) {
        let endpoints: Vec<_> = endpoints.iter().map(|index| located(*index)).collect();
        let mut plan = Plan::default();
        healths.plan(&mut plan, upstream, &endpoints, |_| true);
        healths.put_in_force(plan);
    }

    fn failing(index: usize) -> Failing {
        Failing {
            worker: 0,
            key: ("app".into(), address(index)),
            trip: Trip::ConsecutiveFailures,
            reason: "connect_failed".to_owned(),
            failures: Arc::default(),
        }
    }

    /// Who has come up (true) or gone down since the last time.
    fn told(healths: &Healths) -> Vec<(String, bool)> {
        healths.take_changes().iter().map(|it| (it.address.to_string(), it.is_up)).collect()
    }

    fn checked(upstream: &config::Upstream) -> config::Upstream {
        let health = Health {
            check: config::Check::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
            initial: Initial::Down,
            port: None,
            address: None,
        };
        config::Upstream { health: Some(health), ..upstream.clone() }
    }

    #[test]
    fn each_change_is_told_once_and_a_snapshot_tells_the_rest() {
        let (healths, mut upstream) = (Healths::default(), fixtures::upstream("app", Vec::new()));
        upstream.outlier.ejection.ejected_percent_max = 50;
        put_in_force(&healths, &upstream, &[0, 1, 2]);
        for _ in 0..2 {
            healths.report(failing(1));
        }
        assert_eq!(told(&healths), [(ADDRESSES[1].to_owned(), false)]);
        assert_eq!(told(&healths), []);
        healths.report(failing(2));
        let state = |index| healths.state("app", &address(index)).expect("is looked after");
        assert!(state(1).is_ejected() && state(2).is_up(), "one of three at most");
        let spared = [1, 2].map(|index| state(index).ejections.map(|it| (it.by_row, it.spared)));
        assert_eq!(spared, [Some((1, 0)), Some((0, 1))]);
        assert_eq!(told(&healths), []);
        let left = state(1).ejected.map(|it| it.left.as_secs());
        assert!(matches!(left, Some(29 | 30)), "{left:?}");
        // Checks begin, and take nobody out who serves.
        put_in_force(&healths, &checked(&upstream), &[1, 0]);
        assert!(state(1).is_ejected() && state(0).is_up() && told(&healths).is_empty());
        assert!(healths.state("app", &address(2)).is_none());
        healths.check(&("app".into(), address(0)), Err("refused".to_owned()));
        let changes = [(ADDRESSES[0].to_owned(), false), (ADDRESSES[1].to_owned(), true)];
        assert_eq!(told(&healths), changes, "better than none");
        assert_eq!((state(0).reason(), state(0).changes_total), ("refused".to_owned(), 1));
        // What comes too late is about nobody.
        healths.report(failing(2));
        healths.report(Failing { key: ("gone".into(), address(0)), ..failing(0) });
        assert_eq!(told(&healths), []);
    }

    #[test]
    fn without_outlier_detection_nobody_stays_ejected() {
        let (healths, mut upstream) = (Healths::default(), fixtures::upstream("app", Vec::new()));
        put_in_force(&healths, &upstream, &[0, 1]);
        upstream = checked(&upstream);
        put_in_force(&healths, &upstream, &[0, 1]);
        healths.report(failing(1));
        assert_eq!(told(&healths), [(ADDRESSES[1].to_owned(), false)]);
        upstream.outlier.detection.rules.consecutive_failures = None;
        let mut plan = Plan::default();
        healths.plan(&mut plan, &upstream, &[located(0), located(1)], |_| true);
        assert!(plan.is_up(&upstream, &located(1)), "the new snapshot says so");
        healths.put_in_force(plan);
        assert_eq!(told(&healths), [(ADDRESSES[1].to_owned(), true)]);
        // A worker that does not know yet has found one that fails.
        healths.report(failing(0));
        let stands = [0, 1].map(|index| healths.state("app", &address(index)).map(|it| it.is_up()));
        assert_eq!((told(&healths), stands), (Vec::new(), [Some(true); 2]));
    }

    #[test]
    fn what_nobody_looks_at_is_up() {
        let healths = Healths::default();
        let mut upstream = fixtures::upstream("app", Vec::new());
        upstream.outlier.detection.rules.consecutive_failures = None;
        let mut plan = Plan::default();
        healths.plan(&mut plan, &upstream, &[located(0)], |_| true);
        assert!(plan.is_up(&upstream, &located(0)));
        healths.put_in_force(plan);
        assert!(healths.next(None).is_none() && healths.upstreams().is_empty());
        // One that begins down is so until its first check has passed.
        let upstream = checked(&upstream);
        let mut plan = Plan::default();
        healths.plan(&mut plan, &upstream, &[located(0)], |_| true);
        assert!(!plan.is_up(&upstream, &located(0)));
    }

    #[test]
    fn all_endpoints_come_one_after_the_other() {
        let healths = Healths::default();
        let mut plan = Plan::default();
        for (name, endpoints) in [("a", &[2, 0][..]), ("b", &[]), ("c", &[1])] {
            let endpoints: Vec<_> = endpoints.iter().map(|index| located(*index)).collect();
            healths.plan(&mut plan, &fixtures::upstream(name, Vec::new()), &endpoints, |_| true);
        }
        healths.put_in_force(plan);
        let (mut found, mut after) = (Vec::new(), None);
        while let Some((key, _)) = healths.next(after.as_ref()) {
            found.push(format!("{} {}", key.0, key.1));
            after = Some(key);
        }
        assert_eq!(found, ["a 10.0.0.1:80", "a 10.0.0.3:80", "c 10.0.0.2:80"]);
    }

    #[tokio::test]
    async fn an_ejection_ends_when_its_time_is_over() {
        let (healths, mut upstream) = (Healths::default(), fixtures::upstream("app", Vec::new()));
        upstream.outlier.ejection.time = Duration::from_millis(20);
        put_in_force(&healths, &upstream, &[0, 1]);
        let report = failing(0);
        let failures = report.failures.clone();
        healths.report(report);
        healths.changed().await;
        assert_eq!(told(&healths), [(ADDRESSES[0].to_owned(), false)]);
        healths.changed().await;
        assert_eq!(told(&healths), [(ADDRESSES[0].to_owned(), true)]);
        assert!(!failures.is_over(), "it is on parole");
    }
}
