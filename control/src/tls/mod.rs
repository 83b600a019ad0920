//! TLS to clients: from the files that listeners name to what their workers use, and again when the files change.
//!
//! ```text
//! settings ─┐
//! files ────┼─▶ Assembled ─▶ ServerTls of each listener ─▶ snapshot
//! ticket keys, earlier certificates ─┘   ▲
//!                       Watch ── a file changed, a key of tickets is old
//! ```
//!
//! A file that cannot be used never takes away what served before it, nor the other certificates of its listener. A listener
//! that is left without any is refused, as everything else that cannot serve.
//!
//! | limit | value | when it is reached |
//! | --- | --- | --- |
//! | size of a file | 1 MiB | the file cannot be used |
//! | certificates of a chain | 32 | the file cannot be used |
//! | certificates of a directory | 100 000 | the directory cannot be used |

mod client;
mod findings;
mod names;
mod pair;
mod server;
mod stamp;
mod states;
mod tickets;
mod watch;
mod x509;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use corelane_engine::snapshot::Snapshot;
use corelane_engine::tls::ServerTls;
use corelane_engine::tls::rustls::crypto::CryptoProvider;
use corelane_engine::tls::rustls::server::ProducesTickets;

use crate::config::{
    CertificateFiles, ClientAuth, Config, Listener, ListenerTls, Upstream, UpstreamTls, UpstreamTrust,
};
use crate::health::SystemRoots;
use crate::log;
use crate::snapshot_builder::{Answers, endpoint_addresses};
use client::Spoken;
pub(crate) use client::server_name;
pub(crate) use findings::{DAYS_LEFT_FEW, Findings, examine};
use names::Names;
use pair::Pair;
use server::Demands;
use stamp::Stamp;
pub(crate) use states::{CertificateState, Certificates, moment};
use tickets::Rotation;
use watch::Watch;

/// What the control thread keeps of TLS.
pub(crate) struct Tls {
    in_force: Assembled,
    watch: Watch,
    states: Rc<Certificates>,
}

impl Tls {
    /// Nothing yet. Must be called where tasks can be spawned.
    pub(crate) fn new(states: Rc<Certificates>) -> Self {
        Self { in_force: Assembled::default(), watch: Watch::start(), states }
    }

    /// What is in force.
    pub(crate) fn in_force(&self) -> &Assembled {
        &self.in_force
    }

    /// Reads what a configuration needs beyond what is in force. Changes nothing.
    ///
    /// # Errors
    ///
    /// A line for each listener that cannot speak TLS.
    pub(crate) fn stage(&self, config: &Config) -> Result<Assembled, Vec<String>> {
        let (assembled, errors) = Assembled::new(config, &self.in_force, SystemTime::now());
        if errors.is_empty() { Ok(assembled) } else { Err(errors) }
    }

    /// Puts in force what was staged.
    pub(crate) fn commit(&mut self, assembled: Assembled) {
        assembled.log_changes(&self.in_force);
        self.watch.set(&assembled);
        self.states.set(assembled.states());
        self.in_force = assembled;
    }

    /// Waits until the files should be read again. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.watch.changed().await;
    }

    /// Reads the files again. What cannot be used leaves what served before it.
    pub(crate) fn renew(&mut self, config: &Config) {
        let (assembled, errors) = Assembled::new(config, &self.in_force, SystemTime::now());
        if errors.is_empty() {
            return self.commit(assembled);
        }
        for error in errors {
            log::error!(error);
        }
        // Not tried again before a file changes once more.
        self.watch.set(&assembled);
    }
}

/// What listeners speak TLS with, read at one time.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    pairs: HashMap<CertificateFiles, Kept>,
    folders: HashMap<PathBuf, Folder>,
    listeners: HashMap<Arc<str>, Served>,
    upstreams: HashMap<Arc<str>, Spoken>,
    /// Every file that was looked at, as it was before that.
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
}

/// A certificate, as far as it could be read.
#[derive(Clone, Debug)]
struct Kept {
    stamps: Vec<Option<Stamp>>,
    /// The last one that could be used.
    pair: Option<Arc<Pair>>,
    /// Why it is not that of now.
    problem: Option<String>,
    failures_total: u64,
}

/// A directory of certificates.
#[derive(Clone, Debug, Default)]
struct Folder {
    files: Vec<CertificateFiles>,
    problem: Option<String>,
}

/// A listener's.
#[derive(Debug)]
struct Served {
    tls: Arc<ServerTls>,
    files: Vec<CertificateFiles>,
    demands: Demands,
    client_auth: Option<ClientAuth>,
    /// Why the demands are not those of now.
    problem: Option<String>,
    rotation: Rotation,
}

