//! Putting a configuration in force: all of it or nothing.
//!
//! ```text
//! load ─▶ stage: bind, open, index ─▶ resolve new names ─▶ build ─▶ commit: listen ─▶ send
//!   │                 │                                                   │
//!   └──── errors ─────┴─────────────▶ the old one keeps serving ◀─────────┘
//! ```

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use corelane_engine::snapshot::Address;
use corelane_routing::Router;

use crate::admin::{AdminListener, AdminServer};
use crate::changes::Changes;
use crate::config::{Admin, Config, LogTarget};
use crate::filters::Compiled;
use crate::listen::{Listeners, Prepared};
use crate::log;
use crate::log_writer::{self, OpenTarget};
use crate::options::ConfigSource;
use crate::snapshot_builder::{self, Version};
use crate::status::{LastReload, Status, increment};
use crate::supervisor::Supervisor;

/// What a configuration needs, got and not yet in use. Dropping it gives it back.
pub(crate) struct Staged {
    router: Router,
    filters: Compiled,
    sockets: Prepared,
    admin: Change<AdminListener>,
    log: Change<OpenTarget>,
}

/// A configuration on its way to the workers.
pub(crate) struct Landing {
    pub(crate) serial: u64,
    generation: u64,
    /// What changed, and when the reload began; not for the first configuration.
    reload: Option<(Changes, Instant)>,
}

impl Landing {
    /// Every worker serves from it.
    pub(crate) fn land(self, status: &Status) {
        status.generation.set(self.generation);
        status.last_reload.set(LastReload { at: SystemTime::now(), errors: 0 });
        if let Some((changes, start)) = self.reload {
            increment(&status.reloads_ok);
            changes.log();
            let took = start.elapsed().as_millis();
            log::info!("reloaded", generation = self.generation, took_ms = took);
        }
    }
}

/// What becomes of something that may be off.
enum Change<T> {
    Keep,
    Replace(Option<T>),
}

impl Supervisor {
    /// SIGHUP.
    pub(crate) async fn reload(&mut self) {
        if matches!(self.options.source, ConfigSource::Text { .. }) {
            log::info!("there is no file to reload");
            return;
        }
        let start = Instant::now();
        let old = self.config.clone();
        let result = match self.options.source.load() {
            Ok(loaded) => self.apply(loaded.config).await,
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
        };
        let took = start.elapsed().as_millis();
        let generation = self.version.generation;
        match result {
            // The rest is said when every worker serves from it.
            Ok(()) => {
                if let Some(landing) = self.landing.back_mut() {
                    landing.reload = Some((Changes::between(&old, &self.config), start));
                }
            }
            Err(errors) => {
                increment(&self.status.reloads_failed);
                self.status.last_reload.set(LastReload { at: SystemTime::now(), errors: errors.len() });
                for error in &errors {
                    log::error!(error);
                }
                log::error!(
                    "reload failed, the old configuration keeps serving",
                    errors = errors.len(),
                    generation = generation,
                    took_ms = took
                );
            }
        }
    }

    async fn apply(&mut self, config: Config) -> Result<(), Vec<String>> {
        let staged = Self::stage(&self.listeners, Some((&self.config, &self.filters)), &config)?;
        self.put_in_force(config, staged).await
    }

    /// Gets what `config` needs beyond what `old` has. Changes nothing.
    pub(crate) fn stage(
        listeners: &Listeners,
        old: Option<(&Config, &Compiled)>,
        config: &Config,
    ) -> Result<Staged, Vec<String>> {
        let mut errors = Vec::new();
        let none = Compiled::default();
        let (old, old_filters) = old.map_or((None, &none), |(old, filters)| (Some(old), filters));
        let filters = Compiled::new(config, old_filters)
            .map_err(|faults| errors.extend(faults.iter().map(ToString::to_string)));
        let router = snapshot_builder::router(config).map_err(|lines| errors.extend(lines));
        let sockets = listeners
            .prepare(addresses(config))
            .map_err(|refusals| errors.extend(refusals.iter().map(ToString::to_string)));
        let admin = stage_admin(old, config).map_err(|refusal| errors.push(refusal));
        let log = stage_log(old, config).map_err(|refusal| errors.push(refusal));
        match (router, filters, sockets, admin, log) {
            (Ok(router), Ok(filters), Ok(sockets), Ok(admin), Ok(log)) => {
                Ok(Staged { router, filters, sockets, admin, log })
            }
            _ => Err(errors),
        }
    }

