//! `corelane top`: in a terminal of tmux's, and for scripts.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::support::process::{output, stderr, stdout};
use crate::support::proxy::binary;
use crate::support::{Load, Origin, Proxy, Setup, eventually, free_port, ok, sys};

/// Runs `corelane top` to its end.
fn top(words: &[&str]) -> Output {
    output(Command::new(binary()).arg("top").args(words))
}

/// A terminal with a shell in it, in a server of tmux of its own, which ends with the test.
struct Screen {
    server: String,
}

impl Screen {
    /// With `corelane top` running, 80 x 24.
    fn start(admin: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let screen = Self { server: format!("corelane-test-{}-{number}", std::process::id()) };
        // What the shell says afterwards tells whether the terminal is as it was: lines are edited and echoed.
        let script = format!(
            "echo before; {} top --admin {admin}; echo \"ended $?\"; stty -a | grep -ow -e '-*icanon' -e '-*echo'; cat",
            binary().display()
        );
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh", "-c", &script]);
        screen
    }

    #[track_caller]
    fn tmux(&self, words: &[&str]) -> String {
        let done = output(Command::new("tmux").args(["-L", &self.server]).args(words));
        assert!(done.status.success(), "tmux {words:?}: {}", stderr(&done));
        stdout(&done)
    }

    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        let mut seen = String::new();
        let there = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(text, || {
                seen = self.text();
                seen.contains(text)
            });
        }));
        assert!(there.is_ok(), "{text:?} does not come to be in\n{seen}");
    }

    /// The process that runs in it.
    fn pid_of_top(&self) -> u32 {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let children = format!("/proc/{0}/task/{0}/children", shell.trim());
        let children = std::fs::read_to_string(children).expect("the shell runs");
        children.split_whitespace().next().expect("top runs").parse().expect("a number")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.server, "kill-server"]).output();
    }
}

#[test]
fn prints_tables_and_json_for_scripts() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    proxy.get("/");
    let admin = proxy.address("admin");
    let file = proxy.dir().join("corelane.toml");
    for place in [&*admin, &format!("http://{admin}"), file.to_str().unwrap()] {
        let told = top(&["--admin", place, "--once"]);
        assert!(told.status.success(), "{}", stderr(&told));
        let text = stdout(&told);
        for part in ["serving", "nothing is wrong", "ROUTE ", origin.address(), "POLICY", "round_robin"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
    let told = top(&["--admin", &admin, "--json"]);
    let state: Value = serde_json::from_str(&stdout(&told)).expect("JSON");
    assert_eq!(state["routes"][0]["requests"]["total"], 1);
}

#[test]
fn says_why_it_cannot_ask() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let nobody = format!("127.0.0.1:{}", free_port());
    for (words, why) in [
        (
            &["--admin", &*nobody, "--once"][..],
            &*format!("corelane: cannot ask http://{nobody}: Connection refused"),
        ),
        (&["--admin", &proxy.address("web"), "--json"], "it has no /status.json; is it the admin address?"),
        (&["--admin", "missing.toml"], "missing.toml"),
        (&["--admin", &proxy.address("admin")], "standard output is no terminal; --once prints tables"),
    ] {
        let told = top(words);
        assert_eq!(told.status.code(), Some(1), "{words:?}");
        assert!(stderr(&told).contains(why), "{words:?}: {}", stderr(&told));
    }
    assert_eq!(top(&["--interval", "5"]).status.code(), Some(2));
}

#[test]
fn lives_in_a_terminal_and_gives_it_back() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let load = Load::start(&proxy.address("web"), 2, "/");
    let screen = Screen::start(&proxy.address("admin"));
    screen.shows("SERVING");
    screen.shows("nothing is wrong");
    screen.shows("ROUTE ");
    eventually("the route has a rate", || {
        let text = screen.text();
        let row = text.lines().find(|line| line.starts_with("   all ")).unwrap_or_default();
        row.split_whitespace().nth(1).is_some_and(|rate| rate != "0")
    });
    screen.press("3");
    screen.shows(origin.address());
    screen.press("Enter");
    screen.shows("sent on a pooled connection");
    screen.press("Escape");
    screen.press("/");
    screen.press("z");
    screen.shows("nothing here fits the filter");
    screen.press("Escape");
    screen.shows(origin.address());
    screen.tmux(&["resize-window", "-x", "120", "-y", "40"]);
    screen.shows("REUSE");
    eventually("the keys stand in the last of 40 lines", || {
        screen.text().lines().nth(39).is_some_and(|line| line.starts_with("Tab next"))
    });
    load.finish().assert_all_ok();
    screen.press("q");
    screen.shows("before\nended 0\nicanon\necho\n");
}

#[test]
fn gives_the_terminal_back_when_told_to_end() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let screen = Screen::start(&proxy.address("admin"));
    screen.shows("nothing is wrong");
    sys::signal(screen.pid_of_top(), libc::SIGTERM);
    screen.shows("before\nended 143\nicanon\necho\n");
}

#[test]
fn ends_with_its_terminal() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let screen = Screen::start(&proxy.address("admin"));
    screen.shows("nothing is wrong");
    let process = format!("/proc/{}/exe", screen.pid_of_top());
    drop(screen);
    eventually("top ends", || std::fs::read_link(&process).is_err());
}

#[test]
fn goes_on_asking_a_proxy_that_is_gone() {
    let origin = Origin::answering(ok("x"));
    let mut proxy = Setup::origin(&origin).start();
    let screen = Screen::start(&proxy.address("admin"));
    screen.shows("nothing is wrong");
    proxy.signal(libc::SIGTERM);
    proxy.wait_exit(crate::support::DEADLINE);
    screen.shows("OLD FIGURES: cannot ask http://127.0.0.1:");
    screen.press("C-c");
    screen.shows("ended 0");
}

#[test]
fn shows_what_is_wrong_first() {
    let origin = Origin::answering(ok("x"));
    let dead = format!("127.0.0.1:{}", free_port());
    let text = Setup::origin(&origin).text().replace(
        "[[routes]]",
        "[[routes]]\nname = \"dead\"\npath = { prefix = \"/dead\" }\nupstream = \"dead\"\n[[routes]]",
    );
    let proxy = Proxy::start(&format!("{text}[upstreams.dead]\nendpoints = [\"{dead}\"]\n"));
    let load = Load::start(&proxy.address("web"), 1, "/dead");
    let screen = Screen::start(&proxy.address("admin"));
    screen.shows(&format!("!! endpoint dead {dead}: 100 % of attempts fail: connect_failed"));
    screen.shows("!! route dead: 100 % are 5xx");
    screen.shows("!! dead ");
    screen.press("!");
    eventually("only the bad route is left", || {
        let text = screen.text();
        text.contains("!! dead ") && !text.contains("   all ")
    });
    load.finish();
}
