//! What the process's log is told of TLS that failed: one failure of a kind in a while, however many there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Alert, TlsFailure};
use crate::reason::Word as _;

/// Of failures of one kind, one is told in this time.
const TOLD_EVERY_MS: u64 = 60_000;

/// Kinds that are known at once: what is beyond is not told until others are forgotten. Each takes some 100 bytes.
const KINDS_MAX: usize = 1024;

/// TLS that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsReport {
    /// With whom.
    pub peer: TlsPeer,
    /// Why.
    pub failure: TlsFailure,
    /// What the peer said of it, if it did.
    pub alert: Option<Alert>,
}

/// Whom TLS is spoken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsPeer {
    /// A client.
    Client {
        /// The listener's name.
        listener: Arc<str>,
        /// Its address; `None` over a Unix socket.
        address: Option<IpAddr>,
        /// The name that it asked for, if it got so far.
        server_name: Option<Box<str>>,
    },
    /// An endpoint.
    Endpoint {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The endpoint's label.
        endpoint: Arc<str>,
    },
}

/// What makes failures alike: the listener, or the upstream and the endpoint; why, and by which alert.
type Kind = (Arc<str>, Option<Arc<str>>, &'static str, Option<&'static str>);

impl TlsReport {
    fn kind(&self) -> Kind {
        let (name, endpoint) = match &self.peer {
            TlsPeer::Client { listener, .. } => (listener, None),
            TlsPeer::Endpoint { upstream, endpoint } => (upstream, Some(endpoint.clone())),
        };
        (name.clone(), endpoint, self.failure.name(), self.alert.map(Alert::name))
    }
}

/// Lets one report of a kind through in a while.
#[derive(Debug, Default)]
pub struct ReportFilter {
    /// Until when (in milliseconds of whatever clock) a kind is not told again.
    told: HashMap<Kind, u64>,
}

impl ReportFilter {
    /// Whether it is to be told.
    pub fn passes(&mut self, report: &TlsReport, now_ms: u64) -> bool {
        let kind = report.kind();
        if self.told.get(&kind).is_some_and(|&until_ms| now_ms < until_ms) {
            return false;
        }
        if self.told.len() >= KINDS_MAX {
            self.told.retain(|_, until_ms| now_ms < *until_ms);
        }
        let passes = self.told.len() < KINDS_MAX;
        if passes {
            self.told.insert(kind, now_ms.saturating_add(TOLD_EVERY_MS));
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_client(listener: &str, failure: TlsFailure, alert: Option<Alert>) -> TlsReport {
        let peer = TlsPeer::Client { listener: listener.into(), address: None, server_name: None };
        TlsReport { peer, failure, alert }
    }

    #[test]
    fn one_of_a_kind_passes_in_a_while() {
        let mut filter = ReportFilter::default();
        let endpoint = |endpoint: &str| TlsReport {
            peer: TlsPeer::Endpoint { upstream: "web".into(), endpoint: endpoint.into() },
            failure: TlsFailure::Alert,
            alert: Some(Alert::UnknownCa),
        };
        let kinds = [
            of_client("web", TlsFailure::PlainHttp, None),
            of_client("other", TlsFailure::PlainHttp, None),
            of_client("web", TlsFailure::Alert, Some(Alert::UnknownCa)),
            of_client("web", TlsFailure::Alert, Some(Alert::CertificateExpired)),
            endpoint("192.0.2.1:443"),
            endpoint("192.0.2.2:443"),
        ];
        for (start_ms, end_ms) in [(0, TOLD_EVERY_MS - 1), (TOLD_EVERY_MS, 2 * TOLD_EVERY_MS - 1)] {
            for kind in &kinds {
                assert!(filter.passes(kind, start_ms), "{kind:?}");
                assert!(!filter.passes(kind, end_ms), "{kind:?}");
            }
        }
    }

    #[test]
    fn who_makes_many_kinds_takes_no_more_memory() {
        let mut filter = ReportFilter::default();
        let report = |number: usize| of_client(&number.to_string(), TlsFailure::NotTls, None);
        let passed = (0..3 * KINDS_MAX).filter(|&number| filter.passes(&report(number), 0)).count();
        assert_eq!((passed, filter.told.len()), (KINDS_MAX, KINDS_MAX));
        assert!(filter.passes(&report(2 * KINDS_MAX), TOLD_EVERY_MS));
        assert_eq!(filter.told.len(), 1);
    }
}
