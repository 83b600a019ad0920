//! What `check` says of certificates: what cannot be used is an error, what will surprise somebody a warning.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_routing::HostPattern;

use super::pair::Pair;
use super::states::moment;
use super::x509::Facts;
use super::{Assembled, Kept};
use crate::config::{CertificateFiles, Config, UpstreamTrust};

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

/// Looks at the files of all listeners.
pub(crate) fn examine(config: &Config, now: SystemTime) -> Findings {
    let (assembled, mut errors) = Assembled::new(config, &Assembled::default(), now);
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut looker = Looker { config, seconds, roots: None, warnings: Vec::new() };
    for (index, listener) in config.listeners.iter().enumerate() {
        let Some(served) = assembled.listeners.get(&listener.name) else { continue };
        let known = served.files.iter().filter_map(|files| Some((files, assembled.pairs.get(files)?)));
        let known: Vec<_> = known.collect();
        let problems = known.iter().filter_map(|(_, kept)| kept.problem.as_ref());
        errors.extend(problems.map(|problem| format!("listener \"{}\": {problem}", listener.name)));
        looker.listener(index, &known);
    }
    let folders = assembled.folders.values().filter_map(|folder| folder.problem.clone());
    errors.extend(folders);
    let unverified = config.upstreams.iter();
    let unverified =
        unverified.filter(|it| it.tls.as_ref().is_some_and(|tls| tls.trust == UpstreamTrust::Anybody));
    looker.warnings.extend(
        unverified.map(|it| format!("upstream \"{}\": tls.verify is false: anybody can be it", it.name)),
    );
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
    fn listener(&mut self, index: usize, known: &[(&CertificateFiles, &Kept)]) {
        let name = self.config.listeners[index].name.clone();
        let patterns = self.patterns(index);
        for (files, kept) in known {
            let Some(pair) = &kept.pair else { continue };
            let mut notes = self.certificate(pair);
            notes.extend(readable_by_all(&files.key));
            notes.extend(without_route(&pair.facts, patterns.as_deref()));
            let file = files.cert.display();
            self.warnings
                .extend(notes.into_iter().map(|note| format!("listener \"{name}\": {file}: {note}")));
        }
        let named = |host: &HostPattern| {
            known.iter().filter_map(|(_, kept)| kept.pair.as_ref()).any(|it| is_for(&it.facts, host))
        };
        let hosts = patterns.into_iter().flatten().filter(|host| !named(host));
        let unnamed: Vec<_> = hosts.map(|host| host.to_string()).collect();
        if !unnamed.is_empty() {
            let hosts = shown(&unnamed);
            self.warnings
                .push(format!("listener \"{name}\": no certificate is for {hosts}, which routes are for"));
        }
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

    fn certificate(&mut self, pair: &Pair) -> Vec<String> {
        let facts = &pair.facts;
        let mut notes = Vec::new();
        let days_left = facts.not_after.saturating_sub(self.seconds) / 86_400;
        if facts.not_after <= self.seconds {
            notes.push(format!("it has expired at {}", moment(facts.not_after)));
        } else if facts.not_before > self.seconds {
            notes.push(format!("it is not good before {}", moment(facts.not_before)));
        } else if days_left < DAYS_LEFT_FEW {
            let days = if days_left == 1 { "day" } else { "days" };
            notes.push(format!("it expires at {}, in {days_left} {days}", moment(facts.not_after)));
        }
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
