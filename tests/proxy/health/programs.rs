//! Checks by programs: what they are given, how they are judged, and that they end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{fast, logs, settles};
use crate::support::{Origin, Proxy, Setup, eventually, ok};

/// A shell script; `@dir@` is its folder.
fn program(dir: &Path, text: &str) -> String {
    let path = dir.join("check");
    // Written elsewhere first: one that is open for writing cannot be run.
    let draft = dir.join("draft");
    fs::write(&draft, format!("#!/bin/sh\n{}\n", text.replace("@dir@", dir.to_str().unwrap()))).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(draft, &path).unwrap();
    path.to_str().unwrap().to_owned()
}

fn checked_by(program: &str, arguments: &str, keys: &str) -> (Origin, Proxy) {
    let origin = Origin::answering(ok("x"));
    let health = fast("exec", &format!("command = [\"{program}\"{arguments}]{keys}"));
    let proxy = Setup::origin(&origin).upstream(&health).start();
    (origin, proxy)
}

#[test]
fn it_gets_host_and_port_and_says_by_its_exit_status() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        "echo \"$* $CORELANE_UPSTREAM $CORELANE_ENDPOINT $CORELANE_HOST $CORELANE_PORT\" > @dir@/seen.new
                ls -l /proc/self/fd > @dir@/open; mv @dir@/seen.new @dir@/seen; exit $(cat @dir@/status)";
    let program = program(dir.path(), text);
    fs::write(dir.path().join("status"), "0").unwrap();
    let (origin, proxy) = checked_by(&program, ", \"-a\", \"two words\"", "");
    settles(&proxy, origin.address(), 1);
    let (host, port) = origin.address().split_once(':').unwrap();
    let expected = format!("-a two words {host} {port} origin {host}:{port} {host} {port}\n");
    assert_eq!(fs::read_to_string(dir.path().join("seen")).unwrap(), expected);
    // Neither the listeners, nor rings and eventfds.
    let open = fs::read_to_string(dir.path().join("open")).unwrap();
    assert!(
        open.contains("/dev/null") && !open.contains("socket:") && !open.contains("anon_inode:"),
        "{open}"
    );
    fs::write(dir.path().join("status"), "7").unwrap();
    settles(&proxy, origin.address(), 0);
    logs(&proxy, &["endpoint is down", "exit status 7", "failed=3"]);
}

#[test]
fn what_it_prints_is_compared_after_trimming() {
    let dir = tempfile::tempdir().unwrap();
    for (text, healthy, reason) in [
        ("echo 1", 1, ""),
        ("printf '\\n 1 \\n'; exit 3", 1, ""),
        ("echo 11", 0, "output does not match"),
        ("exit 0", 0, "output does not match"),
        ("yes", 0, "printed more than 64 KiB"),
    ] {
        let program = program(dir.path(), text);
        let (origin, proxy) = checked_by(&program, "", ", expect = \"1\"");
        settles(&proxy, origin.address(), healthy);
        if healthy == 0 {
            logs(&proxy, &["endpoint is down", reason]);
        }
    }
}

/// Whether the process whose id a script wrote runs; a zombie does not.
fn runs(file: &Path) -> bool {
    let id = fs::read_to_string(file).unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Leaves its own id and that of a child, and waits.
const HANGS: &str = "sleep 1000 & echo $! > @dir@/child; echo $$ > @dir@/leader; wait";

#[test]
fn at_the_timeout_it_ends_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path(), HANGS);
    let origin = Origin::answering(ok("x"));
    let health = format!(
        "health = {{ kind = \"exec\", command = [\"{program}\"], timeout = \"500ms\", interval = \"1h\" }}"
    );
    let proxy = Setup::origin(&origin).upstream(&health).start();
    let [child, leader] = ["child", "leader"].map(|name| dir.path().join(name));
    eventually("it runs", || runs(&child) && runs(&leader));
    settles(&proxy, origin.address(), 0);
    logs(&proxy, &["endpoint is down", "reason=timeout"]);
    eventually("it has ended", || !runs(&child) && !runs(&leader));
}

#[test]
fn it_ends_when_its_endpoint_is_no_longer_checked_and_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path(), HANGS);
    let origin = Origin::answering(ok("x"));
    let health = format!("health = {{ kind = \"exec\", command = [\"{program}\"], timeout = \"1h\" }}");
    let (checked, unchecked) = (Setup::origin(&origin).upstream(&health), Setup::origin(&origin));
    let mut proxy = checked.start();
    let [child, leader] = ["child", "leader"].map(|name| dir.path().join(name));
    let runs_now = || runs(&child) && runs(&leader);
    let is_gone = || !runs(&child) && !runs(&leader);
    eventually("it runs", runs_now);
    proxy.rewrite(&unchecked.text());
    proxy.reload_and_wait();
    eventually("it has ended", is_gone);
    let pid = fs::read_to_string(&leader).unwrap();
    eventually("nothing is left of it", || !Path::new(&format!("/proc/{}", pid.trim())).exists());

    proxy.rewrite(&checked.text());
    proxy.reload_and_wait();
    eventually("it runs again", runs_now);
    proxy.signal(libc::SIGTERM);
    eventually("it has ended with the process", || proxy.has_exited() && is_gone());
}

#[test]
fn what_it_leaves_running_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path(), "sleep 1000 & echo $! > @dir@/child; echo 1");
    let (origin, proxy) = checked_by(&program, "", ", expect = \"1\"");
    settles(&proxy, origin.address(), 1);
    let child = dir.path().join("child");
    eventually("a child was there", || child.exists());
    drop(proxy);
    eventually("it has ended", || !runs(&child));
}
