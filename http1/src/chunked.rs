//! The chunked transfer coding, decoded (RFC 9112 §7.1). What it keeps of a body is its trailer fields and a few numbers.
//!
//! ```text
//! SizeStart ─digit→ Size ─┬─────CR────→ LineLf ─size 0→ Trailers ─empty line→ Done
//!     ↑                   ├─;→ Extension ─CR→ ↑ │
//!     │                   └─SP→ Space ─;→ (Extension)
//!     └──LF── DataLf ←CR── DataCr ←all── Data ←─┘ size > 0
//! ```
//!
//! Any other byte leads to `Failed`, which nothing leaves.

use crate::ChunkError;
use crate::bytes::is_value_byte;
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
#[derive(Debug, Default)]
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
    Space,
    Extension,
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
                _ => {
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
            (State::Size | State::Space, b';') => self.count_extension_byte(State::Extension),
            // RFC 9112 §7.1.1: "bad" white space may stand before the `;` of an extension, and nowhere else.
            (State::Size | State::Space, b' ' | b'\t') => self.count_extension_byte(State::Space),
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
            // RFC 9112 §7.1.1: extensions that are not known are ignored. Quoted strings are not told apart: neither CR
            // nor LF may stand in one, so the line ends at the same byte for every reader.
            (State::Extension, b'\r') => Ok(State::LineLf),
            (State::Extension | State::Space, b'\n') => Err(ChunkError::BareLineFeed),
            (State::Extension, _) if is_value_byte(byte) => self.count_extension_byte(State::Extension),
            (State::Extension | State::Space, _) => Err(ChunkError::ExtensionInvalid),
            (State::LineLf, b'\n') => self.end_line(),
            (State::LineLf, _) => Err(ChunkError::BareCarriageReturn),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::SizeStart),
            (State::DataCr | State::DataLf, _) => Err(ChunkError::DataUnterminated),
            (State::Data | State::Trailers | State::Done | State::Failed(_), _) => Ok(self.state),
        }
    }

    fn count_extension_byte(&mut self, next: State) -> Result<State, ChunkError> {
        self.line_bytes += 1;
        self.extensions_excess += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(ChunkError::LineTooLong);
        }
        // RFC 9112 §7.1.1: "A server ought to limit the total length of chunk extensions".
        if self.extensions_excess > CHUNK_EXTENSIONS_EXCESS_MAX {
            return Err(ChunkError::ExtensionsTooLong);
        }
        Ok(next)
    }

    fn end_line(&mut self) -> Result<State, ChunkError> {
        self.extensions_excess = self.extensions_excess.saturating_sub(self.remaining);
        Ok(if self.remaining == 0 { State::Trailers } else { State::Data })
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

/// The digits of a chunk size, leading zeros included: 16 are 64 bits.
pub const CHUNK_SIZE_DIGITS_MAX: u32 = 16;

/// A chunk's size and extensions without their CRLF, in bytes. A guess: extensions in use are below 100 bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;

/// How many more bytes of extensions than of data a body may have at any point. Data pays for extensions byte by byte, so
/// that long bodies with small extensions pass, and bodies that are all extensions do not. The number is Go's.
pub const CHUNK_EXTENSIONS_EXCESS_MAX: u64 = 16 * 1024;
