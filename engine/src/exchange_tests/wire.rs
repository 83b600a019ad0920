//! Messages of the tests, and what they are on the wire.

use crate::io::memory::Seed;

/// A message as the test sends it and expects it back.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) chunked: bool,
}

impl Message {
    pub(super) fn random(seed: &mut Seed, first_line: &str) -> Self {
        let size = match seed.below(6) {
            0 | 1 => 0,
            2 => seed.below(10),
            3 => seed.below(5_000),
            4 => seed.below(70_000),
            _ => seed.below(300_000),
        };
        let body: Vec<u8> = (0..size).map(|_| b'a' + u8::try_from(seed.below(26)).unwrap()).collect();
        let chunked = seed.once_in(2);
        let framing =
            if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {size}") };
        Self { head: format!("{first_line}\r\n{framing}\r\n\r\n"), body, chunked }
    }

    pub(super) fn wire(&self, seed: &mut Seed) -> Vec<u8> {
        let mut wire = self.head.clone().into_bytes();
        if !self.chunked {
            wire.extend_from_slice(&self.body);
            return wire;
        }
        let mut rest = &self.body[..];
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + seed.below(rest.len().min(20_000)));
            wire.extend_from_slice(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
            rest = after;
        }
        wire.extend_from_slice(b"0\r\nX-Trailer: t\r\n\r\n");
        wire
    }
}

/// Takes one whole message off the front of `wire`: its head and its body. Independent of the code under test.
pub(super) fn take_message(wire: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = wire.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(wire[..end].to_vec()).unwrap();
    let field = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    let (body, used) = if let Some(length) = field("Content-Length:") {
        let length: usize = length.parse().unwrap();
        (wire.get(end..end + length)?.to_vec(), end + length)
    } else if field("Transfer-Encoding:").is_some() {
        let (mut body, mut at) = (Vec::new(), end);
        loop {
            let line_end = at + wire[at..].windows(2).position(|window| window == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&wire[at..line_end]).unwrap(), 16).unwrap();
            at = line_end + 2;
            if size == 0 {
                let trailer = b"X-Trailer: t\r\n";
                if wire.get(at..at + trailer.len())? == trailer {
                    at += trailer.len();
                }
                assert_eq!(wire.get(at..at + 2)?, b"\r\n", "the end of the trailers");
                break (body, at + 2);
            }
            body.extend_from_slice(wire.get(at..at + size)?);
            assert_eq!(wire.get(at + size..at + size + 2)?, b"\r\n");
            at += size + 2;
        }
    } else {
        (Vec::new(), end)
    };
    wire.drain(..used);
    Some((head, body))
}
