//! The proxy under test, as a process with a configuration file of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, get};
use super::message::Response;
use super::{DEADLINE, eventually, free_port, gate, process, sys};

/// The binary under test: cargo's, unless CORELANE_BINARY names another (a release build, say).
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("CORELANE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_corelane").into(), PathBuf::from)
}

/// How the proxy is to be started.
#[derive(Debug)]
pub(crate) struct Launch {
    text: String,
    command: Command,
    dir: TempDir,
}

impl Launch {
    /// With this configuration. `@name@` in it becomes a free port, the same one for the same name, and `@dir@` a
    /// directory that ends with the test. Without `[admin]` and `[access_log]` sections they are added.
    pub(crate) fn new(text: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("corelane-").tempdir().unwrap();
        Self { text: complete(text), command: Command::new(binary()), dir }
    }

    /// The directory that `@dir@` will stand for, and where the configuration will be.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// With at most so many open files.
    pub(crate) fn files(mut self, files: u64) -> Self {
        sys::limit_files(&mut self.command, files);
        self
    }

    /// Under a seccomp filter that fails io_uring_setup(2) with `errno`.
    pub(crate) fn refuse_io_uring(mut self, errno: i32) -> Self {
        sys::refuse_io_uring(&mut self.command, errno);
        self
    }

    /// With the authorities of this file as those of the system.
    pub(crate) fn system_authorities(mut self, ca: &Path) -> Self {
        self.command.env("SSL_CERT_FILE", ca).env_remove("SSL_CERT_DIR");
        self
    }

    /// Starts the proxy and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Proxy {
        let mut proxy = self.spawn();
        let start = Instant::now();
        while !proxy.is_ready() {
            let exit = proxy.child.try_wait().unwrap();
            let told = || format!("stdout: {}\nstderr: {}", proxy.stdout(), proxy.stderr());
            assert!(exit.is_none(), "the proxy ended at start: {exit:?}\n{}", told());
            assert!(start.elapsed() < DEADLINE, "the proxy is not ready\n{}", told());
            std::thread::sleep(Duration::from_millis(5));
        }
        proxy
    }

    /// Starts the proxy without waiting.
    pub(crate) fn spawn(mut self) -> Proxy {
        gate::share();
        let mut ports = BTreeMap::new();
        let config = self.dir.path().join("corelane.toml");
        fs::write(&config, expand(&self.text, self.dir.path(), &mut ports)).unwrap();
        sys::die_with_parent(&mut self.command);
        let child = self
            .command
            .arg("run")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(File::create(self.dir.path().join("stdout")).unwrap())
            .stderr(File::create(self.dir.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Proxy { child, dir: self.dir, ports }
    }
}

/// Adds the sections that the tests look at.
fn complete(text: &str) -> String {
    let mut text = text.to_owned();
    for (section, key) in
        [("[admin]", "address = \"127.0.0.1:@admin@\""), ("[access_log]", "path = \"@dir@/access.log\"")]
    {
        if !text.contains(section) {
            text = format!("{section}\n{key}\n\n{text}");
        }
    }
    text
}

/// Replaces `@dir@` and `@port-name@`.
fn expand(text: &str, dir: &Path, ports: &mut BTreeMap<String, u16>) -> String {
    let mut out = String::new();
    for (index, piece) in text.split('@').enumerate() {
        if index % 2 == 0 {
            out.push_str(piece);
        } else if piece == "dir" {
            out.push_str(dir.to_str().unwrap());
        } else {
            let port = ports.entry(piece.to_owned()).or_insert_with(free_port);
            out.push_str(&port.to_string());
        }
    }
    out
}

/// A running proxy; killed when it is dropped, which fails the test if it has panicked.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    dir: TempDir,
    ports: BTreeMap<String, u16>,
}

impl Proxy {
    /// Starts the proxy with this configuration ([`Launch::new`]) and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(text: &str) -> Self {
        Launch::new(text).start()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory that `@dir@` stands for.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The port that `@name@` stands for.
    #[track_caller]
    pub(crate) fn port(&self, name: &str) -> u16 {
        self.ports[name]
    }

    /// `127.0.0.1` with the port that `@name@` stands for.
    #[track_caller]
    pub(crate) fn address(&self, name: &str) -> String {
        format!("127.0.0.1:{}", self.port(name))
    }

