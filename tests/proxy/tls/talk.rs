//! A conversation with a program: what it says, and what it is told as it goes.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::support::{eventually, sys};

/// A running program; killed when it is dropped.
pub(super) struct Talk {
    child: Child,
    told: Arc<Mutex<String>>,
    /// Ends when everything that it says has been read.
    reading: JoinHandle<()>,
}

impl Talk {
    /// Starts a shell's command line; what it writes on standard error counts too.
    pub(super) fn start(line: &str) -> Self {
        let mut command = Command::new("sh");
        sys::die_with_parent(&mut command);
        command.args(["-c", &format!("exec {line} 2>&1")]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let told = Arc::<Mutex<String>>::default();
        let (mut stdout, into) = (child.stdout.take().unwrap(), told.clone());
        let reading = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, told, reading }
    }

    /// What it has said since it was last asked, up to and with `end`, which must come.
    #[track_caller]
    pub(super) fn until(&mut self, end: &str) -> String {
        let find = || self.told.lock().unwrap().find(end);
        eventually(&format!("{end:?}"), || find().is_some() || self.reading.is_finished());
        let found = find().unwrap_or_else(|| panic!("it ended without {end:?}"));
        self.told.lock().unwrap().drain(..found + end.len()).collect()
    }

    /// Tells it something, as one piece.
    #[track_caller]
    pub(super) fn say(&mut self, words: &str) {
        self.child.stdin.as_mut().unwrap().write_all(words.as_bytes()).unwrap();
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what the program said last ---\n{}", self.told.lock().unwrap());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
