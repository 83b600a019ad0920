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

mod changes;
mod client;
mod crl;
mod der;
mod documents;
mod fault;
mod findings;
mod kept;
mod names;
mod ocsp;
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
    CertificateFiles, ClientAuth, Config, Listener, ListenerTls, Places, Upstream, UpstreamTls,
};
use crate::health::SystemRoots;
use crate::log;
use crate::snapshot_builder::{Answers, endpoint_addresses};
pub(crate) use client::{Spoken, server_name};
use fault::Fault;
pub(crate) use findings::{DAYS_LEFT_FEW, Findings, examine};
use kept::Kept;
use names::{Names, Shown};
use ocsp::Staple;
use pair::Pair;
use server::Demands;
use stamp::Stamp;
pub(crate) use states::{CertificateState, Certificates, Owner, moment};
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
    /// A line for each file because of which a listener or an upstream cannot speak TLS.
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

/// What listeners and upstreams speak TLS with, read at one time.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    pairs: HashMap<CertificateFiles, Kept<Pair>>,
    staples: HashMap<CertificateFiles, Kept<Staple>>,
    folders: HashMap<PathBuf, Folder>,
    listeners: HashMap<Arc<str>, Served>,
    upstreams: HashMap<Arc<str>, (UpstreamTls, Kept<Spoken>)>,
    /// Every file that was looked at, as it was before that.
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
}

/// What upstreams are spoken to with, by their names.
pub(crate) type Towards = HashMap<Arc<str>, Arc<Spoken>>;

/// A directory of certificates.
#[derive(Clone, Debug, Default)]
struct Folder {
    files: Vec<CertificateFiles>,
    fault: Option<Fault>,
}

/// A listener's.
#[derive(Debug)]
struct Served {
    tls: Arc<ServerTls>,
    files: Vec<CertificateFiles>,
    demands: Option<(ClientAuth, Kept<Demands>)>,
    rotation: Rotation,
    places: Places,
}

