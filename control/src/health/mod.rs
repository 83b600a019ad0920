//! Active checks of endpoints, on the control thread.
//!
//! ```text
//! configuration, addresses ─▶ Checks ─▶ a task for each endpoint: check, record, sleep
//!                               ▲                      │
//!                               └──── came up, went down: log, count, tell every worker
//! ```
//!
//! A check that is under way never holds up the thread: it waits for its sockets and processes as everything here does.
//! What is checked in the same way as before goes on over a reload or a new DNS answer; what is no longer checked ends at
//! once, with the connection or the process that it has.
//!
//! | limit | value | when it is reached |
//! | --- | --- | --- |
//! | checks under way at once | 128 | the others wait for their turn; `timeout` begins with it |
//! | programs at once | 16 | the same |
//! | bytes of an answer | 64 KiB | the rest is not read |

mod checker;
mod dial;
mod exec;
mod found;
mod grpc;
mod healths;
mod http;
mod probe;
mod rise_fall;
mod subject;
mod tls;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corelane_balancer::mix;
use corelane_engine::health::HealthUpdate;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::checker::Checker;
use self::dial::Fault;
use self::healths::{Group, Watched};
use self::subject::Subject;
pub(crate) use self::tls::{Anybody, SystemRoots};
use crate::config::{self, Check, Config, Health, Initial};
use crate::log;
use crate::snapshot_builder::{Answers, Located, endpoint_addresses};

pub(crate) use self::healths::{Healths, Key, Standing, State};

/// The checks of the configuration in force.
pub(crate) struct Checks {
    healths: Rc<Healths>,
    running: HashMap<Key, Running>,
    changes: Rc<Changes>,
    slots: Rc<Slots>,
}

struct Running {
    subject: Subject,
    watched: Rc<Watched>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What workers are to be told.
#[derive(Default)]
struct Changes {
    /// One for each endpoint that has come up or gone down since they were told.
    waiting: RefCell<Vec<Arc<HealthUpdate>>>,
    notify: Notify,
}

/// Who may check now.
struct Slots {
    all: Semaphore,
    programs: Semaphore,
}

impl Checks {
    /// Without any.
    pub(crate) fn new(healths: Rc<Healths>) -> Self {
        let slots = Slots { all: Semaphore::new(CHECKS_AT_ONCE), programs: Semaphore::new(PROGRAMS_AT_ONCE) };
        Self { healths, running: HashMap::new(), changes: Rc::default(), slots: Rc::new(slots) }
    }

    /// Whether an endpoint takes requests in a snapshot that is built now.
    pub(crate) fn is_up(&self, upstream: &config::Upstream, endpoint: &Located) -> bool {
        let Some(health) = &upstream.health else { return true };
        let key = (upstream.name.clone(), endpoint.address.clone());
        let known = self.running.get(&key).filter(|running| is_same(&running.subject, health, endpoint));
        known.map_or(health.initial == Initial::Healthy, |running| running.watched.is_up())
    }

    /// Checks the endpoints of `config` and no others. The snapshot of `config` was built a moment ago, and is sent now.
    pub(crate) fn configure(&mut self, config: &Config, answers: &Answers) {
        // The snapshot that goes with this says as much, and of endpoints that begin anew it says better.
        self.changes.waiting.borrow_mut().clear();
        let mut before = std::mem::take(&mut self.running);
        let system = SystemRoots::default();
        let mut groups = Vec::new();
        for upstream in &config.upstreams {
            let Some(health) = &upstream.health else { continue };
            let (health, mut checker) = (Arc::new(health.clone()), None);
            let mut members = Vec::new();
            for endpoint in endpoint_addresses(upstream, answers) {
                let key = (upstream.name.clone(), endpoint.address.clone());
                let running = match before.remove(&key) {
                    Some(running) if is_same(&running.subject, &health, &endpoint) => running,
                    other => {
                        let checker = checker.get_or_insert_with(|| Checker::new(&health, &system));
                        let subject = Subject {
                            upstream: upstream.name.clone(),
                            endpoint: endpoint.address.clone(),
                            name: endpoint.name.clone(),
                            health: health.clone(),
                        };
                        self.start(subject, checker.clone(), other.as_ref().map(|it| &*it.watched))
                    }
                };
                if endpoint.weight > 0 {
                    members.push(running.watched.clone());
                }
                self.running.insert(key, running);
            }
            groups.push((upstream.name.clone(), upstream.panic_percent, members));
        }
        let endpoints = self.running.iter().map(|(key, running)| (key.clone(), running.watched.clone()));
        *self.healths.endpoints.borrow_mut() = endpoints.collect();
        self.regroup(groups);
    }

    /// Waits until endpoints have come up or gone down. Cancel-safe.
    pub(crate) async fn changed(&self) {
        while self.changes.waiting.borrow().is_empty() {
            self.changes.notify.notified().await;
        }
    }

    /// What workers are to be told since the last call; says what it means for whole upstreams.
    pub(crate) fn take_changes(&self) -> Vec<Arc<HealthUpdate>> {
        let changes = self.changes.waiting.take();
        let mut upstreams = self.healths.upstreams.borrow_mut();
        for change in &changes {
            if let Some(group) = upstreams.get_mut(&change.upstream) {
                settle(&change.upstream, group);
            }
        }
        changes
    }

    fn start(&self, subject: Subject, checker: Checker, before: Option<&Watched>) -> Running {
        let watched = Rc::new(Watched::new(&subject, before, SystemTime::now()));
        let task = Task {
            subject: subject.clone(),
            checker,
            watched: watched.clone(),
            changes: self.changes.clone(),
            slots: self.slots.clone(),
            is_hindered: false,
            random: RandomState::new().hash_one(&subject.endpoint),
        };
        let task = tokio::task::spawn_local(task.run()).abort_handle();
        Running { subject, watched, task }
    }

