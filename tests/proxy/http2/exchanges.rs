//! What a request and its response have beside their bodies: 1xx, trailers, answers that come early, heads of all sizes.

use std::fs;
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::connections::setup;
use crate::support::http2::{
    DATA, END_STREAM, Http2, Outcome, RST_STREAM, block, frame, get, headers, plain,
};
use crate::support::process::output;
use crate::support::{Origin, eventually, ok};

/// A request of this method with further fields; its body is to come.
fn open(stream: u32, method: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut all = plain("/").to_vec();
    all[0].1 = method;
    all.extend_from_slice(fields);
    headers(stream, 0, &block(&all))
}

fn data(stream: u32, flags: u8, bytes: &str) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

#[test]
fn interim_responses_pass_before_the_final_one_exists() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::script(move |connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n").unwrap();
        let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(20));
        connection.send(ok("late")).unwrap();
    });
    let proxy = setup(&origin).start();
    let mut client = Http2::greet(proxy.client());
    client.send(get(1, "/")).unwrap();
    assert_eq!(client.interim(1), 103);
    go.send(()).unwrap();
    let (outcome, answer) = client.answer(1);
    assert_eq!((outcome, &*answer.body), (Outcome::Answered(200), &b"late"[..]));
}

#[test]
fn who_expects_a_100_gets_the_origins() {
    let origin = Origin::script(|connection| {
        let head = connection.head().unwrap().unwrap();
        assert_eq!(head.field("expect"), Some("100-continue"));
        connection.send("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        assert_eq!(connection.exactly(5).unwrap(), b"hello");
        connection.send(ok("done")).unwrap();
    });
    let proxy = setup(&origin).start();
    let mut client = Http2::greet(proxy.client());
    client.send(open(1, "POST", &[("content-length", "5"), ("expect", "100-continue")])).unwrap();
    assert_eq!(client.interim(1), 100);
    client.send(data(1, END_STREAM, "hello")).unwrap();
    assert_eq!(client.answer(1).0, Outcome::Answered(200));
    client.send(open(3, "POST", &[("content-length", "5"), ("expect", "something")])).unwrap();
    assert_eq!(client.answer(3).0, Outcome::Answered(417));
}

#[test]
fn trailers_pass_both_ways() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nServer-Timing: a\r\nX-Sum: 1\r\n\r\n";
    let origin = Origin::answering(answer);
    let proxy = setup(&origin).start();
    let mut client = Http2::greet(proxy.client());
    let trailers = headers(1, END_STREAM, &block(&[("x-sum", "5d41"), ("x-more", "a")]));
    client.send([open(1, "POST", &[]), data(1, 0, "hello"), trailers].concat()).unwrap();
    let (outcome, answer) = client.answer(1);
    assert_eq!((outcome, answer.has_trailers, &*answer.body), (Outcome::Answered(200), true, &b"ok"[..]));
    let request = origin.request();
    assert_eq!(request.body, b"hello");
    let expected =
        [("x-sum", "5d41"), ("x-more", "a")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(request.trailers, expected);
    // As a library says them.
    let url = format!("http://{}/", proxy.address("web"));
    let told = output(Command::new("nghttp").args(["-nv", &url]));
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.contains("server-timing: a") && told.contains("x-sum: 1"), "{told}");
}

#[test]
fn an_answer_to_head_has_the_length_and_no_body() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    let proxy = setup(&origin).start();
    let mut fields = plain("/");
    fields[0].1 = "HEAD";
    let mut client = Http2::greet(proxy.client());
    for stream in [1, 3] {
        client.send(headers(stream, END_STREAM, &block(&fields))).unwrap();
        let (outcome, answer) = client.answer(stream);
        assert_eq!((outcome, answer.body.len()), (Outcome::Answered(200), 0));
    }
    let url = format!("http://{}/", proxy.address("web"));
    let told = output(Command::new("curl").args(["-sSI", "-m", "15", "--http2-prior-knowledge", &url]));
    assert!(String::from_utf8_lossy(&told.stdout).contains("content-length: 1234"), "{told:?}");
    assert_eq!(origin.connections(), 1, "the connection to the origin is used again");
}