impl Assembled {
    /// What a configuration needs; what did not change is taken from `earlier`, and what cannot be used, too. With a line
    /// for each file because of which a listener or an upstream is left without anything.
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
                Err(faults) => errors.extend(faults.iter().map(|fault| {
                    let text = format!("listener \"{}\": {fault}", listener.name);
                    settings.places.tell(fault.file.as_deref(), text)
                })),
            }
        }
        for upstream in &config.upstreams {
            let Some(settings) = &upstream.tls else { continue };
            match assembling.upstream(upstream, settings) {
                Ok(kept) => {
                    assembling.found.upstreams.insert(upstream.name.clone(), (settings.clone(), kept));
                }
                Err(faults) => errors.extend(faults.iter().map(|fault| {
                    let text = format!("upstream \"{}\": {fault}", upstream.name);
                    settings.places.tell(fault.file.as_deref(), text)
                })),
            }
        }
        (assembling.found, errors)
    }

    /// What upstreams are spoken to with.
    pub(crate) fn towards(&self) -> Towards {
        let all = self.upstreams.iter();
        all.filter_map(|(name, (_, kept))| Some((name.clone(), kept.serves.clone()?))).collect()
    }

    /// Tells the listeners and endpoints of a snapshot how they speak TLS.
    pub(crate) fn equip(&self, config: &Config, answers: &Answers, snapshot: &mut Snapshot) {
        for listener in &mut snapshot.listeners {
            listener.tls = self.listeners.get(&listener.name).map(|served| served.tls.clone());
        }
        for (configured, upstream) in config.upstreams.iter().zip(&mut snapshot.upstreams) {
            let Some((_, kept)) = self.upstreams.get(&configured.name) else { continue };
            let Some(spoken) = &kept.serves else { continue };
            spoken.equip(&mut upstream.endpoints, &endpoint_addresses(configured, answers));
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
    fn listener(&mut self, listener: &Listener, settings: &ListenerTls) -> Result<Served, Vec<Fault>> {
        let files = self.files(settings);
        let kept: Vec<_> = files.iter().map(|files| self.pair(files)).collect();
        let shown = files.iter().zip(&kept).filter_map(|(files, kept)| {
            let pair = kept.serves.clone()?;
            let staple = self.staple(files, &pair);
            Some(Shown::new(pair, staple.as_deref()))
        });
        let shown: Vec<_> = shown.collect();
        if shown.is_empty() {
            let mut faults: Vec<_> = kept.into_iter().flat_map(|it| it.faults).collect();
            if let Some(path) = &settings.directory {
                let folder = self.folder(path);
                let empty = || Fault::has(path, "has no file *.pem");
                faults.extend(folder.fault.or_else(|| folder.files.is_empty().then(empty)));
            }
            faults.push(Fault::of_no_file("no certificate can be used"));
            return Err(faults);
        }
        let before = self.earlier.listeners.get(&listener.name);
        let demands = settings.client_auth.as_ref().map(|it| self.demands(it, before)).transpose()?;
        let read = demands.as_ref().and_then(|(_, kept)| kept.serves.clone());
        let read = read.unwrap_or_else(|| Arc::new(Demands::none()));
        let mut rotation = before.map(|before| before.rotation.clone()).unwrap_or_default();
        let tickets: Option<Arc<dyn ProducesTickets>> = match &settings.tickets {
            None => None,
            Some(tickets) => {
                let keys = rotation.keys(tickets, read.hash, self.now);
                let chance = || Fault::of_no_file("the system has no random numbers for keys of tickets");
                Some(Arc::new(keys.ok_or_else(chance)?))
            }
        };
        let names = Names::new(shown, settings.unknown_names);
        let tls = server::build(settings, &self.provider, names, &read, tickets);
        let tls = Arc::new(tls.map_err(Fault::of_no_file)?);
        Ok(Served { tls, files, demands, rotation, places: settings.places.clone() })
    }

    /// The certificates, in the order in which they count.
    fn files(&mut self, settings: &ListenerTls) -> Vec<CertificateFiles> {
        let mut files = settings.certificates.clone();
        files.extend(settings.directory.iter().flat_map(|path| self.folder(path).files));
        files
    }

    fn upstream(&mut self, upstream: &Upstream, settings: &UpstreamTls) -> Result<Kept<Spoken>, Vec<Fault>> {
        client::refuse_nameless(upstream, settings)?;
        let stamps = client::paths(settings).map(|path| self.stamp(path)).collect();
        let before = self.earlier.upstreams.get(&upstream.name);
        let before = before.filter(|(before, _)| before == settings).map(|(_, kept)| kept);
        let kept = Kept::new(before, stamps, || Spoken::read(settings, (&self.provider, &self.system)));
        usable(kept)
    }

    /// Notes what a file is before it is read: what changes meanwhile is seen as a change.
    fn stamp(&mut self, path: &Path) -> Option<Stamp> {
        *self.found.stamps.entry(path.to_owned()).or_insert_with(|| Stamp::of(path))
    }

    fn pair(&mut self, files: &CertificateFiles) -> Kept<Pair> {
        if let Some(kept) = self.found.pairs.get(files) {
            return kept.clone();
        }
        let stamps = [&files.cert, &files.key].map(|path| self.stamp(path)).into();
        let before = self.earlier.pairs.get(files);
        let kept = Kept::new(before, stamps, || Ok(Pair::read(files, &self.provider)?));
        self.found.pairs.insert(files.clone(), kept.clone());
        kept
    }

    /// The OCSP response that goes with a certificate. One that cannot be used does no harm to it.
    fn staple(&mut self, files: &CertificateFiles, pair: &Pair) -> Option<Arc<Staple>> {
        let file = files.ocsp.as_ref()?;
        if let Some(kept) = self.found.staples.get(files) {
            return kept.serves.clone();
        }
        let stamps = [&files.cert, file].map(|path| self.stamp(path)).into();
        let before = self.earlier.staples.get(files);
        let kept = Kept::new(before, stamps, || Ok(Staple::read(file, &pair.facts)?));
        let serves = kept.serves.clone();
        self.found.staples.insert(files.clone(), kept);
        serves
    }

    fn folder(&mut self, path: &Path) -> Folder {
        if let Some(folder) = self.found.folders.get(path) {
            return folder.clone();
        }
        self.stamp(path);
        let folder = match scan(path) {
            Ok(files) => Folder { files, fault: None },
            Err(fault) => {
                let earlier = self.earlier.folders.get(path).map(|before| before.files.clone());
                Folder { files: earlier.unwrap_or_default(), fault: Some(fault) }
            }
        };
        self.found.folders.insert(path.to_owned(), folder.clone());
        folder
    }

    /// What clients must show. Files that cannot be used leave the demands that were there for them: they are never
    /// waived.
    fn demands(
        &mut self,
        settings: &ClientAuth,
        before: Option<&Served>,
    ) -> Result<(ClientAuth, Kept<Demands>), Vec<Fault>> {
        let files = settings.crls.iter().chain([&settings.ca]);
        let stamps = files.map(|path| self.stamp(path)).collect();
        let before = before.and_then(|before| before.demands.as_ref());
        let before = before.filter(|(before, _)| before == settings).map(|(_, kept)| kept);
        let kept = Kept::new(before, stamps, || Demands::read(settings, &self.provider));
        Ok((settings.clone(), usable(kept)?))
    }
}

/// What has never been read cannot do without its files.
fn usable<T>(kept: Kept<T>) -> Result<Kept<T>, Vec<Fault>> {
    if kept.serves.is_some() { Ok(kept) } else { Err(kept.faults) }
}

/// The pairs of a directory, in the order of their names.
fn scan(path: &Path) -> Result<Vec<CertificateFiles>, Fault> {
    let failed = |error: std::io::Error| Fault::of(path, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let cert = entry.map_err(failed)?.path();
        let is_hidden = cert.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden || cert.extension().is_none_or(|ending| ending != "pem") {
            continue;
        }
        if found.len() == FOLDER_MAX {
            return Err(Fault::has(path, &format!("has more than {FOLDER_MAX} certificates")));
        }
        let beside = |ending| Some(cert.with_extension(ending)).filter(|file: &PathBuf| file.exists());
        let (key, ocsp) = (beside("key").unwrap_or_else(|| cert.clone()), beside("ocsp"));
        found.push(CertificateFiles { cert, key, ocsp });
    }
    found.sort();
    Ok(found)
}

/// A guess: more hosts than one machine serves.
const FOLDER_MAX: usize = 100_000;
