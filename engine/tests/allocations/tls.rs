//! What is different where both sides speak TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use corelane_engine::tls::rustls::pki_types::pem::PemObject as _;
use corelane_engine::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use corelane_engine::tls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
};
use corelane_engine::tls::{ClientCertificate, ClientTls, Policy, ServerTls, provider};

use super::TIMEOUT;

/// What is spoken on both sides of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Plain,
    Tls,
}

pub(crate) trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Wire {
    /// A client's connection.
    pub(crate) fn client(self, stream: TcpStream) -> Box<dyn Stream> {
        match self {
            Self::Plain => Box::new(stream),
            Self::Tls => {
                let name = "localhost".try_into().unwrap();
                Box::new(StreamOwned::new(
                    ClientConnection::new(client_config().into(), name).unwrap(),
                    stream,
                ))
            }
        }
    }
}

#[derive(Debug)]
struct Anything;

impl Policy for Anything {
    fn covers(&self, _server_name: Option<&str>, _host: &str) -> bool {
        true
    }

    fn client(&self, _certificate: &CertificateDer<'_>) -> ClientCertificate {
        ClientCertificate::default()
    }
}

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("../../testdata/localhost.pem")).unwrap()
}

pub(crate) fn server_config() -> ServerConfig {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../testdata/localhost.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    builder.with_single_cert(vec![certificate()], key).unwrap()
}

fn client_config() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

pub(crate) fn of_listener(wire: Wire) -> Option<Arc<ServerTls>> {
    (wire == Wire::Tls).then(|| {
        Arc::new(ServerTls {
            config: server_config().into(),
            handshake_timeout: TIMEOUT,
            handshakes_max: 0,
            client_handshakes_max: 0,
            policy: Arc::new(Anything),
        })
    })
}

pub(crate) fn of_endpoint(wire: Wire) -> Option<Arc<ClientTls>> {
    let server_name = "localhost".try_into().unwrap();
    let tls = ClientTls { config: client_config().into(), server_name, identity: "".into() };
    (wire == Wire::Tls).then(|| tls.into())
}