    fn regroup(&self, groups: Vec<(Arc<str>, u8, Vec<Rc<Watched>>)>) {
        let mut upstreams = self.healths.upstreams.borrow_mut();
        let mut before = std::mem::take(&mut *upstreams);
        for (name, panic_percent, members) in groups {
            let standing = before.remove(&name).map_or(Standing::Enough, |group| group.standing);
            let mut group = Group { members, panic_percent, standing };
            // Those that nobody has checked yet are down if they begin so; that is not worth a line.
            if group.members.iter().any(|member| member.is_checked()) {
                settle(&name, &mut group);
            }
            upstreams.insert(name, group);
        }
    }
}

/// Whether the checks of an endpoint can go on.
fn is_same(subject: &Subject, health: &Health, endpoint: &Located) -> bool {
    *subject.health == *health && subject.name == endpoint.name
}

/// Says so if the endpoints of an upstream stand otherwise than before.
fn settle(upstream: &str, group: &mut Group) {
    let standing = group.standing_now();
    if std::mem::replace(&mut group.standing, standing) == standing {
        return;
    }
    let (up, all) = (group.up(), group.members.len());
    match standing {
        Standing::Enough => {
            log::info!("enough endpoints are up", upstream = upstream, up = up, endpoints = all);
        }
        Standing::Panic => log::warning!(
            "too few endpoints are up, all are used",
            upstream = upstream,
            up = up,
            endpoints = all,
            panic_threshold = format_args!("{}%", group.panic_percent)
        ),
        Standing::NoneUp => {
            log::error!("no endpoint is up, requests are answered 503", upstream = upstream, endpoints = all);
        }
    }
}

/// The task of one endpoint.
struct Task {
    subject: Subject,
    checker: Checker,
    watched: Rc<Watched>,
    changes: Rc<Changes>,
    slots: Rc<Slots>,
    /// The last check could not be made, for a reason of ours.
    is_hindered: bool,
    random: u64,
}

impl Task {
    async fn run(mut self) {
        loop {
            let (began, outcome) = {
                let _slot = self.slots.all.acquire().await;
                let _program = match self.subject.health.check {
                    Check::Exec(_) => Some(self.slots.programs.acquire().await),
                    _ => None,
                };
                (Instant::now(), self.checker.run(&self.subject).await)
            };
            match outcome {
                Ok(()) => self.record(Ok(())),
                Err(Fault::Endpoint(reason)) => self.record(Err(reason)),
                Err(Fault::Ours(reason)) => self.hindered(&reason),
            }
            tokio::time::sleep_until(began + self.pause()).await;
        }
    }

    /// Says so once, until it can be checked again; the endpoint stays what it is.
    fn hindered(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_hindered, true) {
            let Subject { upstream, endpoint, .. } = &self.subject;
            log::error!(
                "cannot check an endpoint",
                upstream = upstream,
                endpoint = endpoint,
                reason = reason
            );
        }
    }

    fn record(&mut self, outcome: Result<(), String>) {
        self.is_hindered = false;
        let Some(seconds) = self.watched.record(outcome, SystemTime::now()) else { return };
        let (state, Subject { upstream, endpoint, .. }) = (self.watched.state(), &self.subject);
        if state.is_up() {
            log::info!(
                "endpoint is up",
                upstream = upstream,
                endpoint = endpoint,
                passed = state.passed,
                down_seconds = seconds
            );
        } else {
            log::warning!(
                "endpoint is down",
                upstream = upstream,
                endpoint = endpoint,
                reason = state.reason,
                failed = state.failed
            );
        }
        let update =
            HealthUpdate { upstream: upstream.clone(), address: endpoint.clone(), is_up: state.is_up() };
        self.changes.waiting.borrow_mut().push(Arc::new(update));
        self.changes.notify.notify_one();
    }

    /// The interval, give or take a tenth.
    fn pause(&mut self) -> Duration {
        self.random = mix(self.random.wrapping_add(WEYL));
        jittered(self.subject.health.interval, self.random)
    }
}

/// `chance` decides, from nine to eleven tenths.
fn jittered(interval: Duration, chance: u64) -> Duration {
    // 32 bits are exact.
    let share = f64::from(u32::try_from(chance >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    interval.mul_f64(0.9 + 0.2 * share)
}

/// A step through all numbers, whose digits are those of the golden ratio (splitmix64).
const WEYL: u64 = 0x9e37_79b9_7f4a_7c15;

/// So that a file with thousands of endpoints is neither a burst nor runs out of descriptors. A guess.
pub(crate) const CHECKS_AT_ONCE: usize = 128;

/// What one that is under way takes at most: a head and a body of 64 KiB each, what TLS keeps, and copies of some of it.
pub(crate) const CHECK_BYTES_MAX: u64 = 256 * 1024;

/// What an endpoint's task takes while it sleeps. Rounded up from what was measured.
pub(crate) const TASK_BYTES: u64 = 16 * 1024;

/// A process takes far more than a socket. A guess.
const PROGRAMS_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_an_interval_give_or_take_a_tenth() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0), Duration::from_millis(900));
        assert_eq!(jittered(second, u64::MAX), Duration::from_millis(1100));
        let sum: Duration = (0..1000).map(|n| jittered(second, mix(n))).sum();
        assert!((995..1005).contains(&sum.as_secs()), "{sum:?}");
    }
}
