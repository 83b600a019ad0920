//! Calls of all kinds between PyPI's grpcio as client (`tests/grpc/calls.py`) and as server (`tests/grpc/echo.py`).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::certificates::issuer::{Issuer, Key};
use crate::support::process::{self, output, stderr, stdout};
use crate::support::python::script;
use crate::support::{DEADLINE, Proxy, Setup, eventually, gate};

/// `tests/grpc/echo.py`
pub(super) struct Echo {
    pub(super) address: String,
    child: Child,
    _stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Echo {
    /// With TLS, if there are a key and a certificate.
    pub(super) fn start(files: &[&Path]) -> Self {
        gate::share();
        let mut command = script("grpc/echo.py");
        let mut child = command.args(files).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let (said, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        let port: u16 = lines.recv_timeout(DEADLINE).expect("echo.py starts").parse().unwrap();
        Self { address: format!("127.0.0.1:{port}"), child, _stdin: stdin, lines }
    }

    /// What it says next.
    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("echo.py says something")
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

fn clear_text(server: &Echo) -> Setup {
    Setup::to(&[&server.address]).listener("http2 = true").upstream("protocol = \"h2c\"")
}

fn ended(proxy: &Proxy, status: &str) -> u64 {
    proxy.metric("corelane_upstream_grpc_calls_total", &[("upstream", "origin"), ("grpc_status", status)])
}

#[test]
fn calls_of_all_kinds_in_clear_text() {
    let server = Echo::start(&[]);
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
    let server = Echo::start(&[&key, &certificate]);
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
    assert!(proxy.endpoint("http2_connections", &server.address) >= 10, "a hundred on each at most");
}

#[test]
fn a_call_that_an_endpoint_refuses_goes_to_another_one() {
    let (server, refusing) = (Echo::start(&[]), Echo::start(&[Path::new("unavailable")]));
    let setup = Setup::to(&[&server.address, &refusing.address]).upstream("protocol = \"h2c\"");
    let retry = "retry = { on = [\"503\"], methods = [\"POST\"], budget = \"1000%\" }";
    let proxy = setup.listener("http2 = true").upstream(retry).start();
    call(&proxy, None, &["retried"]);
    assert_eq!(ended(&proxy, "ok"), 10);
    assert!(proxy.endpoint("requests_total", &refusing.address) >= 5);
}

/// How the call of a client ends that reads on while the proxy or the server goes.
fn cut(proxy: &Proxy, cut: impl FnOnce()) -> String {
    let mut command = script("grpc/calls.py");
    command.args([&*proxy.address("web"), "", "cut"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("one"));
    cut();
    let end = lines.next().unwrap();
    assert!(process::wait(&mut child, DEADLINE).is_some_and(|status| status.success()), "{end}");
    end
}

#[test]
fn a_call_that_is_cut_off_is_unavailable() {
    let server = Echo::start(&[]);
    let proxy = clear_text(&server).start();
    assert_eq!(cut(&proxy, || drop(server)), "UNAVAILABLE response_truncated");
    let server = Echo::start(&[]);
    let mut proxy = clear_text(&server).process("drain_timeout = \"1s\"").start();
    let end = cut(&proxy, || proxy.signal(libc::SIGTERM));
    assert!(end.starts_with("UNAVAILABLE "), "{end}");
    proxy.wait_exit(DEADLINE);
}

#[test]
fn both_sides_of_a_call_may_be_silent() {
    let server = Echo::start(&[]);
    let setup = Setup::to(&[&server.address]).upstream("protocol = \"h2c\"");
    let proxy = setup.listener("http2 = true\nbody_idle_timeout = \"500ms\"\nbody_rate_min = 1000").start();
    call(&proxy, None, &["silence"]);
}
