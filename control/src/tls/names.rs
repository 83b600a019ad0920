//! Which certificate a client gets: by the name that it asks for (RFC 6066 §3) and by the signatures that it can verify.
//!
//! Made once for a configuration and shared by all workers; a lookup allocates nothing.

use std::collections::HashMap;
use std::sync::Arc;

use corelane_engine::tls::rustls::pki_types::{CertificateDer, UnixTime};
use corelane_engine::tls::rustls::server::{ClientHello, ResolvesServerCert};
use corelane_engine::tls::rustls::sign::CertifiedKey;
use corelane_engine::tls::{ClientCertificate, Policy};

use super::ocsp::Staple;
use super::pair::Pair;
use super::x509::{self, Facts};
use crate::config::UnknownNames;

/// The certificates of a listener by name.
#[derive(Debug)]
pub(crate) struct Names {
    pairs: Vec<Shown>,
    /// Indices of `pairs`, in the order in which they are tried.
    exact: HashMap<Box<str>, Vec<usize>>,
    /// The same for `*.example.com`, without its star and dot.
    wildcards: HashMap<Box<str>, Vec<usize>>,
    default: Vec<usize>,
    unknown: UnknownNames,
}

/// A certificate as clients are shown it.
#[derive(Debug)]
pub(crate) struct Shown {
    pair: Arc<Pair>,
    /// With an OCSP response, and until when, in seconds since 1970.
    stapled: Option<(Arc<CertifiedKey>, u64)>,
}

impl Shown {
    pub(super) fn new(pair: Arc<Pair>, staple: Option<&Staple>) -> Self {
        let stapled = staple.map(|staple| {
            let mut key = CertifiedKey::clone(&pair.key);
            key.ocsp = Some(staple.bytes.clone());
            (Arc::new(key), staple.next_update)
        });
        Self { pair, stapled }
    }

    /// Clients refuse a response that is too old, and with it the certificate; none at all they do not miss.
    fn key(&self, seconds: u64) -> &Arc<CertifiedKey> {
        match &self.stapled {
            Some((key, until)) if seconds < *until => key,
            _ => &self.pair.key,
        }
    }
}

impl Names {
    /// Of several for the same name with keys of the same kind the first counts.
    pub(crate) fn new(pairs: Vec<Shown>, unknown: UnknownNames) -> Self {
        let mut exact: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut wildcards: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (index, pair) in pairs.iter().enumerate() {
            for name in &pair.pair.facts.names {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcards, parent),
                    None => (&mut exact, &**name),
                };
                table.entry(name.into()).or_default().push(index);
            }
        }
        for indices in exact.values_mut().chain(wildcards.values_mut()) {
            indices.sort_by_key(|&index| pairs[index].pair.rank);
        }
        // Those with other keys for the first one's name go with it.
        let of_first = pairs.first().and_then(|first| first.pair.facts.names.first());
        let of_first = of_first.and_then(|name| match name.strip_prefix("*.") {
            Some(parent) => wildcards.get(parent),
            None => exact.get(&**name),
        });
        let default = match of_first {
            Some(indices) => indices.clone(),
            None => (0..pairs.len().min(1)).collect(),
        };
        Self { pairs, exact, wildcards, default, unknown }
    }

    /// The certificates that are for a name in lower case.
    fn by_name(&self, name: &str) -> Option<&[usize]> {
        let name = name.strip_suffix('.').unwrap_or(name);
        // RFC 6125 §6.4.3: the star stands for one label, and an exact name goes before it.
        let wildcard = || self.wildcards.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(wildcard).map(Vec::as_slice)
    }

    /// The certificates for a name in lower case, the default ones where there is none.
    pub(super) fn of(&self, name: Option<&str>) -> &[usize] {
        match (name.and_then(|name| self.by_name(name)), self.unknown) {
            (Some(indices), _) => indices,
            (None, UnknownNames::Default) => &self.default,
            (None, UnknownNames::Refuse) => &[],
        }
    }

    fn is_for(&self, index: usize, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.pairs[index].pair.facts.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(of) => parent == Some(of),
            None => name == host,
        })
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.of(hello.server_name());
        // What rustls hands over are the schemes that go with a suite of the client's.
        let fits = |&&index: &&usize| {
            self.pairs[index].pair.key.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let chosen = candidates.iter().find(fits).or(candidates.first())?;
        Some(self.pairs[*chosen].key(UnixTime::now().as_secs()).clone())
    }
}

impl Policy for Names {
    fn covers(&self, server_name: Option<&str>, host: &str) -> bool {
        // A client that named nobody has taken whatever certificate there was.
        let Some(name) = server_name else { return true };
        let host = host.strip_suffix('.').unwrap_or(host);
        if name == host || host.is_empty() {
            return true;
        }
        let had = self.of(server_name);
        match self.by_name(host) {
            // RFC 9110 §4.3.3: what a certificate is for may be asked for on its connection.
            Some(would_have) => {
                had.first() == would_have.first() || had.iter().any(|&index| self.is_for(index, host))
            }
            // Who took a certificate that is not for the name asked for takes it for the others, too.
            None => self.by_name(name).is_none(),
        }
    }

    fn client(&self, certificate: &CertificateDer<'_>) -> ClientCertificate {
        let subject = Facts::of(certificate).map(|facts| facts.subject).unwrap_or_default();
        ClientCertificate { subject: subject.into(), fingerprint: x509::fingerprint(certificate).into() }
    }
}
