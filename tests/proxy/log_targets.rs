//! Where records go: to a real rsyslog in each of its ways, and to files that a real logrotate rotates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Launch, Load, Origin, Proxy, Setup, eventually, free_port, gate, ok, process, settles_at, sys,
};

/// A real rsyslog, with a directory of its own; killed when it is dropped.
struct Rsyslog {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Rsyslog {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("corelane-rsyslog-").tempdir().unwrap();
        let port = free_port();
        let config =
            CONFIG.replace("@port@", &port.to_string()).replace("@dir@", dir.path().to_str().unwrap());
        fs::write(dir.path().join("rsyslog.conf"), config).unwrap();
        Self { dir, port, child: None }
    }

    fn start() -> Self {
        let mut server = Self::new();
        server.run();
        server
    }

    /// Runs it, again after [`Rsyslog::kill`], at the same places.
    fn run(&mut self) {
        gate::share();
        let mut command = Command::new(in_sbin("rsyslogd"));
        sys::die_with_parent(&mut command);
        let _ = fs::remove_file(self.dir.path().join("pid"));
        command.arg("-n").arg("-f").arg(self.dir.path().join("rsyslog.conf"));
        command.arg("-i").arg(self.dir.path().join("pid"));
        let log = fs::File::create(self.dir.path().join("stderr")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("rsyslogd runs (Debian package rsyslog)"));
        eventually("rsyslog listens", || {
            let ended = process::wait(self.child.as_mut().unwrap(), std::time::Duration::ZERO);
            let log = || fs::read_to_string(self.dir.path().join("stderr"));
            assert!(ended.is_none(), "rsyslog ended: {ended:?} {:?}", log());
            let is_open = std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            is_open && self.socket().exists()
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Each message as it was parsed: priority, time, host, program, process, message id, version, text.
    fn messages(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.dir.path().join("out")).unwrap_or_default();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        whole.lines().map(|line| line.splitn(8, '|').map(str::to_owned).collect()).collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.kill();
    }
}

const CONFIG: &str = r#"
global(workDirectory="@dir@")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="@port@")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="@port@")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="@dir@/log" useSpecialParser="off" parseHostname="on" RateLimit.Interval="0")
template(name="parsed" type="string"
  string="%pri%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%procid%|%msgid%|%protocol-version%|%msg%\n")
if $app-name != "rsyslogd" then action(type="omfile" file="@dir@/out" template="parsed")
"#;

/// Debian keeps it where only root's PATH looks.
fn in_sbin(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() { path } else { name.into() }
}

fn logging_to(path: &str, keys: &str, origin: &Origin) -> Proxy {
    let setup = Setup::origin(origin).text();
    Launch::new(&format!("[access_log]\npath = \"{path}\"\n{keys}\n{setup}")).start()
}

#[test]
fn rsyslog_parses_records_of_each_way() {
    let origin = Origin::answering(ok("x"));
    let server = Rsyslog::start();
    let ways = [
        format!("syslog:udp://127.0.0.1:{}", server.port),
        format!("syslog:tcp://localhost:{}", server.port),
        format!("syslog:unix:{}", server.socket().display()),
    ];
    for (number, way) in ways.iter().enumerate() {
        let keys = format!("syslog_facility = \"local{number}\"\nsyslog_app_name = \"edge{number}\"");
        let proxy = logging_to(way, &keys, &origin);
        let mut client = proxy.client();
        for request in 0..20 {
            client.get(&format!("/way{number}?request={request}&odd=%7C\"]"));
        }
        let app = format!("edge{number}");
        let of_way = || server.messages().into_iter().filter(|it| it[3] == app).collect::<Vec<_>>();
        eventually(&format!("records over {way}"), || of_way().len() >= 20);
        let messages = of_way();
        assert_eq!(messages.len(), 20);
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        for (request, message) in messages.iter().enumerate() {
            let (priority, pid) = (((16 + number) * 8 + 6).to_string(), proxy.pid().to_string());
            let expected = [&*priority, hostname.trim(), &app, &pid, "-", "1"];
            let parsed = [&message[0], &message[2], &message[3], &message[4], &message[5], &message[6]];
            assert_eq!(parsed, expected, "{way}: {message:?}");
            assert!(message[1].starts_with("20") && message[1].len() >= 24, "{message:?}");
            let record: Value = serde_json::from_str(&message[7]).unwrap();
            assert_eq!(record["query"], format!("request={request}&odd=%7C\"]"));
        }
    }
}

