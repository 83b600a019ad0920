//! From the request to the switch, or to the answer that is none.

use std::time::Duration;

use super::{CONNECT, SWITCH, UPGRADE, assert_echo, echo, echoing, granting};
use crate::support::message::Head;
use crate::support::wire::End;
use crate::support::{Client, Origin, Proxy, Setup, client, eventually, ok, settles_at};

/// The head that an origin gets for `request`, and the answer that the client gets; the origin answers with `ok`.
#[track_caller]
fn forwarded(setup: impl FnOnce(Setup) -> Setup, request: &str) -> Head {
    let origin = Origin::answering(ok("plain"));
    let proxy = setup(Setup::origin(&origin)).start();
    let mut client = proxy.client();
    let response = client.request(request);
    assert_eq!((response.status(), response.text()), (200, "plain".to_owned()));
    origin.request().head
}

/// Fails unless `request` is served as if it had no Upgrade, and the connection takes another.
#[track_caller]
fn assert_served_plainly(request: &str) {
    let origin = Origin::answering(ok("plain"));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for round in 1..=2 {
        let response = client.request(request);
        assert_eq!((response.status(), response.text()), (200, "plain".to_owned()), "{request:?}");
        assert_eq!(origin.requests().len(), round);
    }
    for name in ["upgrade", "connection", "http2-settings"] {
        let head = origin.requests().remove(0).head;
        assert!(!head.has(name), "{name} went on: {:?}", head.raw);
    }
    assert_eq!(origin.connections(), 1, "the upstream connection is an ordinary one");
}

