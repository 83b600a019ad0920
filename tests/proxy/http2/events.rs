//! Server-sent events and long polls over HTTP/2: what the origin sends is with the client at once.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::support::{Origin, Proxy, Setup, eventually, sys};

/// Sends each word that the test gives it, as an event; then no more.
fn origin(length: &'static str) -> (Origin, Sender<&'static str>) {
    let (give, words) = channel::<&'static str>();
    let words: Mutex<Receiver<_>> = Mutex::new(words);
    let origin = Origin::script(move |connection| {
        if let Ok(Some(_)) = connection.request() {
            let words = words.lock().unwrap();
            let mut head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{length}\r\n");
            for word in words.iter() {
                let event = format!("data: {word}\n\n");
                let framed = if length.starts_with("Transfer") {
                    format!("{:x}\r\n{event}\r\n", event.len())
                } else {
                    event
                };
                connection.send(std::mem::take(&mut head) + &framed).unwrap();
            }
        }
    });
    (origin, give)
}

/// curl, whose output is read as it comes.
struct Reader {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Reader {
    fn start(proxy: &Proxy) -> Self {
        let mut command = Command::new("curl");
        sys::die_with_parent(&mut command);
        command.args(["-sSN", "-m", "30", "--http2-prior-knowledge"]);
        command.arg(format!("http://{}/", proxy.address("web"))).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that is not empty.
    #[track_caller]
    fn next(&mut self) -> Option<String> {
        self.lines.by_ref().map(Result::unwrap).find(|line| !line.is_empty())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_event_is_there_before_the_next_is_sent() {
    for length in ["Transfer-Encoding: chunked\r\n", "Connection: close\r\n"] {
        let (origin, give) = origin(length);
        let proxy = Setup::origin(&origin).listener("http2 = true").start();
        let mut reader = Reader::start(&proxy);
        for word in ["one", "two", "three", "four", "five"] {
            give.send(word).unwrap();
            assert_eq!(reader.next(), Some(format!("data: {word}")), "{length}");
        }
        drop(give);
    }
}

#[test]
fn a_long_poll_is_answered_when_there_is_something() {
    let (origin, give) = origin("Content-Length: 12\r\n");
    let proxy = Setup::origin(&origin).listener("http2 = true").start();
    let mut reader = Reader::start(&proxy);
    eventually("the request is there", || origin.requests().len() == 1);
    assert_eq!(proxy.listener("requests_total"), 0, "it waits");
    give.send("late").unwrap();
    assert_eq!(reader.next(), Some("data: late".into()));
    assert!(reader.child.wait().unwrap().success());
    assert_eq!(reader.next(), None);
}
