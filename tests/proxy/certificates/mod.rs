//! TLS from the configuration on: which certificate a client gets, renewal, client certificates, tickets, TLS to upstreams.
//! With curl, openssl, wrk and nginx on the other side.

mod check;
mod choice;
mod clients;
mod failures;
pub(crate) mod issuer;
mod ocsp;
mod renewal;
mod resumption;
mod upstreams;

use std::process::Command;

use issuer::Issuer;

use crate::support::process::{output, stderr, stdout};
use crate::support::{Proxy, Setup};

/// A proxy whose listener speaks TLS, by these keys of `tls`.
pub(crate) fn speaking(setup: Setup, keys: &str) -> Proxy {
    setup.listener(&format!("tls = {{ {keys} }}")).start()
}

/// What openssl says of a handshake with the listener, and of what came behind it.
pub(crate) fn s_client(proxy: &Proxy, arguments: &str) -> String {
    let request = "GET / HTTP/1.1\\r\\nHost: app.test\\r\\nConnection: close\\r\\n\\r\\n";
    let address = proxy.address("web");
    let line = format!("printf '{request}' | openssl s_client -ign_eof -connect {address} {arguments}");
    let output = output(Command::new("sh").args(["-c", &line]));
    stdout(&output) + &stderr(&output)
}

/// The subject of the certificate that openssl was shown; empty if the handshake failed.
fn subject(told: &str) -> String {
    let line = told.lines().find_map(|line| line.strip_prefix("subject=CN = "));
    line.unwrap_or_default().to_owned()
}

/// curl asks for `url`, whose host is the proxy, whatever its name; its exit status, and all that it says.
pub(crate) fn curl(proxy: &Proxy, issuer: &Issuer, host: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let port = proxy.port("web");
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "15", "--cacert"]).arg(issuer.file("ca.pem"));
    command.args(["--connect-to", &format!("::127.0.0.1:{port}"), "-w", " %{http_code}"]);
    command.args(arguments).arg(format!("https://{host}:{port}/"));
    let output = output(&mut command);
    (output.status.code(), stdout(&output) + &stderr(&output))
}
