//! A certificate of a listener at a glance.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::tls::CertificateState;

/// A certificate of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// The listener's name.
    pub listener: Arc<str>,
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
        Self {
            listener: state.listener.clone(),
            file: state.file.clone(),
            subject: serves.map_or_else(String::new, |it| it.subject.clone()),
            issuer: serves.map_or_else(String::new, |it| it.issuer.clone()),
            expires: serves.map_or(0, |it| it.not_after),
            problem: state.problem.clone().unwrap_or_default(),
        }
    }
}