#[test]
fn large_heads_pass_up_to_their_limits() {
    let large = "v".repeat(7000);
    let many: String = (0..60).map(|number| format!("X-{number}: {}\r\n", "w".repeat(200))).collect();
    let origin = Origin::http(move |request| {
        assert!(request.head.raw.len() < 17_000);
        format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\nok").into_bytes()
    });
    let proxy = setup(&origin).start();
    let mut client = Http2::greet(proxy.client());
    let mut stream = 1;
    for (fields, expected) in [
        (&[("x-a", &*large), ("x-b", &large)][..], 200),
        (&[("x-a", &*large), ("x-b", &large), ("x-c", &large)], 431),
    ] {
        client.send(headers(stream, END_STREAM, &block(&[&plain("/"), fields].concat()))).unwrap();
        let (outcome, answer) = client.answer(stream);
        assert_eq!(outcome, Outcome::Answered(expected), "{} fields", fields.len());
        assert_eq!(answer.body == b"ok", expected == 200);
        stream += 2;
    }
    assert_eq!(origin.request().head.field("x-b"), Some(&*large));
}

#[test]
fn connect_is_refused() {
    let origin = Origin::answering(ok("hello"));
    let proxy = setup(&origin).start();
    let mut client = Http2::greet(proxy.client());
    client.send(headers(1, 0, &block(&[(":method", "CONNECT"), (":authority", "a:443")]))).unwrap();
    assert_eq!(client.answer(1).0, Outcome::Answered(405));
    assert_eq!(origin.connections(), 0);
}

/// Answers as soon as it has the head, and closes without reading more.
fn hasty() -> Origin {
    Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection
            .send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
            .unwrap();
        // A reset could overtake the answer.
        let _ = connection.half_close();
        let _ = connection.drain();
    })
}

#[test]
fn an_early_answer_arrives_and_its_client_is_stopped_without_an_error() {
    let origin = hasty();
    let proxy = setup(&origin).start();
    let mut client = Http2::greet(proxy.client());
    client.send(open(1, "POST", &[("content-length", "50000000")])).unwrap();
    client.send(data(1, 0, &"x".repeat(10_000))).unwrap();
    let (outcome, answer) = client.answer(1);
    assert_eq!((outcome, &*answer.body), (Outcome::Answered(413), &b"no"[..]));
    // RFC 9113 §8.1: behind the whole answer, NO_ERROR.
    loop {
        let frame = client.next_frame().unwrap().expect("the connection goes on");
        if (frame.kind, frame.stream) == (RST_STREAM, 1) {
            assert_eq!(frame.payload, [0; 4]);
            break;
        }
    }
    // Others go on.
    client.send(get(3, "/")).unwrap();
    assert_eq!(client.answer(3).0, Outcome::Answered(413));
}

/// As curl 7.88 takes a reset behind an answer for a failure of the request, it must get the answer first.
#[test]
fn curl_sees_early_answers() {
    let origin = hasty();
    let proxy = setup(&origin).start();
    let body = proxy.dir().join("body");
    fs::write(&body, vec![b'x'; 20_000_000]).unwrap();
    let data = format!("@{}", body.display());
    let url = format!("http://{}/", proxy.address("web"));
    for _ in 0..5 {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "-m",
            "15",
            "--http2-prior-knowledge",
            "-w",
            " %{http_code}",
            "--data-binary",
            &data,
            &url,
        ]);
        let told = output(&mut curl);
        assert_eq!(
            String::from_utf8_lossy(&told.stdout),
            "no 413",
            "{}",
            String::from_utf8_lossy(&told.stderr)
        );
    }
    eventually("they are over", || proxy.listener("connections") == 0);
}
