//! Where a head ends (RFC 9112 §2.2), found over any number of reads in one pass over the bytes.
//!
//! The scanner also refuses what line parsers disagree about: bare LF, bare CR and NUL anywhere in the head.

use memchr::memchr3;

use crate::{HeadError, HeadLimits};

/// Finds the end of a head over several reads without looking at a byte twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// All before it is looked at. It stays at a CR whose LF is still to come, and at an offending byte.
    scanned: usize,
    /// Where the line starts that is being scanned.
    line_start: usize,
    /// Where the head starts.
    start: usize,
    leading_line: LeadingLine,
}

/// What an empty line before the head means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LeadingLine {
    #[default]
    Tolerated,
    Refused,
}

impl HeadScanner {
    /// A scanner for a request; one empty line before it is tolerated.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A scanner for a response: no empty line may come before it.
    #[must_use]
    pub fn for_response() -> Self {
        Self { leading_line: LeadingLine::Refused, ..Self::default() }
    }

    /// Looks at the bytes that came since the last call. `buffer` starts where the message starts and only grows between
    /// calls. `Some` is the index one past the head's empty line, `None` means that more bytes are needed. The result
    /// for given bytes is the same however they were split.
    ///
    /// # Errors
    ///
    /// [`HeadError`]; the caller answers it and closes, because where the next message starts is unknown.
    pub fn scan(&mut self, buffer: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        loop {
            let head_end = self.start.saturating_add(limits.head_bytes_max);
            let bytes = buffer.get(..head_end).unwrap_or(buffer);
            let unseen = bytes.get(self.scanned..).unwrap_or_default();
            let found = memchr3(b'\r', b'\n', 0, unseen);
            // On an error `scanned` stays at the offending byte: the same call gives the same error again.
            self.scanned += found.unwrap_or(unseen.len());
            if self.scanned - self.line_start > self.line_bytes_max(limits) {
                return Err(self.line_too_long());
            }
            match bytes.get(self.scanned..) {
                Some([b'\r', b'\n', ..]) => {}
                Some([] | [b'\r']) if buffer.len() >= head_end => return Err(HeadError::HeadTooLarge),
                Some([] | [b'\r']) => return Ok(None),
                Some([b'\r', ..]) => return Err(HeadError::BareCarriageReturn),
                Some([b'\n', ..]) => return Err(HeadError::BareLineFeed),
                _ => return Err(HeadError::Nul),
            }
            if self.scanned > self.line_start {
                self.scanned += 2;
                self.line_start = self.scanned;
            } else if self.line_start > self.start {
                return Ok(Some(self.scanned + 2));
            } else {
                self.skip_leading_line()?;
            }
        }
    }

    /// Where the head starts after the tolerated leading CRLF: 0 or 2.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Begins with the next head.
    pub fn restart(&mut self) {
        *self = Self { leading_line: self.leading_line, ..Self::default() };
    }

    /// Whether it has seen no byte that it will not look at again.
    pub(crate) fn is_new(&self) -> bool {
        self.scanned == 0
    }

    /// How long the line that is being scanned may be, without its CRLF.
    fn line_bytes_max(&self, limits: &HeadLimits) -> usize {
        if self.line_start == self.start { limits.request_line_bytes_max } else { limits.field_bytes_max }
    }

    fn line_too_long(&self) -> HeadError {
        if self.line_start == self.start { HeadError::RequestLineTooLong } else { HeadError::FieldTooLarge }
    }

    fn skip_leading_line(&mut self) -> Result<(), HeadError> {
        // RFC 9112 §2.2: "SHOULD ignore at least one empty line (CRLF) received prior to the request-line"; one it is.
        if self.start > 0 || self.leading_line == LeadingLine::Refused {
            return Err(match self.leading_line {
                LeadingLine::Tolerated => HeadError::RequestLineInvalid,
                LeadingLine::Refused => HeadError::StatusLineInvalid,
            });
        }
        self.scanned += CRLF.len();
        self.line_start = self.scanned;
        self.start = self.scanned;
        Ok(())
    }
}

