//! Certificates that change under connections old and new.

use std::collections::HashSet;

use rustls::pki_types::CertificateDer;

use super::Site;
use crate::certificates::issuer::Key;
use crate::support::{Load, eventually, tls};

/// The certificate that a new client gets.
fn shown(site: &Site) -> CertificateDer<'static> {
    let mut client = site.client();
    let shown = client.tls().connection.peer_certificates().unwrap();
    shown[0].clone().into_owned()
}

#[test]
fn no_request_and_no_handshake_fails_while_certificates_change() {
    const ROUNDS: usize = 20;
    let site = Site::start("");
    let load = |requests_max| {
        let (config, address) = (site.config.clone(), site.proxy.address("web"));
        Load::start_with(move || tls::connect(&address, &config, "app.test"), requests_max, 4, "/")
    };
    let (kept, new) = (load(u64::MAX), load(5));
    let mut seen = HashSet::from([shown(&site)]);
    for round in 0..ROUNDS {
        let (before, answered) = (shown(&site), new.answered());
        site.issuer.issue("app", &["app.test"], Key::Ecdsa);
        // The last one without a signal.
        if round + 1 < ROUNDS {
            site.proxy.reload();
        }
        eventually("another certificate", || shown(&site) != before);
        seen.insert(shown(&site));
        eventually("requests on new connections", || new.answered() > answered + 20);
    }
    for load in [kept, new] {
        load.finish().assert_all_ok();
    }
    assert_eq!(seen.len(), ROUNDS + 1);
    assert_eq!(site.failures("no_certificate") + site.failures("alert") + site.failures("internal"), 0);
}
