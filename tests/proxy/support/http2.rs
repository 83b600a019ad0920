//! HTTP/2 by hand: frames as bytes, and what comes back (RFC 9113, RFC 7541).

use std::io;
use std::ops::{Deref, DerefMut};

use super::client::Client;
use super::wire::gone;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const CANCEL: u32 = 8;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields without index and Huffman coding (RFC 7541 §6.2.2), so that there can be any byte in them: one for each `char`.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x00);
        for text in [name, value] {
            block.extend(length(text.chars().count()));
            block.extend(text.chars().map(|char| u8::try_from(u32::from(char)).expect("one byte")));
        }
    }
    block
}

/// The length of a string (RFC 7541 §5.1, with a prefix of 7 bits).
fn length(length: usize) -> Vec<u8> {
    let Some(mut rest) = length.checked_sub(0x7f) else { return vec![u8::try_from(length).unwrap()] };
    let mut bytes = vec![0x7f];
    while rest >= 0x80 {
        bytes.push(0x80 | rest.to_le_bytes()[0]);
        rest >>= 7;
    }
    bytes.push(rest.to_le_bytes()[0]);
    bytes
}

/// HEADERS, and CONTINUATION where they are longer than a frame.
pub(crate) fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let mut parts = block.chunks(16_384).peekable();
    let first = parts.next().unwrap_or_default();
    let end = |is_last| if is_last { END_HEADERS } else { 0 };
    let mut bytes = frame(HEADERS, flags | end(parts.peek().is_none()), stream, first);
    while let Some(part) = parts.next() {
        bytes.extend(frame(CONTINUATION, end(parts.peek().is_none()), stream, part));
    }
    bytes
}

/// The fields of `GET http://a/path`.
pub(crate) const fn plain(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")]
}

/// `GET http://a/path` as a whole stream.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &block(&plain(path)))
}

/// One setting.
pub(crate) fn setting(id: u8, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, [&[0, id], &value.to_be_bytes()[..]].concat())
}

/// A frame that has come.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The code of RST_STREAM and GOAWAY, the increment of WINDOW_UPDATE.
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A whole response.
    Answered(u16),
    /// RST_STREAM with this code.
    Reset(u32),
    /// The connection ended, with this code in a GOAWAY.
    Ended(u32),
    /// The connection ended without a word.
    Cut,
}

/// What there was of a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The 1xx responses before it.
    pub(crate) interim: Vec<u16>,
    /// 0: there was none.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) has_trailers: bool,
}

/// A client's end of a connection.
#[derive(Debug)]
pub(crate) struct Http2 {
    client: Client,
    goaway: Option<u32>,
    /// What has come for streams that nobody has asked for.
    kept: Vec<Frame>,
}

impl Deref for Http2 {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Http2 {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Http2 {
    /// Says the preface and SETTINGS over a connection: no table for what the other side sends, and large windows.
    #[track_caller]
    pub(crate) fn greet(client: Client) -> Self {
        Self::greet_with(client, &[setting(1, 0), setting(4, 1 << 30)].concat())
    }

    /// Over a connection on which that has been said.
    pub(crate) fn over(client: Client) -> Self {
        Self { client, goaway: None, kept: Vec::new() }
    }

    /// The same with other frames behind the preface.
    #[track_caller]
    pub(crate) fn greet_with(mut client: Client, frames: &[u8]) -> Self {
        let update = frame(WINDOW_UPDATE, 0, 0, (1_u32 << 30).to_be_bytes());
        client.send([PREFACE, frames, &update].concat()).expect("a greeting");
        Self::over(client)
    }