impl Assembled {
    /// What a configuration needs; what did not change is taken from `earlier`, and what cannot be used, too. With a line
    /// for each listener that is left without anything.
    pub(crate) fn new(config: &Config, earlier: &Self, now: SystemTime) -> (Self, Vec<String>) {
        let provider = Arc::new(corelane_engine::tls::provider());
        let system = SystemRoots::default();
        let mut assembling = Assembling { earlier, provider, system, now, found: Self::default() };
        let mut errors = Vec::new();
        for listener in &config.listeners {
            let Some(settings) = &listener.tls else { continue };
            match assembling.listener(listener, settings) {
                Ok(served) => {
                    assembling.found.listeners.insert(listener.name.clone(), served);
                }
                Err(error) => errors.push(format!("listener \"{}\": {error}", listener.name)),
            }
        }
        for upstream in &config.upstreams {
            let Some(settings) = &upstream.tls else { continue };
            match assembling.upstream(upstream, settings) {
                Ok(spoken) => {
                    assembling.found.upstreams.insert(upstream.name.clone(), spoken);
                }
                Err(error) => errors.push(format!("upstream \"{}\": tls: {error}", upstream.name)),
            }
        }
        (assembling.found, errors)
    }

    /// Tells the listeners and endpoints of a snapshot how they speak TLS.
    pub(crate) fn equip(&self, config: &Config, answers: &Answers, snapshot: &mut Snapshot) {
        for listener in &mut snapshot.listeners {
            listener.tls = self.listeners.get(&listener.name).map(|served| served.tls.clone());
        }
        for (configured, upstream) in config.upstreams.iter().zip(&mut snapshot.upstreams) {
            let Some(spoken) = self.upstreams.get(&configured.name) else { continue };
            spoken.equip(&mut upstream.endpoints, &endpoint_addresses(configured, answers));
        }
    }

    fn log_changes(&self, earlier: &Self) {
        for (files, kept) in &self.pairs {
            let (before, file) = (earlier.pairs.get(files), files.cert.display());
            if let Some(problem) = &kept.problem
                && before.and_then(|before| before.problem.as_ref()) != Some(problem)
            {
                let serves =
                    if kept.pair.is_some() { "the one before it serves on" } else { "it is left out" };
                log::error!(
                    format_args!("a certificate cannot be used, {serves}"),
                    file = file,
                    reason = problem
                );
            }
            let was = before.and_then(|before| before.pair.as_ref());
            if let Some(pair) = &kept.pair
                && was.is_some_and(|was| !Arc::ptr_eq(was, pair))
            {
                let names = pair.facts.names.join(",");
                log::info!("certificate renewed", file = file, names = names, expires = pair.expiry());
            }
        }
        for (name, served) in &self.listeners {
            let before = earlier.listeners.get(name).and_then(|before| before.problem.as_ref());
            if let Some(problem) = &served.problem
                && before != Some(problem)
            {
                log::error!(
                    "client_auth cannot be renewed, what it was holds on",
                    listener = name,
                    reason = problem
                );
            }
        }
        for (name, spoken) in &self.upstreams {
            let before = earlier.upstreams.get(name);
            if let Some(problem) = &spoken.problem
                && before.and_then(|before| before.problem.as_ref()) != Some(problem)
            {
                log::error!(
                    "tls of an upstream cannot be renewed, what it was holds on",
                    upstream = name,
                    reason = problem
                );
            }
            if spoken.settings.trust == UpstreamTrust::Anybody
                && before.is_none_or(|it| it.settings != spoken.settings)
            {
                log::warning!(
                    "certificates of an upstream are not verified: anybody can be it",
                    upstream = name
                );
            }
        }
        for (path, folder) in &self.folders {
            let before = earlier.folders.get(path).and_then(|before| before.problem.as_ref());
            if let Some(problem) = &folder.problem
                && before != Some(problem)
            {
                log::error!(
                    "a directory of certificates cannot be read",
                    path = path.display(),
                    reason = problem
                );
            }
        }
    }
}

/// An [`Assembled`] in the making.
struct Assembling<'a> {
    earlier: &'a Assembled,
    provider: Arc<CryptoProvider>,
    system: SystemRoots,
    now: SystemTime,
    found: Assembled,
}

