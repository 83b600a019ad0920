//! The life of the process, on the control thread.
//!
//! ```text
//! load → probe → prepare → start workers → apply ─▶ loop: signals, events, answers, deadlines ─▶ drain ─▶ end
//!                                             ▲         │
//!                                             └─ reload ┘
//! ```
//!
//! Owns everything slow. Never waits for a worker: commands go into unbounded channels, events come through a
//! descriptor.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_balancer::health::Reason;
use corelane_engine::access_log::{LogSink, log_channel};
use corelane_engine::command::{Command, Event, ListenSocket};
use corelane_engine::driver::{Driver, DriverRequest, probe};
use corelane_engine::event::{EventSender, event_channel};
use corelane_engine::limits::{BreakerMove, Peers};
use corelane_engine::snapshot::Snapshot;
use corelane_engine::tracing::{SpanSink, span_channel};
use corelane_engine::worker::{self, WorkerConfig, WorkerHandle};

use crate::admin::AdminServer;
use crate::config::{Config, DriverChoice, LogTarget};
use crate::events::Events;
use crate::filters::Compiled;
use crate::health::{Checks, Failing, Plan};
use crate::listen::Listeners;
use crate::log;
use crate::log_writer::{self, LogWriter, LogWriterCounters};
use crate::memory;
use crate::options::{ExitReason, RunOptions, SupervisorError};
use crate::registry::Registry;
use crate::reload::{self, Landing};
use crate::resolver::Resolver;
use crate::shutdown::{Action, Shutdown};
use crate::signals::{self, Received, Signals};
use crate::snapshot_builder::{self, Version};
use crate::status::{Phase, Status};
use crate::tls::{Assembled, Tls, Towards};
use crate::tls_failures::TlsFailures;
use crate::tracing::{Exporter, SPAN_BATCHES_MAX};

