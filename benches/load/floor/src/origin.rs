//! The origin: canned answers by the name of the path, one epoll set, keep-alive.
//!
//! `/get-SIZE` is answered with a Content-Length, `/chunked-SIZE` in chunks of 4 KiB, a POST (to any path) with two bytes
//! when its body has been thrown away. The fields of the head are those that nginx sends with a file.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use crate::arguments::{Arguments, invalid};
use crate::http;
use crate::net::{self, Epoll};

/// Of one receive: a request head, or a part of a body.
const SCRATCH_BYTES: usize = 64 << 10;
/// Thrown away in one call.
const DISCARD_BYTES: usize = 1 << 20;
/// Of a chunked answer.
const CHUNK_BYTES: usize = 4 << 10;
/// A head that is longer than this is an error of the workload.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The listener's token; connections have their index.
const LISTENER: u64 = u64::MAX;

/// One connection. `head`: what came of a request that is not whole.
struct Connection {
    stream: TcpStream,
    head: Vec<u8>,
    body_left: u64,
    /// The answer in progress, and how much of it is sent.
    answer: Option<(Rc<[u8]>, usize)>,
    /// The answer once the body has come.
    after_body: Option<Rc<[u8]>>,
    is_last: bool,
}

struct Origin {
    scratch: Vec<u8>,
    answers: HashMap<Vec<u8>, Rc<[u8]>>,
    accepted: Rc<[u8]>,
}

/// Serves until it is killed.
///
/// # Errors
/// The port is taken, or the kernel refuses a call that it must not refuse.
pub(crate) fn run(arguments: &mut Arguments) -> io::Result<()> {
    let listener = net::listen(arguments.value("port")?)?;
    let mut epoll = Epoll::new()?;
    epoll.add(&listener, LISTENER, libc::EPOLLIN)?;
    let mut origin = Origin {
        scratch: vec![0; SCRATCH_BYTES],
        answers: HashMap::new(),
        accepted: with_length(b"ok").into(),
    };
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    loop {
        for number in 0..epoll.wait(-1)? {
            let event = epoll.event(number);
            if event.token == LISTENER {
                accept_all(&listener, &epoll, &mut connections, &mut free)?;
                continue;
            }
            let index = event.token as usize;
            let Some(connection) = &mut connections[index] else { continue };
            // A connection that breaks is the client's affair: it counts what it does not get.
            if origin.serve(connection, event.is_hung_up()).unwrap_or(Fate::Ended) == Fate::Ended {
                connections[index] = None;
                free.push(index);
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection>>,
    free: &mut Vec<usize>,
) -> io::Result<()> {
    while let Some(stream) = net::accept(listener)? {
        let index = free.pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        epoll.add(&stream, index as u64, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP)?;
        connections[index] = Some(Connection {
            stream,
            head: Vec::new(),
            body_left: 0,
            answer: None,
            after_body: None,
            is_last: false,
        });
    }
    Ok(())
}

#[derive(PartialEq)]
enum Fate {
    Open,
    Ended,
}

impl Origin {
    /// Sends and receives what can be, after an event. With `is_hung_up` a short read is not the last one.
    fn serve(&mut self, connection: &mut Connection, is_hung_up: bool) -> io::Result<Fate> {
        loop {
            if !connection.send()? {
                return Ok(Fate::Open);
            }
            if connection.is_last && connection.answer.is_none() && connection.body_left == 0 {
                return Ok(Fate::Ended);
            }
            let (received, room) = if connection.body_left > 0 {
                let room = connection.body_left.min(DISCARD_BYTES as u64) as usize;
                (net::discard(&connection.stream, room)?, room)
            } else {
                (net::unless_blocked(connection.stream.read(&mut self.scratch))?, SCRATCH_BYTES)
            };
            match received {
                None => return Ok(Fate::Open),
                Some(0) => return Ok(Fate::Ended),
                Some(count) if connection.body_left > 0 => connection.body_came(count as u64),
                Some(count) => self.head_came(connection, count)?,
            }
            let is_drained = received.is_some_and(|count| count < room) && !is_hung_up;
            if is_drained && connection.answer.is_none() {
                return Ok(Fate::Open);
            }
            if is_drained && connection.send()? && !connection.is_last {
                return Ok(Fate::Open);
            }
        }
    }

    fn head_came(&mut self, connection: &mut Connection, count: usize) -> io::Result<()> {
        let received = &self.scratch[..count];
        if connection.head.is_empty()
            && let Some(end) = http::head_end(received)
        {
            return connection.request(&received[..end], count - end, &mut self.answers, &self.accepted);
        }
        let mut head = std::mem::take(&mut connection.head);
        head.extend_from_slice(received);
        match http::head_end(&head) {
            Some(end) => {
                connection.request(&head[..end], head.len() - end, &mut self.answers, &self.accepted)
            }
            None if head.len() > HEAD_BYTES_MAX => Err(invalid("a request head without an end")),
            None => {
                connection.head = head;
                Ok(())
            }
        }
    }
}

impl Connection {
    /// A whole head came, and so much behind it.
    fn request(
        &mut self,
        head: &[u8],
        behind: usize,
        answers: &mut HashMap<Vec<u8>, Rc<[u8]>>,
        accepted: &Rc<[u8]>,
    ) -> io::Result<()> {
        self.is_last =
            http::field(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        if head.starts_with(b"POST ") {
            let length = http::content_length(head).ok_or_else(|| invalid("a POST without length"))?;
            self.after_body = Some(accepted.clone());
            self.body_left = length;
            self.body_came(behind as u64);
            return Ok(());
        }
        let path = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        let answer = match answers.get(path) {
            Some(answer) => answer.clone(),
            None => {
                let answer: Rc<[u8]> = canned(path)?.into();
                answers.insert(path.to_owned(), answer.clone());
                answer
            }
        };
        self.answer = Some((answer, 0));
        Ok(())
    }

    fn body_came(&mut self, count: u64) {
        self.body_left = self.body_left.saturating_sub(count);
        if self.body_left == 0 {
            self.answer = self.after_body.take().map(|answer| (answer, 0));
        }
    }

    /// Sends what the socket takes; whether nothing is left.
    fn send(&mut self) -> io::Result<bool> {
        while let Some((answer, sent)) = &mut self.answer {
            match net::unless_blocked((&self.stream).write(&answer[*sent..]))? {
                None => return Ok(false),
                Some(count) => *sent += count,
            }
            if *sent == answer.len() {
                self.answer = None;
            }
        }
        Ok(true)
    }
}

/// The answer to a path.
fn canned(path: &[u8]) -> io::Result<Vec<u8>> {
    let name = String::from_utf8_lossy(path);
    if let Some(size) = name.strip_prefix("/get-").and_then(http::size) {
        return Ok(with_length(&vec![b'x'; size]));
    }
    if let Some(size) = name.strip_prefix("/chunked-").and_then(http::size) {
        let mut answer = head("Transfer-Encoding: chunked");
        for chunk in vec![b'x'; size].chunks(CHUNK_BYTES) {
            answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            answer.extend_from_slice(chunk);
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        return Ok(answer);
    }
    Err(invalid(format!("nothing to answer to {name}")))
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let mut answer = head(&format!("Content-Length: {}", body.len()));
    answer.extend_from_slice(body);
    answer
}

fn head(framing: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: application/octet-stream\r\n{framing}\r\n\
         Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"5f0c8b2a-400\"\r\nAccept-Ranges: bytes\r\n\r\n"
    )
    .into_bytes()
}
