//! Heads, both ways.

use super::*;
use corelane_http1::HeadError;
use http::{Method, Request, Uri};

/// What an exchange is told of a request.
fn told(request: Request<()>, has_body: bool) -> Result<String, HeadError> {
    let (told, outcome) = shared::<Option<Result<String, ReceiveError>>>();
    let serve: Box<Serve> = Box::new(move |core, mut stream| {
        told.set(Some(head_of(&core, &mut stream)));
        Box::pin(async {})
    });
    let (mut world, sender) = World::new(limits(), serve);
    world.spawn(async move {
        let mut send = sender.ready().await.unwrap();
        let _ = send.send_request(request, !has_body).unwrap().0.await;
    });
    world.run();
    match outcome.take().expect("the request arrives") {
        Ok(text) => Ok(text),
        Err(ReceiveError::Head(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn requests_become_heads_that_mean_the_same() {
    let request = |method: Method, uri: &str, fields: &[(&'static str, &'static str)]| {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse::<Uri>().unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    };
    let table: &[(Request<()>, bool, Result<&str, HeadError>)] = &[
        (
            request(Method::GET, "https://a.example:8443/b/c?d=e&f", &[("accept", "x"), ("te", "trailers")]),
            false,
            Ok("GET /b/c?d=e&f HTTP/1.1\r\nhost: a.example:8443\r\naccept: x\r\nte: trailers\r\n\r\n"),
        ),
        // RFC 9113 §8.2.3: crumbs are put together, in their order.
        (
            request(
                Method::GET,
                "http://a/",
                &[("cookie", "b=1"), ("x", "y"), ("cookie", "c=2"), ("x", "z")],
            ),
            false,
            Ok("GET / HTTP/1.1\r\nhost: a\r\ncookie: b=1; c=2\r\nx: y\r\nx: z\r\n\r\n"),
        ),
        // RFC 9113 §8.1.1: a body without a length ends with its stream.
        (
            request(Method::POST, "http://a/", &[]),
            true,
            Ok("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"),
        ),
        (
            request(Method::POST, "http://a/", &[("content-length", "5")]),
            true,
            Ok("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"),
        ),
        (request(Method::POST, "http://a/", &[]), false, Ok("POST / HTTP/1.1\r\nhost: a\r\n\r\n")),
        // RFC 9113 §8.3.1: the authority takes the place of Host, which may only repeat it.
        (request(Method::GET, "http://a/", &[("host", "A")]), false, Ok("GET / HTTP/1.1\r\nhost: a\r\n\r\n")),
        (
            request(Method::GET, "http://a/", &[("host", "b")]),
            false,
            Ok("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        ),
        (
            request(Method::GET, "http://a/", &[("host", "a"), ("host", "a")]),
            false,
            Ok("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\nhost: a\r\n\r\n"),
        ),
        (request(Method::CONNECT, "a:443", &[]), false, Ok("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n")),
        // RFC 9113 §8.2.1.
        (request(Method::GET, "http://a/", &[("x", " y")]), false, Err(HeadError::FieldValueInvalid)),
        (request(Method::GET, "http://a/", &[("x", "y\t")]), false, Err(HeadError::FieldValueInvalid)),
        (
            request(Method::GET, "http://a/", &[("cookie", "a "), ("cookie", "b")]),
            false,
            Err(HeadError::FieldValueInvalid),
        ),
        // What the `http` crate takes for a path and a request line cannot have.
        (request(Method::GET, "http://a/\u{e9}", &[]), false, Err(HeadError::TargetInvalid)),
    ];
    for (request, has_body, expected) in table {
        let copy = request.clone();
        assert_eq!(told(copy, *has_body), expected.map(str::to_owned), "{request:?}");
    }
    let mut crumbs = get("http://a/");
    for _ in 0..101 {
        crumbs.headers_mut().append("cookie", "".parse().unwrap());
    }
    assert_eq!(told(crumbs, false), Err(HeadError::TooManyFields), "each crumb counts");
}

#[test]
fn what_frames_a_response_in_http1_is_left_out() {
    let head = "HTTP/1.1 203 Other Words\r\nServer:x\r\nX-A: \t b c \r\nX-A:\r\nConnection: close\r\n\
                Keep-Alive: 5\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nProxy-Connection: a\r\n\r\n";
    let (mut world, sender) = World::new(limits(), answers(head));
    let (answer, outcome) = shared();
    world.spawn(async move { answer.set(Some(sender.get(get("http://a/")).await.unwrap())) });
    world.run();
    let response = outcome.take().unwrap();
    assert_eq!(response.status(), 203);
    let fields: Vec<_> =
        response.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(fields, [("server", &b"x"[..]), ("x-a", b"b c"), ("x-a", b"")]);
    assert!(response.body().is_end_stream(), "no empty DATA behind it");
}

/// As a client's decoder finds them, with the statuses and values of all lengths that are written in their own way.
#[test]
fn every_field_arrives_by_its_name() {
    const NAMES: &[&str] = &[
        "Accept-Ranges",
        "Access-Control-Allow-Origin",
        "Age",
        "Allow",
        "Cache-Control",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Language",
        "Content-Length",
        "Content-Location",
        "Content-Range",
        "Content-Type",
        "Date",
        "ETag",
        "Expires",
        "Last-Modified",
        "Link",
        "Location",
        "Refresh",
        "Retry-After",
        "Server",
        "Set-Cookie",
        "Strict-Transport-Security",
        "Vary",
        "Via",
        "WWW-Authenticate",
        "X-Other",
        "Content-Lengths",
        "Dote",
    ];
    for (number, status) in [200, 204, 206, 304, 400, 404, 500, 403, 201].into_iter().enumerate() {
        let value = "0".repeat([1, 0, 2, 126, 127, 128, 255, 300, 16_000][number]);
        let lines = NAMES.iter().filter(|name| **name != "Content-Length" || value.len() == 1);
        let names: Vec<_> =
            lines.map(|name| if number % 2 == 0 { name.to_string() } else { name.to_uppercase() }).collect();
        let lines: String = names.iter().map(|name| format!("{name}: {value}\r\n")).collect();
        let head: &'static str = format!("HTTP/1.1 {status} -\r\n{lines}\r\n").leak();
        let (mut world, sender) = World::new(limits(), answers(head));
        let (answer, outcome) = shared();
        world.spawn(async move { answer.set(Some(sender.get(get("http://a/")).await.unwrap())) });
        world.run();
        let response = outcome.take().unwrap();
        assert_eq!(response.status(), status);
        let fields: Vec<_> =
            response.headers().iter().map(|(name, value)| (name.to_string(), value.as_bytes())).collect();
        let expected: Vec<_> = names.iter().map(|name| (name.to_lowercase(), value.as_bytes())).collect();
        assert_eq!(fields, expected, "{status}");
    }
}

#[test]
fn interim_responses_go_first() {
    let serve: Box<Serve> = Box::new(|core, mut stream| {
        Box::pin(async move {
            stream.send_interim(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", core.lent()).unwrap();
            respond(&core, &mut stream, OK.as_bytes(), b"", vec![]).await.unwrap();
        })
    });
    let (mut world, sender) = World::new(limits(), serve);
    let (met, outcome) = shared::<Vec<u16>>();
    world.spawn(async move {
        let mut send = sender.ready().await.unwrap();
        let (mut response, _) = send.send_request(get("http://a/"), true).unwrap();
        let interim = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        met.set(vec![interim.status().as_u16(), response.await.unwrap().status().as_u16()]);
    });
    world.run();
    assert_eq!(outcome.take(), [103, 200]);
}