impl Assembling<'_> {
    fn listener(&mut self, listener: &Listener, settings: &ListenerTls) -> Result<Served, String> {
        let mut files = settings.certificates.clone();
        if let Some(path) = &settings.directory {
            files.extend(self.folder(path).files);
        }
        let mut problems = Vec::new();
        let mut pairs = Vec::new();
        for files in &files {
            let kept = self.pair(files);
            problems.extend(kept.problem);
            pairs.extend(kept.pair);
        }
        if pairs.is_empty() {
            let folder = settings.directory.as_ref().map(|path| match &self.folder(path).problem {
                Some(problem) => problem.clone(),
                None => format!("{} has no file *.pem", path.display()),
            });
            problems.extend(folder);
            return Err(format!("there is no certificate that can be used: {}", problems.join("; ")));
        }
        let before = self.earlier.listeners.get(&listener.name);
        let (demands, problem) = self.demands(settings.client_auth.as_ref(), before)?;
        let mut rotation = before.map(|before| before.rotation.clone()).unwrap_or_default();
        let tickets: Option<Arc<dyn ProducesTickets>> = match &settings.tickets {
            None => None,
            Some(tickets) => {
                let keys = rotation.keys(tickets, demands.hash, self.now);
                Some(Arc::new(keys.ok_or("the system has no random numbers for keys of tickets")?))
            }
        };
        let names = Names::new(pairs, settings.unknown_names);
        let tls = server::build(settings, &self.provider, names, &demands, tickets)?;
        let client_auth = settings.client_auth.clone();
        Ok(Served { tls: Arc::new(tls), files, demands, client_auth, problem, rotation })
    }

    fn upstream(&mut self, upstream: &Upstream, settings: &UpstreamTls) -> Result<Spoken, String> {
        let paths: Vec<_> = client::paths(settings).collect();
        let stamps = paths.into_iter().map(|path| self.stamp(path)).collect();
        let before = self.earlier.upstreams.get(&upstream.name);
        Spoken::new(upstream, settings, stamps, before, (&self.provider, &self.system))
    }

    /// Notes what a file is before it is read: what changes meanwhile is seen as a change.
    fn stamp(&mut self, path: &Path) -> Option<Stamp> {
        *self.found.stamps.entry(path.to_owned()).or_insert_with(|| Stamp::of(path))
    }

    fn pair(&mut self, files: &CertificateFiles) -> Kept {
        if let Some(kept) = self.found.pairs.get(files) {
            return kept.clone();
        }
        let paths = [Some(&files.cert), Some(&files.key), files.ocsp.as_ref()];
        let stamps: Vec<_> = paths.into_iter().flatten().map(|path| self.stamp(path)).collect();
        let before = self.earlier.pairs.get(files);
        let kept = match before {
            Some(before) if before.stamps == stamps => before.clone(),
            _ => match Pair::read(files, &self.provider) {
                Ok(pair) => {
                    let failures_total = before.map_or(0, |before| before.failures_total);
                    Kept { stamps, pair: Some(Arc::new(pair)), problem: None, failures_total }
                }
                Err(problem) => Kept {
                    stamps,
                    pair: before.and_then(|before| before.pair.clone()),
                    problem: Some(problem),
                    failures_total: before.map_or(0, |before| before.failures_total) + 1,
                },
            },
        };
        self.found.pairs.insert(files.clone(), kept.clone());
        kept
    }

    fn folder(&mut self, path: &Path) -> Folder {
        if let Some(folder) = self.found.folders.get(path) {
            return folder.clone();
        }
        self.stamp(path);
        let folder = match scan(path) {
            Ok(files) => Folder { files, problem: None },
            Err(problem) => {
                let earlier = self.earlier.folders.get(path).map(|before| before.files.clone());
                Folder { files: earlier.unwrap_or_default(), problem: Some(problem) }
            }
        };
        self.found.folders.insert(path.to_owned(), folder.clone());
        folder
    }

    /// What clients must show. Files that cannot be used leave the demands that were there for them: they are never
    /// waived.
    fn demands(
        &mut self,
        settings: Option<&ClientAuth>,
        before: Option<&Served>,
    ) -> Result<(Demands, Option<String>), String> {
        for path in settings.into_iter().flat_map(|it| it.crls.iter().chain([&it.ca])) {
            self.stamp(path);
        }
        match (Demands::read(settings, &self.provider), before) {
            (Ok(demands), _) => Ok((demands, None)),
            (Err(problem), Some(before)) if before.client_auth.as_ref() == settings => {
                Ok((before.demands.clone(), Some(problem)))
            }
            (Err(problem), _) => Err(problem),
        }
    }
}

/// The pairs of a directory, in the order of their names.
fn scan(path: &Path) -> Result<Vec<CertificateFiles>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let cert = entry.map_err(failed)?.path();
        let is_hidden = cert.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden || cert.extension().is_none_or(|ending| ending != "pem") {
            continue;
        }
        if found.len() == FOLDER_MAX {
            return Err(format!("{} has more than {FOLDER_MAX} certificates", path.display()));
        }
        let key = cert.with_extension("key");
        let key = if key.exists() { key } else { cert.clone() };
        found.push(CertificateFiles { cert, key, ocsp: None });
    }
    found.sort();
    Ok(found)
}

/// A guess: more hosts than one machine serves.
const FOLDER_MAX: usize = 100_000;
