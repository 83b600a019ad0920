//! Requests that an origin holds, for tests of how many there may be at once.

use super::origin::Connection;
use super::{Client, Origin, Proxy, client, eventually, ok};

/// An origin that answers `/`, switches where it is asked to, and holds every other request until the connection ends.
pub(crate) fn holding() -> Origin {
    Origin::script(|connection: &mut Connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.has("upgrade") {
                let switch =
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                connection.send(switch).unwrap();
                let _ = connection.drain();
                return;
            }
            match request.head.target() {
                "/" => connection.send(ok("served")).unwrap(),
                "/cut" => return,
                "/half" => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
                    return;
                }
                _ => {
                    let _ = connection.drain();
                    return;
                }
            }
        }
    })
}

/// A client whose request is at the origin.
pub(crate) fn hold(proxy: &Proxy, origin: &Origin) -> Client {
    let before = origin.requests().len();
    let mut client = proxy.client();
    client.send(client::get("/held")).unwrap();
    eventually("the request at the origin", || origin.requests().len() > before);
    client
}

/// The status of an answer, once there is room: a client has one a moment before its place is free.
pub(crate) fn status(proxy: &Proxy, target: &str) -> u16 {
    let mut status = 503;
    eventually("there is room", || {
        status = proxy.get(target).status();
        status != 503
    });
    status
}

#[track_caller]
pub(crate) fn comes_back(proxy: &Proxy) {
    eventually("the place is free", || proxy.get("/").status() == 200);
}
