//! Filters on requests that switch protocols, and on CONNECT.

use super::with;
use crate::support::Origin;
use crate::support::origin::Connection;

const FIELDS: [(&str, &str); 3] = [
    ("up", "type = \"request_fields\"\nset = { X-Set = \"{host}\" }"),
    ("down", "type = \"response_fields\"\nset = { X-Status = \"{status}\" }\nremove = [\"X-Origin\"]"),
    ("id", "type = \"request_id\""),
];

fn switching(answer: &'static str) -> Origin {
    Origin::script(move |connection: &mut Connection| {
        connection.request().unwrap();
        connection.send(answer).unwrap();
        let _ = connection.send("from the other side");
        let _ = connection.drain();
    })
}

#[test]
fn a_switch_has_the_filters_of_any_response() {
    let origin = switching(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Origin: 1\r\n\r\n",
    );
    let filters = [FIELDS[0], FIELDS[1], FIELDS[2], ("path", "type = \"rewrite\"\nstrip_prefix = \"/ws\"")];
    let proxy = with(&origin, &filters).start();
    let mut client = proxy.client();
    client
        .send("GET /ws/chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    let head = client.next_head();
    assert_eq!((head.status(), head.all("x-status"), head.has("x-origin")), (101, vec!["101"], false));
    assert_eq!((head.all("upgrade"), head.all("connection").len()), (vec!["websocket"], 1), "{head:?}");
    assert_eq!(client.exactly(19).unwrap(), b"from the other side");
    client.send("to it").unwrap();
    let sent = origin.request().head;
    assert_eq!((sent.target(), sent.all("x-set")), ("/chat", vec!["test"]));
    crate::support::eventually("the bytes", || origin.received(0).ends_with("\r\n\r\nto it"));
    drop(client);
    let record = proxy.record();
    assert_eq!((&record["status"], &record["path"]), (&101.into(), &"/ws/chat".into()), "{record}");
    assert_eq!(head.all("x-request-id"), [record["request_id"].as_str().unwrap()]);
    assert_eq!(sent.all("x-request-id"), [record["request_id"].as_str().unwrap()]);
}

#[test]
fn a_connect_has_fields_and_keeps_its_target() {
    let origin = switching("HTTP/1.1 200 OK\r\nX-Origin: 1\r\n\r\n");
    let filters = [
        FIELDS[0],
        FIELDS[1],
        ("path", "type = \"rewrite\"\npath = \"/elsewhere\"\nhost = \"evil.example\""),
        ("query", "type = \"query\"\nset = { a = \"b\" }"),
    ];
    let proxy = with(&origin, &filters).listener("methods_refused = []").start();
    let mut client = proxy.client();
    client.send("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n").unwrap();
    let head = client.next_head();
    assert_eq!((head.status(), head.all("x-status"), head.has("x-origin")), (200, vec!["200"], false));
    assert_eq!(client.exactly(19).unwrap(), b"from the other side");
    let sent = origin.request().head;
    assert_eq!((&*sent.first, sent.all("host")), ("CONNECT a.example:443 HTTP/1.1", vec!["a.example:443"]));
    assert_eq!(sent.all("x-set"), ["a.example:443"]);
    drop(client);
    let record = proxy.record();
    assert_eq!((&record["status"], &record["host"]), (&200.into(), &"a.example:443".into()), "{record}");
}

#[test]
fn a_switch_is_refused_as_any_request_is() {
    let origin = switching("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    let proxy = with(&origin, &[("it", "type = \"client_addresses\"\ndeny = [\"127.0.0.1\"]")]).start();
    let mut client = proxy.client();
    let response =
        client.request("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(response.status(), 403);
    assert!(origin.requests().is_empty());
}
