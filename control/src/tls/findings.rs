//! What `check` says of certificates: what cannot be used is an error, what will surprise somebody a warning.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_routing::HostPattern;

use super::fault::Fault;
use super::pair::Pair;
use super::states::{Owner, Role, Serving, moment};
use super::x509::Facts;
use super::{Assembled, Served};
use crate::config::{CertificateFiles, Check, Config, ProbeProtocol, UpstreamTrust};

/// A line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// What cannot be used.
    pub(crate) errors: Vec<String>,
    /// What can, but not as somebody may think.
    pub(crate) warnings: Vec<String>,
}

/// From so many days before its end a certificate is told of: who renews by machine does it earlier.
pub(crate) const DAYS_LEFT_FEW: u64 = 14;

/// Looks at the files of all listeners and upstreams.
pub(crate) fn examine(config: &Config, now: SystemTime) -> Findings {
    let (assembled, mut errors) = Assembled::new(config, &Assembled::default(), now);
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut looker = Looker { config, seconds, roots: None, warnings: Vec::new() };
    for (index, listener) in config.listeners.iter().enumerate() {
        let Some(tls) = &listener.tls else { continue };
        let wrong = |fault: &Fault| {
            let text = format!("listener \"{}\": {fault}", listener.name);
            tls.places.tell(fault.file.as_deref(), text)
        };
        let folder = tls.directory.as_ref().and_then(|path| assembled.folders.get(path));
        let files = tls.certificates.iter().chain(folder.into_iter().flat_map(|folder| &folder.files));
        let faults = files.flat_map(|files| {
            let pair = assembled.pairs.get(files).map(|kept| &kept.faults);
            let staple = assembled.staples.get(files).map(|kept| &kept.faults);
            pair.into_iter().chain(staple).flatten()
        });
        errors.extend(faults.chain(folder.and_then(|folder| folder.fault.as_ref())).map(wrong));
        if let Some(served) = assembled.listeners.get(&listener.name) {
            looker.listener(index, &assembled, served);
        }
    }
    for upstream in &config.upstreams {
        let Some((tls, _)) = assembled.upstreams.get(&upstream.name) else { continue };
        if tls.trust == UpstreamTrust::Anybody {
            let text = format!("upstream \"{}\": tls.verify is false: anybody can be it", upstream.name);
            looker.warnings.push(tls.places.tell(None, text));
        }
        let checks = upstream.health.as_ref();
        if checks.is_some_and(|it| is_in_clear_text(&it.check) && it.port.is_none() && it.address.is_none()) {
            let text =
                format!("upstream \"{}\": its checks do not speak TLS, and its endpoints do", upstream.name);
            looker.warnings.push(tls.places.tell(None, text));
        }
        if let Some(CertificateFiles { cert, key, .. }) = &tls.certificate {
            let note = readable_by_all(key);
            let text = |note| format!("upstream \"{}\": {}: {note}", upstream.name, cert.display());
            looker.warnings.extend(note.map(|note| tls.places.tell(Some(cert), text(note))));
        }
    }
    looker.ends(&assembled);
    errors.sort();
    errors.dedup();
    Findings { errors, warnings: looker.warnings }
}

struct Looker<'a> {
    config: &'a Config,
    seconds: u64,
    /// The subjects of the system's authorities, read when they are first asked for.
    roots: Option<HashSet<Vec<u8>>>,
    warnings: Vec<String>,
}

