//! What the control thread knows about the process, for /readyz, /metrics, /status and /explain.
//!
//! Lives on the control thread alone; the supervisor writes it, the admin server reads it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use corelane_engine::ThreadClock;
use corelane_engine::driver::Driver;
use corelane_engine::snapshot::Snapshot;

use crate::config::Config;
use crate::health::Healths;
use crate::log_writer::LogWriterCounters;
use crate::options::Build;
use crate::registry::Registry;
use crate::tls::Certificates;
use crate::tracing::ExportCounters;

/// The state of the process.
#[derive(Debug)]
pub(crate) struct Status {
    /// When the process started.
    pub(crate) started: SystemTime,
    /// Starting, serving, draining.
    pub(crate) phase: Cell<Phase>,
    /// Workers that run.
    pub(crate) workers: Cell<usize>,
    /// Of the configuration in force; 0 before the first.
    pub(crate) generation: Cell<u64>,
    /// Reloads asked for that were put in force.
    pub(crate) reloads_ok: Cell<u64>,
    /// Reloads asked for that were refused.
    pub(crate) reloads_failed: Cell<u64>,
    /// The last attempt to put a configuration in force, the one at the start included.
    pub(crate) last_reload: Cell<LastReload>,
    /// Host names with at least one address.
    pub(crate) names_resolved: Cell<usize>,
    /// Host names without any.
    pub(crate) names_unresolved: RefCell<BTreeSet<Arc<str>>>,
    /// Lookups that gave an answer.
    pub(crate) lookups_ok: Cell<u64>,
    /// Lookups that gave none.
    pub(crate) lookups_failed: Cell<u64>,
    /// What the log writer counts.
    pub(crate) log_writer: Arc<LogWriterCounters>,
    /// How the endpoints with checks stand.
    pub(crate) healths: Rc<Healths>,
    /// How the certificates stand.
    pub(crate) certificates: Rc<Certificates>,
    /// What runs.
    pub(crate) build: Cell<Build>,
    /// What the workers run on.
    pub(crate) driver: Cell<Option<Driver>>,
    /// How long each worker has run for; none before it has started, and when it has failed.
    pub(crate) worker_clocks: RefCell<Vec<Option<ThreadClock>>>,
    /// What has become of spans.
    pub(crate) traces: Rc<ExportCounters>,
    /// Every counter set.
    pub(crate) registry: RefCell<Registry>,
    snapshots: RefCell<Vec<(u64, Weak<Snapshot>)>>,
    /// The newest configuration, with the newest snapshot of it.
    newest: RefCell<Option<(Rc<Config>, Weak<Snapshot>)>>,
}

/// Where in its life the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Some worker does not serve yet.
    Starting,
    /// Every worker serves.
    Serving,
    /// A signal to stop has come.
    Draining,
}

/// How the last attempt to put a configuration in force ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastReload {
    /// When it ended.
    pub(crate) at: SystemTime,
    /// How many errors it had; none means that it is in force.
    pub(crate) errors: usize,
}

impl Status {
    /// At the start of the process.
    pub(crate) fn new(registry: Registry, workers: usize, log_writer: Arc<LogWriterCounters>) -> Self {
        let now = SystemTime::now();
        Self {
            started: now,
            phase: Cell::new(Phase::Starting),
            workers: Cell::new(workers),
            generation: Cell::new(0),
            reloads_ok: Cell::new(0),
            reloads_failed: Cell::new(0),
            last_reload: Cell::new(LastReload { at: now, errors: 0 }),
            names_resolved: Cell::new(0),
            names_unresolved: RefCell::default(),
            lookups_ok: Cell::new(0),
            lookups_failed: Cell::new(0),
            log_writer,
            healths: Rc::default(),
            certificates: Rc::default(),
            build: Cell::default(),
            driver: Cell::default(),
            worker_clocks: RefCell::new(vec![None; workers]),
            traces: Rc::default(),
            registry: RefCell::new(registry),
            snapshots: RefCell::new(Vec::new()),
            newest: RefCell::new(None),
        }
    }

    /// Keeps an eye on a snapshot that is about to be sent.
    pub(crate) fn watch(&self, config: Rc<Config>, snapshot: &Arc<Snapshot>) {
        *self.newest.borrow_mut() = Some((config, Arc::downgrade(snapshot)));
        self.snapshots.borrow_mut().push((snapshot.serial, Arc::downgrade(snapshot)));
    }

    /// Forgets the snapshots that nobody holds any more, and the counters that only they had.
    pub(crate) fn sweep(&self) {
        let mut snapshots = self.snapshots.borrow_mut();
        snapshots.retain(|(_, snapshot)| snapshot.strong_count() > 0);
        if let Some(oldest) = snapshots.iter().map(|&(serial, _)| serial).min() {
            self.registry.borrow_mut().drop_unused_since(oldest);
        }
    }

    /// The newest configuration and snapshot; none before the first, and when no worker is left.
    pub(crate) fn newest(&self) -> Option<(Rc<Config>, Arc<Snapshot>)> {
        let newest = self.newest.borrow();
        let (config, snapshot) = newest.as_ref()?;
        Some((config.clone(), snapshot.upgrade()?))
    }

    /// How many snapshots somebody still holds.
    pub(crate) fn snapshots_alive(&self) -> usize {
        self.snapshots.borrow().iter().filter(|(_, snapshot)| snapshot.strong_count() > 0).count()
    }
}

/// Adds one to a counter.
pub(crate) fn increment(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}
