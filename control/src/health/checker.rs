//! Runs one check of whatever kind.

use super::dial::{Outcome, dial};
use super::subject::Subject;
use super::tls::{SystemRoots, Tls};
use super::{exec, grpc, http, probe};
use crate::config::{Check, Health, ProbeProtocol};

/// What the checks of one upstream share.
#[derive(Clone)]
pub(super) struct Checker {
    tls: Option<Tls>,
}

impl Checker {
    pub(super) fn new(health: &Health, system: &SystemRoots) -> Self {
        let (settings, protocol) = match &health.check {
            Check::Http(check) => (check.tls.as_ref(), &b"http/1.1"[..]),
            Check::Grpc(check) => (check.tls.as_ref(), &b"h2"[..]),
            Check::Probe(check) => match &check.protocol {
                ProbeProtocol::Tls(settings) => (Some(settings), &b""[..]),
                ProbeProtocol::Tcp | ProbeProtocol::Udp => (None, &b""[..]),
            },
            Check::Tcp | Check::Exec(_) => (None, &b""[..]),
        };
        Self { tls: settings.map(|settings| Tls::new(settings, system, protocol)) }
    }

    /// Runs it to its end, or to the timeout.
    pub(super) async fn run(&self, subject: &Subject) -> Outcome {
        let tls = self.tls.as_ref();
        let check = async {
            match &subject.health.check {
                Check::Tcp => dial(subject, None).await.map(drop),
                Check::Http(check) => http::run(check, tls, subject).await,
                Check::Grpc(check) => grpc::run(check, tls, subject).await,
                Check::Exec(check) => exec::run(check, subject).await,
                Check::Probe(check) => probe::run(check, tls, subject).await,
            }
        };
        let ended = tokio::time::timeout(subject.health.timeout, check).await;
        ended.unwrap_or_else(|_| Err("timeout".into()))
    }
}
