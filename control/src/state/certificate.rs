//! A certificate of a listener or an upstream, or what goes with it, at a glance.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::tls::{CertificateState, Owner};

/// A file of a listener's or an upstream's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// The listener's name; empty: it is an upstream's.
    pub listener: Arc<str>,
    /// The upstream's name; empty: it is a listener's.
    pub upstream: Arc<str>,
    /// What it is for, by the key that names it: `cert`, `ca`, `crl` or `ocsp`.
    pub role: String,
    /// The path of its file.
    pub file: String,
    /// The subject of the one that serves; empty: none does.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// Until when it is good, in seconds since 1970; 0: none serves.
    pub expires: u64,
    /// Why it is not the one that the file has now; empty if it is.
    pub problem: String,
}

impl Certificate {
    /// As it stands now.
    pub(super) fn of(state: &CertificateState) -> Self {
        let serves = state.serves.as_ref();
        let (listener, upstream) = match &state.owner {
            Owner::Listener(name) => (name.clone(), Arc::default()),
            Owner::Upstream(name) => (Arc::default(), name.clone()),
        };
        Self {
            listener,
            upstream,
            role: state.role.key().to_owned(),
            file: state.file.clone(),
            subject: serves.map_or_else(String::new, |it| it.subject.clone()),
            issuer: serves.map_or_else(String::new, |it| it.issuer.clone()),
            expires: serves.map_or(0, |it| it.not_after),
            problem: state.problem.clone().unwrap_or_default(),
        }
    }
}
