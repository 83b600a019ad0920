//! A real Prometheus, and its tool: Debian's package `prometheus`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{Client, Proxy, eventually, free_port, process, sys};

/// What `promtool` says, both streams; it gets `input` on its standard input.
#[track_caller]
pub(crate) fn promtool(arguments: &[&str], input: &str) -> Said {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), input).unwrap();
    let mut command = Command::new("promtool");
    command.args(arguments);
    let output = process::output_with(&mut command, File::open(file.path()).unwrap().into());
    let text = process::stdout(&output) + &process::stderr(&output);
    Said { text, is_success: output.status.success() }
}

/// What `promtool` said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) is_success: bool,
}

/// A Prometheus that scrapes some proxies, with a directory of its own; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Prometheus {
    address: String,
    dir: TempDir,
    child: Child,
}

impl Prometheus {
    /// Scrapes a proxy many times a second, as the job `corelane`, with these files of rules.
    #[track_caller]
    pub(crate) fn start(proxy: &Proxy, rules: &[&Path]) -> Self {
        let dir = tempfile::Builder::new().prefix("corelane-prometheus-").tempdir().unwrap();
        let mut config = format!(
            "global: {{ scrape_interval: 200ms, evaluation_interval: 200ms }}\n\
             scrape_configs: [{{ job_name: corelane, static_configs: [{{ targets: [\"{}\"] }}] }}]\n",
            proxy.address("admin")
        );
        let rules: Vec<String> = rules.iter().map(|path| format!("\"{}\"", path.display())).collect();
        writeln!(config, "rule_files: [{}]", rules.join(", ")).unwrap();
        let path = dir.path().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("prometheus");
        sys::die_with_parent(&mut command);
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let log = File::create(dir.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("prometheus runs (Debian package prometheus)");
        let mut prometheus = Self { address, dir, child };
        eventually("Prometheus is ready", || {
            let ended = process::wait(&mut prometheus.child, Duration::ZERO);
            assert!(ended.is_none(), "Prometheus ended: {ended:?}\n{}", prometheus.log());
            Client::try_connect(&prometheus.address).is_ok()
                && Client::connect(&prometheus.address).get("/-/ready").status() == 200
        });
        prometheus
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The answer to a query of an instant: the labels of each series, with its value.
    #[track_caller]
    pub(crate) fn query(&self, query: &str) -> Vec<(BTreeMap<String, String>, f64)> {
        let answer = self.get(&format!("/api/v1/query?query={}", encoded(query)));
        let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
        let of = |it: &Value| {
            let labels = serde_json::from_value(it["metric"].clone()).unwrap();
            (labels, it["value"][1].as_str().unwrap().parse().unwrap())
        };
        series.iter().map(of).collect()
    }

    /// Waits until the answer to a query is one number and `is_right`.
    #[track_caller]
    pub(crate) fn eventually(&self, query: &str, is_right: impl Fn(f64) -> bool) {
        let mut last = Vec::new();
        let start = std::time::Instant::now();
        while start.elapsed() < 2 * super::DEADLINE {
            last = self.query(query);
            if let [(_, value)] = &last[..]
                && is_right(*value)
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{query}: {last:?}\n{}", self.log());
    }

    /// A page of its API, which is JSON.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Value {
        let response = Client::connect(&self.address).get(target);
        serde_json::from_str(&response.text()).unwrap_or_else(|error| panic!("{error}: {}", response.text()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every byte as it may stand in a query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").unwrap();
        encoded
    })
}
