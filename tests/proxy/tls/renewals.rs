//! Certificates that change under connections old and new.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;

use super::Site;
use crate::certificates::issuer::Key;
use crate::support::{Load, eventually, tls};

/// The certificate that a new client gets.
fn shown(site: &Site, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let mut client = tls::connect(&site.proxy.address("web"), config, "app.test").unwrap();
    let shown = client.tls().connection.peer_certificates().unwrap();
    shown[0].clone().into_owned()
}

#[test]
fn no_request_and_no_handshake_fails_while_certificates_change() {
    const ROUNDS: usize = 20;
    let site = Site::start("");
    // Handshakes in full: of a session that goes on the certificate is the one that it began with.
    let mut full = (*site.config).clone();
    full.resumption = Resumption::disabled();
    let full = Arc::new(full);
    let load = |requests_max, config: &Arc<ClientConfig>| {
        let (config, address) = (config.clone(), site.proxy.address("web"));
        Load::start_with(move || tls::connect(&address, &config, "app.test"), requests_max, 4, "/")
    };
    let (kept, new, resumed) = (load(u64::MAX, &full), load(5, &full), load(5, &site.config));
    let mut seen = HashSet::from([shown(&site, &full)]);
    for round in 0..ROUNDS {
        let (before, answered) = (shown(&site, &full), new.answered());
        site.issuer.issue("app", &["app.test", "test", "load"], Key::Ecdsa);
        // The last one without a signal.
        if round + 1 < ROUNDS {
            site.proxy.reload();
        }
        eventually("another certificate", || shown(&site, &full) != before);
        seen.insert(shown(&site, &full));
        eventually("requests on new connections", || new.answered() > answered + 20);
    }
    for load in [kept, new, resumed] {
        load.finish().assert_all_ok();
    }
    assert_eq!(seen.len(), ROUNDS + 1);
    assert_eq!(site.failures("no_certificate") + site.failures("alert") + site.failures("internal"), 0);
}
