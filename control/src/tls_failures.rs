//! What the process's log says of TLS that failed: one failure of a kind in a while, over all workers.

use std::fmt::Display;
use std::time::Instant;

use corelane_engine::reason::Word as _;
use corelane_engine::tls::{ReportFilter, TlsPeer, TlsReport};

use crate::log::{self, Level};

/// See the module.
pub(crate) struct TlsFailures {
    since: Instant,
    told: ReportFilter,
}

impl TlsFailures {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), told: ReportFilter::default() }
    }

    /// Logs it, unless the like was logged a moment ago: each worker tells its own.
    pub(crate) fn tell(&mut self, report: &TlsReport) {
        let now_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.told.passes(report, now_ms) {
            let (level, message, fields) = line(report);
            let fields: Vec<_> = fields.iter().map(|(key, value)| (*key, value as &dyn Display)).collect();
            log::write(level, &message, &fields);
        }
    }
}

/// How a line begins, and what it names.
type Line = (Level, &'static str, Vec<(&'static str, String)>);

/// Clients fail every day, and that is for them to mend: endpoints are one's own.
fn line(report: &TlsReport) -> Line {
    let (level, message, mut fields) = match &report.peer {
        TlsPeer::Client { listener, address, server_name } => {
            let mut fields = vec![("listener", listener.to_string())];
            fields.extend(address.map(|address| ("client", address.to_string())));
            fields.extend(server_name.as_ref().map(|name| ("server_name", name.to_string())));
            (Level::Info, "TLS with a client failed", fields)
        }
        TlsPeer::Endpoint { upstream, endpoint } => {
            let fields = vec![("upstream", upstream.to_string()), ("endpoint", endpoint.to_string())];
            (Level::Warn, "TLS with an endpoint failed", fields)
        }
    };
    fields.push(("reason", report.failure.name().into()));
    fields.extend(report.alert.map(|alert| ("alert", alert.name().into())));
    (level, message, fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_engine::tls::{Alert, TlsFailure};

    fn told(report: &TlsReport) -> String {
        let (level, message, fields) = line(report);
        let fields = fields.iter().map(|(key, value)| format!(" {key}={value}"));
        format!("{level:?} {message}{}", fields.collect::<String>())
    }

    #[test]
    fn a_line_names_who_and_why() {
        let peer = TlsPeer::Client {
            listener: "web".into(),
            address: Some("192.0.2.1".parse().unwrap()),
            server_name: Some("a.example".into()),
        };
        let client = TlsReport { peer, failure: TlsFailure::Alert, alert: Some(Alert::UnknownCa) };
        assert_eq!(
            told(&client),
            "Info TLS with a client failed listener=web client=192.0.2.1 server_name=a.example reason=alert alert=unknown_ca"
        );
        let peer = TlsPeer::Client { listener: "web".into(), address: None, server_name: None };
        let unknown = TlsReport { peer, failure: TlsFailure::NotTls, alert: None };
        assert_eq!(told(&unknown), "Info TLS with a client failed listener=web reason=not_tls");
        let peer = TlsPeer::Endpoint { upstream: "api".into(), endpoint: "192.0.2.9:443".into() };
        let endpoint = TlsReport { peer, failure: TlsFailure::CertificateExpired, alert: None };
        assert_eq!(
            told(&endpoint),
            "Warn TLS with an endpoint failed upstream=api endpoint=192.0.2.9:443 reason=certificate_expired"
        );
    }
}
