//! Heads, both ways.

use super::rules::Raw;
use super::*;
use http::{Response, Version};

/// A request as the endpoint gets it: method, URI, fields, and its body.
fn arrived(head: &[u8], body: &[u8]) -> String {
    let (told, outcome) = shared::<String>();
    let answer: Box<Answer> = Box::new(move |request, mut respond| {
        let told = told.clone();
        Box::pin(async move {
            let (parts, mut body) = request.into_parts();
            assert_eq!(parts.version, Version::HTTP_2);
            let mut text = format!("{} {}", parts.method, parts.uri);
            for (name, value) in &parts.headers {
                text += &format!("|{name}: {}", String::from_utf8_lossy(value.as_bytes()));
            }
            if !body.is_end_stream() {
                text += "|";
            }
            while let Some(piece) = body.data().await {
                text += &String::from_utf8_lossy(&piece.unwrap());
            }
            told.set(text);
            respond.send_response(Response::new(()), true).unwrap();
        })
    });
    let mut wired = Wired::new(client_limits(), answer);
    let got = wired.ask(head, body, vec![]);
    wired.run();
    assert!(got.take().unwrap().is_whole());
    outcome.take()
}

#[test]
fn requests_say_in_fields_what_their_heads_say() {
    let table: &[(&str, &str, &str)] = &[
        (
            "GET /a?b=c HTTP/1.1\r\nHost: h:1\r\nX-A: 1\r\nx-a:2\r\nVia: 1.1 x\r\n\r\n",
            "",
            "GET http://h:1/a?b=c|x-a: 1|x-a: 2|via: 1.1 x",
        ),
        // RFC 9113 §8.2.2: what belongs to the connection ends here; TE may say one thing.
        (
            "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\nKeep-Alive: 1\r\nUpgrade: x\r\n\r\n",
            "",
            "GET http://h/|te: trailers",
        ),
        ("GET / HTTP/1.1\r\nHost: h\r\nTE: gzip, trailers\r\nConnection: TE\r\n\r\n", "", "GET http://h/"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "body", "POST http://h/|body"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n",
            "body",
            "POST http://h/|content-length: 4|body",
        ),
        // A small body stands behind the head, for the request to be sent again.
        (
            "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nX: y\r\n\r\n",
            "",
            "PUT http://h/|content-length: 8|X: y\r\n\r\n",
        ),
        // RFC 3986 §2.1: what the `http` crate refuses goes by its number.
        (
            "GET /a`\"?q=\"<b>\"{^|}` HTTP/1.1\r\nHost: h\r\n\r\n",
            "",
            "GET http://h/a%60%22?q=%22%3Cb%3E%22{^|}%60",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "", "OPTIONS http://h*"),
        ("GET / HTTP/1.1\r\nHost: \r\nX: \r\n\r\n", "", "GET /|x: "),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\nX: \u{e9}\r\n\r\n", "", "GET http://[::1]:80/|x: \u{e9}"),
    ];
    for (head, body, expected) in table {
        assert_eq!(arrived(head.as_bytes(), body.as_bytes()), *expected, "{head:?}");
    }
}

