//! A real OTLP collector: `tests/otlp/collector.py`, with the messages of PyPI's opentelemetry-proto and with grpcio.
//!
//! `tests/otlp/prepare` installs them in a virtual environment in cargo's target directory; scripts/test runs that.
//! `CORELANE_OTLP` names another environment. Without one the tests fail; they are never left out.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{DEADLINE, free_port, sys};

/// The interpreter of the virtual environment.
#[track_caller]
fn python() -> PathBuf {
    let given = std::env::var_os("CORELANE_OTLP").map(PathBuf::from);
    let test = std::env::current_exe().unwrap();
    let places = given.into_iter().chain(test.ancestors().map(|folder| folder.join("otlp")));
    let found = places.map(|place| place.join("bin/python")).find(|python| python.exists());
    found.expect("the OTLP libraries: run tests/otlp/prepare, or set CORELANE_OTLP")
}

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

/// The collector, killed when it is dropped.
pub(super) struct Collector {
    child: Child,
    protocol: Protocol,
    port: u16,
    exports: Receiver<Value>,
}

/// One span as the collector understood it.
#[derive(Clone, Debug)]
pub(super) struct Span(Value);

impl Collector {
    #[track_caller]
    pub(super) fn start(protocol: Protocol) -> Self {
        Self::answering(protocol, &[])
    }

    /// With these answers to its first exports.
    #[track_caller]
    pub(super) fn answering(protocol: Protocol, answers: &[&str]) -> Self {
        Self::start_at(protocol, free_port(), answers)
    }

    #[track_caller]
    pub(super) fn start_at(protocol: Protocol, port: u16, answers: &[&str]) -> Self {
        let name = if protocol == Protocol::Grpc { "grpc" } else { "http" };
        let mut command = Command::new(python());
        sys::die_with_parent(&mut command);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otlp/collector.py");
        // It ends with its standard input.
        command.arg(script).arg(name).arg(port.to_string()).args(answers);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().expect("collector.py starts").unwrap(), "listens");
        let (say, exports) = channel();
        // Ends with the collector.
        std::thread::spawn(move || {
            let exports = lines.map_while(Result::ok).map(|line| serde_json::from_str(&line).unwrap());
            exports.into_iter().try_for_each(|export: Value| say.send(export))
        });
        Self { child, protocol, port, exports }
    }

    /// The section of a configuration with this collector and further keys.
    pub(super) fn section(&self, keys: &str) -> String {
        section(self.protocol, self.port, keys)
    }

    /// The next export.
    #[track_caller]
    pub(super) fn next(&self) -> Value {
        self.exports.recv_timeout(DEADLINE).expect("an export")
    }

    /// The next export, if it comes in this time.
    pub(super) fn next_within(&self, time: Duration) -> Option<Value> {
        match self.exports.recv_timeout(time) {
            Ok(export) => Some(export),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the collector has ended"),
        }
    }

    /// The spans of exports that were taken, once there are so many.
    #[track_caller]
    pub(super) fn spans(&self, count: usize) -> Vec<Span> {
        let (start, mut spans) = (Instant::now(), Vec::new());
        while spans.len() < count {
            assert!(start.elapsed() < DEADLINE, "{} spans of {count}: {spans:?}", spans.len());
            let export = self.next();
            if matches!(export["answer"].as_str(), Some("200" | "partial")) {
                spans.extend(Span::all_of(&export));
            }
        }
        assert_eq!(spans.len(), count, "{spans:?}");
        spans
    }
}

/// The section for a collector at that port.
pub(super) fn section(protocol: Protocol, port: u16, keys: &str) -> String {
    let protocol = if protocol == Protocol::Grpc { "grpc" } else { "http/protobuf" };
    format!(
        "[tracing]\nendpoint = \"http://127.0.0.1:{port}\"\nprotocol = \"{protocol}\"\nparents = \"all\"\n{keys}\n"
    )
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Span {
    pub(super) fn all_of(export: &Value) -> Vec<Self> {
        export["spans"].as_array().unwrap().iter().cloned().map(Self).collect()
    }

    #[track_caller]
    pub(super) fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    #[track_caller]
    pub(super) fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    pub(super) fn is_server(&self) -> bool {
        self.0["kind"] == 2
    }

    pub(super) fn is_client(&self) -> bool {
        self.0["kind"] == 3
    }

    pub(super) fn is_error(&self) -> bool {
        self.0["status"] == 2
    }

    /// An attribute; null where there is none.
    pub(super) fn attribute(&self, key: &str) -> &Value {
        &self.0["attributes"][key]
    }

    /// An attribute of what it comes from.
    pub(super) fn of_resource(&self, key: &str) -> &Value {
        &self.0["resource"][key]
    }

    /// What a receiver of a `traceparent` with this span in it gets.
    pub(super) fn trace_parent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.text("trace"), self.text("id"), self.number("flags") & 0xff)
    }
}
