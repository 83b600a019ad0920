//! The health of endpoints, on the control thread: its checks, and what workers report of attempts.
//!
//! ```text
//! configuration, addresses ─▶ Checks ─▶ a task for each endpoint: check, record, sleep ─┐
//!                                                                                       ▼
//! workers: Event::EndpointFailing ───────────────────────────────────────────────▶ Healths: a board for each upstream
//!                               ▲                                                       │
//!                               └──── came up, went down: log, count, tell every worker ┘
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
mod group;
mod grpc;
mod healths;
mod http;
mod probe;
mod subject;
mod tls;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use corelane_balancer::health::jittered;
use corelane_balancer::mix;
use corelane_engine::health::HealthUpdate;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::checker::Checker;
use self::dial::Fault;
use self::subject::Subject;
pub(crate) use self::tls::{Anybody, SystemRoots};
use crate::config::{Check, Config, Health};
use crate::log;
use crate::snapshot_builder::{Answers, Located, endpoint_addresses};
use crate::tls::Towards;

pub(crate) use self::group::{Checked, Ejections, Standing, State};
pub(crate) use self::healths::{Failing, Healths, Key, Plan};

/// The checks of the configuration in force.
pub(crate) struct Checks {
    healths: Rc<Healths>,
    running: HashMap<Key, Running>,
    slots: Rc<Slots>,
}

struct Running {
    subject: Subject,
    checker: Checker,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
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
        Self { healths, running: HashMap::new(), slots: Rc::new(slots) }
    }

    /// What the endpoints of `config` are at first, for its snapshot.
    pub(crate) fn plan(&self, config: &Config, answers: &Answers) -> Plan {
        let mut plan = Plan::default();
        for upstream in &config.upstreams {
            let goes_on = |endpoint: &Located| {
                let running = self.running.get(&(upstream.name.clone(), endpoint.address.clone()));
                let health = running.zip(upstream.health.as_ref());
                health.is_some_and(|(running, health)| is_same(&running.subject, health, endpoint))
            };
            let endpoints = endpoint_addresses(upstream, answers);
            self.healths.plan(&mut plan, upstream, &endpoints, goes_on);
        }
        plan
    }

    /// Puts a plan in force: checks the endpoints of `config` and no others. `towards` is how requests are spoken.
    pub(crate) fn configure(&mut self, config: &Config, answers: &Answers, plan: Plan, towards: &Towards) {
        self.healths.put_in_force(plan);
        let mut before = std::mem::take(&mut self.running);
        let system = SystemRoots::default();
        for upstream in &config.upstreams {
            let Some(health) = &upstream.health else { continue };
            let (health, mut checker) = (Arc::new(health.clone()), None);
            let spoken = towards.get(&upstream.name);
            for endpoint in endpoint_addresses(upstream, answers) {
                let key = (upstream.name.clone(), endpoint.address.clone());
                let running = match before.remove(&key) {
                    Some(running) if is_same(&running.subject, &health, &endpoint) => {
                        running.checker.renew(&health, spoken, &system);
                        running
                    }
                    _ => {
                        let checker = checker.get_or_insert_with(|| Checker::new(&health, spoken, &system));
                        let subject = Subject {
                            upstream: upstream.name.clone(),
                            endpoint: endpoint.address.clone(),
                            name: endpoint.name.clone(),
                            health: health.clone(),
                        };
                        self.start(subject, checker.clone())
                    }
                };
                self.running.insert(key, running);
            }
        }
    }

    /// Waits until endpoints have come up or gone down. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.healths.changed().await;
    }

    /// What workers are to be told since the last call; says what it means for whole upstreams.
    pub(crate) fn take_changes(&self) -> Vec<Arc<HealthUpdate>> {
        self.healths.take_changes()
    }

    fn start(&self, subject: Subject, checker: Checker) -> Running {
        let task = Task {
            key: (subject.upstream.clone(), subject.endpoint.clone()),
            random: RandomState::new().hash_one(&subject.endpoint),
            subject: subject.clone(),
            checker: checker.clone(),
            healths: self.healths.clone(),
            slots: self.slots.clone(),
            is_hindered: false,
        };
        let task = tokio::task::spawn_local(task.run()).abort_handle();
        Running { subject, checker, task }
    }
}

/// Whether the checks of an endpoint can go on.
fn is_same(subject: &Subject, health: &Health, endpoint: &Located) -> bool {
    *subject.health == *health && subject.name == endpoint.name
}

/// The task of one endpoint.
struct Task {
    key: Key,
    subject: Subject,
    checker: Checker,
    healths: Rc<Healths>,
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
        self.healths.check(&self.key, outcome);
    }

    /// The interval, give or take a tenth.
    fn pause(&mut self) -> std::time::Duration {
        self.random = mix(self.random.wrapping_add(WEYL));
        jittered(self.subject.health.interval, self.random)
    }
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
