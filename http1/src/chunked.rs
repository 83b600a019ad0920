//! The chunked transfer coding, decoded (RFC 9112 §7.1). What it keeps of a body is its trailer fields and a few numbers.
//!
//! ```text
//! SizeStart ─digit→ Size ─┬─────CR────→ LineLf ─size 0→ Trailers ─empty line→ Done
//!     ↑                   ├─;→ Extension ─CR→ ↑ │
//!     │                   └─SP→ Extension       │
//!     └──LF── DataLf ←CR── DataCr ←all── Data ←─┘ size > 0
//! ```
//!
//! What an extension is made of is told in `chunk_extension.rs`. Any other byte leads to `Failed`, which nothing leaves.

use crate::ChunkError;
use crate::chunk_extension::Extension;
use crate::trailers::{TrailerSection, TrailerStep};

/// What a call of [`ChunkedDecoder::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkEvent<'a> {
    /// Bytes of the body, never empty.
    Data(&'a [u8]),
    /// The input is used up and the body is not at its end.
    NeedMore,
    /// The body has ended. What is left of the input belongs to the next message.
    End,
}

/// Streaming decoder of the chunked coding. Its result does not depend on how the input is split.
///
/// Allocates only when trailer fields arrive, at most [`crate::TRAILER_BYTES_MAX`].
#[derive(Clone, Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// In `Size`: the size so far. In `Data`: how much of the chunk is still to come.
    remaining: u64,
    /// The digits of the chunk size so far.
    digits: u32,
    /// The bytes so far of the line that is being read.
    line_bytes: usize,
    /// Bytes of extensions beyond what the data so far pays for.
    extensions_excess: u64,
    trailers: TrailerSection,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    SizeStart,
    Size,
    Extension(Extension),
    LineLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
    Failed(ChunkError),
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes off the front of `input` and returns the next event. After `End` nothing is taken any more.
    ///
    /// # Errors
    ///
    /// [`ChunkError`]; the caller closes the connection. Later calls give the same error.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<ChunkEvent<'a>, ChunkError> {
        loop {
            match self.state {
                State::Data => {
                    if input.is_empty() {
                        return Ok(ChunkEvent::NeedMore);
                    }
                    return Ok(ChunkEvent::Data(self.take_data(input)));
                }
                State::Trailers => match self.trailers.read(input) {
                    Ok(TrailerStep::NeedMore) => return Ok(ChunkEvent::NeedMore),
                    Ok(TrailerStep::End) => self.state = State::Done,
                    Err(error) => self.state = State::Failed(error),
                },
                State::Done => return Ok(ChunkEvent::End),
                State::Failed(error) => return Err(error),
                State::DataCr if input.starts_with(CRLF) => {
                    *input = &input[CRLF.len()..];
                    self.state = State::SizeStart;
                }
                _ => {
                    if matches!(self.state, State::SizeStart) && self.take_plain_size(input) {
                        continue;
                    }
                    let Some((&byte, rest)) = input.split_first() else { return Ok(ChunkEvent::NeedMore) };
                    *input = rest;
                    self.state = self.step(byte).unwrap_or_else(State::Failed);
                }
            }
        }
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer field lines as received, each with its CRLF, without those that may not be forwarded; empty before
    /// the end of the body. Left out are fields for framing, routing, request modifiers, authentication, content and the
    /// client's address (RFC 9110 §6.5.1), and hop-by-hop ones; those that the message's own `Connection` names are the
    /// caller's to leave out.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        if self.is_done() { self.trailers.lines() } else { &[] }
    }

    fn take_data<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
        let (data, rest) = input.split_at(length);
        *input = rest;
        self.remaining -= length as u64;
        if self.remaining == 0 {
            self.state = State::DataCr;
        }
        data
    }

    /// Takes a size with its CRLF if both are there as a whole and nothing else is in the line, as in nearly all of them.
    /// Whatever else there is, is for [`Self::step`], which says what is wrong.
    fn take_plain_size(&mut self, input: &mut &[u8]) -> bool {
        let mut size = 0;
        for (digits, &byte) in input.iter().enumerate().take(CHUNK_SIZE_DIGITS_MAX as usize + 1) {
            if let Some(digit) = hex_digit(byte) {
                size = size << 4 | u64::from(digit);
                continue;
            }
            let line_end = digits + CRLF.len();
            if digits == 0 || input.get(digits..line_end) != Some(CRLF) {
                return false;
            }
            *input = &input[line_end..];
            self.remaining = size;
            self.state = self.end_line();
            return true;
        }
        false
    }

    /// The state after a byte that is not data and not in the trailer section.
    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        match (self.state, byte) {
            (State::SizeStart, _) => {
                self.remaining = u64::from(hex_digit(byte).ok_or(ChunkError::SizeInvalid)?);
                self.digits = 1;
                self.line_bytes = 1;
                Ok(State::Size)
            }
            (State::Size, b'\r') => Ok(State::LineLf),
            // RFC 9112 §7.1.1: an extension, or the "bad" white space that may stand before its `;`, and nowhere else.
            (State::Size, b';' | b' ' | b'\t') => self.step_extension(Extension::default(), byte),
            (State::Size, b'\n') => Err(ChunkError::BareLineFeed),
            (State::Size, _) => {
                let digit = hex_digit(byte).ok_or(ChunkError::SizeInvalid)?;
                // RFC 9112 §7.1: "recipients MUST anticipate potentially large hexadecimal numerals and prevent
                // parsing errors due to integer conversion overflows": 16 digits are 64 bits.
                if self.digits == CHUNK_SIZE_DIGITS_MAX {
                    return Err(ChunkError::SizeTooLong);
                }
                self.digits += 1;
                self.line_bytes += 1;
                self.remaining = self.remaining << 4 | u64::from(digit);
                Ok(State::Size)
            }
            (State::Extension(extension), b'\r') if extension.may_end() => Ok(State::LineLf),
            (State::Extension(_), b'\n') => Err(ChunkError::BareLineFeed),
            (State::Extension(extension), _) => self.step_extension(extension, byte),
            (State::LineLf, b'\n') => Ok(self.end_line()),
            (State::LineLf, _) => Err(ChunkError::BareCarriageReturn),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::SizeStart),
            (State::DataCr | State::DataLf, _) => Err(ChunkError::DataUnterminated),
            (State::Data | State::Trailers | State::Done | State::Failed(_), _) => Ok(self.state),
        }
    }

    /// RFC 9112 §7.1.1: extensions that are not known are ignored, and none is known.
    fn step_extension(&mut self, extension: Extension, byte: u8) -> Result<State, ChunkError> {
        let extension = extension.step(byte).ok_or(ChunkError::ExtensionInvalid)?;
        self.line_bytes += 1;
        self.extensions_excess += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(ChunkError::LineTooLong);
        }
        // RFC 9112 §7.1.1: "A server ought to limit the total length of chunk extensions".
        if self.extensions_excess > CHUNK_EXTENSIONS_EXCESS_MAX {
            return Err(ChunkError::ExtensionsTooLong);
        }
        Ok(State::Extension(extension))
    }

    fn end_line(&mut self) -> State {
        self.extensions_excess = self.extensions_excess.saturating_sub(self.remaining);
        if self.remaining == 0 { State::Trailers } else { State::Data }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

const CRLF: &[u8] = b"\r\n";

/// The digits of a chunk size, leading zeros included: 16 are 64 bits.
pub const CHUNK_SIZE_DIGITS_MAX: u32 = 16;

/// A chunk's size and extensions without their CRLF, in bytes. A guess: extensions in use are below 100 bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;

/// How many more bytes of extensions than of data a body may have at any point. Data pays for extensions byte by byte, so
/// that long bodies with small extensions pass, and bodies that are all extensions do not. The number is Go's.
pub const CHUNK_EXTENSIONS_EXCESS_MAX: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use ChunkError as E;

    /// The body, the trailers and how many bytes were taken; or the error; or what there is of an unfinished body.
    #[derive(Debug, PartialEq, Eq)]
    enum Outcome {
        Done { body: Vec<u8>, trailers: Vec<u8>, taken: usize },
        Unfinished { body: Vec<u8> },
        Refused(ChunkError),
    }

    /// Feeds the pieces of `bytes` that end at `ends`.
    fn decode_at(bytes: &[u8], ends: impl Iterator<Item = usize>) -> Outcome {
        let mut decoder = ChunkedDecoder::new();
        let (mut body, mut start) = (Vec::new(), 0);
        for end in ends {
            let mut input = &bytes[start..end];
            start = end;
            loop {
                assert!(decoder.trailers().is_empty(), "trailers before the end");
                match decoder.decode(&mut input) {
                    Ok(ChunkEvent::Data(data)) => {
                        assert!(!data.is_empty(), "empty data");
                        body.extend_from_slice(data);
                    }
                    Ok(ChunkEvent::NeedMore) => {
                        assert!(input.is_empty() && !decoder.is_done());
                        break;
                    }
                    Ok(ChunkEvent::End) => {
                        assert!(decoder.is_done());
                        assert_eq!(decoder.decode(&mut input), Ok(ChunkEvent::End), "after the end");
                        let taken = end - input.len();
                        return Outcome::Done { body, trailers: decoder.trailers().to_vec(), taken };
                    }
                    Err(error) => {
                        assert_eq!(decoder.decode(&mut input), Err(error), "after an error");
                        return Outcome::Refused(error);
                    }
                }
            }
        }
        Outcome::Unfinished { body }
    }

    /// Decodes `bytes` whole, split at every point, and byte by byte; all must agree.
    fn decode_all_ways(bytes: &[u8]) -> Outcome {
        let whole = decode_at(bytes, [bytes.len()].into_iter());
        for split in 0..bytes.len() {
            let outcome = decode_at(bytes, [split, bytes.len()].into_iter());
            assert_eq!(outcome, whole, "split at {split} of {:?}", bytes.escape_ascii().to_string());
        }
        assert_eq!(decode_at(bytes, 0..=bytes.len()), whole, "byte by byte");
        whole
    }

    #[test]
    fn an_unfinished_body_is_not_an_end() {
        let bytes = b"2;e\r\nxy\r\n0\r\nA: b\r\n\r\n";
        for end in 0..bytes.len() {
            let body: &[u8] = match end {
                0..=5 => b"",
                6 => b"x",
                _ => b"xy",
            };
            assert_eq!(decode_all_ways(&bytes[..end]), Outcome::Unfinished { body: body.to_vec() }, "{end}");
        }
    }

    #[test]
    fn a_chunk_may_be_as_large_as_64_bits() {
        let mut decoder = ChunkedDecoder::new();
        let mut input = &b"ffffffffffffffff\r\nabc"[..];
        assert_eq!(decoder.decode(&mut input), Ok(ChunkEvent::Data(b"abc")));
        assert_eq!(decoder.decode(&mut input), Ok(ChunkEvent::NeedMore));
        assert_eq!(decoder.remaining, u64::MAX - 3);
    }

    #[test]
    fn bounds_a_chunk_line() {
        let line = |length: usize| [&b"1;"[..], &vec![b'a'; length - 2], b"\r\nx\r\n0\r\n\r\n"].concat();
        assert!(matches!(
            decode_at(&line(CHUNK_LINE_BYTES_MAX), [line(CHUNK_LINE_BYTES_MAX).len()].into_iter()),
            Outcome::Done { .. }
        ));
        assert_eq!(decode_all_ways(&line(CHUNK_LINE_BYTES_MAX + 1)[..]), Outcome::Refused(E::LineTooLong));
    }

    #[test]
    fn bounds_extensions_by_the_data_that_they_come_with() {
        let chunk = |data: usize, extension: usize| {
            let data = vec![b'x'; data];
            let extension = vec![b'a'; extension - 1];
            [format!("{:x};", data.len()).as_bytes(), &extension, b"\r\n", &data, b"\r\n"].concat()
        };
        // As many bytes of extensions as of data, for as long as one likes.
        let fair = [chunk(100, 100).repeat(1000), b"0\r\n\r\n".to_vec()].concat();
        assert!(matches!(decode_at(&fair, [fair.len()].into_iter()), Outcome::Done { .. }));
        // 15 beyond the data a chunk: too much in the chunk after the 1092nd.
        let unfair = chunk(1, 16);
        let chunks = usize::try_from(CHUNK_EXTENSIONS_EXCESS_MAX / 15).unwrap();
        let within = [unfair.repeat(chunks), b"0\r\n\r\n".to_vec()].concat();
        assert!(matches!(decode_at(&within, [within.len()].into_iter()), Outcome::Done { .. }));
        let beyond = unfair.repeat(chunks + 1);
        assert_eq!(decode_at(&beyond, [beyond.len()].into_iter()), Outcome::Refused(E::ExtensionsTooLong));
        assert_eq!(decode_at(&beyond, 0..=beyond.len()), Outcome::Refused(E::ExtensionsTooLong));
    }

    #[test]
    fn leaves_out_trailers_that_may_not_be_forwarded() {
        let dropped = [
            "content-length: 5",
            "Content_Length: 5",
            "x_real-ip: 127.0.0.1",
            "X_Forwarded_For: 127.0.0.1",
            "Transfer-Encoding: chunked",
            "HOST: evil",
            "Trailer: a",
            "Connection: close",
            "Keep-Alive: a",
            "TE: a",
            "Upgrade: a",
            "Proxy-Connection: a",
            "Proxy-Authenticate: a",
            "Proxy-Authorization: a",
            "Authorization: a",
            "Content-Encoding: gzip",
            "Content-Type: a/b",
            "Content-Range: bytes */5",
            "Cookie: a=b",
            "Set-Cookie: a=b",
            "X-Forwarded-For: 127.0.0.1",
            "x-forwarded-anything: a",
            "Forwarded: for=_a",
            "Cache-Control: no-store",
            "Expect: 100-continue",
        ];
        for line in dropped {
            let bytes = format!("0\r\nA: b\r\n{line}\r\nC: d\r\n\r\n");
            let expected = Outcome::Done {
                body: Vec::new(),
                trailers: b"A: b\r\nC: d\r\n".to_vec(),
                taken: bytes.len(),
            };
            assert_eq!(decode_all_ways(bytes.as_bytes()), expected, "{line}");
            let alone = format!("0\r\n{line}\r\n\r\n");
            let expected = Outcome::Done { body: Vec::new(), trailers: Vec::new(), taken: alone.len() };
            assert_eq!(decode_all_ways(alone.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn bounds_the_trailer_section() {
        use crate::{TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX};
        // A name and a value, and the empty line, of `length` bytes in all; once kept, once left out.
        for name in ["A:", "Cookie:"] {
            let section = |length: usize| {
                [b"0\r\n", name.as_bytes(), &vec![b'v'; length - name.len() - 4], b"\r\n\r\n"].concat()
            };
            assert!(matches!(decode_all_ways(&section(TRAILER_BYTES_MAX)), Outcome::Done { .. }));
            let beyond = decode_all_ways(&section(TRAILER_BYTES_MAX + 1));
            assert_eq!(beyond, Outcome::Refused(E::TrailersTooLarge));
            let lines = |count: usize| format!("0\r\n{}\r\n", format!("{name}v\r\n").repeat(count));
            assert!(matches!(decode_all_ways(lines(TRAILER_FIELDS_MAX).as_bytes()), Outcome::Done { .. }));
            let beyond = decode_all_ways(lines(TRAILER_FIELDS_MAX + 1).as_bytes());
            assert_eq!(beyond, Outcome::Refused(E::TooManyTrailers));
        }
    }

    #[test]
    fn allocates_nothing_without_trailers() {
        assert_eq!(decoder_after(b"1;a\r\nx\r\n0\r\n\r\n").trailers.capacity(), 0);
        assert!(decoder_after(b"0\r\nA: b\r\n\r\n").trailers.capacity() > 0);
    }

    fn decoder_after(mut input: &[u8]) -> ChunkedDecoder {
        let mut decoder = ChunkedDecoder::new();
        while decoder.decode(&mut input).unwrap() != ChunkEvent::End {}
        decoder
    }
}
