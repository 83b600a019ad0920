//! TLS to upstreams: from their settings to what workers use.

use std::path::PathBuf;
use std::sync::Arc;

use corelane_engine::snapshot::{self, Address};
use corelane_engine::tls::ClientTls;
use corelane_engine::tls::rustls::crypto::CryptoProvider;
use corelane_engine::tls::rustls::pki_types::ServerName;
use corelane_engine::tls::rustls::{self, ClientConfig, RootCertStore, SupportedProtocolVersion};
use sha2::{Digest as _, Sha256};

use super::documents::{self, Document};
use super::fault::Fault;
use super::pair::{self, Pair};
use crate::config::{Target, TlsVersion, Upstream, UpstreamTls, UpstreamTrust};
use crate::health::{Anybody, SystemRoots};
use crate::snapshot_builder::Located;

/// What an upstream is spoken to with.
#[derive(Debug)]
pub(crate) struct Spoken {
    pub(crate) config: Arc<ClientConfig>,
    /// `None`: the endpoint's name, or its address.
    pub(crate) server_name: Option<ServerName<'static>>,
    /// A hash of what its connections are made with.
    identity: String,
    /// What its files say.
    pub(super) documents: Vec<Document>,
}

/// The files that settings name.
pub(super) fn paths(settings: &UpstreamTls) -> impl Iterator<Item = &PathBuf> {
    let ca = match &settings.trust {
        UpstreamTrust::Authorities(path) => Some(path),
        UpstreamTrust::System | UpstreamTrust::Anybody => None,
    };
    let certificate = settings.certificate.iter().flat_map(|it| [&it.cert, &it.key]);
    ca.into_iter().chain(certificate)
}

impl Spoken {
    /// # Errors
    ///
    /// What is wrong with which file.
    pub(super) fn read(
        settings: &UpstreamTls,
        (provider, system): (&Arc<CryptoProvider>, &SystemRoots),
    ) -> Result<Self, Vec<Fault>> {
        static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        let versions = match settings.min_version {
            TlsVersion::V1_2 => &BOTH[..],
            TlsVersion::V1_3 => &BOTH[..1],
        };
        let mut documents = Vec::new();
        let mut hash = Sha256::new();
        let mut note = |bytes: &[u8]| {
            // Each with its length, so that nothing moves from one to the next.
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        note(format!("{:?}", settings.min_version).as_bytes());
        settings.alpn.iter().for_each(|protocol| note(protocol));
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| Fault::of_no_file(format!("cannot speak TLS so: {error}")))?;
        let authorities = match &settings.trust {
            UpstreamTrust::Authorities(path) => pair::certificates(path).map(Some),
            UpstreamTrust::System | UpstreamTrust::Anybody => Ok(None),
        };
        let shown = settings.certificate.as_ref().map(|files| Pair::read(files, provider)).transpose();
        let (authorities, shown) = match (authorities, shown) {
            (Ok(authorities), Ok(shown)) => (authorities, shown),
            (authorities, shown) => return Err(authorities.err().into_iter().chain(shown.err()).collect()),
        };
        let builder = match &settings.trust {
            UpstreamTrust::System => {
                note(b"system");
                let roots = system.get();
                if roots.is_empty() {
                    let text = "the system has no certificate authorities; name some by ca";
                    return Err(Fault::of_no_file(text).into());
                }
                builder.with_root_certificates(roots)
            }
            UpstreamTrust::Authorities(path) => {
                let authorities = authorities.unwrap_or_default();
                documents.extend(documents::authorities(path, &authorities));
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    note(&authority);
                    roots.add(authority).map_err(|error| Fault::of(path, error))?;
                }
                builder.with_root_certificates(roots)
            }
            UpstreamTrust::Anybody => {
                note(b"anybody");
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody::new(provider)))
            }
        };
        let mut config = match (&settings.certificate, shown) {
            (Some(files), Some(pair)) => {
                documents.push(documents::certificate(&files.cert, &pair));
                pair.key.cert.iter().for_each(|certificate| note(certificate));
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair.key)))
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let identity = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let server_name = settings.server_name.clone();
        Ok(Self { config: Arc::new(config), server_name, identity, documents })
    }

    /// Tells endpoints how they are spoken to; `located` are the same ones.
    pub(super) fn equip(&self, endpoints: &mut [snapshot::Endpoint], located: &[Located]) {
        let both = endpoints.iter_mut().zip(located);
        for (endpoint, Located { name, .. }) in both.filter(|(_, located)| located.tls) {
            let named = || server_name(name.as_deref(), &endpoint.address);
            let expected = self.server_name.clone().or_else(named);
            endpoint.tls = expected.map(|server_name| {
                let identity = format!("{} {}", self.identity, server_name.to_str()).into();
                Arc::new(ClientTls { config: self.config.clone(), server_name, identity })
            });
        }
    }
}

/// Whose certificate an endpoint must have if the configuration does not say. `None`: its name is none that a
/// certificate can be for.
pub(crate) fn server_name(name: Option<&str>, address: &Address) -> Option<ServerName<'static>> {
    let named = |name: &str| ServerName::try_from(name.to_owned()).ok();
    match (name, address) {
        (Some(name), _) => named(name.strip_suffix('.').unwrap_or(name)),
        (None, Address::Tcp(address)) => Some(ServerName::IpAddress(address.ip().into())),
        (None, Address::Unix(_)) => named("localhost"),
    }
}

/// An endpoint whose name no certificate can be for would be spoken to in clear text.
///
/// # Errors
///
/// Which one it is.
pub(super) fn refuse_nameless(it: &Upstream, settings: &UpstreamTls) -> Result<(), Fault> {
    if settings.server_name.is_some() {
        return Ok(());
    }
    for endpoint in it.endpoints.iter().filter(|it| it.tls) {
        if let Target::Name { host, .. } = &endpoint.target
            && ServerName::try_from(host.strip_suffix('.').unwrap_or(host)).is_err()
        {
            let text = format!("no certificate can be for the endpoint \"{host}\"; write server_name");
            return Err(Fault::of_no_file(text));
        }
    }
    Ok(())
}