/// Runs the proxy until it is told to stop. Takes over the process: its signals and its threads.
///
/// # Errors
///
/// When it cannot start, or when every worker has died. The text says why, one line for each reason.
pub fn run(mut options: RunOptions) -> Result<ExitReason, SupervisorError> {
    let config = options.source.load()?.config;
    let probe = probe(match config.process.driver {
        DriverChoice::Auto => DriverRequest::Auto,
        DriverChoice::IoUring => DriverRequest::IoUring,
        DriverChoice::Epoll => DriverRequest::Epoll,
    })?;
    if let Some(note) = &probe.note {
        log::warning!("the driver stepped down", driver = probe.driver, reason = note);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let on_ready = options.on_ready.take();
    let local = tokio::task::LocalSet::new();
    let ended = local.block_on(&runtime, async {
        let mut supervisor = Supervisor::start(options, config, probe.driver, on_ready).await?;
        let reason = supervisor.serve().await?;
        supervisor.end().await;
        Ok(reason)
    });
    drop(local);
    // Not waiting for the system's resolver, which may still look for a collector.
    runtime.shutdown_background();
    ended
}

/// Everything that the control thread owns.
pub(crate) struct Supervisor {
    pub(crate) options: RunOptions,
    /// In force.
    pub(crate) config: Rc<Config>,
    /// Its filters.
    pub(crate) filters: Compiled,
    pub(crate) status: Rc<Status>,
    pub(crate) listeners: Listeners,
    pub(crate) resolver: Resolver,
    checks: Checks,
    pub(crate) tls: Tls,
    tls_failures: TlsFailures,
    pub(crate) admin: Option<AdminServer>,
    pub(crate) log: LogWriter,
    pub(crate) exporter: Exporter,
    pub(crate) version: Version,
    pub(crate) shutdown: Shutdown,
    signals: Signals,
    events: Events,
    driver: Driver,
    /// `None` where the worker is gone.
    workers: Vec<Option<WorkerHandle>>,
    /// The serial that each worker serves from; 0 before the first.
    applied: Vec<u64>,
    /// Configurations that were sent and that some worker does not serve from yet.
    pub(crate) landing: VecDeque<Landing>,
    on_ready: Option<Box<dyn FnOnce()>>,
}

enum Happening {
    Signal(Received),
    Events,
    Answers,
    Health,
    Certificates,
    Deadline,
}

impl Supervisor {
    async fn start(
        options: RunOptions,
        config: Config,
        driver: Driver,
        on_ready: Option<Box<dyn FnOnce()>>,
    ) -> Result<Self, SupervisorError> {
        let signals = Signals::new()?;
        let cores = worker::available_cores();
        let workers = memory::workers(&config, cores.len());
        let (event_sender, event_receiver) = event_channel()?;
        let (log_sink, source) = log_channel(LOG_BATCHES_MAX);
        let (span_sink, spans) = span_channel(SPAN_BATCHES_MAX);
        let log_counters = Arc::<LogWriterCounters>::default();
        let peers = Peers::new(workers)?;
        let registry = Registry::new(&peers);
        let status = Rc::new(Status::new(registry, workers, log_counters.clone()));
        status.build.set(options.build);
        status.driver.set(Some(driver));

        // Everything that can be refused comes before the first thread.
        let listeners = Listeners::new(workers);
        listeners.wait_until_free(reload::addresses(&config)).await;
        let tls = Tls::new(status.certificates.clone());
        let staged = Self::stage(&listeners, &tls, None, &config).map_err(SupervisorError::Refused)?;
        let blocked = signals::block()?;
        let log = LogWriter::start(source, None, log_counters)?;
        let sinks = (log_sink, span_sink);
        let handles = spawn_workers(&status, &peers, &cores, driver, &event_sender, sinks, options.trim)?;
        drop(blocked);

        let mut supervisor = Self {
            filters: Compiled::default(),
            options,
            config: Rc::new(config.clone()),
            resolver: Resolver::new(status.clone()),
            checks: Checks::new(status.healths.clone()),
            tls,
            tls_failures: TlsFailures::new(),
            exporter: Exporter::start(spans, status.traces.clone()),
            status,
            listeners,
            admin: None,
            log,
            version: Version::default(),
            shutdown: Shutdown::new(workers),
            signals,
            events: Events::new(event_receiver)?,
            driver,
            workers: handles,
            applied: vec![0; workers],
            landing: VecDeque::new(),
            on_ready,
        };
        supervisor.put_in_force(config, staged).await.map_err(SupervisorError::Refused)?;
        Ok(supervisor)
    }

    async fn serve(&mut self) -> Result<ExitReason, SupervisorError> {
        loop {
            let action = match self.next().await {
                Happening::Signal(signal) => self.on_signal(signal).await,
                Happening::Events => self.on_events()?,
                Happening::Answers => {
                    self.on_answers();
                    Action::Wait
                }
                Happening::Health => {
                    self.on_health();
                    Action::Wait
                }
                Happening::Certificates => {
                    self.on_certificates();
                    Action::Wait
                }
                Happening::Deadline => self.shutdown.on_time(Instant::now()),
            };
            match action {
                Action::Wait => {}
                Action::Drain => self.drain(),
                Action::End => {
                    log::info!("stopped, every connection has ended");
                    return Ok(ExitReason::Drained);
                }
                Action::Cut => {
                    let cut = self.status.registry.borrow().connections();
                    log::warning!("stopped after drain_timeout", connections_cut = cut);
                    return Ok(ExitReason::Cut);
                }
                Action::EndAtOnce(signal) => {
                    let cut = self.status.registry.borrow().connections();
                    log::warning!("stopped by a second signal", signal = signal, connections_cut = cut);
                    return Ok(ExitReason::Forced(signal));
                }
            }
        }
    }

    async fn next(&mut self) -> Happening {
        let deadline = self.shutdown.deadline();
        tokio::select! {
            biased;
            signal = self.signals.next() => Happening::Signal(signal),
            () = self.events.ready() => Happening::Events,
            () = self.resolver.changed() => Happening::Answers,
            () = self.checks.changed() => Happening::Health,
            () = self.tls.changed() => Happening::Certificates,
            () = until(deadline), if deadline.is_some() => Happening::Deadline,
        }
    }

    async fn on_signal(&mut self, signal: Received) -> Action {
        match signal {
            Received::Stop(number) => {
                let process = &self.config.process;
                self.status.phase.set(Phase::Draining);
                let (delay, timeout) = (process.shutdown_delay, process.drain_timeout);
                if self.shutdown.is_running() {
                    log::info!(
                        "stopping",
                        signal = number,
                        shutdown_delay = format_args!("{delay:?}"),
                        drain_timeout = format_args!("{timeout:?}"),
                        connections = self.status.registry.borrow().connections()
                    );
                }
                return self.shutdown.on_signal(number, Instant::now(), delay, timeout);
            }
            Received::Reload if self.shutdown.is_running() => self.reload().await,
            Received::Reload => log::warning!("reload ignored, the process is stopping"),
            Received::ReopenLog => self.reopen_log(),
        }
        Action::Wait
    }

    fn on_events(&mut self) -> Result<Action, SupervisorError> {
        let mut action = Action::Wait;
        for event in self.events.take() {
            match event {
                Event::Started { worker, clock } => {
                    self.status.worker_clocks.borrow_mut()[worker] = Some(clock);
                }
                // It is freed here by being dropped.
                Event::Retired { .. } => {}
                Event::Applied { worker, serial } => self.applied[worker] = serial,
                Event::ListenerClosed { worker, address } => {
                    if self.listeners.closed_by(worker, &address) {
                        log::info!("listener closed", address = address);
                    }
                }
                Event::ReuseSuspended { worker, upstream, endpoint, reason, time } => log::warning!(
                    "connection reuse suspended",
                    upstream = upstream,
                    endpoint = endpoint,
                    reason = reason,
                    time = format_args!("{time:?}"),
                    worker = worker
                ),
                Event::BreakerMoved { worker, upstream, moved } => log_breaker(worker, &upstream, moved),
                Event::EndpointFailing { worker, upstream, address, trip, reason, failures } => {
                    let failing = Failing { worker, key: (upstream, address), trip, reason, failures };
                    self.status.healths.report(failing);
                }
                Event::TlsFailed(report) => self.tls_failures.tell(&report),
                Event::Drained { worker } => action = action.or(self.shutdown.on_worker_done(worker)),
                Event::Failed { worker, reason } => {
                    action = action.or(self.on_worker_failed(worker, &reason)?)
                }
            }
        }
        self.on_health();
        self.status.sweep();
        self.note_landed();
        self.note_readiness();
        Ok(action)
    }

    fn on_worker_failed(&mut self, worker: usize, reason: &str) -> Result<Action, SupervisorError> {
        if self.workers[worker].take().is_none() {
            return Ok(Action::Wait);
        }
        if self.status.phase.get() == Phase::Starting {
            return Err(SupervisorError::Refused(vec![format!("worker {worker} cannot start: {reason}")]));
        }
        let left = self.workers.iter().flatten().count();
        log::error!("a worker has failed", worker = worker, reason = reason, workers_left = left);
        self.status.workers.set(left);
        self.status.worker_clocks.borrow_mut()[worker] = None;
        self.listeners.forget_worker(worker);
        let action = self.shutdown.on_worker_done(worker);
        if left == 0 && action == Action::Wait { Err(SupervisorError::WorkersLost) } else { Ok(action) }
    }

    /// A configuration is in force when every worker serves from it; only then is it said.
    fn note_landed(&mut self) {
        let alive = self.workers.iter().zip(&self.applied).filter(|(worker, _)| worker.is_some());
        let reached = alive.map(|(_, serial)| *serial).min().unwrap_or(u64::MAX);
        while self.landing.front().is_some_and(|landing| landing.serial <= reached) {
            if let Some(landing) = self.landing.pop_front() {
                landing.land(&self.status);
            }
        }
    }

    /// The process is ready when every worker serves, and stays so until it is told to stop.
    fn note_readiness(&mut self) {
        if self.status.phase.get() != Phase::Starting || self.applied.contains(&0) {
            return;
        }
        self.status.phase.set(Phase::Serving);
        log::info!(
            "serving",
            workers = self.workers.len(),
            driver = self.driver,
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id()
        );
        if let Some(on_ready) = self.on_ready.take() {
            on_ready();
        }
    }

    /// Endpoints have come up or gone down: workers are told at once, and the next snapshot says so, too.
    fn on_health(&mut self) {
        for update in self.checks.take_changes() {
            for worker in self.workers.iter().flatten() {
                let _ = worker.send(Command::Health(update.clone()));
            }
        }
    }

    /// Builds the snapshot of a configuration from the answers known now, and what goes with it.
    pub(crate) fn build(
        &self,
        config: &Config,
        router: corelane_routing::Router,
        (filters, tls): (&Compiled, &Assembled),
        version: Version,
    ) -> Built {
        let registry = &mut self.status.registry.borrow_mut();
        let answers = self.resolver.answers();
        let plan = self.checks.plan(config, answers);
        let mut snapshot =
            snapshot_builder::build(config, router, filters, (answers, &plan), registry, version);
        tls.equip(config, answers, &mut snapshot);
        Built { snapshot: Arc::new(snapshot), plan, towards: tls.towards() }
    }

    /// Sends a snapshot, and to each worker its sockets.
    pub(crate) fn send(
        &mut self,
        config: Rc<Config>,
        Built { snapshot, plan, towards }: Built,
        version: Version,
        sockets: Vec<Vec<ListenSocket>>,
    ) {
        self.version = version;
        self.checks.configure(&config, self.resolver.answers(), plan, &towards);
        self.status.watch(config, &snapshot);
        let sockets = sockets.into_iter().chain(std::iter::repeat_with(Vec::new));
        for (worker, sockets) in self.workers.iter().zip(sockets) {
            if let Some(worker) = worker {
                // A worker that has stopped has said so by an event.
                let _ = worker.send(Command::Apply { snapshot: snapshot.clone(), sockets });
            }
        }
    }

    fn drain(&mut self) {
        log::info!("draining", connections = self.status.registry.borrow().connections());
        // Ours first: see listen.rs.
        self.listeners.close_all();
        for worker in self.workers.iter().flatten() {
            let _ = worker.send(Command::Drain);
        }
    }

    fn reopen_log(&self) {
        let target = self.config.access_log.as_ref().map(|log| &log.target);
        let Some(target @ LogTarget::File(path)) = target else {
            log::info!("no access-log file to reopen");
            return;
        };
        match log_writer::open(target) {
            Ok(open) => {
                self.log.switch(Some(open));
                log::info!("access log reopened", path = path.display());
            }
            Err(error) => log::error!(error),
        }
    }

    /// Lets the workers end what they still have, and the last access-log records and spans out.
    async fn end(self) {
        join(self.workers.into_iter().flatten().collect());
        self.log.finish(LOG_FLUSH_TIMEOUT);
        self.exporter.finish(SPAN_FLUSH_TIMEOUT).await;
    }
}

/// A snapshot, and what is put in force with it.
pub(crate) struct Built {
    snapshot: Arc<Snapshot>,
    plan: Plan,
    towards: Towards,
}

fn log_breaker(worker: usize, upstream: &str, moved: BreakerMove) {
    let reason = match moved {
        BreakerMove::Opened(trip) => Reason::from(trip).word(),
        BreakerMove::OpenedAgain => "probe_failed",
        BreakerMove::HalfOpened => {
            return log::info!("breaker half open, probes go through", upstream = upstream, worker = worker);
        }
        BreakerMove::Closed => return log::info!("breaker closed", upstream = upstream, worker = worker),
    };
    log::warning!("breaker open, nothing is sent", upstream = upstream, reason = reason, worker = worker);
}

/// Waits for the threads of the workers, but not for ever.
fn join(mut workers: Vec<WorkerHandle>) {
    // All at once: each may have thousands of connections to answer.
    workers.iter_mut().for_each(WorkerHandle::end);
    let (done, joined) = std::sync::mpsc::channel::<()>();
    let joining = std::thread::Builder::new().name("join".to_owned()).spawn(move || {
        workers.into_iter().for_each(WorkerHandle::join);
        drop(done);
    });
    if joining.is_ok() {
        // An error either way: the sender is dropped without a word, or the time is over.
        let _ = joined.recv_timeout(JOIN_TIMEOUT);
    }
}

async fn until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline.into()).await;
    }
}