#[test]
fn secrets_are_in_no_table() {
    let mut raw = Raw::new(client_limits());
    raw.ask(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d\r\nAuthorization: x\r\nAccept: y\r\n\r\n");
    raw.turn();
    let has = |bytes: &[u8]| raw.received.windows(bytes.len()).any(|sent| sent == bytes);
    // RFC 7541 §6.2.3, with the names' places in the static table; §6.2.1 for what is no secret.
    assert!(has(&[0x1f, 32 - 15]) && has(&[0x1f, 23 - 15]) && has(&[0x40 | 19]));
}

/// A response's head as the exchange gets it, for a method; without what ends it.
fn told(method: &str, response: impl Fn() -> Response<()> + 'static, has_body: bool) -> String {
    let answer: Box<Answer> = Box::new(move |_request, mut respond| {
        let mut response = respond.send_response(response(), !has_body).unwrap();
        Box::pin(async move {
            turns(3).await;
            if has_body {
                response.send_data(Bytes::from_static(b"body"), true).unwrap();
            }
        })
    });
    let mut wired = Wired::new(client_limits(), answer);
    let head = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
    let got = wired.ask(head.as_bytes(), b"", vec![]);
    wired.run();
    let got = got.take().unwrap();
    assert!(got.is_whole(), "{got:?}");
    assert_eq!(got.body, if has_body && method != "HEAD" { &b"body"[..] } else { b"" });
    got.heads[0].strip_suffix("\r\n\r\n").unwrap().replace("\r\n", "|")
}

#[test]
fn responses_become_heads_that_mean_the_same() {
    let plain = |status: u16| move || Response::builder().status(status).body(()).unwrap();
    let with_length = |status: u16| {
        move || Response::builder().status(status).header("content-length", "4").body(()).unwrap()
    };
    // RFC 9113 §8.1.1: what has no length ends with its stream.
    assert_eq!(told("GET", plain(200), true), "HTTP/1.1 200 OK|transfer-encoding: chunked");
    assert_eq!(told("GET", with_length(200), true), "HTTP/1.1 200 OK|content-length: 4");
    assert_eq!(told("GET", plain(404), false), "HTTP/1.1 404 Not Found|content-length: 0");
    assert_eq!(told("GET", plain(599), false), "HTTP/1.1 599 |content-length: 0");
    // Those have none, whatever they say of it.
    assert_eq!(told("GET", plain(204), false), "HTTP/1.1 204 No Content");
    assert_eq!(told("GET", with_length(304), false), "HTTP/1.1 304 Not Modified|content-length: 4");
    assert_eq!(told("HEAD", plain(200), false), "HTTP/1.1 200 OK");
    assert_eq!(told("HEAD", with_length(200), false), "HTTP/1.1 200 OK|content-length: 4");
    let refused = || Response::builder().header("x", " y").body(()).unwrap();
    let mut wired = Wired::new(client_limits(), says(refused));
    let got = wired.get();
    wired.run();
    assert_eq!(got.take().unwrap().error.as_deref(), Some("invalid field value"), "RFC 9113 §8.2.1");
    let fields = || {
        let builder = Response::builder().header("set-cookie", "a").header("x", "").header("set-cookie", "b");
        builder.header("content-length", "0").body(()).unwrap()
    };
    assert_eq!(
        told("GET", fields, false),
        "HTTP/1.1 200 OK|set-cookie: a|set-cookie: b|x: |content-length: 0"
    );
}

#[test]
fn interim_responses_come_first_each_by_itself() {
    let answer: Box<Answer> = Box::new(|_request, mut respond| {
        Box::pin(async move {
            let hints = || Response::builder().status(103).header("link", "</a>").body(()).unwrap();
            respond.send_informational(hints()).unwrap();
            respond.send_informational(hints()).unwrap();
            turns(5).await;
            respond.send_informational(hints()).unwrap();
            respond.send_response(Response::new(()), true).unwrap();
        })
    });
    let mut wired = Wired::new(client_limits(), answer);
    let got = wired.get();
    wired.run();
    let got = got.take().unwrap();
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_string();
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_string();
    assert_eq!(got.heads, [hints.clone(), hints.clone(), hints, last]);
}

#[test]
fn heads_above_the_limits_are_refused_by_what_they_exceed() {
    let many = || (0..101).fold(Response::builder(), |made, index| made.header(format!("x{index}"), "y"));
    let long = || Response::builder().header("x", "y".repeat(9000));
    let large = || (0..3).fold(Response::builder(), |made, _| made.header("x", "y".repeat(6000)));
    let enormous = || (0..4).fold(Response::builder(), |made, _| made.header("x", "y".repeat(16_000)));
    type Build = fn() -> http::response::Builder;
    let table: [(&str, Build); 4] = [
        ("too many fields", many),
        ("field too large", long),
        ("head too large", large),
        ("not exactly one head", enormous),
    ];
    for (expected, builder) in table {
        let mut wired = Wired::new(client_limits(), says(move || builder().body(()).unwrap()));
        let got = wired.get();
        wired.run();
        assert_eq!(got.take().unwrap().error.as_deref(), Some(expected));
        assert_eq!(wired.near.connection.end(), None, "{expected}: the connection goes on");
    }
}
