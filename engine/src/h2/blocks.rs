//! Heads of responses as field blocks (RFC 7541), written here and not by the `h2` crate.
//!
//! The crate takes a head as a map of fields and compresses that: together more work than all that the exchange does for a
//! small response. So it is told of each head only that there is one, with the status 200 and without fields. The frame that it
//! makes of that goes out with the block that the stream has written ([`Blocks::write`]), when it passes ([`Blocks::pass`]).
//!
//! A block names fields by the static table and has their values as they are, without Huffman's code or the dynamic table, as
//! HAProxy does: bytes for time. So the tables of the crate's encoder and of the client's decoder stay the same, whether a head
//! goes out as the crate has written it (interim responses, trailers, answers of its own) or not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;

use super::frames::{Frame, Kind};

/// Bytes of a frame, at most, where its receiver has not allowed more (RFC 9113 §4.2).
const FRAME_BYTES_MAX: usize = 16 * 1024;

/// `:status: 200` in the static table: all that the crate writes of a head.
const STATUS_200: u8 = 0x88;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;

/// Blocks that wait for the crate's frames: one a stream at most.
#[derive(Default)]
pub(super) struct Blocks {
    /// In the order of their heads, with their streams.
    waiting: RefCell<VecDeque<(u32, Vec<u8>)>>,
}

impl Blocks {
    /// Writes the block of a response head that `heads.rs` has written.
    ///
    /// # Errors
    ///
    /// It is none.
    pub(super) fn write(&self, stream: u32, head: &[u8]) -> io::Result<()> {
        let mut block = Vec::with_capacity(head.len());
        write_head(head, &mut block)?;
        self.waiting.borrow_mut().push_back((stream, block));
        Ok(())
    }

    /// Throws away what waits for a stream that has been reset: the crate does, too.
    pub(super) fn forget(&self, stream: u32) {
        self.waiting.borrow_mut().retain(|(of, _)| *of != stream);
    }

    /// Passes a frame of the crate's on to `out`; `bytes` are its header and payload if it is a short HEADERS frame, and else
    /// the header with what is known of the payload.
    pub(super) fn pass(&self, frame: Frame, bytes: &[u8], out: &mut Vec<u8>) {
        if frame.kind == Kind::Reset {
            self.forget(frame.stream);
        }
        let Some(updates) = is_head(frame, bytes) else { return out.extend_from_slice(bytes) };
        let mut waiting = self.waiting.borrow_mut();
        let position = waiting.iter().position(|(of, _)| *of == frame.stream);
        let Some((_, block)) = position.and_then(|position| waiting.remove(position)) else {
            return out.extend_from_slice(bytes);
        };
        write_frames(frame, updates, &block, out);
    }
}

/// Whether this is a head as we let the crate write it. What stands in front of its status are changes of the dynamic table's
/// size (RFC 7541 §6.3), which have to be said.
fn is_head(frame: Frame, bytes: &[u8]) -> Option<&[u8]> {
    let [payload @ .., STATUS_200] = bytes.get(Frame::HEADER_BYTES..)? else { return None };
    // 001xxxxx, and 0x3f with more bytes of an integer, of which the last is below 0x80.
    let mut rest = payload;
    while let [first, after @ ..] = rest {
        rest = match first {
            0x3f => after.split_at_checked(after.iter().position(|byte| *byte < 0x80)? + 1)?.1,
            0x20..0x3f => after,
            _ => return None,
        };
    }
    (frame.kind == Kind::Headers && frame.ends_fields()).then_some(payload)
}

/// Writes `updates` and `block` as the frames that stand for `frame`.
fn write_frames(frame: Frame, updates: &[u8], block: &[u8], out: &mut Vec<u8>) {
    let (first, mut left) = block.split_at(block.len().min(FRAME_BYTES_MAX - updates.len()));
    let end = |left: &[u8]| if left.is_empty() { END_HEADERS } else { 0 };
    let ends_stream = if frame.ends_stream() { END_STREAM } else { 0 };
    write_header(updates.len() + first.len(), HEADERS, ends_stream | end(left), frame.stream, out);
    out.extend_from_slice(updates);
    out.extend_from_slice(first);
    while !left.is_empty() {
        let part;
        (part, left) = left.split_at(left.len().min(FRAME_BYTES_MAX));
        write_header(part.len(), CONTINUATION, end(left), frame.stream, out);
        out.extend_from_slice(part);
    }
}

