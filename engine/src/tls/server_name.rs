//! Which name a ClientHello asks for: rustls tells it to whoever chooses the certificate, and later to nobody.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

thread_local! {
    /// Of the ClientHello that was processed last.
    static NAME: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// The name that was asked for since the last call.
pub(super) fn take() -> Option<Box<str>> {
    NAME.take()
}

/// The same configuration, for one worker: it notes the names, and its connections count themselves on no other core's line.
pub(crate) fn noting_names(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.cert_resolver = Arc::new(Noting(config.cert_resolver));
    Arc::new(config)
}

#[derive(Debug)]
struct Noting(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        NAME.set(hello.server_name().map(Into::into));
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}
