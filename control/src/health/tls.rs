//! TLS as checks speak it.

use std::io;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::dial::Stream;
use super::subject::Subject;
use crate::config::{TlsSettings, Trust};
use crate::log;
use crate::tls::Spoken;

/// The certificate authorities of the system, read when they are first asked for.
#[derive(Default)]
pub(crate) struct SystemRoots(std::cell::OnceCell<Arc<RootCertStore>>);

impl SystemRoots {
    pub(crate) fn get(&self) -> Arc<RootCertStore> {
        let read = || {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                log::warning!("cannot read the system's certificate authorities", error = error);
            }
            let mut roots = RootCertStore::empty();
            // Systems carry some that nobody can parse.
            roots.add_parsable_certificates(found.certs);
            Arc::new(roots)
        };
        self.0.get_or_init(read).clone()
    }
}

/// One upstream's.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// `spoken` is what the upstream's requests are spoken with; `protocols` are what the endpoint is offered to speak inside
    /// (RFC 7301); none: whatever it likes.
    pub(super) fn new(
        settings: &TlsSettings,
        spoken: Option<&Spoken>,
        system: &SystemRoots,
        protocols: &[&[u8]],
    ) -> Self {
        let mut config = match (&settings.trust, spoken) {
            (None, Some(spoken)) => ClientConfig::clone(&spoken.config),
            (trust, _) => trusting(trust.as_ref(), system),
        };
        if let Some(spoken) = spoken {
            config.client_auth_cert_resolver = spoken.config.client_auth_cert_resolver.clone();
        }
        // The sessions of requests are the workers'.
        config.resumption = Resumption::default();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let server_name = settings.server_name.clone().or_else(|| spoken?.server_name.clone());
        Self { connector: Arc::new(config).into(), server_name }
    }

    /// The stream, and whether HTTP/2 was agreed on.
    pub(super) async fn shake_hands(
        &self,
        subject: &Subject,
        stream: Box<dyn Stream>,
    ) -> io::Result<(Box<dyn Stream>, bool)> {
        let name = self.server_name.clone().map_or_else(|| expected(subject), Ok)?;
        let stream = self.connector.connect(name, stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), is_http2))
    }
}

/// Of both versions, without a certificate of our own.
fn trusting(trust: Option<&Trust>, system: &SystemRoots) -> ClientConfig {
    let provider = Arc::new(corelane_engine::tls::provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of both versions");
    let builder = match trust {
        None => builder.with_root_certificates(system.get()),
        Some(Trust::Authorities(authorities)) => {
            let mut roots = RootCertStore::empty();
            // Each was added once when the configuration was read.
            roots.add_parsable_certificates(authorities.iter().cloned());
            builder.with_root_certificates(roots)
        }
        Some(Trust::Anybody) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody::new(&provider)))
        }
    };
    builder.with_no_client_auth()
}

/// Whose certificate it must be if the configuration does not say.
fn expected(subject: &Subject) -> io::Result<ServerName<'static>> {
    let name = crate::tls::server_name(subject.name.as_deref(), &subject.place());
    name.ok_or_else(|| io::Error::other("its name is none that a certificate can be for"))
}

/// Takes every certificate, but no handshake that its holder did not sign.
#[derive(Debug)]
pub(crate) struct Anybody(WebPkiSupportedAlgorithms);

impl Anybody {
    pub(crate) fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