    /// The next frame, SETTINGS acknowledged; `None` when the connection ends instead.
    pub(crate) fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        let read = self.client.exactly(9).and_then(|head| {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let payload = self.client.exactly(usize::try_from(length).unwrap())?;
            Ok(Frame { kind: head[3], flags: head[4], stream, payload })
        });
        match read {
            Ok(received) => {
                match received.kind {
                    SETTINGS if !received.has(ACK) => {
                        // The other side may have gone meanwhile, which the next read says.
                        let _ = self.client.send(frame(SETTINGS, ACK, 0, []));
                    }
                    GOAWAY => self.goaway = Some(received.number(4)),
                    _ => {}
                }
                Ok(Some(received))
            }
            Err(error) if gone(&error) || error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads until the stream has ended. What comes for others meanwhile is kept for them.
    #[track_caller]
    pub(crate) fn answer(&mut self, stream: u32) -> (Outcome, Answer) {
        let mut answer = Answer::default();
        loop {
            let Some(frame) = self.next_of(stream) else {
                return (self.goaway.map_or(Outcome::Cut, Outcome::Ended), answer);
            };
            match frame.kind {
                HEADERS if answer.status > 0 => answer.has_trailers = true,
                HEADERS => match status(&frame.payload) {
                    interim @ ..200 => answer.interim.push(interim),
                    status => answer.status = status,
                },
                DATA => answer.body.extend(&frame.payload),
                RST_STREAM => return (Outcome::Reset(frame.number(0)), answer),
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.has(END_STREAM) {
                return (Outcome::Answered(answer.status), answer);
            }
        }
    }

    #[track_caller]
    fn next_of(&mut self, stream: u32) -> Option<Frame> {
        if let Some(index) = self.kept.iter().position(|frame| frame.stream == stream) {
            return Some(self.kept.remove(index));
        }
        loop {
            match self.next_frame().expect("the end of the stream")? {
                frame if frame.stream == stream => return Some(frame),
                frame if frame.stream == 0 => {}
                frame => self.kept.push(frame),
            }
        }
    }

    /// Whether such a frame is kept for that stream.
    pub(crate) fn keeps(&self, kind: u8, stream: u32) -> bool {
        self.kept.iter().any(|frame| (frame.kind, frame.stream) == (kind, stream))
    }

    /// Reads until there is a 1xx response: its status.
    #[track_caller]
    pub(crate) fn interim(&mut self, stream: u32) -> u16 {
        loop {
            let frame = self.next_frame().expect("a response").expect("the connection goes on");
            if (frame.kind, frame.stream) == (HEADERS, stream) {
                let status = status(&frame.payload);
                assert!(status < 200, "{status}");
                return status;
            }
        }
    }

    /// Whether the connection goes on: a PING is answered.
    pub(crate) fn goes_on(&mut self) -> bool {
        if self.client.send(frame(PING, 0, 0, *b"go on...")).is_err() {
            return false;
        }
        while let Ok(Some(received)) = self.next_frame() {
            if received.kind == PING && received.has(ACK) && received.payload == b"go on..." {
                return true;
            }
        }
        false
    }

    /// Reads until there is a GOAWAY: its code.
    #[track_caller]
    pub(crate) fn goaway(&mut self) -> Option<u32> {
        while self.goaway.is_none() && self.next_frame().expect("the end of the connection").is_some() {}
        self.goaway
    }

    /// Reads until the connection ends: with this code in a GOAWAY, or without one.
    #[track_caller]
    pub(crate) fn end(&mut self) -> Option<u32> {
        while self.next_frame().expect("the end of the connection").is_some() {}
        self.goaway
    }
}

/// `:status`, which is the first field. Those of HPACK's static table have an index; the digits of others are in its Huffman
/// code, or are not.
fn status(block: &[u8]) -> u16 {
    match block {
        // Tables of other sizes.
        [0x20..=0x3e, rest @ ..] => status(rest),
        [0x3f, rest @ ..] => status(&rest[1 + rest.iter().take_while(|byte| **byte >= 0x80).count()..]),
        [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        [0x08 | 0x18 | 0x48, 0x03, digits @ ..] => digits[..3].iter().fold(0, |number, digit| {
            assert!(digit.is_ascii_digit(), "{block:x?}");
            number * 10 + u16::from(digit - b'0')
        }),
        [0x08 | 0x18 | 0x48, coded @ 0x82 | coded @ 0x83, digits @ ..] => {
            huffman(&digits[..usize::from(coded & 0x7f)])
        }
        other => panic!("no status: {other:x?}"),
    }
}

/// Three digits in HPACK's Huffman code (RFC 7541 appendix B): 0, 1 and 2 have 5 bits, the others 6.
fn huffman(bytes: &[u8]) -> u16 {
    let mut bits =
        bytes.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (32 - 8 * bytes.len());
    (0..3).fold(0, |number, _| {
        let (digit, length) = match bits >> 27 {
            digit @ 0..=2 => (digit, 5),
            _ => ((bits >> 26) - 0x19 + 3, 6),
        };
        assert!(digit <= 9, "{bytes:x?}");
        bits <<= length;
        number * 10 + u16::try_from(digit).unwrap()
    })
}
