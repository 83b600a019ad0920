//! The command line, as a newcomer uses it, with curl as the client.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use crate::support::process::{self, output, stderr, stdout};
use crate::support::proxy::binary;
use crate::support::{Client, Origin, Setup, eventually, free_port, ok, sys};

/// A child that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(arguments: &[&str]) -> (Running, tempfile::NamedTempFile) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(binary());
    sys::die_with_parent(&mut command);
    let out = || File::options().append(true).open(log.path()).unwrap();
    let child = command.args(arguments).stdin(Stdio::null()).stdout(out()).stderr(out()).spawn().unwrap();
    (Running(child), log)
}

fn curl(arguments: &[&str]) -> String {
    let output = output(Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments));
    assert!(output.status.success(), "curl {arguments:?}: {}", stderr(&output));
    stdout(&output)
}

#[test]
fn demo_serves_until_it_is_interrupted() {
    let port = free_port().to_string();
    let (mut demo, log) = run(&["demo", "--port", &port]);
    let address = format!("127.0.0.1:{port}");
    eventually("the demo serves", || Client::serves(&address));
    assert!(!curl(&[&format!("http://{address}/")]).is_empty());
    // Both origins take their turn.
    let told = |_| curl(&["-i", &format!("http://{address}/")]);
    let mut answers: Vec<String> = (0..8).map(told).collect();
    answers.sort();
    answers.dedup();
    assert!(answers.len() >= 2, "one origin only: {answers:?}");
    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(text.contains(&port) && text.contains("curl"), "it says what to try: {text}");
    sys::signal(demo.0.id(), libc::SIGINT);
    let status = process::wait(&mut demo.0, crate::support::DEADLINE).expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn proxy_needs_no_file() {
    let origins = [Origin::answering(ok("a")), Origin::answering(ok("b"))];
    let from = format!("127.0.0.1:{}", free_port());
    let [a, b] = origins.each_ref().map(|origin| origin.address().to_owned());
    let (mut proxy, _log) = run(&["proxy", "--from", &from, "--to", &a, "--to", &b]);
    eventually("it serves", || Client::serves(&from));
    let mut client = Client::connect(&from);
    for _ in 0..10 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert!(origins.iter().all(|origin| !origin.requests().is_empty()), "both get requests");
    drop(client);
    sys::signal(proxy.0.id(), libc::SIGTERM);
    let status = process::wait(&mut proxy.0, crate::support::DEADLINE).expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn helps_and_names_its_version() {
    for command in ["", "run", "check", "fmt", "schema", "explain", "proxy", "demo"] {
        let arguments: Vec<_> = [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let output = output(Command::new(binary()).args(&arguments));
        assert!(output.status.success(), "{arguments:?}");
        assert!(stdout(&output).contains("Usage"), "{arguments:?}: {}", stdout(&output));
    }
    let output = output(Command::new(binary()).arg("--version"));
    assert_eq!(stdout(&output).trim(), format!("corelane {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn formats_files() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (toml, json) = (write("a.toml", "[a]\nb=1 # c\n"), write("b.json", "{\n  \"a\": 1\n}\n"));
    let fmt = |arguments: &[&std::path::Path]| output(Command::new(binary()).arg("fmt").args(arguments));
    let check = fmt(&["--check".as_ref(), &toml, &json]);
    assert_eq!((check.status.code(), stdout(&check)), (Some(1), format!("{}\n", toml.display())));
    let written = fmt(&[&toml, &json]);
    assert_eq!((written.status.code(), stdout(&written)), (Some(0), format!("{}\n", toml.display())));
    assert_eq!(std::fs::read_to_string(&toml).unwrap(), "[a]\nb = 1 # c\n");
    assert!(fmt(&["--check".as_ref(), &toml, &json]).status.success());

    let (yaml, broken) = (write("c.yaml", "a: 1\n"), write("d.toml", "a = \n"));
    let refused = fmt(&[&yaml, &broken]);
    assert_eq!((refused.status.code(), stdout(&refused)), (Some(1), String::new()));
    assert_eq!(stderr(&refused).lines().count(), 2, "{}", stderr(&refused));
}

#[test]
fn prints_the_schema() {
    let printed = output(Command::new(binary()).arg("schema"));
    assert!(printed.status.success());
    let schema: serde_json::Value = serde_json::from_str(&stdout(&printed)).unwrap();
    assert_eq!(schema["$defs"]["process"]["properties"]["driver"]["default"], "auto");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.toml");
    let text = "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n[[routes]]\nname = \"all\"\nrespond = { status = 204 }\n";
    std::fs::write(&file, text).unwrap();
    for arguments in [&["schema"][..], &["check", file.to_str().unwrap()]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = output(Command::new(binary()).args(arguments).stdout(writer));
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn refuses_wrong_arguments() {
    for arguments in [&["prox"][..], &["run"], &["proxy", "--from", "nonsense", "--to", "127.0.0.1:1"], &[]] {
        let output = output(Command::new(binary()).args(arguments));
        assert!(!output.status.success(), "{arguments:?}");
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn serves_curl() {
    let origin = Origin::http(|request| ok([request.head.method().as_bytes(), b" ", &request.body].concat()));
    let proxy = Setup::origin(&origin).start();
    let url = format!("http://{}/x", proxy.address("web"));
    assert_eq!(curl(&[&url]), "GET ");
    assert_eq!(curl(&["-d", "a=b", &url]), "POST a=b");
    assert_eq!(curl(&["--http1.0", &url]), "GET ");
    assert_eq!(curl(&["-H", "Expect: 100-continue", "-d", "a=b", &url]), "POST a=b");
    assert_eq!(
        curl(&["-H", "Transfer-Encoding: chunked", "-T", "Cargo.toml", &url]).len(),
        std::fs::read("Cargo.toml").unwrap().len() + 4
    );
    assert!(curl(&["-I", &url]).starts_with("HTTP/1.1 200"));
    // Two requests on one connection.
    let counted = curl(&["-w", "%{num_connects}\n", "-o", "/dev/null", &url, "-o", "/dev/null", &url]);
    assert_eq!(counted, "1\n0\n");
}

#[test]
fn serves_curl_over_a_unix_socket() {
    let origin = Origin::answering(ok("unix"));
    let text = Setup::origin(&origin).text().replace("127.0.0.1:@web@", "unix:@dir@/web.sock");
    let proxy = crate::support::Proxy::start(&text);
    let socket = proxy.dir().join("web.sock");
    assert_eq!(curl(&["--unix-socket", socket.to_str().unwrap(), "http://localhost/"]), "unix");
}

/// The example of docs/routing.md, and what it says is printed.
#[test]
fn explain_says_what_the_page_on_routing_shows() {
    let page = include_str!("../../docs/routing.md");
    let file = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let shown = page.split_once("```text\n").unwrap().1.split_once("```").unwrap().0;
    let (command, printed) = shown.split_once('\n').unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.toml");
    let rest = "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:8080\"\n\
                [upstreams.site]\nendpoints = [\"127.0.0.1:8001\"]\n[upstreams.beta]\nendpoints = [\"127.0.0.1:8002\"]\n\
                [upstreams.users]\nendpoints = [\"127.0.0.1:8003\"]\n";
    std::fs::write(&path, format!("{file}{rest}")).unwrap();
    // Split as a shell would: each second part stood in quotes.
    let parts = command.strip_prefix("$ corelane ").unwrap().split('\'').enumerate();
    let words = parts.flat_map(|(at, part)| match at % 2 {
        0 => part.split_whitespace().collect::<Vec<_>>(),
        _ => vec![part],
    });
    let words: Vec<&str> = words.collect();
    let explain = |words: &[&str]| output(Command::new(binary()).args(words).current_dir(folder.path()));
    let told = explain(&words);
    assert_eq!(stdout(&told), printed, "{}", stderr(&told));
    assert!(told.status.success());
    let json = explain(&[&words[..], &["--json"]].concat());
    let value: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(value["ways"][0]["upstream"]["name"], "site");
    let none = explain(&["explain", "shop.toml", "GET", "http://elsewhere.example/"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(stdout(&none).contains("No route matches: the answer is 404 no_route."), "{}", stdout(&none));
    let wrong = explain(&["explain", "missing.toml", "GET", "/"]);
    assert_eq!((wrong.status.code(), stdout(&wrong).is_empty()), (Some(1), true));
}