    /// A new connection to `@web@`.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address("web"))
    }

    /// One GET on a new connection to `@web@`.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// One GET at the admin address.
    pub(crate) fn admin_get(&self, target: &str) -> std::io::Result<Response> {
        let mut client = Client::try_connect(&self.address("admin"))?;
        client.send(get(target))?;
        client.try_response(true)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.admin_get("/readyz").is_ok_and(|response| response.status() == 200)
    }

    /// What /readyz says.
    #[track_caller]
    pub(crate) fn readiness(&self) -> Value {
        let response = self.admin_get("/readyz").expect("/readyz answers");
        serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {}", response.text()))
    }

    /// The generation of the configuration in force, by /readyz.
    #[track_caller]
    pub(crate) fn generation(&self) -> u64 {
        let readiness = self.readiness();
        let generation = find_key(&readiness, "generation").and_then(Value::as_u64);
        generation.unwrap_or_else(|| panic!("no generation in {readiness}"))
    }

    /// The whole of /metrics.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        let response = self.admin_get("/metrics").expect("/metrics answers");
        assert_eq!(response.status(), 200);
        response.text()
    }

    /// The sum of the samples of that name that have all these labels; fails when there is none.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let text = self.metrics();
        sum_of(&text, name, labels).unwrap_or_else(|| panic!("no {name}{labels:?} in\n{text}"))
    }

    /// A metric of the listener `web`.
    #[track_caller]
    pub(crate) fn listener(&self, name: &str) -> u64 {
        self.metric(&format!("corelane_listener_{name}"), &[("listener", "web")])
    }

    /// A metric of the endpoints of the upstream `origin`, summed.
    #[track_caller]
    pub(crate) fn endpoints(&self, name: &str) -> u64 {
        self.metric(&format!("corelane_endpoint_{name}"), &[("upstream", "origin")])
    }

    /// A metric of one endpoint.
    #[track_caller]
    pub(crate) fn endpoint(&self, name: &str, address: &str) -> u64 {
        self.metric(&format!("corelane_endpoint_{name}"), &[("endpoint", address)])
    }

    pub(crate) fn signal(&self, signal: i32) {
        sys::signal(self.pid(), signal);
    }

    /// Writes another configuration, with the same meaning of `@name@`; new names get new ports.
    pub(crate) fn rewrite(&mut self, text: &str) {
        let text = expand(&complete(text), self.dir.path(), &mut self.ports);
        fs::write(self.dir.path().join("corelane.toml"), text).unwrap();
    }

    /// Sends SIGHUP and waits until a new generation is in force.
    #[track_caller]
    pub(crate) fn reload_and_wait(&self) {
        let before = self.generation();
        self.signal(libc::SIGHUP);
        eventually("a new generation", || self.generation() > before);
    }

    /// Sends SIGHUP and waits for its outcome, whatever it is.
    #[track_caller]
    pub(crate) fn reload(&self) {
        let before = self.metric("corelane_reloads_total", &[]);
        self.signal(libc::SIGHUP);
        eventually("the end of the reload", || self.metric("corelane_reloads_total", &[]) > before);
    }

    /// Sends SIGHUP and waits until the file is refused.
    #[track_caller]
    pub(crate) fn reload_in_vain(&self) {
        let failed = || self.metric("corelane_reloads_total", &[("result", "failed")]);
        let (before, generation) = (failed(), self.generation());
        self.reload();
        assert_eq!(failed(), before + 1, "the reload is refused");
        assert_eq!(self.generation(), generation, "the generation of a refused reload");
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.dir.path().join("stdout")).unwrap_or_default()
    }

    /// What the proxy logged.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// Everything the proxy wrote on standard output and standard error.
    pub(crate) fn log(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// Waits until there are at least `count` access-log records, and parses all.
    #[track_caller]
    pub(crate) fn records(&self, count: usize) -> Vec<Value> {
        let path = self.dir.path().join("access.log");
        let read = || fs::read_to_string(&path).unwrap_or_default();
        // A last line without its end is still being written.
        eventually(&format!("{count} access-log records"), || read().matches('\n').count() >= count);
        let text = read();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        whole.lines().map(parse).collect()
    }

    /// Waits for the only access-log record.
    #[track_caller]
    pub(crate) fn record(&self) -> Value {
        let mut records = self.records(1);
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }

    /// Waits for the proxy's end by itself.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let status = process::wait(&mut self.child, deadline);
        status.unwrap_or_else(|| panic!("the proxy still runs after {deadline:?}\n{}", self.log()))
    }

    /// Whether a task or a thread of the proxy has panicked, by its own count and its log.
    #[track_caller]
    pub(crate) fn has_panicked(&self) -> bool {
        self.metric("corelane_worker_task_panics_total", &[]) > 0 || self.log().contains("panicked at")
    }

    pub(crate) fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the proxy's log ---\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            // In every test: a task that panics is caught, so that nothing else may show it.
            assert!(!self.log().contains("panicked at"), "{}", self.log());
        }
    }
}

/// The sum of the samples of that name with all these labels, in Prometheus text.
pub(crate) fn sum_of(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (given, rest) = series.split_once('{').unwrap_or((series, ""));
        let all = labels.iter().all(|(key, value)| rest.contains(&format!("{key}=\"{value}\"")));
        (given == name && all).then(|| value.parse::<u64>().expect("a whole number"))
    });
    samples.fold(None, |sum, value| Some(sum.unwrap_or(0) + value))
}

/// The first value of that key, at any depth.
pub(crate) fn find_key<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(key).or_else(|| object.values().find_map(|inner| find_key(inner, key)))
}
