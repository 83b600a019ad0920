//! How the certificates stand, for metrics and for whoever watches.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use corelane_engine::calendar::write_rfc3339;

use super::Assembled;
use super::documents::Document;
use super::fault::Fault;
use super::kept::Kept;
use super::pair::Pair;
use super::x509::Facts;
use crate::config::{CertificateFiles, UpstreamTrust};

/// The certificates of all listeners and upstreams. The supervisor writes it, the admin server reads it.
#[derive(Debug, Default)]
pub(crate) struct Certificates(RefCell<Rc<[CertificateState]>>);

/// One file of one listener or upstream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CertificateState {
    pub(crate) owner: Owner,
    pub(crate) role: Role,
    /// The path of its file.
    pub(crate) file: String,
    /// What serves; `None`: nothing has been read yet that could.
    pub(crate) serves: Option<Serving>,
    /// Why that is not what the files say now.
    pub(crate) problem: Option<String>,
    /// How often the files could not be used.
    pub(crate) failures_total: u64,
}

/// Whose it is, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Listener(Arc<str>),
    Upstream(Arc<str>),
}

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// It is shown to the other side.
    Certificate,
    /// The other side's certificates must be signed by one of them.
    Authorities,
    /// Those of the other side's that no longer count.
    Revocations,
    /// It is sent along with a certificate.
    Staple,
}

impl Role {
    /// What it is, in messages that begin with the file.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Certificate => "the certificate",
            Self::Authorities => "an authority",
            Self::Revocations => "the list of revoked certificates",
            Self::Staple => "the OCSP response",
        }
    }

    /// The key of the configuration that names such files.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Certificate => "cert",
            Self::Authorities => "ca",
            Self::Revocations => "crl",
            Self::Staple => "ocsp",
        }
    }
}

/// What a file that serves says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serving {
    /// Empty where there is none: of lists and OCSP responses.
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// The kind of its key; empty: it is not used here.
    pub(crate) key: &'static str,
    /// In seconds since 1970.
    pub(crate) not_before: u64,
    /// The same.
    pub(crate) not_after: u64,
}

impl Certificates {
    /// In the order of listeners and files.
    pub(crate) fn all(&self) -> Rc<[CertificateState]> {
        self.0.borrow().clone()
    }

    pub(super) fn set(&self, mut states: Vec<CertificateState>) {
        states.sort();
        // A file of a directory may be listed beside it.
        states.dedup_by(|a, b| (&a.owner, a.role, &a.file) == (&b.owner, b.role, &b.file));
        self.0.replace(states.into());
    }
}

impl Assembled {
    pub(super) fn states(&self) -> Vec<CertificateState> {
        let mut states = Vec::new();
        for (name, served) in &self.listeners {
            let owner = Owner::Listener(name.clone());
            for files in &served.files {
                let Some(kept) = self.pairs.get(files) else { continue };
                let says = kept.serves.as_ref().map(|it| Serving::of(&it.facts, it.kind()));
                states.push(state(&owner, Role::Certificate, &[&files.cert, &files.key], kept, says));
                let (Some(file), Some(kept)) = (&files.ocsp, self.staples.get(files)) else { continue };
                let issuer = states.last().and_then(|of| of.serves.as_ref()).map(|of| of.issuer.clone());
                let says = kept.serves.as_ref().map(|it| it.says(&issuer.unwrap_or_default()));
                states.push(state(&owner, Role::Staple, &[file], kept, says));
            }
            let Some((auth, kept)) = &served.demands else { continue };
            let files = std::iter::once((Role::Authorities, &auth.ca));
            let files = files.chain(auth.crls.iter().map(|list| (Role::Revocations, list)));
            let documents = kept.serves.as_ref().map_or(&[][..], |it| &it.documents);
            states
                .extend(files.map(|(role, it)| state(&owner, role, &[it], kept, said(documents, role, it))));
        }
        for (name, (settings, kept)) in &self.upstreams {
            let owner = Owner::Upstream(name.clone());
            let documents = kept.serves.as_ref().map_or(&[][..], |it| &it.documents);
            if let UpstreamTrust::Authorities(ca) = &settings.trust {
                let says = said(documents, Role::Authorities, ca);
                states.push(state(&owner, Role::Authorities, &[ca], kept, says));
            }
            if let Some(CertificateFiles { cert, key, .. }) = &settings.certificate {
                let says = said(documents, Role::Certificate, cert);
                states.push(state(&owner, Role::Certificate, &[cert, key], kept, says));
            }
        }
        states
    }
}

/// How a file stands, with those that belong to it behind it.
fn state<T>(
    owner: &Owner,
    role: Role,
    files: &[&PathBuf],
    kept: &Kept<T>,
    serves: Option<Serving>,
) -> CertificateState {
    let is_of_these = |fault: &&Fault| fault.file.as_ref().is_some_and(|file| files.contains(&file));
    CertificateState {
        owner: owner.clone(),
        role,
        file: files[0].display().to_string(),
        serves,
        problem: kept.faults.iter().find(is_of_these).map(ToString::to_string),
        failures_total: kept.failures_of(files),
    }
}

fn said(documents: &[Document], role: Role, file: &Path) -> Option<Serving> {
    documents.iter().find(|it| it.role == role && it.file == file).map(|it| it.says.clone())
}

impl Serving {
    pub(super) fn of(facts: &Facts, key: &'static str) -> Self {
        let Facts { subject, issuer, not_before, not_after, .. } = facts.clone();
        Self { subject, issuer, key, not_before, not_after }
    }
}

impl Pair {
    /// Until when it is good, as RFC 3339 writes it.
    pub(super) fn expiry(&self) -> String {
        moment(self.facts.not_after)
    }
}

/// A second since 1970 as RFC 3339 §5.6 writes it, in UTC.
pub(crate) fn moment(seconds: u64) -> String {
    let mut text = Vec::with_capacity(24);
    write_rfc3339(&mut text, seconds.saturating_mul(1_000_000_000));
    let text = String::from_utf8_lossy(&text).into_owned();
    text.replace(".000Z", "Z")
}