const CRLF: &[u8] = b"\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use HeadError as E;

    /// Where the head starts and ends, or why it is refused.
    type Outcome = Result<Option<(usize, usize)>, HeadError>;

    /// Feeds the prefixes of `bytes` that `ends` names to one scanner until it has a result.
    fn scan_at(
        mut scanner: HeadScanner,
        bytes: &[u8],
        limits: &HeadLimits,
        ends: impl Iterator<Item = usize>,
    ) -> Outcome {
        for end in ends {
            if let Some(found) = scanner.scan(&bytes[..end], limits)? {
                let again = scanner.scan(&bytes[..end], limits);
                assert_eq!(again, Ok(Some(found)), "a second call differs");
                return Ok(Some((scanner.start(), found)));
            }
        }
        Ok(None)
    }

    /// Scans `bytes` whole, split at every point, and byte by byte; all must agree.
    fn scan_all_ways(scanner: HeadScanner, bytes: &[u8], limits: &HeadLimits) -> Outcome {
        let whole = scan_at(scanner, bytes, limits, [bytes.len()].into_iter());
        for split in 0..bytes.len() {
            let outcome = scan_at(scanner, bytes, limits, [split, bytes.len()].into_iter());
            assert_eq!(outcome, whole, "split at {split} of {:?}", bytes.escape_ascii().to_string());
        }
        let single = scan_at(scanner, bytes, limits, 0..=bytes.len());
        assert_eq!(single, whole, "byte by byte: {:?}", bytes.escape_ascii().to_string());
        whole
    }

    #[test]
    fn finds_the_end_at_every_split() {
        let table: &[(&[u8], Outcome)] = &[
            // RFC 9112 §2.1: a head ends with an empty line.
            (b"GET / HTTP/1.1\r\n\r\n", Ok(Some((0, 18)))),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Some((0, 27)))),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\n\0\r", Ok(Some((0, 27)))),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r", Ok(None)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", Ok(None)),
            (b"GET / HTTP/1.1\r", Ok(None)),
            (b"", Ok(None)),
            // RFC 9112 §2.2: one empty line before the request line is ignored.
            (b"\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some((2, 20)))),
            (b"\r\n", Ok(None)),
            (b"\r", Ok(None)),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Err(E::RequestLineInvalid)),
            (b"\r\n\r\n", Err(E::RequestLineInvalid)),
            // RFC 9112 §2.2: bare LF and bare CR.
            (b"\nGET / HTTP/1.1\r\n\r\n", Err(E::BareLineFeed)),
            (b"\r\n\nGET / HTTP/1.1\r\n\r\n", Err(E::BareLineFeed)),
            (b"GET / HTTP/1.1\n\n", Err(E::BareLineFeed)),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(E::BareLineFeed)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(E::BareLineFeed)),
            (b"GET / HTTP/1.1\rHost: a\r\n\r\n", Err(E::BareCarriageReturn)),
            (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Err(E::BareCarriageReturn)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", Err(E::BareCarriageReturn)),
            (b"\rGET / HTTP/1.1\r\n\r\n", Err(E::BareCarriageReturn)),
            // RFC 9110 §5.5: NUL.
            (b"GET /\0 HTTP/1.1\r\n\r\n", Err(E::Nul)),
            (b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", Err(E::Nul)),
            (b"GET / HTTP/1.1\r\n\0\r\n\r\n", Err(E::Nul)),
            (b"\0", Err(E::Nul)),
        ];
        for (bytes, expected) in table {
            let outcome = scan_all_ways(HeadScanner::new(), bytes, &HeadLimits::default());
            assert_eq!(&outcome, expected, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn refuses_an_empty_line_before_a_response() {
        let limits = HeadLimits::default();
        let scan = |bytes| scan_all_ways(HeadScanner::for_response(), bytes, &limits);
        assert_eq!(scan(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(Some((0, 19))));
        assert_eq!(scan(b"\r\nHTTP/1.1 200 OK\r\n\r\n"), Err(E::StatusLineInvalid));
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let head = b"GET /abc HTTP/1.1\r\nHost: a\r\n\r\n";
        let line = b"GET /abc HTTP/1.1".len();
        let scan = |prefix: &[u8], head_bytes_max, request_line_bytes_max| {
            let limits = HeadLimits { head_bytes_max, request_line_bytes_max, ..HeadLimits::default() };
            scan_all_ways(HeadScanner::new(), &[prefix, head].concat(), &limits)
        };
        for prefix in [&b""[..], b"\r\n"] {
            let (start, end) = (prefix.len(), prefix.len() + head.len());
            assert_eq!(scan(prefix, head.len(), line), Ok(Some((start, end))));
            assert_eq!(scan(prefix, head.len(), line - 1), Err(E::RequestLineTooLong));
            assert_eq!(scan(prefix, head.len() - 1, line), Err(E::HeadTooLarge));
            // As the caller sets them for a response: one limit, one error.
            for bytes_max in 2..head.len() {
                assert_eq!(scan(prefix, bytes_max, bytes_max), Err(E::HeadTooLarge), "{bytes_max}");
            }
            assert_eq!(scan(prefix, head.len(), head.len()), Ok(Some((start, end))));
        }
        assert_eq!(scan(b"", 0, 0), Err(E::HeadTooLarge));
        assert_eq!(scan(b"", 1, 1), Err(E::HeadTooLarge));
    }

    #[test]
    fn asks_for_no_byte_past_a_limit() {
        let limits =
            HeadLimits { head_bytes_max: 64, request_line_bytes_max: 16, field_bytes_max: 40, fields_max: 1 };
        let endless = [b'a'; 64];
        assert_eq!(HeadScanner::new().scan(&endless[..16], &limits), Ok(None));
        assert_eq!(HeadScanner::new().scan(&endless[..17], &limits), Err(E::RequestLineTooLong));
        let field = [&b"GET / HTTP/1.1\r\n"[..], &endless[..]].concat();
        assert_eq!(HeadScanner::new().scan(&field[..56], &limits), Ok(None));
        assert_eq!(HeadScanner::new().scan(&field[..57], &limits), Err(E::FieldTooLarge));
        let second = [&b"GET / HTTP/1.1\r\nA: bcd\r\n"[..], &endless[..]].concat();
        assert_eq!(HeadScanner::new().scan(&second[..63], &limits), Ok(None));
        assert_eq!(HeadScanner::new().scan(&second[..64], &limits), Err(E::HeadTooLarge));
    }

    #[test]
    fn a_field_line_is_bounded_to_the_byte() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\nCd:   e \r\n\r\n";
        let line = b"Cd:   e ".len();
        let scan = |prefix: &[u8], field_bytes_max| {
            let limits = HeadLimits { field_bytes_max, ..HeadLimits::default() };
            scan_all_ways(HeadScanner::new(), &[prefix, head].concat(), &limits)
        };
        for prefix in [&b""[..], b"\r\n"] {
            let whole = Ok(Some((prefix.len(), prefix.len() + head.len())));
            assert_eq!(scan(prefix, line), whole);
            for bytes_max in 0..line {
                assert_eq!(scan(prefix, bytes_max), Err(E::FieldTooLarge), "{bytes_max}");
            }
        }
        // No line, nothing too long.
        let limits = HeadLimits { field_bytes_max: 0, ..HeadLimits::default() };
        let bare = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(scan_all_ways(HeadScanner::new(), bare, &limits), Ok(Some((0, bare.len()))));
    }

    #[test]
    fn looks_at_a_byte_once() {
        let limits = HeadLimits::default();
        let mut buffer = b"GET / HTTP/1.1\r\nA: bcd".to_vec();
        let mut scanner = HeadScanner::new();
        assert_eq!(scanner.scan(&buffer, &limits), Ok(None));
        // What was looked at is not looked at again: a change goes unseen.
        buffer.iter_mut().for_each(|byte| *byte = 0);
        buffer.extend_from_slice(b"\r\n\r\n");
        assert_eq!(scanner.scan(&buffer, &limits), Ok(Some(buffer.len())));
    }
}