impl Looker<'_> {
    fn listener(&mut self, index: usize, assembled: &Assembled, served: &Served) {
        let name = &self.config.listeners[index].name;
        let known = served.files.iter();
        let known = known.filter_map(|files| Some((files, assembled.pairs.get(files)?.serves.as_ref()?)));
        let known: Vec<_> = known.collect();
        let patterns = self.patterns(index);
        for (files, pair) in &known {
            let mut notes = self.chain(pair);
            notes.extend(readable_by_all(&files.key));
            notes.extend(without_route(&pair.facts, patterns.as_deref()));
            let cert = &files.cert;
            let text = |note| format!("listener \"{name}\": {}: {note}", cert.display());
            self.warnings.extend(notes.into_iter().map(|note| served.places.tell(Some(cert), text(note))));
        }
        let named = |host: &HostPattern| known.iter().any(|(_, pair)| is_for(&pair.facts, host));
        let hosts = patterns.into_iter().flatten().filter(|host| !named(host));
        let unnamed: Vec<_> = hosts.map(|host| host.to_string()).collect();
        if !unnamed.is_empty() {
            let hosts = shown(&unnamed);
            let text = format!("listener \"{name}\": no certificate is for {hosts}, which routes are for");
            self.warnings.push(served.places.tell(None, text));
        }
    }

    /// What is over, or soon will be.
    fn ends(&mut self, assembled: &Assembled) {
        for state in assembled.states() {
            let Some(says) = &state.serves else { continue };
            let Some(note) = self.end(state.role, says) else { continue };
            let (kind, name, places) = match &state.owner {
                Owner::Listener(name) => ("listener", name, &assembled.listeners[name].places),
                Owner::Upstream(name) => ("upstream", name, &assembled.upstreams[name].0.places),
            };
            let text = format!("{kind} \"{name}\": {}: {note}", state.file);
            self.warnings.push(places.tell(Some(Path::new(&state.file)), text));
        }
    }

    fn end(&self, role: Role, says: &Serving) -> Option<String> {
        let (subject, end) = (role.noun(), moment(says.not_after));
        if says.not_after <= self.seconds {
            return Some(format!("{subject} has expired at {end}"));
        }
        if says.not_before > self.seconds {
            return Some(format!("{subject} is not good before {}", moment(says.not_before)));
        }
        // Lists and responses live for days.
        let is_renewed_by_day = matches!(role, Role::Revocations | Role::Staple);
        let days_left = (says.not_after - self.seconds) / 86_400;
        let days = if days_left == 1 { "day" } else { "days" };
        (days_left < DAYS_LEFT_FEW && !is_renewed_by_day)
            .then(|| format!("{subject} expires at {end}, in {days_left} {days}"))
    }

    /// The hosts of a listener's routes; `None`: there is one for any host.
    fn patterns(&self, listener: usize) -> Option<Vec<HostPattern>> {
        let routes = self.config.routes.iter().filter(|route| route.listeners.contains(&listener));
        let mut patterns: Vec<HostPattern> = Vec::new();
        for route in routes {
            if route.hosts.is_empty() {
                return None;
            }
            patterns.extend(
                route.hosts.iter().filter(|host| !patterns.contains(host)).cloned().collect::<Vec<_>>(),
            );
        }
        Some(patterns)
    }

    fn chain(&mut self, pair: &Pair) -> Vec<String> {
        let facts = &pair.facts;
        let mut notes = Vec::new();
        if facts.names.is_empty() && facts.addresses.is_empty() {
            notes.push("it is for no name (subjectAltName), so that browsers refuse it".to_owned());
        }
        let last = pair.chain.last().unwrap_or(facts);
        if let Some(problem) = pair.chain_problem() {
            notes.push(format!("the chain is out of order: {problem}"));
        } else if last.has_issuer_elsewhere && !last.is_root() && !self.is_system_root(last) {
            notes.push(format!("the chain is incomplete: \"{}\" is missing behind the others", last.issuer));
        }
        notes
    }

    fn is_system_root(&mut self, of: &Facts) -> bool {
        let roots = self.roots.get_or_insert_with(|| {
            let found = rustls_native_certs::load_native_certs().certs;
            found.iter().filter_map(Facts::of).map(|facts| facts.encoded_subject().to_vec()).collect()
        });
        roots.contains(of.encoded_issuer())
    }
}

/// Whether a check says something to a server that this one would not understand over TLS.
fn is_in_clear_text(check: &Check) -> bool {
    match check {
        Check::Http(check) => check.tls.is_none(),
        Check::Grpc(check) => check.tls.is_none(),
        Check::Probe(check) => check.protocol == ProbeProtocol::Tcp && !check.send.is_empty(),
        Check::Tcp | Check::Exec(_) => false,
    }
}

/// A key that others can read is no secret.
fn readable_by_all(key: &Path) -> Option<String> {
    let mode = fs::metadata(key).ok()?.permissions().mode();
    (mode & 0o004 != 0)
        .then(|| format!("every user can read its key {} (mode {:03o})", key.display(), mode & 0o777))
}

fn without_route(facts: &Facts, patterns: Option<&[HostPattern]>) -> Option<String> {
    let patterns = patterns?;
    let is_routed = |name: &&String| patterns.iter().any(|pattern| meets(name, pattern));
    let names: Vec<_> = facts.names.iter().filter(|name| !is_routed(name)).cloned().collect();
    (!names.is_empty()).then(|| format!("no route is for {}", shown(&names)))
}

fn is_for(facts: &Facts, host: &HostPattern) -> bool {
    let addressed = |text: &str| {
        let text = text.trim_matches(['[', ']']);
        text.parse().is_ok_and(|ip| facts.addresses.contains(&ip))
    };
    match host {
        HostPattern::Exact(text) if addressed(text) => true,
        // Nobody knows what it is for.
        HostPattern::Regex(_) => true,
        host => facts.names.iter().any(|name| meets(name, host)),
    }
}

/// Whether some host is both what a certificate is for and what a route is for.
fn meets(name: &str, pattern: &HostPattern) -> bool {
    let is_below =
        |name: &str, suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    match (name.strip_prefix("*."), pattern) {
        (None, HostPattern::Exact(host)) => **host == *name,
        (None, HostPattern::Wildcard(suffix)) => is_below(name, suffix),
        (None, HostPattern::Regex(regex)) => regex.is_found_in(name.as_bytes()),
        (Some(parent), HostPattern::Exact(host)) => host.split_once('.').is_some_and(|(_, it)| it == parent),
        (Some(parent), HostPattern::Wildcard(suffix)) => *parent == **suffix || is_below(parent, suffix),
        (Some(_), HostPattern::Regex(_)) => true,
    }
}

/// The first of many names.
fn shown(names: &[String]) -> String {
    const SHOWN_MAX: usize = 10;
    let first = names.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