#[test]
fn records_wait_for_a_server_that_is_away() {
    let origin = Origin::answering(ok("x"));
    let mut server = Rsyslog::new();
    let way = format!("syslog:tcp://127.0.0.1:{}", server.port);
    let proxy = logging_to(&way, "format = '{target}'", &origin);
    let mut client = proxy.client();
    // Before it runs at all, and after it has stopped.
    client.get("/0");
    eventually("the log says so", || proxy.log().contains("access-log records wait"));
    for round in 1..4 {
        server.run();
        eventually("the record arrives", || server.messages().len() == round);
        server.kill();
        client.get(&format!("/{round}"));
    }
    server.run();
    eventually("the last record arrives", || server.messages().len() == 4);
    let targets: Vec<String> = server.messages().into_iter().map(|message| message[7].clone()).collect();
    assert_eq!(targets, ["/0", "/1", "/2", "/3"]);
    assert_eq!(proxy.metric("corelane_access_log_lost_records_total", &[]), 0);
    assert!(proxy.metric("corelane_access_log_write_errors_total", &[]) > 0);
    assert!(proxy.log().contains("the access log can be written again"));
}

#[test]
fn many_small_batches_wait_for_a_server() {
    let origin = Origin::answering(ok("x"));
    let mut server = Rsyslog::new();
    let way = format!("syslog:tcp://127.0.0.1:{}", server.port);
    let proxy = logging_to(&way, "format = '{target}'", &origin);
    let waiting = || proxy.metric("corelane_access_log_waiting_records", &[]);
    // The writer goes on taking batches from its channel; how many there may be is said in bytes.
    let mut client = proxy.client();
    for batch in 1..=5 {
        client.get("/");
        client.get("/");
        settles_at(2 * batch, waiting);
    }
    server.run();
    eventually("all records arrive", || server.messages().len() == 10);
    settles_at(0, waiting);
    assert_eq!(proxy.metric("corelane_access_log_lost_records_total", &[]), 0);
    assert_eq!(proxy.metric("corelane_worker_access_log_dropped_total", &[]), 0);
}

#[test]
fn a_server_that_stays_away_costs_no_request() {
    let origin = Origin::answering(ok("x"));
    let mut proxy = logging_to("syslog:unix:@dir@/none", "", &origin);
    let mut client = proxy.client();
    for _ in 0..500 {
        assert_eq!(client.get("/").status(), 200);
    }
    drop(client);
    proxy.signal(libc::SIGTERM);
    assert!(proxy.wait_exit(std::time::Duration::from_secs(15)).success());
    assert!(
        proxy.log().contains("access-log records are lost, the process ends records=500"),
        "{}",
        proxy.log()
    );
}

#[test]
fn logrotate_loses_no_record() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(2).start();
    let log = proxy.dir().join("access.log");
    let config = proxy.dir().join("logrotate.conf");
    let text = format!(
        "{} {{\n rotate 9\n missingok\n nocreate\n postrotate\n  kill -USR1 {}\n endscript\n}}\n",
        log.display(),
        proxy.pid()
    );
    fs::write(&config, text).unwrap();
    let load = Load::start(&proxy.address("web"), 4, "/");
    for round in 1..=4 {
        let before = load.answered();
        eventually("requests while it is written", || load.answered() > before + 50);
        eventually("a log to rotate", || fs::metadata(&log).is_ok_and(|it| it.len() > 0));
        let mut command = Command::new(in_sbin("logrotate"));
        command.arg("--force").arg("--state").arg(proxy.dir().join("state")).arg(&config);
        let output = process::output(&mut command);
        assert!(output.status.success(), "{}", process::stderr(&output));
        eventually("the log is opened anew", || proxy.log().matches("access log reopened").count() == round);
    }
    let tally = load.finish();
    tally.assert_all_ok();
    let rotated = |number: usize| match number {
        0 => log.clone(),
        number => proxy.dir().join(format!("access.log.{number}")),
    };
    let read =
        || -> String { (0..=4).map(|it| fs::read_to_string(rotated(it)).unwrap_or_default()).collect() };
    settles_at(tally.answered(), || read().lines().count() as u64);
    for line in read().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    assert!((1..=4).all(|number| fs::metadata(rotated(number)).is_ok_and(|it| it.len() > 0)));
}
