//! WebSocket through the proxy with a real client and a real server: PyPI's `websockets` on both sides.
//!
//! `support/python.rs` says where it comes from.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::support::process::{output, stderr, stdout};
use crate::support::python::script;
use crate::support::{DEADLINE, Proxy, Setup, settles_at};

/// `server.py`, killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// What it has said of connections that ended.
    ends: Receiver<String>,
}

impl Server {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::run("websocket/server.py")
    }

    /// Runs another one that says the same.
    #[track_caller]
    pub(crate) fn run(path: &str) -> Self {
        let mut command = script(path);
        // It ends with its standard input.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port: u16 = lines.next().expect("the server starts").unwrap().parse().unwrap();
        let (say, ends) = channel();
        // Ends with the server.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self { child, address: format!("127.0.0.1:{port}"), ends }
    }

    /// How the next connection ended in the server's eyes: its path and the client's closing code.
    #[track_caller]
    pub(crate) fn next_end(&self) -> String {
        self.ends.recv_timeout(DEADLINE).expect("the server says how a connection ended")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `client.py` through `proxy`; fails with what it says.
#[track_caller]
pub(crate) fn play(proxy: &Proxy, scenario: &str) {
    let url = format!("ws://{}", proxy.address("web"));
    let client = output(script("websocket/client.py").arg(url).arg(scenario));
    assert!(client.status.success(), "{scenario}: {}{}", stdout(&client), stderr(&client));
}

/// Runs a scenario through a proxy of its own; returns the access-log records of its `tunnels`.
#[track_caller]
fn through(setup: impl FnOnce(Setup) -> Setup, scenario: &str, tunnels: usize) -> Vec<Value> {
    through_to(&Server::start(), setup, scenario, tunnels)
}

#[track_caller]
fn through_to(
    server: &Server,
    setup: impl FnOnce(Setup) -> Setup,
    scenario: &str,
    tunnels: usize,
) -> Vec<Value> {
    let proxy = setup(Setup::to(&[&server.address])).start();
    play(&proxy, scenario);
    settles_at(0, || proxy.listener("tunnels"));
    assert_eq!(proxy.listener("tunnels_total"), tunnels as u64);
    let records = proxy.records(tunnels);
    assert!(records.iter().all(|record| record["status"] == 101), "{records:?}");
    records
}

fn plain(setup: Setup) -> Setup {
    setup
}

#[test]
fn echoes_small_messages() {
    let records = through(plain, "small", 1);
    assert!(records[0]["reason"].is_null(), "{records:?}");
}

#[test]
fn echoes_messages_of_every_length_field() {
    through(plain, "sizes", 1);
}

#[test]
fn echoes_fragments_as_fragments() {
    through(plain, "fragmented", 1);
}

#[test]
fn echoes_16_mib_in_one_message() {
    let records = through(plain, "large", 1);
    for side in ["request_bytes", "response_bytes"] {
        // The message with its frame's head, and the closing frames.
        let bytes = records[0][side].as_u64().unwrap();
        assert!((0..200).contains(&(bytes - (16 << 20))), "{side}: {bytes}");
    }
}

#[test]
fn echoes_compressed_messages() {
    through(plain, "large_compressed", 1);
}

#[test]
fn passes_pings_both_ways() {
    through(plain, "ping", 2);
}

#[test]
fn passes_a_server_that_speaks_first() {
    through(plain, "speaks_first", 1);
}

#[test]
fn passes_frames_that_come_before_the_answer() {
    through(plain, "early", 1);
}

#[test]
fn passes_the_closing_handshake_of_a_client() {
    let server = Server::start();
    let records = through_to(&server, plain, "closed_by_client", 1);
    assert_eq!(server.next_end(), "closed / 1001");
    assert!(records[0]["reason"].is_null(), "{records:?}");
}

#[test]
fn passes_the_closing_handshake_of_a_server() {
    let records = through(plain, "closed_by_server", 1);
    assert!(records[0]["reason"].is_null(), "{records:?}");
}

#[test]
fn tells_the_server_of_a_client_that_is_lost() {
    let server = Server::start();
    through_to(&server, plain, "lost", 1);
    assert_eq!(server.next_end(), "closed / None");
}

#[test]
fn passes_the_choice_of_a_subprotocol() {
    through(plain, "subprotocol", 4);
}

#[test]
fn carries_200_connections_at_once() {
    for workers in [1, 4] {
        through(|setup| setup.workers(workers), "many", 200);
    }
}

#[test]
fn a_route_without_upgrades_refuses_them_in_the_clients_eyes() {
    let server = Server::start();
    let proxy = Setup::to(&[&server.address]).route("upgrades = []").start();
    let url = format!("ws://{}", proxy.address("web"));
    let client = output(script("websocket/client.py").arg(url).arg("small"));
    assert!(!client.status.success() && stderr(&client).contains("426"), "{}", stderr(&client));
    assert_eq!(proxy.listener("tunnels_total"), 0);
}
