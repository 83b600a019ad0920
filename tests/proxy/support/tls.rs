//! TLS at the tests' own ends of connections, by rustls' buffered connections.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use super::client::Client;
use super::wire::{Stream, Wire};

/// A client's configuration that trusts the authority of this file.
pub(crate) fn trusting(ca: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// A server's configuration with the certificate and the key of these files.
pub(crate) fn showing(certificate: &Path, key: &Path) -> ServerConfig {
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
}

/// A client of `127.0.0.1:1` that asks for `name`. The handshake is over when it is returned.
pub(crate) fn connect(address: &str, config: &Arc<ClientConfig>, name: &str) -> io::Result<Client> {
    let Stream::Tcp(stream) = Stream::connect(address)? else { panic!("{address} is no TCP address") };
    let mut tls = Tls::client(stream, config, name);
    tls.stream.set_read_timeout(Some(super::DEADLINE))?;
    tls.shake_hands()?;
    Ok(Client::over(Wire::new(Stream::Tls(Box::new(tls)))?))
}

/// A TCP connection with TLS in it.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) connection: Connection,
    pub(crate) stream: TcpStream,
}

impl Tls {
    pub(crate) fn client(stream: TcpStream, config: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        Self { connection: connection.into(), stream }
    }

    pub(crate) fn server(stream: TcpStream, config: &Arc<ServerConfig>) -> Self {
        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
        Self { connection: connection.into(), stream }
    }

    pub(crate) fn shake_hands(&mut self) -> io::Result<()> {
        while self.connection.is_handshaking() {
            self.connection.complete_io(&mut self.stream)?;
        }
        Ok(())
    }

    /// Says that nothing more follows; the connection below stays open.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.connection.send_close_notify();
        self.flush()
    }

    /// Bytes that are no record of this connection, behind those that are.
    pub(crate) fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush()?;
        self.stream.write_all(bytes)
    }
}

impl Read for Tls {
    /// The end without close_notify is an error, `UnexpectedEof`.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.shake_hands()?;
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.connection.complete_io(&mut self.stream)?;
                }
                read => return read,
            }
        }
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shake_hands()?;
        let written = self.connection.writer().write(bytes)?;
        self.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.stream)?;
        }
        Ok(())
    }
}
