//! The trailer section of a chunked body (RFC 9112 §7.1.2), kept as the field lines that may be forwarded.

use crate::ChunkError;
use crate::bytes::is_value_byte;
use crate::field_lines::check_field_line;

/// Reads a trailer section over any number of calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrailerSection {
    state: State,
    /// The lines kept so far, and behind them the one that is being read. Not allocated before the first byte of a line.
    lines: Vec<u8>,
    /// Where the line that is being read starts in `lines`.
    line_start: usize,
    /// Bytes of the section so far, those of lines left out included.
    bytes: usize,
    /// Lines so far, those left out included.
    fields: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Line,
    Lf,
}

/// What a call of [`TrailerSection::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrailerStep {
    /// The input is used up.
    NeedMore,
    /// The empty line that ends the section was read.
    End,
}

impl TrailerSection {
    /// Takes bytes off the front of `input` up to the end of the section.
    pub(crate) fn read(&mut self, input: &mut &[u8]) -> Result<TrailerStep, ChunkError> {
        loop {
            if self.state == State::Line {
                self.read_text(input)?;
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(TrailerStep::NeedMore) };
            *input = rest;
            self.count(1)?;
            match (self.state, byte) {
                (State::Line, b'\r') => self.state = State::Lf,
                (State::Line, b'\n') => return Err(ChunkError::BareLineFeed),
                (State::Line, _) => return Err(ChunkError::TrailerInvalid),
                (State::Lf, b'\n') if self.lines.len() == self.line_start => return Ok(TrailerStep::End),
                (State::Lf, b'\n') => self.end_line()?,
                (State::Lf, _) => return Err(ChunkError::BareCarriageReturn),
            }
        }
    }

    /// The kept lines, each with its CRLF.
    pub(crate) fn lines(&self) -> &[u8] {
        self.lines.get(..self.line_start).unwrap_or_default()
    }

    /// How many bytes the kept lines have room for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.lines.capacity()
    }

    fn read_text(&mut self, input: &mut &[u8]) -> Result<(), ChunkError> {
        let length = input.iter().position(|&byte| !is_value_byte(byte)).unwrap_or(input.len());
        let (text, rest) = input.split_at(length);
        self.count(length)?;
        self.lines.extend_from_slice(text);
        *input = rest;
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), ChunkError> {
        let line = self.lines.get(self.line_start..).unwrap_or_default();
        // A trailer line obeys the syntax of a field line (RFC 9112 §7.1.2), line folding and all.
        check_field_line(line).map_err(|_| ChunkError::TrailerInvalid)?;
        self.fields += 1;
        if self.fields > TRAILER_FIELDS_MAX {
            return Err(ChunkError::TooManyTrailers);
        }
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        if is_forbidden(name) {
            self.lines.truncate(self.line_start);
        } else {
            self.lines.extend_from_slice(b"\r\n");
            self.line_start = self.lines.len();
        }
        self.state = State::Line;
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), ChunkError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > TRAILER_BYTES_MAX { Err(ChunkError::TrailersTooLarge) } else { Ok(()) }
    }
}

/// Reads a trailer section that is there as a whole, with its empty line: the lines that may be forwarded, each with its CRLF.
///
/// # Errors
///
/// The rule that it breaks, [`ChunkError::TrailerInvalid`] also where something follows the empty line, or it is not there.
pub fn read_trailers(mut section: &[u8]) -> Result<Vec<u8>, ChunkError> {
    let mut read = TrailerSection::default();
    if read.read(&mut section)? == TrailerStep::NeedMore || !section.is_empty() {
        return Err(ChunkError::TrailerInvalid);
    }
    read.lines.truncate(read.line_start);
    Ok(read.lines)
}

/// Whether a field may not stand in a trailer section: fields for framing, routing, request modifiers, authentication and
/// content (RFC 9110 §6.5.1), those of one connection (RFC 9110 §7.6.1), and those that say who the client is. A recipient
/// that merges trailers into the head would otherwise let a client set them behind the proxy's back.
fn is_forbidden(name: &[u8]) -> bool {
    let starts_with = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|start| is_same(start, prefix));
    starts_with(b"x-forwarded-") || FORBIDDEN.iter().any(|forbidden| is_same(name, forbidden))
}

/// Without regard to case, and with `_` for `-`: CGI servers cannot tell them apart.
fn is_same(name: &[u8], forbidden: &[u8]) -> bool {
    let folds_to =
        |(&byte, &folded): (&u8, &u8)| byte.eq_ignore_ascii_case(&folded) || (byte == b'_' && folded == b'-');
    name.len() == forbidden.len() && name.iter().zip(forbidden).all(folds_to)
}

const FORBIDDEN: [&[u8]; 45] = [
    b"age",
    b"authentication-info",
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"date",
    b"expect",
    b"expires",
    b"forwarded",
    b"host",
    b"http2-settings",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"keep-alive",
    b"location",
    b"max-forwards",
    b"pragma",
    b"proxy",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"proxy-connection",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"strict-transport-security",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"vary",
    b"via",
    b"warning",
    b"www-authenticate",
    b"x-accel-redirect",
    b"x-http-method-override",
    b"x-real-ip",
];

/// The whole trailer section with its empty line, in bytes.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Trailer field lines, those left out included.
pub const TRAILER_FIELDS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_as_a_whole() {
        assert_eq!(read_trailers(b"a: b\r\nHost: c\r\nd: e\r\n\r\n"), Ok(b"a: b\r\nd: e\r\n".to_vec()));
        assert_eq!(read_trailers(b"\r\n"), Ok(vec![]));
        for section in ["", "a: b\r\n", "a: b\r\n\r\nc", "a b\r\n\r\n", "a: b\r\n c\r\n\r\n"] {
            assert_eq!(read_trailers(section.as_bytes()), Err(ChunkError::TrailerInvalid), "{section:?}");
        }
        let many = "a: b\r\n".repeat(TRAILER_FIELDS_MAX + 1) + "\r\n";
        assert_eq!(read_trailers(many.as_bytes()), Err(ChunkError::TooManyTrailers));
    }
}
