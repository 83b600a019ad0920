//! The kind `exec`: a program judges.
//!
//! It runs in a process group of its own, which ends with the check however that ends: by its exit, at the timeout, or
//! because the endpoint is no longer checked.
#![allow(unsafe_code, reason = "no safe call of the standard library sends a signal to a process group")]

use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStdout, Command};

use super::dial::{Fault, Outcome};
use super::subject::Subject;
use crate::config::ExecCheck;

pub(super) async fn run(check: &ExecCheck, subject: &Subject) -> Outcome {
    let (host, port) = subject.host_and_port();
    let [program, arguments @ ..] = &check.command[..] else {
        return Err("there is no program".into());
    };
    let mut command = Command::new(&**program);
    command
        .args(arguments.iter().map(|argument| &**argument))
        .args([&host, &port])
        .env("CORELANE_UPSTREAM", &*subject.upstream)
        .env("CORELANE_ENDPOINT", subject.endpoint.to_string())
        .env("CORELANE_HOST", &host)
        .env("CORELANE_PORT", &port)
        .stdin(Stdio::null())
        .stdout(if check.expect.is_some() { Stdio::piped() } else { Stdio::null() })
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = command.spawn().map_err(hindered)?;
    let group = child.id().and_then(Group::led_by);
    let stdout = child.stdout.take();
    let ended = async {
        let status = child.wait().await;
        // What it has left running may hold its output open.
        drop(group);
        status
    };
    let (status, printed) = tokio::join!(ended, read(stdout));
    let (status, printed) = (status?, printed?);
    match &check.expect {
        Some(expected) if printed.trim_ascii() == expected.as_bytes() => Ok(()),
        Some(_) => Err("output does not match".into()),
        None if status.success() => Ok(()),
        None => Err(told(status).into()),
    }
}

/// All that is printed. One that prints too much loses its reader, and most end by that.
async fn read(stdout: Option<ChildStdout>) -> Result<Vec<u8>, Fault> {
    let mut printed = Vec::new();
    if let Some(stdout) = stdout {
        let mut bounded = stdout.take(OUTPUT_BYTES_MAX as u64 + 1);
        bounded.read_to_end(&mut printed).await?;
    }
    match printed.len() {
        0..=OUTPUT_BYTES_MAX => Ok(printed),
        _ => Err(format!("printed more than {} KiB", OUTPUT_BYTES_MAX >> 10).into()),
    }
}

/// Why a program was not started. No more processes (EAGAIN) is a limit of ours.
fn hindered(error: io::Error) -> Fault {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Fault::Ours(error.to_string());
    }
    match Fault::from(error) {
        Fault::Endpoint(reason) => Fault::Endpoint(format!("cannot run: {reason}")),
        ours => ours,
    }
}

fn told(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("killed by signal {}", signal.unwrap_or_default()),
    }
}

/// A process group; killed when this is dropped.
struct Group(libc::pid_t);

impl Group {
    fn led_by(process: u32) -> Option<Self> {
        // Never 0 or 1, which would mean our own group, or every process.
        libc::pid_t::try_from(process).ok().filter(|id| *id > 1).map(Self)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: kill only sends a signal, and touches no memory. The group is the child's own: its id is given to nobody
        // else while the child has not been waited for, or a member is left; a moment after both it could be only if all
        // other ids had been given out meanwhile. Fails, as it should, where nobody is left.
        let _ = unsafe { libc::kill(-self.0, libc::SIGKILL) };
    }
}

/// What a program may print.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
