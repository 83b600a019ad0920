//! Runs one check of whatever kind.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use corelane_engine::protocol::UpstreamProtocol;

use super::dial::{Outcome, dial};
use super::subject::Subject;
use super::tls::{SystemRoots, Tls};
use super::{exec, grpc, http, probe};
use crate::config::{Check, Health, ProbeProtocol};
use crate::tls::Spoken;

/// What the checks of one upstream share.
#[derive(Clone)]
pub(super) struct Checker(Rc<RefCell<Shared>>);

struct Shared {
    tls: Option<Tls>,
    /// What it was made from.
    spoken: Option<Arc<Spoken>>,
}

impl Shared {
    fn new(health: &Health, spoken: Option<&Arc<Spoken>>, system: &SystemRoots) -> Self {
        static BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];
        let (settings, protocols) = match &health.check {
            Check::Http(check) => {
                let protocols = match check.protocol {
                    UpstreamProtocol::Http1 | UpstreamProtocol::Http2ClearText => &BOTH[1..],
                    UpstreamProtocol::Http2 => &BOTH[..1],
                    UpstreamProtocol::Negotiated => &BOTH[..],
                };
                (check.tls.as_ref(), protocols)
            }
            Check::Grpc(check) => (check.tls.as_ref(), &BOTH[..1]),
            Check::Probe(check) => match &check.protocol {
                ProbeProtocol::Tls(settings) => (Some(settings), &[][..]),
                ProbeProtocol::Tcp | ProbeProtocol::Udp => (None, &[][..]),
            },
            Check::Tcp | Check::Exec(_) => (None, &[][..]),
        };
        let tls = settings.map(|settings| Tls::new(settings, spoken.map(|it| &**it), system, protocols));
        Self { tls, spoken: spoken.cloned() }
    }
}

impl Checker {
    /// `spoken` is what the upstream's requests are spoken with.
    pub(super) fn new(health: &Health, spoken: Option<&Arc<Spoken>>, system: &SystemRoots) -> Self {
        Self(Rc::new(RefCell::new(Shared::new(health, spoken, system))))
    }

    /// The same from now on, for checks that go on: its files may have been renewed.
    pub(super) fn renew(&self, health: &Health, spoken: Option<&Arc<Spoken>>, system: &SystemRoots) {
        let is_same = match (&self.0.borrow().spoken, spoken) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        if !is_same {
            self.0.replace(Shared::new(health, spoken, system));
        }
    }

    /// Runs it to its end, or to the timeout.
    pub(super) async fn run(&self, subject: &Subject) -> Outcome {
        let tls = self.0.borrow().tls.clone();
        let tls = tls.as_ref();
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