/// What a client gets and what the log says when the origin answers an Upgrade with `answer`.
#[track_caller]
fn assert_bad_switch(request: &str, answer: &str, reason: &str) {
    let answer = answer.to_owned();
    let origin = Origin::script(move |connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.target() == "/plain" {
                connection.send(ok("plain")).unwrap();
            } else {
                connection.send(&answer).unwrap();
            }
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let response = client.request(request);
    assert_eq!(response.status(), 502, "{:?}", response.head.raw);
    assert!(response.text().contains(reason), "{:?} does not say {reason}", response.text());
    assert_eq!(proxy.record()["reason"], reason);
    assert_eq!(client.get("/plain").text(), "plain", "the client's connection goes on");
    assert_eq!(origin.connections(), 2, "the upstream's does not");
    settles_at(0, || proxy.listener("tunnels_total"));
}

#[test]
fn forwards_an_allowed_upgrade_in_any_case() {
    for protocol in ["websocket", "WebSocket", "WEBSOCKET"] {
        let origin = echoing();
        let proxy = Setup::origin(&origin).listener("forwarded_fields = []").start();
        let mut client = proxy.client();
        let request = format!(
            "GET /chat?a HTTP/1.1\r\nHost: a\r\nconnection: keep-alive, UPGRADE\r\nX-A: 1\r\n\
             Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nupgrade: {protocol}\r\n\r\n"
        );
        client.send(request).unwrap();
        let head = client.next_head();
        assert_eq!(head.status(), 101);
        assert_eq!(head.all("upgrade"), ["websocket"]);
        assert_eq!(head.field("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
        assert_eq!(head.field("x-origin"), Some("1"));
        assert!(!head.has("content-length") && !head.has("transfer-encoding"), "{:?}", head.raw);
        assert_echo(&mut client, "hello");
        let sent = origin.request().head;
        assert_eq!(sent.first, "GET /chat?a HTTP/1.1");
        assert_eq!(sent.all("upgrade"), [protocol], "{:?}", sent.raw);
        assert_eq!(sent.all("connection"), ["upgrade"], "{:?}", sent.raw);
        assert_eq!(sent.field("sec-websocket-key"), Some("x3JJHMbDL1EzLkh9GBhXDw=="));
        assert_eq!(sent.fields.len(), 5, "{:?}", sent.raw);
    }
}

#[test]
fn forwards_only_what_is_allowed_of_a_list() {
    let list = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\
                Upgrade: h2c, TLS/1.0\r\nUpgrade: WebSocket, foo\r\n\r\n";
    let head = forwarded(|setup| setup, list);
    assert_eq!(head.all("upgrade"), ["WebSocket"], "{:?}", head.raw);
    let head = forwarded(|setup| setup.route("upgrades = [\"foo\", \"tls/1.0\"]"), list);
    let value = head.all("upgrade").join(",").replace(' ', "");
    assert_eq!(value, "TLS/1.0,foo", "{:?}", head.raw);
    let head = forwarded(|setup| setup.route("upgrades = []"), list);
    assert!(!head.has("upgrade") && !head.has("connection"), "{:?}", head.raw);
}

#[test]
fn switches_to_another_protocol_that_is_allowed() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: Chat/2\r\n\r\n")
            .unwrap();
        echo(connection);
    });
    let proxy = Setup::origin(&origin).route("upgrades = [\"websocket\", \"chat/2\"]").start();
    let mut client = proxy.client();
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket, chat/2\r\n\r\n")
        .unwrap();
    assert_eq!(client.next_head().field("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("chat/2"));
    assert_echo(&mut client, "hello");
}

#[test]
fn strips_h2c_and_serves_the_request() {
    assert_served_plainly(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    );
    assert_served_plainly("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: H2C\r\n\r\n");
    assert_served_plainly("GET / HTTP/1.1\r\nHost: a\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
}

#[test]
fn ignores_an_upgrade_that_connection_does_not_name() {
    assert_served_plainly("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
    assert_served_plainly(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_served_plainly("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n");
    assert_served_plainly("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade:\r\n\r\n");
    assert_served_plainly("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websockets\r\n\r\n");
}

#[test]
fn ignores_an_upgrade_of_http10() {
    let head = forwarded(
        |setup| setup,
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n",
    );
    assert!(!head.has("upgrade") && !head.has("connection"), "{:?}", head.raw);
}

#[test]
fn refuses_an_upgrade_with_a_body() {
    let origin = echoing();
    let proxy = Setup::origin(&origin).start();
    let upgrade = |line: &str, body: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{line}\r\n\r\n{body}"
        )
    };
    for (line, body) in [
        ("Content-Length: 3", "abc"),
        ("Content-Length: 3", ""),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "0\r\n\r\n"),
    ] {
        let mut client = proxy.client();
        let response = client.request(upgrade(line, body));
        assert_eq!(response.status(), 400, "{line}");
        assert!(response.text().contains("upgrade_with_body"), "{:?}", response.text());
        client.expect_close();
    }
    assert_eq!(origin.connections(), 0);
    settles_at(4, || proxy.metric("corelane_listener_failures_total", &[("reason", "upgrade_with_body")]));
    // No body, whatever says so.
    let mut client = proxy.client();
    client.send(upgrade("Content-Length: 0", "")).unwrap();
    assert_eq!(client.next_head().status(), 101);
    // An Upgrade that is not forwarded does not count.
    let mut client = proxy.client();
    let request = upgrade("Content-Length: 3", "abc").replace("websocket", "other");
    assert_eq!(client.request(request).text(), "/");
}

#[test]
fn holds_early_bytes_back_until_the_switch() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::script(move |connection| {
        connection.request().unwrap();
        assert!(connection.silent_for(Duration::from_millis(400)).unwrap(), "early bytes before the 101");
        wait.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        connection.send(SWITCH).unwrap();
        assert_eq!(connection.exactly(16).unwrap(), b"early and later.");
        connection.send("seen").unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(UPGRADE.to_owned() + "early ").unwrap();
    eventually("the head is there", || origin.received(0).ends_with("\r\n\r\n"));
    client.send("and ").unwrap();
    client.expect_silence(Duration::from_millis(500));
    go.send(()).unwrap();
    assert_eq!(client.next_head().status(), 101);
    client.send("later.").unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"seen");
}

#[test]
fn takes_early_bytes_for_the_next_request_when_there_is_no_switch() {
    let origin = Origin::http(|request| ok(request.head.target()));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(UPGRADE.to_owned() + &client::get("/next")).unwrap();
    assert_eq!(client.response().text(), "/chat");
    assert_eq!(client.response().text(), "/next");
    let mut client = proxy.client();
    client.send(UPGRADE.to_owned() + "\u{1}\u{5}hello, this is no request\r\n\r\n").unwrap();
    assert_eq!(client.response().text(), "/chat");
    assert_eq!(client.response().status(), 400, "they are judged as a request");
    client.expect_end();
    let targets: Vec<_> = origin.requests().iter().map(|request| request.head.target().to_owned()).collect();
    assert_eq!(targets, ["/chat", "/next", "/chat"]);
}

#[test]
fn an_answer_that_is_no_switch_is_an_ordinary_one() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 4\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\nbody",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nbody",
    ] {
        let origin = Origin::script(move |connection| {
            while let Ok(Some(request)) = connection.request() {
                let plain = ok(request.head.target());
                let answer = if request.head.has("upgrade") { answer.as_bytes() } else { &plain };
                connection.send(answer).unwrap();
            }
        });
        let proxy = Setup::origin(&origin).start();
        let mut client = proxy.client();
        let response = client.request(UPGRADE);
        assert_eq!(response.text(), "body", "{answer:?}");
        assert_eq!(client.get("/next").text(), "/next", "the client's connection goes on");
        assert_eq!(origin.connections(), 2, "a failed upgrade's connection is not used again");
        eventually("it is closed", || origin.open_connections() == 1);
        assert_eq!(client.get("/more").text(), "/more");
        assert_eq!(origin.connections(), 2, "the next one's is");
        settles_at(0, || proxy.listener("tunnels_total"));
    }
}

#[test]
fn refuses_a_switch_to_what_was_not_forwarded() {
    let switch = |lines: &str| format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n");
    for lines in [
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websockets\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade:\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: other\r\n",
        "",
    ] {
        assert_bad_switch(UPGRADE, &switch(lines), "switch_mismatch");
    }
    let asked = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other, websocket\r\n\r\n";
    assert_bad_switch(asked, &switch("Connection: upgrade\r\nUpgrade: other\r\n"), "switch_mismatch");
}

