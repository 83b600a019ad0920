//! Calls of gRPC-Web, by hand (`tests/grpc/web.py`) and by curl, to a server of gRPC.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::grpc_calls::Echo;
use crate::support::process::{self, output, stderr, stdout};
use crate::support::python::script;
use crate::support::{DEADLINE, Launch, Setup, eventually};

fn launch(server: &Echo) -> Launch {
    let text = Setup::to(&[&server.address])
        .listener("http2 = true")
        .route("grpc_web = true")
        .upstream("protocol = \"h2c\"")
        .text();
    let log =
        "[access_log]\npath = \"@dir@/access.log\"\nformat = \"{path} {status} {grpc_status} {reason}\"\n";
    Launch::new(&format!("{log}{text}"))
}

#[test]
fn calls_of_grpc_web_are_translated() {
    let server = Echo::start(&[]);
    let proxy = launch(&server).start();
    let cases = ["binary", "text", "streams", "failures", "others"];
    let told = output(script("grpc/web.py").arg(proxy.address("web")).args(cases));
    let expected: String = cases.iter().map(|case| format!("{case}\n")).collect();
    assert_eq!(stdout(&told), expected, "{}", stderr(&told));
    eventually("all calls are over", || proxy.endpoint("requests_active", &server.address) == 0);
    let log = fs::read_to_string(proxy.dir().join("access.log")).unwrap();
    let count = |line: &str| log.lines().filter(|it| *it == line).count();
    assert_eq!(count("/test.Echo/Unary 200 0 -"), 12, "{log}");
    assert_eq!(count("/test.Echo/Unary 200 13 grpc_web_text"), 4, "{log}");
    assert_eq!(count("/test.Echo/Fail 200 5 -"), 1, "{log}");
    assert_eq!(count("/test.Echo/None 200 12 -"), 1, "{log}");
    assert_eq!(count("/test.Echo/Watch 200 4 -") + count("/test.Echo/Watch 200 4 grpc_timeout"), 2, "{log}");
}

/// What a client says of a call whose server goes in the middle of it.
fn cut_off(case: &str) -> String {
    let server = Echo::start(&[]);
    let proxy = launch(&server).start();
    let mut command = script("grpc/web.py");
    command.args([&*proxy.address("web"), case]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("one"));
    drop(server);
    let end = lines.next().unwrap_or_default();
    assert!(process::wait(&mut child, DEADLINE).is_some_and(|status| status.success()), "{end}");
    end
}

#[test]
fn a_call_that_is_cut_off_has_its_end_between_messages_only() {
    assert_eq!(cut_off("cut"), "14");
    // Within a message, but for one time in a hundred.
    let end = cut_off("torn");
    assert!(["torn", "whole"].contains(&&*end), "{end}");
}

#[test]
fn over_http2_too_and_beside_grpc() {
    let server = Echo::start(&[]);
    let proxy = launch(&server).start();
    let call = |content_type: &str| {
        let file = proxy.dir().join("message");
        fs::write(&file, b"\0\0\0\0\x02hi").unwrap();
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "15", "-i", "--http2-prior-knowledge", "-H", "te: trailers"]);
        command.args(["-H", &format!("content-type: {content_type}"), "--data-binary"]);
        command.arg(format!("@{}", file.display()));
        stdout(&output(command.arg(format!("http://{}/test.Echo/Unary", proxy.address("web")))))
    };
    let web = call("application/grpc-web");
    assert!(
        web.starts_with("HTTP/2 200") && web.contains("\r\ncontent-type: application/grpc-web+proto\r\n"),
        "{web}"
    );
    assert!(web.contains("\r\n\r\n\0\0\0\0\x02hi"), "{web}");
    assert!(
        web.ends_with("\r\n") && web.contains("grpc-status:0\r\n"),
        "the trailers are in the body: {web}"
    );
    let plain = call("application/grpc");
    assert!(plain.contains("\r\ncontent-type: application/grpc\r\n"), "{plain}");
    assert!(
        plain.contains("higrpc-status: 0\r\n") || plain.contains("\r\ngrpc-status: 0\r\n"),
        "trailers: {plain}"
    );
}
