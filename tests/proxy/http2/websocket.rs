//! WebSocket over HTTP/2 (RFC 8441): PyPI's `h2` and `wsproto` as client and as server, `websockets` and `hypercorn` as servers,
//! and Chromium.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::certificates::issuer::{Issuer, Key};
use crate::certificates::speaking;
use crate::support::process::{output, stderr, stdout};
use crate::support::python::script;
use crate::support::{
    DEADLINE, Nginx, Origin, Proxy, Setup, eventually, eventually_within, free_port, ok, settles_at, sys,
};
use crate::websocket::Server;

const CLIENT: &str = "websocket/over_http2.py";

/// Runs `over_http2.py` through `proxy`; fails with what it says.
#[track_caller]
fn play(proxy: &Proxy, arguments: &[&str]) {
    let client = output(script(CLIENT).arg(proxy.address("web")).args(arguments));
    assert!(client.status.success(), "{arguments:?}: {}{}", stdout(&client), stderr(&client));
}

fn setup(server: &Server) -> Setup {
    Setup::to(&[&server.address]).listener("http2 = true")
}

/// Runs a scenario through a proxy of its own; returns how the records of its tunnels say that they ended.
#[track_caller]
fn through(server: &Server, scenario: &str, tunnels: usize) -> Vec<(u64, Option<String>)> {
    let proxy = setup(server).start();
    play(&proxy, &[scenario]);
    settles_at(0, || proxy.listener("tunnels"));
    settles_at(0, || proxy.listener("connections"));
    assert_eq!(proxy.listener("tunnels_total"), tunnels as u64);
    let records = proxy.records(tunnels);
    let ends = records.iter().map(|record| {
        assert_eq!(record["method"], "GET", "{record}");
        (record["status"].as_u64().unwrap(), record["reason"].as_str().map(str::to_owned))
    });
    ends.collect()
}

#[test]
fn echoes_a_thousand_messages_and_every_length() {
    let server = Server::start();
    assert_eq!(through(&server, "closed", 1), [(101, None)]);
    assert_eq!(server.next_end(), "closed / 1001");
}

#[test]
fn passes_what_the_server_ends() {
    let server = Server::start();
    let ends = through(&server, "server_ends", 3);
    assert!(ends.contains(&(101, Some("upstream_closed".into()))), "{ends:?}");
}

#[test]
fn tells_the_server_of_a_client_that_is_lost() {
    let server = Server::start();
    let ends = through(&server, "lost", 2);
    assert_eq!(ends, [(101, Some("client_gone".into())), (101, Some("client_gone".into()))]);
    assert_eq!([server.next_end(), server.next_end()], ["closed / None", "closed / None"]);
}

#[test]
fn passes_the_end_of_one_side() {
    through(&Server::start(), "half_closed", 1);
}

#[test]
fn passes_the_choice_of_a_subprotocol() {
    through(&Server::start(), "subprotocol", 3);
}

#[test]
fn carries_90_on_one_connection() {
    through(&Server::start(), "many", 90);
}

#[test]
fn only_a_switch_makes_a_tunnel() {
    let switch = |fields: &str| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
        format!("{head}{fields}\r\n").into_bytes()
    };
    let origin = Origin::http(move |request| match request.head.target() {
        "/ok" => ok("a page"),
        "/no-key" => switch(""),
        "/another-key" => switch("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        _ => "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".into(),
    });
    let proxy = Setup::origin(&origin)
        .listener("http2 = true")
        .more("[[routes]]\nname = \"page\"\npath = { prefix = \"/page\" }\nrespond = { body = \"a page\" }\n")
        .start();
    let expected = [
        ("/no,websocket", 403, None),
        ("/ok,websocket", 502, Some("upgrade_unsupported")),
        ("/no-key,websocket", 502, Some("switch_mismatch")),
        ("/another-key,websocket", 502, Some("switch_mismatch")),
        ("/no,chat", 501, Some("upgrade_refused")),
        ("/page,websocket", 501, Some("upgrade_refused")),
    ];
    let paths: Vec<_> = expected.iter().map(|(path, status, _)| format!("{path},{status}")).collect();
    let arguments = ["refused"].into_iter().chain(paths.iter().map(String::as_str));
    play(&proxy, &arguments.collect::<Vec<_>>());
    assert_eq!(proxy.listener("tunnels_total"), 0);
    let records = proxy.records(expected.len());
    for (record, (_, status, reason)) in records.iter().zip(expected) {
        assert_eq!(
            (record["status"].as_u64(), record["reason"].as_str()),
            (Some(status), reason),
            "{record}"
        );
    }
}

