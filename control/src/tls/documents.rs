//! Files that say whom to trust and what has been revoked: what of them is told to people.

use std::path::{Path, PathBuf};

use corelane_engine::tls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::crl;
use super::pair::Pair;
use super::states::{Role, Serving};
use super::x509::Facts;

/// A file beside the certificates that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) role: Role,
    pub(super) file: PathBuf,
    pub(super) says: Serving,
}

/// A certificate of our own.
pub(super) fn certificate(file: &Path, pair: &Pair) -> Document {
    Document { role: Role::Certificate, file: file.to_owned(), says: Serving::of(&pair.facts, pair.kind()) }
}

/// Authorities: of several, the first to end.
pub(super) fn authorities(file: &Path, certificates: &[CertificateDer<'_>]) -> Option<Document> {
    let facts = certificates.iter().filter_map(Facts::of).min_by_key(|facts| facts.not_after)?;
    Some(Document { role: Role::Authorities, file: file.to_owned(), says: Serving::of(&facts, "") })
}

/// Lists of revoked certificates: of several, the first whose successor is due.
pub(super) fn revocations(file: &Path, lists: &[CertificateRevocationListDer<'_>]) -> Option<Document> {
    let says = lists.iter().filter_map(crl::says).min_by_key(|says| says.not_after)?;
    Some(Document { role: Role::Revocations, file: file.to_owned(), says })
}
