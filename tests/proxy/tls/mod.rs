//! TLS on the wire: handshakes that are slow, many or wrong, the ends of connections, and what openssl makes of it all.

mod ends;
mod handshakes;
mod openssl;
mod renewals;
mod talk;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustls::ClientConfig;

use crate::certificates::issuer::{Issuer, Key};
use crate::certificates::speaking;
use crate::support::proxy::sum_of;
use crate::support::{Client, Origin, Proxy, Setup, ok, tls};

/// A proxy that speaks TLS as `app.test`, with an origin that answers `hello`.
struct Site {
    proxy: Proxy,
    config: Arc<ClientConfig>,
    /// Behind the proxy, so that it ends after it.
    origin: Origin,
    /// The proxy looks at its files.
    issuer: Issuer,
}

impl Site {
    /// With these keys of `tls` beside the certificate.
    fn start(keys: &str) -> Self {
        Self::with(Origin::answering(ok("hello")), |setup| setup, keys)
    }

    fn with(origin: Origin, setup: impl FnOnce(Setup) -> Setup, keys: &str) -> Self {
        let issuer = Issuer::new();
        issuer.issue("app", &["app.test", "test", "load"], Key::Ecdsa);
        let pair = issuer.pair("app");
        let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
        let proxy = speaking(setup(Setup::origin(&origin)), &format!("certificates = [{pair}]{keys}"));
        let config = tls::trusting(&issuer.file("ca.pem")).into();
        Self { proxy, config, origin, issuer }
    }

    fn try_client(&self) -> io::Result<Client> {
        tls::connect(&self.proxy.address("web"), &self.config, "app.test")
    }

    /// A client whose handshake is over.
    #[track_caller]
    fn client(&self) -> Client {
        self.try_client().unwrap()
    }

    /// How often TLS has failed for this reason.
    fn failures(&self, reason: &str) -> u64 {
        let labels = [("listener", "web"), ("reason", reason)];
        // The first failure of a kind makes its line.
        sum_of(&self.proxy.metrics(), "corelane_listener_tls_failures_total", &labels).unwrap_or(0)
    }

    fn handshakes_in_progress(&self) -> u64 {
        self.proxy.listener("tls_handshakes_in_progress")
    }
}

/// Threads that do the same again and again.
struct Flood {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Flood {
    fn start(threads: usize, act: impl Fn() + Clone + Send + 'static) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let thread = || {
            let (stop, act) = (stop.clone(), act.clone());
            std::thread::spawn(move || {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    act();
                    count += 1;
                }
                count
            })
        };
        let threads = std::iter::repeat_with(thread).take(threads).collect();
        Self { stop, threads }
    }

    /// How often it was done.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    }
}