/// One worker a core in turn; more workers than cores wrap around. The only sinks of the log and of spans that are
/// left are theirs.
fn spawn_workers(
    status: &Status,
    peers: &Peers,
    cores: &[usize],
    driver: Driver,
    events: &EventSender,
    (log, spans): (LogSink, SpanSink),
    trim: fn(),
) -> io::Result<Vec<Option<WorkerHandle>>> {
    let spawn = |index: usize| {
        worker::spawn(WorkerConfig {
            index,
            core: (!cores.is_empty()).then(|| cores[index % cores.len()]),
            driver,
            peers: peers.clone(),
            counters: status.registry.borrow().workers.clone(),
            events: events.clone(),
            log: Some(log.clone()),
            spans: Some(spans.clone()),
            trim,
        })
        .map(Some)
    };
    (0..status.workers.get()).map(spawn).collect()
}

/// Batches of about 64 KiB that may wait for the writer: at most 16 MiB, a second or two of a busy log on a slow disk.
pub(crate) const LOG_BATCHES_MAX: usize = 256;

/// How long the end may wait for the access log's disk.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the end may wait for the collector.
const SPAN_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the end may wait for the threads of the workers. One that has drained has nothing left to do; one that cuts
/// its connections writes an answer and a record for each, some 20 µs a connection: 50 000 on a core that others use, too.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