/// A browser, ended with the test.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_browser_talks_on_the_connection_that_brought_its_page() {
    let page = "<!doctype html><body><script>
        const socket = new WebSocket('wss://' + location.host + '/socket', 'chat.v1');
        let number = 0;
        const say = () => socket.send('message ' + number);
        socket.onopen = say;
        socket.onmessage = event => {
            if (event.data !== 'message ' + number) return;
            if (++number < 300) say(); else socket.close(1000);
        };
        socket.onclose = event => fetch('/done/' + number + '/' + event.code + '/' + socket.protocol);
        </script>";
    let origin = Origin::http(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}", page.len());
        format!("{head}\r\n\r\n{page}").into_bytes()
    });
    let server = Server::start();
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let socket = format!(
        "[[routes]]\nname = \"socket\"\npath = {{ prefix = \"/socket\" }}\nupstream = \"socket\"\n\
         [upstreams.socket]\nendpoints = [\"{}\"]\n",
        server.address
    );
    let setup = Setup::origin(&origin).listener("http2 = true").more(&socket);
    let proxy = speaking(setup, &format!("certificates = [{}]", issuer.pair("app")));
    let mut command = Command::new("chromium");
    sys::die_with_parent(&mut command);
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--ignore-certificate-errors", "--host-resolver-rules=MAP app.test 127.0.0.1"]);
    command.arg(format!("--user-data-dir={}", proxy.dir().join("browser").display()));
    // It stays open.
    command.arg("--remote-debugging-port=0").stdout(Stdio::null()).stderr(Stdio::null());
    let _browser = Browser(command.arg(format!("https://app.test:{}/", proxy.port("web"))).spawn().unwrap());
    let asked = || origin.requests().iter().any(|it| it.head.target() == "/done/300/1000/chat.v1");
    eventually_within(Duration::from_secs(30), "the page is done", asked);
    assert_eq!(server.next_end(), "closed /socket 1000");
    let records = proxy.records(3);
    let client =
        |path: &str| records.iter().find(|record| record["path"] == path).map(|record| &record["client"]);
    assert!(client("/").is_some() && client("/") == client("/socket"), "{records:?}");
}

fn over_h2c(server: &Server) -> Setup {
    setup(server).upstream("protocol = \"h2c\"")
}

#[test]
fn passes_from_http2_to_http2() {
    let server = Server::run("websocket/h2c.py");
    let proxy = over_h2c(&server).start();
    for (scenario, ends) in [
        ("closed", &["closed / 1001"][..]),
        ("server_ends", &["closed /closes None", "closed /aborts None", "closed /speaks-first None"]),
        ("lost", &["closed / None", "closed / None"]),
        ("half_closed", &["closed / None"]),
        ("subprotocol", &["closed / None"; 3]),
        ("many", &["closed / 1000"; 90]),
    ] {
        play(&proxy, &[scenario]);
        let mut found: Vec<_> = ends.iter().map(|_| server.next_end()).collect();
        found.sort();
        let mut ends = ends.to_vec();
        ends.sort_unstable();
        assert_eq!(found, ends, "{scenario}");
    }
    settles_at(0, || proxy.listener("tunnels"));
    assert_eq!(proxy.listener("tunnels_total"), 1 + 3 + 2 + 1 + 3 + 90);
    settles_at(0, || proxy.endpoints("requests_active"));
}