fn write_header(length: usize, kind: u8, flags: u8, stream: u32, out: &mut Vec<u8>) {
    // A frame is much shorter than 2²⁴ bytes.
    let [.., a, b, c] = length.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

fn write_head(head: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let line_end = memchr::memchr(b'\n', head).ok_or(io::ErrorKind::InvalidData)?;
    // `HTTP/1.1 200 OK`
    match head.get(9..12).ok_or(io::ErrorKind::InvalidData)? {
        b"200" => out.push(STATUS_200),
        b"204" => out.push(0x89),
        b"206" => out.push(0x8a),
        b"304" => out.push(0x8b),
        b"400" => out.push(0x8c),
        b"404" => out.push(0x8d),
        b"500" => out.push(0x8e),
        status if status.iter().all(u8::is_ascii_digit) => {
            out.extend_from_slice(&[0x08, 3]);
            out.extend_from_slice(status);
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    let mut lines = &head[line_end + 1..];
    // The line of the colon; an empty one, which ends the head, has none.
    while let Some(colon) = memchr::memchr(b':', lines) {
        let (name, rest) = lines.split_at(colon);
        let end = memchr::memchr(b'\n', rest).ok_or(io::ErrorKind::InvalidData)?;
        write_field(name, rest[1..end].trim_ascii(), out);
        lines = &rest[end + 1..];
    }
    Ok(())
}

/// Writes a field: a literal that is not remembered (RFC 7541 §6.2.2).
fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    match place_of(name) {
        // More than the four bits of the first byte can say.
        Place::Table(index) => out.extend_from_slice(&[0x0f, index - 0x0f]),
        Place::Literal => {
            out.push(0);
            write_length(name.len(), out);
            out.extend(name.iter().map(u8::to_ascii_lowercase));
        }
        Place::Nowhere => return,
    }
    write_length(value.len(), out);
    out.extend_from_slice(value);
}

/// Writes the length of a string (RFC 7541 §5.2), an integer with a prefix of seven bits.
fn write_length(length: usize, out: &mut Vec<u8>) {
    const PREFIX: usize = 0x7f;
    let [low, ..] = length.to_le_bytes();
    if length < PREFIX {
        return out.push(low);
    }
    out.push(0x7f);
    let mut left = length - PREFIX;
    while left >= 0x80 {
        out.push(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    out.push(left.to_le_bytes()[0]);
}

/// How the name of a field is said.
enum Place {
    /// By its index in the static table, which is 16 to 61 for names of fields.
    Table(u8),
    Literal,
    /// Not at all: it is about an HTTP/1.1 connection (RFC 9113 §8.2.2).
    Nowhere,
}

/// Where a name is (RFC 7541 appendix A): those that responses have. Its length and first letter leave few to compare it with.
fn place_of(name: &[u8]) -> Place {
    let Some(first) = name.first() else { return Place::Literal };
    Place::Table(match (name.len(), first | 0x20) {
        (3, b'a') if is_name(name, b"age") => 21,
        (3, b'v') if is_name(name, b"via") => 60,
        (4, b'd') if is_name(name, b"date") => 33,
        (4, b'e') if is_name(name, b"etag") => 34,
        (4, b'l') if is_name(name, b"link") => 45,
        (4, b'v') if is_name(name, b"vary") => 59,
        (5, b'a') if is_name(name, b"allow") => 22,
        (6, b's') if is_name(name, b"server") => 54,
        (7, b'e') if is_name(name, b"expires") => 36,
        (7, b'u') if is_name(name, b"upgrade") => return Place::Nowhere,
        (8, b'l') if is_name(name, b"location") => 46,
        (10, b'c') if is_name(name, b"connection") => return Place::Nowhere,
        (10, b'k') if is_name(name, b"keep-alive") => return Place::Nowhere,
        (10, b's') if is_name(name, b"set-cookie") => 55,
        (11, b'r') if is_name(name, b"retry-after") => 53,
        (12, b'c') if is_name(name, b"content-type") => 31,
        (13, b'a') if is_name(name, b"accept-ranges") => 18,
        (13, b'c') if is_name(name, b"cache-control") => 24,
        (13, b'c') if is_name(name, b"content-range") => 30,
        (13, b'l') if is_name(name, b"last-modified") => 44,
        (14, b'c') if is_name(name, b"content-length") => 28,
        (16, b'c') if is_name(name, b"content-encoding") => 26,
        (16, b'c') if is_name(name, b"content-language") => 27,
        (16, b'c') if is_name(name, b"content-location") => 29,
        (16, b'p') if is_name(name, b"proxy-connection") => return Place::Nowhere,
        (16, b'w') if is_name(name, b"www-authenticate") => 61,
        (17, b't') if is_name(name, b"transfer-encoding") => return Place::Nowhere,
        (19, b'c') if is_name(name, b"content-disposition") => 25,
        (25, b's') if is_name(name, b"strict-transport-security") => 56,
        (27, b'a') if is_name(name, b"access-control-allow-origin") => 20,
        _ => return Place::Literal,
    })
}

/// Whether a token is a known name of the same length, which has small letters and hyphens: those bytes have this bit, and of a
/// token's other bytes only the capital letters become one of them by it.
fn is_name<const N: usize>(token: &[u8], known: &[u8; N]) -> bool {
    token.first_chunk::<N>().is_some_and(|token| token.map(|byte| byte | 0x20) == *known)
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::frame;
    use super::super::frames::{FrameScanner, Passing};
    use super::*;

    /// What goes out for what the crate has written, cut anywhere.
    fn passed(blocks: impl Fn() -> Blocks, written: &[u8]) -> Vec<u8> {
        let of = |cut: usize| {
            let (blocks, mut scanner, mut out) =
                (blocks(), FrameScanner::of_server().holding_heads(), vec![]);
            for part in [&written[..cut], &written[cut..]] {
                scanner.relay(part, |passing| match passing {
                    Passing::Payload(bytes) => out.extend_from_slice(bytes),
                    Passing::Frame(frame, bytes) => blocks.pass(frame, bytes, &mut out),
                });
            }
            out
        };
        let whole = of(0);
        for cut in 1..written.len() {
            assert_eq!(of(cut), whole, "cut at {cut}");
        }
        whole
    }

    fn blocks(of: &[(u32, &str)]) -> Blocks {
        let blocks = Blocks::default();
        of.iter().for_each(|(stream, head)| blocks.write(*stream, head.as_bytes()).unwrap());
        blocks
    }

    #[test]
    fn a_block_goes_out_in_the_frame_of_its_stream() {
        let ours =
            || blocks(&[(1, "HTTP/1.1 403 -\r\nX: y\r\n\r\n"), (3, "HTTP/1.1 200 OK\r\nAge: 7\r\n\r\n")]);
        let written = [
            frame(0x4, 0, 0, &[0, 4, 0, 0, 0, 9]),
            // An interim response, that of stream 3 behind a change of the table's size, and trailers.
            frame(0x1, 0x4, 3, b"\x08\x03103"),
            frame(0x1, 0x4, 3, b"\x20\x3f\xe1\x1f\x88"),
            frame(0x0, 0x0, 3, &[0x88; 300]),
            frame(0x1, 0x5, 3, b"\x88\x00\x01a\x01b"),
            frame(0x1, 0x5, 1, b"\x88"),
            // One that the crate has thought of by itself.
            frame(0x1, 0x5, 5, b"\x88"),
        ];
        let mut expected = written.clone();
        expected[2] = frame(0x1, 0x4, 3, b"\x20\x3f\xe1\x1f\x88\x0f\x06\x017");
        expected[5] = frame(0x1, 0x5, 1, b"\x08\x03403\x00\x01x\x01y");
        assert_eq!(passed(ours, &written.concat()), expected.concat());
    }

    #[test]
    fn a_stream_that_is_reset_leaves_nothing() {
        let ours = blocks(&[(1, "HTTP/1.1 200 OK\r\n\r\n"), (3, "HTTP/1.1 200 OK\r\n\r\n")]);
        ours.forget(1);
        let mut out = Vec::new();
        let mut scanner = FrameScanner::of_server().holding_heads();
        scanner.relay(&frame(0x3, 0, 3, &[0, 0, 0, 8]), |passing| {
            if let Passing::Frame(frame, bytes) = passing {
                ours.pass(frame, bytes, &mut out);
            }
        });
        assert_eq!(out, frame(0x3, 0, 3, &[0, 0, 0, 8]));
        assert!(ours.waiting.borrow().is_empty());
    }

    #[test]
    fn a_large_block_is_continued() {
        let value = "v".repeat(40_000);
        let head = format!("HTTP/1.1 200 OK\r\nEtag: {value}\r\n\r\n");
        let out = passed(|| blocks(&[(1, &head)]), &frame(0x1, 0x5, 1, b"\x20\x88"));
        let mut block = b"\x20\x88\x0f\x13\x7f\xc1\xb7\x02".to_vec();
        block.extend_from_slice(value.as_bytes());
        let parts: Vec<&[u8]> = block.chunks(FRAME_BYTES_MAX).collect();
        let expected =
            [frame(0x1, 0x1, 1, parts[0]), frame(0x9, 0, 1, parts[1]), frame(0x9, 0x4, 1, parts[2])];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn what_is_about_an_http1_connection_is_left_out() {
        let head = "HTTP/1.1 204 No Content\r\nConnection: close\r\nKeep-Alive: a\r\nProxy-Connection: a\r\n\
             Transfer-Encoding: chunked\r\nUpgrade: a\r\nX-A:  \tb \r\n\r\n";
        let mut out = Vec::new();
        write_head(head.as_bytes(), &mut out).unwrap();
        assert_eq!(out, b"\x89\x00\x03x-a\x01b");
        for head in ["", "HTTP/1.1\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n"] {
            assert!(write_head(head.as_bytes(), &mut out).is_err(), "{head:?}");
        }
    }
}
