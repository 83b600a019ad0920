//! Real servers of other protocols than HTTP; each ends with the test.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::support::python::script;
use crate::support::{Client, eventually, free_port, gate, sys};

/// A child that is killed when it is dropped, with a folder of its own.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: String,
    child: Child,
    _dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("corelane-health-").tempdir().unwrap()
}

fn spawn(command: &mut Command, package: &str) -> Child {
    gate::share();
    sys::die_with_parent(command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error} (Debian package {package})"))
}

/// Redis; `password` may be empty.
pub(super) fn redis(password: &str) -> Server {
    let (dir, port) = (folder(), free_port());
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    command.args(["--requirepass", password, "--dir"]).arg(dir.path());
    let child = spawn(&mut command, "redis-server");
    let address = format!("127.0.0.1:{port}");
    eventually("redis listens", || Client::try_connect(&address).is_ok());
    Server { address, child, _dir: dir }
}

/// Knot DNS with the zone `test.`
pub(super) fn knot() -> Server {
    let (dir, port) = (folder(), free_port());
    let root = dir.path().display();
    let zone =
        "test. 60 SOA ns.test. admin.test. 1 60 60 60 60\ntest. 60 NS ns.test.\nns.test. 60 A 127.0.0.1\n";
    std::fs::write(dir.path().join("test.zone"), zone).unwrap();
    let config = format!(
        "server:\n  rundir: {root}\n  listen: 127.0.0.1@{port}\n\
         database:\n  storage: {root}\n\
         zone:\n  - domain: test\n    storage: {root}\n    file: test.zone\n"
    );
    let file = dir.path().join("knot.conf");
    std::fs::write(&file, config).unwrap();
    // Debian keeps it where only root's PATH looks.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let child = spawn(Command::new("knotd").env("PATH", path).arg("-c").arg(&file), "knot");
    let address = format!("127.0.0.1:{port}");
    eventually("knot listens", || Client::try_connect(&address).is_ok());
    Server { address, child, _dir: dir }
}

/// PyPI's gRPC health server (`tests/grpc/server.py`).
#[derive(Debug)]
pub(super) struct Grpc {
    pub(super) address: String,
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Grpc {
    pub(super) fn start(is_tls: bool) -> Self {
        gate::share();
        let mut command = script("grpc/server.py");
        if is_tls {
            command.args([tls_file("server.key"), tls_file("server.pem")]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port: u16 = lines.next().expect("server.py starts").unwrap().parse().unwrap();
        Self { address: format!("127.0.0.1:{port}"), child, stdin, lines }
    }

    /// Sets what the server says of a service.
    pub(super) fn set(&mut self, service: &str, status: &str) {
        writeln!(self.stdin, "{service} {status}").unwrap();
        assert!(self.lines.next().expect("server.py runs").is_ok());
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A key, its certificate for app.test, localhost and 127.0.0.1, and that of the authority that signed it; for tests alone,
/// and good for a hundred years.
pub(super) fn tls_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/proxy/health/tls").join(name)
}
