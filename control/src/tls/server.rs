//! From a listener's settings, certificates and keys of tickets to what its workers use.

use std::sync::Arc;

use corelane_engine::tls::ServerTls;
use corelane_engine::tls::rustls::crypto::CryptoProvider;
use corelane_engine::tls::rustls::pki_types::pem::PemObject as _;
use corelane_engine::tls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use corelane_engine::tls::rustls::server::danger::ClientCertVerifier;
use corelane_engine::tls::rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerConfig, WebPkiClientVerifier,
};
use corelane_engine::tls::rustls::{self, RootCertStore, SupportedProtocolVersion};
use sha2::{Digest as _, Sha256};

use super::names::Names;
use super::pair;
use crate::config::{ClientAuth, ClientAuthMode, ListenerTls, TlsVersion};

/// What a listener demands of its clients, read from the files that say it.
#[derive(Clone, Debug)]
pub(super) struct Demands {
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Of all that decides whether a client is let in: tickets are bound to it.
    pub(super) hash: [u8; 32],
}

impl Demands {
    /// # Errors
    ///
    /// What is wrong with which file.
    pub(super) fn read(
        settings: Option<&ClientAuth>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let Some(settings) = settings else { return Ok(Self { verifier: None, hash: [0; 32] }) };
        let authorities = pair::certificates(&settings.ca)?;
        let lists = settings.crls.iter().map(|path| {
            let pem = pair::contents(path)?;
            let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
            match lists {
                Ok(lists) if lists.is_empty() => {
                    Err(format!("{} has no list of revoked certificates", path.display()))
                }
                lists => lists.map_err(|_| format!("{} is not PEM", path.display())),
            }
        });
        let lists: Vec<_> = lists.collect::<Result<Vec<_>, String>>()?.concat();
        let hash = hash(settings.mode, &authorities, &lists);
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            let added = roots.add(authority);
            added.map_err(|error| format!("{}: {error}", settings.ca.display()))?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).with_crls(lists);
        let verifier = match settings.mode {
            ClientAuthMode::Required => verifier,
            ClientAuthMode::Optional => verifier.allow_unauthenticated(),
        };
        let verifier = verifier.build().map_err(|error| format!("client_auth: {error}"))?;
        Ok(Self { verifier: Some(verifier), hash })
    }
}

fn hash(
    mode: ClientAuthMode,
    authorities: &[CertificateDer<'_>],
    lists: &[CertificateRevocationListDer<'_>],
) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(match mode {
        ClientAuthMode::Required => b"required",
        ClientAuthMode::Optional => b"optional",
    });
    // Each with its length, so that nothing moves from one to the next.
    for bytes in authorities.iter().map(AsRef::as_ref).chain(lists.iter().map(AsRef::as_ref)) {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

/// What the workers of a listener use. `tickets`: `None` is no resumption.
///
/// # Errors
///
/// What rustls says of the settings.
pub(super) fn build(
    settings: &ListenerTls,
    provider: &CryptoProvider,
    names: Names,
    demands: &Demands,
    tickets: Option<Arc<dyn ProducesTickets>>,
) -> Result<ServerTls, String> {
    let names = Arc::new(names);
    let provider = Arc::new(chosen(settings, provider));
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(settings))
        .map_err(|error| format!("cannot speak TLS so: {error}"))?;
    let builder = match &demands.verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(names.clone());
    config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // The other way to resume is a store that all workers write to, under a lock.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match tickets {
        Some(tickets) => config.ticketer = tickets,
        None => config.send_tls13_tickets = 0,
    }
    Ok(ServerTls {
        config: Arc::new(config),
        handshake_timeout: settings.handshake_timeout,
        handshakes_max: settings.handshakes_max,
        client_handshakes_max: settings.client_handshakes_max,
        policy: names,
    })
}

/// The provider with nothing in it that the listener does not want.
fn chosen(settings: &ListenerTls, provider: &CryptoProvider) -> CryptoProvider {
    let mut provider = provider.clone();
    if let Some(suites) = &settings.cipher_suites {
        provider.cipher_suites.retain(|suite| suites.contains(&suite.suite()));
    }
    let groups = settings.groups.iter();
    let groups =
        groups.filter_map(|name| provider.kx_groups.iter().find(|group| group.name() == *name).copied());
    provider.kx_groups = groups.collect();
    provider
}

/// A version that none of the suites is for is not spoken.
fn versions(settings: &ListenerTls) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    let is_of_1_3 = |suite: &rustls::CipherSuite| format!("{suite:?}").starts_with("TLS13_");
    let suites = settings.cipher_suites.as_deref();
    let has_1_3 = suites.is_none_or(|suites| suites.iter().any(is_of_1_3));
    let has_1_2 = suites.is_none_or(|suites| !suites.iter().all(is_of_1_3));
    match settings.min_version {
        TlsVersion::V1_2 if has_1_2 && has_1_3 => &BOTH,
        TlsVersion::V1_2 if has_1_2 => &BOTH[1..],
        _ => &BOTH[..1],
    }
}
