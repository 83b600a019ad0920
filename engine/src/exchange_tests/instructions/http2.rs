//! Exchanges over HTTP/2: streams of one connection that ask at once, each answered over a connection of its own by an
//! HTTP/1.1 origin. A round of the measurement is one of them.

use super::*;

/// How many ask at once: a divisor of the rounds that the script asks for.
const STREAMS: usize = 20;

/// What the client begins with: SETTINGS without one, and a window of the connection for all that comes.
const BEGINNING: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x04\x08\0\0\0\0\0\x7f\0\0\0";

/// `GET /1k` of `127.0.0.1:18080` with `User-Agent` and `Accept`, which HPACK (RFC 7541) remembers.
const FIRST_FIELDS: &[u8] = b"\x82\x86\x44\x03/1k\x41\x0f127.0.0.1:18080\x7a\x05bench\x53\x03*/*";

/// The same again.
const FIELDS: &[u8] = b"\x82\x86\xc1\xc0\xbf\xbe";

const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_STREAM_AND_FIELDS: u8 = 5;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// How many frames end their stream. The first three bytes of a frame are its length.
fn ended_streams(mut frames: &[u8]) -> usize {
    let mut ended = 0;
    while let [a, b, c, kind, flags, ..] = *frames {
        ended += usize::from(kind <= HEADERS && flags & END_STREAM != 0);
        frames = &frames[9 + u32::from_be_bytes([0, a, b, c]) as usize..];
    }
    ended
}

/// A session and its streams.
struct Connection {
    session: BoxedTask,
    streams: Vec<BoxedTask>,
    waker: Waker,
}

impl Connection {
    /// One event: the tasks run until they wait. A worker runs those that were woken; here that is all of them.
    fn turn(&mut self) {
        let mut cx = Context::from_waker(&self.waker);
        self.streams.retain_mut(|stream| stream.as_mut().poll(&mut cx).is_pending());
        assert!(self.session.as_mut().poll(&mut cx).is_pending());
        self.streams.append(&mut TASKS.take());
    }
}

pub(super) fn exchanges(response: &Message) {
    set_dial_faults(Faults::none());
    let mut snapshot = snapshot();
    snapshot.upstreams[0].idle_connections_max = STREAMS;
    let core = worker_for(snapshot, None);
    let (near, mut client) = pair(Faults::none());
    let mut connection = Connection {
        session: Box::pin(Box::new(session_over(&core, near)).run_either()),
        streams: Vec::new(),
        waker: counter().1,
    };
    let response_wire = wire(response);
    let (mut at_origin, mut at_client) = (vec![0; RECEIVED_BYTES_MAX], vec![0; 2 * RECEIVED_BYTES_MAX]);
    let (mut origins, mut id) = (Vec::new(), 1);
    for batch in 0..(rounds() as usize).div_ceil(STREAMS) {
        let mut request_wire = if batch == 0 { BEGINNING.to_vec() } else { Vec::new() };
        for index in 0..STREAMS {
            let fields = if batch == 0 && index == 0 { FIRST_FIELDS } else { FIELDS };
            request_wire.extend(frame(HEADERS, END_STREAM_AND_FIELDS, id, fields));
            id += 2;
        }
        let (mut asked, mut received) = (0, 0);
        measured(&mut || {
            send(Some(&mut client), &request_wire);
            connection.turn();
            connection.turn();
            while let Some(origin) = take_dialled() {
                origins.push(origin);
            }
            for origin in &mut origins {
                let received = receive(Some(&mut *origin), &mut at_origin);
                asked += usize::from(at_origin[..received].starts_with(b"GET /1k HTTP/1.1\r\n"));
                send(Some(origin), &response_wire);
            }
            connection.turn();
            // The streams' tasks end when their responses have gone.
            connection.turn();
            received = receive(Some(&mut client), &mut at_client);
        });
        assert_eq!(asked, STREAMS, "the requests");
        assert_eq!(ended_streams(&at_client[..received]), STREAMS, "the responses");
        let body_bytes = at_client[..received].iter().filter(|byte| **byte == b'x').count();
        assert!(body_bytes >= STREAMS * response.body.len());
        assert!(connection.streams.is_empty() && origins.len() == STREAMS, "all connections are kept");
    }
}