#[test]
fn passes_from_http1_to_http2() {
    let server = Server::run("websocket/h2c.py");
    let proxy = over_h2c(&server).start();
    for scenario in [
        "small",
        "sizes",
        "speaks_first",
        "early",
        "closed_by_client",
        "closed_by_server",
        "subprotocol",
        "many",
    ] {
        crate::websocket::play(&proxy, scenario);
    }
    // What the server refuses passes.
    let mut client = proxy.client();
    client.send(UPGRADE.replace("/chat", "/forbidden")).unwrap();
    assert_eq!(client.response().status(), 403);
    settles_at(0, || proxy.listener("tunnels"));
}

#[test]
fn passes_to_a_server_that_takes_either() {
    let server = Server::run("websocket/asgi.py");
    for (setup, end) in [(over_h2c(&server), "closed HTTP/2"), (setup(&server), "closed HTTP/1.1")] {
        play(&setup.start(), &["messages"]);
        assert_eq!(server.next_end(), end);
    }
}

#[test]
fn is_502_where_an_http2_server_does_not_take_it() {
    // Its HTTP/2 has no extended CONNECT.
    let address = format!("127.0.0.1:{}", free_port());
    let _nginx = Nginx::start(&format!("listen {address} http2; location / {{ return 200 ok; }}"));
    let proxy = Setup::to(&[&address]).listener("http2 = true").upstream("protocol = \"h2c\"").start();
    let mut client = proxy.client();
    client.send(UPGRADE).unwrap();
    assert_eq!(client.response().status(), 502);
    play(&proxy, &["refused", "/,websocket,502"]);
    let records = proxy.records(2);
    assert!(records.iter().all(|record| record["reason"] == "upgrade_unsupported"), "{records:?}");
    // And the endpoint is none the worse for it.
    assert_eq!(proxy.get("/").status(), 200);
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The scenario `held`, whose socket is open.
struct Held {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Held {
    #[track_caller]
    fn start(proxy: &Proxy) -> Self {
        let mut command = script(CLIENT);
        command.arg(proxy.address("web")).arg("held").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut held = Self { child, lines };
        assert_eq!(held.said(), "open");
        held
    }

    #[track_caller]
    fn said(&mut self) -> String {
        self.lines.next().expect("the socket is open").unwrap()
    }

    #[track_caller]
    fn assert_echo(&mut self, word: &str) {
        writeln!(self.child.stdin.as_ref().unwrap(), "{word}").unwrap();
        assert_eq!(self.said(), word);
    }

    /// Lets it close its socket when it has been told that the connection is going away.
    #[track_caller]
    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn reloads_and_a_drain_let_it_live() {
    let server = Server::start();
    let mut proxy = setup(&server).start();
    let mut socket = Held::start(&proxy);
    let other = Origin::answering(ok("other"));
    let text = Setup::origin(&other).listener("http2 = true").text();
    let text = text.replace("upstreams.origin", "upstreams.other");
    proxy.rewrite(&text.replace("upstream = \"origin\"", "upstream = \"other\""));
    for round in 0..3 {
        proxy.reload_and_wait();
        socket.assert_echo(&format!("round {round}"));
    }
    eventually("the old configuration is freed", || proxy.metric("corelane_snapshots_alive", &[]) == 1);
    let start = Instant::now();
    proxy.signal(libc::SIGTERM);
    while start.elapsed() < Duration::from_millis(1_500) {
        std::thread::sleep(Duration::from_millis(100));
        socket.assert_echo("during the drain");
    }
    socket.end();
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
    assert_eq!(server.next_end(), "closed / 1000");
}

#[test]
fn a_drain_cuts_it_at_its_timeout() {
    let server = Server::start();
    let mut proxy = setup(&server).process("drain_timeout = \"2s\"").start();
    let socket = Held::start(&proxy);
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
    assert_eq!(server.next_end(), "closed / None");
    let record = &proxy.records(1)[0];
    assert_eq!((&record["status"], &record["reason"]), (&101.into(), &"drain_timeout".into()), "{record}");
    drop(socket);
}