#[test]
fn refuses_a_switch_that_was_not_forwarded() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ] {
        assert_bad_switch(request, SWITCH, "unexpected_switch");
    }
}

#[test]
fn refuses_a_switch_with_a_coding() {
    let switch = SWITCH.replace("X-Origin: 1", "Transfer-Encoding: chunked");
    assert_bad_switch(UPGRADE, &switch, "transfer_encoding_in_interim");
}

#[test]
fn passes_interim_responses_before_the_switch() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_owned() + SWITCH).unwrap();
        echo(connection);
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(UPGRADE).unwrap();
    assert_eq!(client.next_head().status(), 103);
    assert_eq!(client.next_head().status(), 101);
    assert_echo(&mut client, "hello");
}

#[test]
fn refuses_connect_by_default() {
    let origin = granting(echo);
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let response = client.request(CONNECT);
    assert_eq!(response.status(), 405);
    assert!(!response.head.field("allow").unwrap_or_default().contains("CONNECT"), "{:?}", response.head.raw);
    client.expect_close();
    assert_eq!(origin.connections(), 0);
}

/// A proxy that forwards CONNECT, and an origin that answers it with `answer`.
fn with_connect(answer: &'static str) -> (Origin, Proxy) {
    let origin = Origin::script(move |connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.method() != "CONNECT" {
                connection.send(ok(request.head.target())).unwrap();
                continue;
            }
            connection.send(answer).unwrap();
            if answer.starts_with("HTTP/1.1 2") {
                echo(connection);
                return;
            }
        }
    });
    let proxy = Setup::origin(&origin).listener("methods_refused = [\"TRACE\"]").start();
    (origin, proxy)
}

#[test]
fn a_2xx_to_connect_is_a_tunnel() {
    for answer in [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        // RFC 9110 §9.3.6: "A client MUST ignore any Content-Length or Transfer-Encoding header fields".
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let (origin, proxy) = with_connect(answer);
        let mut client = proxy.client();
        // The bytes behind the head wait for the answer.
        client.send(CONNECT.to_owned() + "early").unwrap();
        let head = client.next_head();
        assert_eq!(head.status() / 100, 2, "{answer:?}");
        assert!(!head.has("content-length") && !head.has("transfer-encoding"), "{:?}", head.raw);
        assert_eq!(client.exactly(5).unwrap(), b"early");
        assert_echo(&mut client, "hello");
        settles_at(1, || proxy.listener("tunnels"));
        let sent = origin.request().head;
        assert_eq!(sent.first, "CONNECT elsewhere.example:443 HTTP/1.1");
        assert_eq!(sent.all("host"), ["elsewhere.example:443"]);
        drop(client);
        settles_at(0, || proxy.listener("tunnels"));
        let record = proxy.record();
        assert_eq!((&record["method"], &record["reason"]), (&"CONNECT".into(), &serde_json::Value::Null));
        assert_eq!(proxy.get("/next").text(), "/next");
        assert_eq!(origin.connections(), 2, "a tunnel's connection is never used again");
    }
}

#[test]
fn another_answer_to_connect_is_an_ordinary_one() {
    let (origin, proxy) =
        with_connect("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nX-Origin: 1\r\n\r\nbody");
    let mut client = proxy.client();
    client.send(CONNECT.to_owned() + &client::get("/next")).unwrap();
    let response = client.response();
    assert_eq!((response.status(), response.text()), (403, "body".to_owned()));
    assert_eq!(client.response().text(), "/next", "early bytes are the next request");
    assert_eq!(origin.connections(), 2, "the upstream connection is not used again");
    settles_at(0, || proxy.listener("tunnels_total"));
}

#[test]
fn a_connect_that_the_origin_ends_is_a_bad_gateway() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
    });
    let proxy = Setup::origin(&origin).listener("methods_refused = []").start();
    let mut client = proxy.client();
    assert_eq!(client.request(CONNECT).status(), 502);
    assert_eq!(origin.connections(), 1, "CONNECT is not idempotent");
}

#[test]
fn a_client_that_leaves_before_the_switch_takes_the_origin_with_it() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::script(move |connection| {
        connection.request().unwrap();
        wait.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(connection.end().is_ok_and(|end| matches!(end, End::Closed | End::Reset)));
    });
    let proxy = Setup::origin(&origin).start();
    let mut client: Client = proxy.client();
    client.send(UPGRADE).unwrap();
    eventually("the head is there", || origin.received(0).ends_with("\r\n\r\n"));
    drop(client);
    eventually("it is noticed", || proxy.listener("client_aborts_total") == 1);
    go.send(()).unwrap();
    eventually("the origin's connection has ended", || origin.open_connections() == 0);
    settles_at(0, || proxy.listener("tunnels_total"));
}
