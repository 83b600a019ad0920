//! TLS to upstreams: from their settings to what workers use.

use std::path::PathBuf;
use std::sync::Arc;

use corelane_engine::snapshot::{self, Address};
use corelane_engine::tls::ClientTls;
use corelane_engine::tls::rustls::crypto::CryptoProvider;
use corelane_engine::tls::rustls::pki_types::ServerName;
use corelane_engine::tls::rustls::{self, ClientConfig, RootCertStore, SupportedProtocolVersion};
use sha2::{Digest as _, Sha256};

use super::pair::{self, Pair};
use super::stamp::Stamp;
use crate::config::{Target, TlsVersion, Upstream, UpstreamTls, UpstreamTrust};
use crate::health::{Anybody, SystemRoots};
use crate::snapshot_builder::Located;

/// What an upstream is spoken to with.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    config: Arc<ClientConfig>,
    pub(super) settings: UpstreamTls,
    /// Of the files, as they were before they were read.
    stamps: Vec<Option<Stamp>>,
    /// A hash of what its connections are made with.
    identity: String,
    /// Why it is not what the files say now.
    pub(super) problem: Option<String>,
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
    /// What was there before, if the settings and the files are the same; else what they say now. Files that cannot be
    /// used leave what was there for the same settings.
    ///
    /// # Errors
    ///
    /// What is wrong, where nothing was there.
    pub(super) fn new(
        it: &Upstream,
        settings: &UpstreamTls,
        stamps: Vec<Option<Stamp>>,
        before: Option<&Self>,
        from: (&Arc<CryptoProvider>, &SystemRoots),
    ) -> Result<Self, String> {
        let before = before.filter(|before| before.settings == *settings);
        if let Some(before) = before
            && before.stamps == stamps
        {
            return Ok(before.clone());
        }
        refuse_nameless(it, settings)?;
        match (build(settings, from), before) {
            (Ok((config, identity)), _) => Ok(Self {
                config: Arc::new(config),
                settings: settings.clone(),
                stamps,
                identity,
                problem: None,
            }),
            (Err(problem), Some(before)) => Ok(Self { stamps, problem: Some(problem), ..before.clone() }),
            (Err(problem), None) => Err(problem),
        }
    }

    /// Tells endpoints how they are spoken to; `located` are the same ones.
    pub(super) fn equip(&self, endpoints: &mut [snapshot::Endpoint], located: &[Located]) {
        let both = endpoints.iter_mut().zip(located);
        for (endpoint, Located { name, .. }) in both.filter(|(_, located)| located.tls) {
            let named = || server_name(name.as_deref(), &endpoint.address);
            let expected = self.settings.server_name.clone().or_else(named);
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
fn refuse_nameless(it: &Upstream, settings: &UpstreamTls) -> Result<(), String> {
    if settings.server_name.is_some() {
        return Ok(());
    }
    for endpoint in it.endpoints.iter().filter(|it| it.tls) {
        if let Target::Name { host, .. } = &endpoint.target
            && ServerName::try_from(host.strip_suffix('.').unwrap_or(host)).is_err()
        {
            return Err(format!("no certificate can be for the endpoint \"{host}\"; write server_name"));
        }
    }
    Ok(())
}

/// The configuration, and a hash of all that went into it.
fn build(
    settings: &UpstreamTls,
    (provider, system): (&Arc<CryptoProvider>, &SystemRoots),
) -> Result<(ClientConfig, String), String> {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    let versions = match settings.min_version {
        TlsVersion::V1_2 => &BOTH[..],
        TlsVersion::V1_3 => &BOTH[..1],
    };
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
        .map_err(|error| format!("cannot speak TLS so: {error}"))?;
    let builder = match &settings.trust {
        UpstreamTrust::System => {
            note(b"system");
            let roots = system.get();
            if roots.is_empty() {
                return Err("the system has no certificate authorities; name some by ca".to_owned());
            }
            builder.with_root_certificates(roots)
        }
        UpstreamTrust::Authorities(path) => {
            let mut roots = RootCertStore::empty();
            for authority in pair::certificates(path)? {
                note(&authority);
                roots.add(authority).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            builder.with_root_certificates(roots)
        }
        UpstreamTrust::Anybody => {
            note(b"anybody");
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody::new(provider)))
        }
    };
    let mut config = match &settings.certificate {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let key = Pair::read(files, provider)?.key;
            key.cert.iter().for_each(|certificate| note(certificate));
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)))
        }
    };
    config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let hash = hash.finalize();
    Ok((config, hash.iter().map(|byte| format!("{byte:02x}")).collect()))
}