    /// Commits what was staged.
    ///
    /// # Errors
    ///
    /// When a socket cannot listen; the old configuration is still in force then.
    pub(crate) async fn put_in_force(&mut self, config: Config, staged: Staged) -> Result<(), Vec<String>> {
        // Names that nobody has asked for yet get a moment, so that their routes do not begin with 503.
        let new_names = self.resolver.configure(&config);
        self.resolver.first_answers(&new_names, FIRST_ANSWERS_TIMEOUT).await;

        let version = Version { generation: self.version.generation + 1, serial: self.version.serial + 1 };
        let built = self.build(&config, staged.router, &staged.filters, version);
        let opened: Vec<(Address, Address)> =
            staged.sockets.opened().map(|(configured, bound)| (configured.clone(), bound.clone())).collect();
        let sockets = match self.listeners.commit(staged.sockets, addresses(&config)) {
            Ok(sockets) => sockets,
            Err(refusal) => {
                self.resolver.configure(&self.config);
                // The wait above may have taken answers for the old names, too.
                self.on_answers();
                return Err(vec![refusal.to_string()]);
            }
        };
        for (configured, bound) in opened {
            let name = config.listeners.iter().find(|it| it.address == configured).map_or("", |it| &*it.name);
            log::info!("listening", listener = name, address = bound);
        }
        let config = Rc::new(config);
        self.send(config.clone(), built, version, sockets);
        if let Change::Replace(admin) = staged.admin {
            self.replace_admin(admin);
        }
        if let Change::Replace(target) = staged.log {
            self.log.switch(target);
        }
        self.exporter.configure(config.tracing.clone());
        let Version { serial, generation } = version;
        self.landing.push_back(Landing { serial, generation, reload: None });
        self.config = config;
        self.filters = staged.filters;
        Ok(())
    }

    fn replace_admin(&mut self, listener: Option<AdminListener>) {
        self.admin = listener.map(|listener| {
            log::info!("admin server", address = listener.bound());
            AdminServer::start(listener, self.status.clone())
        });
    }
}

fn stage_admin(old: Option<&Config>, config: &Config) -> Result<Change<AdminListener>, String> {
    let address = |config: &Config| config.admin.as_ref().map(|admin| admin.address.clone());
    if old.is_some_and(|old| address(old) == address(config)) {
        return Ok(Change::Keep);
    }
    let bind =
        |admin: &Admin| AdminListener::bind(&admin.address).map_err(|refusal| format!("admin: {refusal}"));
    config.admin.as_ref().map(bind).transpose().map(Change::Replace)
}

fn stage_log(old: Option<&Config>, config: &Config) -> Result<Change<OpenTarget>, String> {
    // A file is opened anew even if its path is the same: it may have been rotated away.
    let target = |config: &Config| config.access_log.as_ref().map(|log| log.target.clone());
    let opened = target(config);
    let is_file = matches!(opened, Some(LogTarget::File(_)));
    if !is_file && old.is_some_and(|old| target(old) == opened) {
        return Ok(Change::Keep);
    }
    opened.as_ref().map(log_writer::open).transpose().map(Change::Replace)
}

/// Where a configuration listens.
pub(crate) fn addresses(config: &Config) -> impl Iterator<Item = &Address> + Clone {
    config.listeners.iter().map(|listener| &listener.address)
}

/// How long a start or a reload waits for names. Late answers make a snapshot of their own.
const FIRST_ANSWERS_TIMEOUT: Duration = Duration::from_secs(1);
