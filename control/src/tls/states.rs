//! How the certificates stand, for metrics and for whoever watches.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use corelane_engine::calendar::write_rfc3339;

use super::Assembled;
use super::pair::Pair;

/// The certificates of all listeners. The supervisor writes it, the admin server reads it.
#[derive(Debug, Default)]
pub(crate) struct Certificates(RefCell<Rc<[CertificateState]>>);

/// One certificate of one listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CertificateState {
    /// The listener's name.
    pub(crate) listener: Arc<str>,
    /// The path of its file.
    pub(crate) file: String,
    /// What serves; `None`: nothing has been read yet that could.
    pub(crate) serves: Option<Serving>,
    /// Why that is not what the files say now.
    pub(crate) problem: Option<String>,
    /// How often the files could not be used.
    pub(crate) failures_total: u64,
}

/// A certificate that serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serving {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// The kind of its key.
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
        states.dedup_by(|a, b| (&a.listener, &a.file) == (&b.listener, &b.file));
        self.0.replace(states.into());
    }
}

impl Assembled {
    pub(super) fn states(&self) -> Vec<CertificateState> {
        let of = |listener: &Arc<str>, files: &crate::config::CertificateFiles| {
            let kept = self.pairs.get(files)?;
            Some(CertificateState {
                listener: listener.clone(),
                file: files.cert.display().to_string(),
                serves: kept.pair.as_deref().map(Pair::serving),
                problem: kept.problem.clone(),
                failures_total: kept.failures_total,
            })
        };
        let listeners = self.listeners.iter();
        listeners
            .flat_map(|(name, served)| served.files.iter().filter_map(move |files| of(name, files)))
            .collect()
    }
}

impl Pair {
    fn serving(&self) -> Serving {
        Serving {
            subject: self.facts.subject.clone(),
            issuer: self.facts.issuer.clone(),
            key: self.kind(),
            not_before: self.facts.not_before,
            not_after: self.facts.not_after,
        }
    }

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
