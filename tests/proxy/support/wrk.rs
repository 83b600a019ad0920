//! wrk as the load: what it reports is what somebody else's load generator saw of the proxy.

use std::process::{Child, Command, Stdio};

use super::process::stdout;
use super::{gate, sys};

/// A running wrk; it ends with the test.
#[derive(Debug)]
pub(crate) struct Wrk {
    child: Option<Child>,
}

impl Wrk {
    /// Starts `connections` connections that each send GET `url` over and over.
    pub(crate) fn start(connections: usize, url: &str) -> Self {
        gate::share();
        let mut command = Command::new("wrk");
        sys::die_with_parent(&mut command);
        command.args(["-t2", "-c", &connections.to_string()]);
        // Until it is told to end; none of its requests may stand still for as long as a test waits.
        command.args(["-d10m", "--timeout", "15s", url]).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().expect("wrk runs (Debian package wrk)");
        Self { child: Some(child) }
    }

    /// Ends it. Fails unless each request was answered with a 2xx or 3xx, and no connection was refused or cut.
    #[track_caller]
    pub(crate) fn assert_all_ok(mut self) {
        let mut child = self.child.take().expect("only its end takes it");
        assert!(child.try_wait().unwrap().is_none(), "wrk has ended by itself");
        sys::signal(child.id(), libc::SIGINT);
        let told = stdout(&child.wait_with_output().unwrap());
        let answered = told.lines().find_map(|line| line.trim().split_once(" requests in "));
        let answered: u64 = answered.and_then(|(count, _)| count.parse().ok()).unwrap_or(0);
        assert!(answered > 0, "no request was answered: {told}");
        assert!(!told.contains("Socket errors") && !told.contains("Non-2xx"), "{told}");
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
