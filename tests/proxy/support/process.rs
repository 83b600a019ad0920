//! What /proc says about a process and its sockets, and the children that tests start.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::{DEADLINE, sys};

/// The state CLOSE_WAIT in /proc/net/tcp: the peer has closed and this side has not noticed.
pub(crate) const CLOSE_WAIT: &str = "08";

/// Resident memory.
pub(crate) fn rss_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// The most of it that there was so far.
pub(crate) fn rss_peak_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).expect(key);
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The names of the threads.
pub(crate) fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect()
}

/// User and system time of all threads together.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field after it.
    let after = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / sys::ticks_per_second())
}

/// The share of one core that the process takes over `time`.
fn cpu_share(pid: u32, time: Duration) -> f64 {
    let (before, start) = (cpu(pid), Instant::now());
    std::thread::sleep(time);
    (cpu(pid) - before).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// Fails if the process never takes so little of a core as `most` for a second. Closing and settling may take a moment;
/// spinning does not stop.
#[track_caller]
pub(crate) fn assert_quiet(pid: u32, most: f64, what: &str) {
    let mut share = 1.0;
    for _ in 0..4 {
        share = cpu_share(pid, Duration::from_secs(1));
        if share <= most {
            return;
        }
    }
    panic!("{what}: {share:.2} of a core");
}

/// Open descriptors: of the first thread, and of the workers, which have tables of their own.
pub(crate) fn descriptors(pid: u32) -> usize {
    tables(pid).map(|table| fs::read_dir(table).unwrap().count()).sum()
}

/// The directories of a process's descriptor tables.
pub(crate) fn tables(pid: u32) -> impl Iterator<Item = PathBuf> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|thread| thread.unwrap().path());
    threads.filter_map(move |thread| {
        let name = fs::read_to_string(thread.join("comm")).unwrap_or_default();
        let has_table = name.starts_with("worker-") || thread.ends_with(pid.to_string());
        has_table.then(|| thread.join("fd"))
    })
}

/// How many TCP sockets of this network namespace have that local or remote port and that state.
pub(crate) fn sockets(port: u16, state: &str) -> usize {
    let port = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .map(|table| {
            let table = fs::read_to_string(table).unwrap_or_default();
            let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
            rows.filter(|row| row.len() > 3 && row[3] == state)
                .filter(|row| row[1].ends_with(&port) || row[2].ends_with(&port))
                .count()
        })
        .sum()
}

/// Waits for a child's end; `None` when it runs on past the deadline.
pub(crate) fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a program to its end with a deadline; panics, naming it, when it cannot be started or does not end.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> Output {
    output_with(command, Stdio::null())
}

/// [`output`] of a program that reads its standard input.
#[track_caller]
pub(crate) fn output_with(command: &mut Command, input: Stdio) -> Output {
    sys::die_with_parent(command);
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = child.id();
    let (done, finished) = std::sync::mpsc::channel();
    let watch = std::thread::spawn(move || {
        if finished.recv_timeout(4 * DEADLINE).is_err() {
            sys::signal(pid, libc::SIGKILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    done.send(()).expect("the program ends before its deadline");
    watch.join().unwrap();
    output
}

/// Standard output as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
