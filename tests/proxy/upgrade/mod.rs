//! Upgrade and CONNECT against a scripted origin (RFC 9110 §7.8, §9.3.6, §15.2.2): a tunnel only after a switch that was
//! asked for, and what a tunnel is then.

mod handshake;
mod life;
mod relay;

use crate::support::origin::Connection;
use crate::support::{Client, Origin, Proxy};

/// A client that wants a WebSocket.
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// An origin that grants it.
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Origin: 1\r\n\r\n";

/// A client that wants a tunnel to elsewhere.
const CONNECT: &str = "CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: elsewhere.example:443\r\n\r\n";

/// Reads an Upgrade, grants it and hands the tunnel to `then`; other requests are answered with their target.
fn granting(then: impl Fn(&mut Connection) + Send + Sync + 'static) -> Origin {
    Origin::script(move |connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.has("upgrade") {
                connection.send(SWITCH).unwrap();
                then(connection);
                return;
            }
            connection.send(crate::support::ok(request.head.target())).unwrap();
        }
    })
}

/// An origin whose tunnels send back what they get, until the client's end of bytes.
fn echoing() -> Origin {
    granting(echo)
}

fn echo(connection: &mut Connection) {
    loop {
        let bytes = connection.take_buffer();
        if connection.send(&bytes).is_err() || !matches!(connection.fill(), Ok(1..)) {
            return;
        }
    }
}

/// A client whose connection is a tunnel now.
#[track_caller]
fn open(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(UPGRADE).unwrap();
    let head = client.next_head();
    assert_eq!(head.status(), 101, "{:?}", head.raw);
    client
}

/// Fails unless the tunnel carries this to an echoing origin and back.
#[track_caller]
fn assert_echo(client: &mut Client, text: &str) {
    client.send(text).unwrap();
    let back = client.exactly(text.len()).unwrap_or_else(|error| panic!("no echo of {text:?}: {error}"));
    assert_eq!(String::from_utf8_lossy(&back), text);
}
