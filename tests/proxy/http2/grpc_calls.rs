//! Calls of all kinds between PyPI's grpcio as client (`tests/grpc/calls.py`) and as server (`tests/grpc/echo.py`).

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::certificates::issuer::{Issuer, Key};
use crate::support::process::{output, stderr, stdout};
use crate::support::python::script;
use crate::support::{Launch, Proxy, Setup, eventually, gate};

/// `tests/grpc/echo.py`
pub(super) struct Echo {
    pub(super) address: String,
    child: Child,
    _stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Echo {
    /// With TLS, if there are a key and a certificate.
    pub(super) fn start(files: &[&Path]) -> Self {
        gate::share();
        let mut command = script("grpc/echo.py");
        let mut child = command.args(files).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port: u16 = lines.next().expect("echo.py starts").unwrap().parse().unwrap();
        Self { address: format!("127.0.0.1:{port}"), child, _stdin: stdin, lines }
    }

    /// What it says next.
    fn line(&mut self) -> String {
        self.lines.next().expect("echo.py runs").unwrap()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CASES: [&str; 7] =
    ["unary", "failures", "server_stream", "client_stream", "both_streams", "deadline", "cancel"];

/// Makes calls through the proxy; `authority` signs its certificate, if it has one.
#[track_caller]
fn call(proxy: &Proxy, authority: Option<&Path>, cases: &[&str]) {
    let mut command = script("grpc/calls.py");
    command.arg(proxy.address("web")).arg(authority.unwrap_or(Path::new("")));
    let told = output(command.args(cases));
    let expected: String = cases.iter().map(|case| format!("{case}\n")).collect();
    assert_eq!(stdout(&told), expected, "{}", stderr(&told));
}

fn clear_text(server: &Echo) -> Launch {
    Setup::to(&[&server.address]).listener("http2 = true").upstream("protocol = \"h2c\"").launch()
}

fn ended(proxy: &Proxy, status: &str) -> u64 {
    proxy.metric("corelane_upstream_grpc_calls_total", &[("upstream", "origin"), ("grpc_status", status)])
}

#[test]
fn calls_of_all_kinds_in_clear_text() {
    let mut server = Echo::start(&[]);
    let proxy = clear_text(&server).start();
    call(&proxy, None, &CASES);
    assert_eq!(server.line(), "cancelled one", "the server is told");
    eventually("all calls are over", || proxy.endpoint("requests_active", &server.address) == 0);
    assert_eq!(ended(&proxy, "unavailable"), 1, "what a server says");
    assert_eq!(ended(&proxy, "unimplemented"), 2);
    assert_eq!(proxy.endpoint("http2_connections", &server.address), 1);
}

#[test]
fn calls_of_all_kinds_over_tls() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let [ca, key, certificate] = ["ca.pem", "app.key", "app.pem"].map(|name| issuer.file(name));
    let mut server = Echo::start(&[&key, &certificate]);
    let proxy = Setup::to(&[&format!("https://{}", server.address)])
        .listener(&format!("http2 = true\ntls = {{ certificates = [{}] }}", issuer.pair("app")))
        .upstream(&format!(
            "protocol = \"h2\"\ntls = {{ ca = \"{}\", server_name = \"app.test\" }}",
            ca.display()
        ))
        .start();
    call(&proxy, Some(&ca), &CASES);
    assert_eq!(server.line(), "cancelled one");
}

#[test]
fn a_thousand_calls_at_once() {
    let server = Echo::start(&[]);
    let proxy = clear_text(&server).start();
    call(&proxy, None, &["crowd"]);
    eventually("all calls are over", || proxy.endpoint("requests_active", &server.address) == 0);
    assert_eq!(ended(&proxy, "ok"), 666);
    assert_eq!(ended(&proxy, "cancelled"), 334);
    assert_eq!(proxy.endpoint("http2_connections", &server.address), 10, "a hundred on each");
}

#[test]
fn both_sides_of_a_call_may_be_silent() {
    let server = Echo::start(&[]);
    let setup = Setup::to(&[&server.address]).upstream("protocol = \"h2c\"");
    let proxy = setup.listener("http2 = true\nbody_idle_timeout = \"500ms\"\nbody_rate_min = 1000").start();
    call(&proxy, None, &["silence"]);
}
