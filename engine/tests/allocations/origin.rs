//! The origin: it answers on each connection until it ends, by what the request line names.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use corelane_engine::tls::rustls::{ServerConnection, StreamOwned};

use super::counting::spawn_excluded;
use super::tls::{Wire, server_config};
use super::{BODY_BYTES, PAUSE};

/// Answers on each connection until it ends, by what the request line names.
fn serve(mut stream: impl Read + Write) {
    let (mut received, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let body = "x".repeat(1015) + "end of 1k";
    let fixed = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(BODY_BYTES / 4096)
    );
    loop {
        let Some(head) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => received.extend_from_slice(&buffer[..count]),
                _ => return,
            }
            continue;
        };
        let head: Vec<u8> = received.drain(..head + 4).collect();
        if head.windows(6).any(|window| window == b"X-Slow") {
            std::thread::sleep(PAUSE);
        }
        let answer = if head.starts_with(b"GET /1k?lang=en HTTP/1.1\r\n") {
            fixed(&body)
        } else if head.starts_with(b"GET /chunked ") {
            chunked.clone()
        } else if head.starts_with(b"POST /upload ") {
            while received.len() < BODY_BYTES {
                let count = stream.read(&mut buffer).unwrap();
                assert!(count > 0, "the body is cut");
                received.extend_from_slice(&buffer[..count]);
            }
            received.drain(..BODY_BYTES);
            fixed(&format!("{BODY_BYTES} bytes taken"))
        } else {
            fixed("what was that?")
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

pub(crate) fn start_origin(wire: Wire) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn_excluded(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            spawn_excluded(move || match wire {
                Wire::Plain => serve(stream),
                Wire::Tls => {
                    let tls = ServerConnection::new(server_config().into()).unwrap();
                    serve(StreamOwned::new(tls, stream));
                }
            });
        }
    });
    address
}
