//! From a listener's settings, certificates and keys of tickets to what its workers use.

use std::path::Path;
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

use super::documents::{self, Document};
use super::fault::Fault;
use super::names::Names;
use super::pair;
use crate::config::{ClientAuth, ClientAuthMode, ListenerTls, TlsVersion};

/// What a listener demands of its clients, read from the files that say it.
#[derive(Clone, Debug)]
pub(super) struct Demands {
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Of all that decides whether a client is let in: tickets are bound to it.
    pub(super) hash: [u8; 32],
    /// What its files say.
    pub(super) documents: Vec<Document>,
}

impl Demands {
    /// None at all.
    pub(super) fn none() -> Self {
        Self { verifier: None, hash: [0; 32], documents: Vec::new() }
    }

    /// # Errors
    ///
    /// What is wrong with which files.
    pub(super) fn read(settings: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Self, Vec<Fault>> {
        let (mut documents, mut faults) = (Vec::new(), Vec::new());
        let mut lists = Vec::new();
        for path in &settings.crls {
            match revocations(path) {
                Ok(found) => {
                    documents.extend(documents::revocations(path, &found));
                    lists.extend(found.into_iter().map(|list| (path, list)));
                }
                Err(fault) => faults.push(fault),
            }
        }
        let mut roots = RootCertStore::empty();
        let authorities = match authorities(&settings.ca, &mut roots) {
            Ok(authorities) if faults.is_empty() => authorities,
            read => {
                faults.extend(read.err());
                return Err(faults);
            }
        };
        documents.extend(documents::authorities(&settings.ca, &authorities));
        let roots = Arc::new(roots);
        let builder = || WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        for (path, list) in &lists {
            // Alone, so that it is known which one is wrong.
            builder().with_crls([list.clone()]).build().map_err(|error| Fault::of(path, error))?;
        }
        let lists: Vec<_> = lists.into_iter().map(|(_, list)| list).collect();
        let hash = hash(settings.mode, &authorities, &lists);
        let builder = builder().with_crls(lists);
        let builder = match settings.mode {
            ClientAuthMode::Required => builder,
            ClientAuthMode::Optional => builder.allow_unauthenticated(),
        };
        let verifier = builder.build().map_err(|error| Fault::of(&settings.ca, error))?;
        Ok(Self { verifier: Some(verifier), hash, documents })
    }
}

/// The certificates of a file, all of which become roots.
fn authorities(path: &Path, roots: &mut RootCertStore) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found = pair::certificates(path)?;
    for authority in &found {
        roots.add(authority.clone()).map_err(|error| Fault::of(path, error))?;
    }
    Ok(found)
}

/// The lists of a file, at least one.
fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Fault> {
    let pem = pair::contents(path)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_| Fault::has(path, pair::NO_PEM))?;
    if found.is_empty() { Err(Fault::has(path, "has no list of revoked certificates")) } else { Ok(found) }
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
