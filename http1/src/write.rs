//! Heads and chunked framing, written: appended to a buffer that the caller reuses, which is the only allocation.
//!
//! Nothing here checks its input for line ends in release builds: names and values come from a parsed head or from the
//! proxy's own validated configuration.

use corelane_semantics::{Field, Fields, Span};

use crate::bytes::{is_token, is_value_byte};

/// Copies the field lines of a head, leaving out those for which `keep` says no, as whole unchanged runs of received
/// bytes. `fields_end` is where the last line ends (`RequestHead::fields_end`).
pub fn write_fields(
    out: &mut Vec<u8>,
    head: &[u8],
    fields: &Fields,
    fields_end: u32,
    mut keep: impl FnMut(&Field) -> bool,
) {
    let start = fields.lines().first().map_or(fields_end, |field| field.name.start);
    write_lines(out, head, Span { start, end: fields_end }, fields, |field, _| keep(field));
}

/// As [`write_fields`], for the lines that end where the last field line does and start with it or before: a start line
/// that goes on as it came is one run with the fields behind it. `keep` gets where a line will start in `out` as well.
#[inline]
pub fn write_lines(
    out: &mut Vec<u8>,
    head: &[u8],
    lines: Span,
    fields: &Fields,
    mut keep: impl FnMut(&Field, usize) -> bool,
) {
    // A line starts where its name starts and ends where the next one starts; lines follow each other without a gap. So a
    // run of kept lines is one piece of the head.
    let mut run_start = lines.start;
    let fields = fields.lines();
    for (index, field) in fields.iter().enumerate() {
        let line_start = field.name.start;
        let place = out.len() + (line_start - run_start) as usize;
        if !keep(field, place) {
            copy_run(out, head, run_start, line_start);
            run_start = fields.get(index + 1).map_or(lines.end, |next| next.name.start);
        }
    }
    copy_run(out, head, run_start, lines.end);
}

fn copy_run(out: &mut Vec<u8>, head: &[u8], start: u32, end: u32) {
    if start < end {
        let run = head.get(start as usize..end as usize);
        debug_assert!(run.is_some_and(|run| run.ends_with(b"\r\n")), "the spans are not of this head");
        out.extend_from_slice(run.unwrap_or_default());
    }
}

/// Writes `name: value CRLF`.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_token(name), "a field name that is no token");
    debug_assert!(value.iter().copied().all(is_value_byte), "a control byte in a field value");
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a request line with the version HTTP/1.1: a proxy sends its own version (RFC 9110 §6.2).
pub fn write_request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    write_request_line_in_parts(out, method, target, None);
}

/// As [`write_request_line`], for a target of a path and a query that may stand in different places.
pub fn write_request_line_in_parts(out: &mut Vec<u8>, method: &[u8], path: &[u8], query: Option<&[u8]>) {
    debug_assert!(is_token(method), "a method that is no token");
    debug_assert!(
        !path.is_empty() && path.iter().chain(query.unwrap_or_default()).all(u8::is_ascii_graphic),
        "a target that would end early"
    );
    out.reserve(method.len() + path.len() + query.map_or(0, <[u8]>::len) + 13);
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(path);
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes a status line with the version HTTP/1.1. `status` has three digits; `reason` may be empty.
pub fn write_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    debug_assert!((100..=999).contains(&status), "a status without three digits");
    debug_assert!(reason.iter().copied().all(is_value_byte), "a control byte in a reason phrase");
    out.reserve(reason.len() + 15);
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(status));
    // RFC 9112 §4: the SP is sent even when the reason phrase is empty.
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// Writes a number in decimal.
pub fn write_decimal(out: &mut Vec<u8>, n: u64) {
    let mut digits = [0_u8; DECIMAL_DIGITS_MAX];
    let mut start = DECIMAL_DIGITS_MAX;
    let mut rest = n;
    for (index, slot) in digits.iter_mut().enumerate().rev() {
        *slot = DIGITS[(rest % 10) as usize];
        rest /= 10;
        start = index;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Writes `<hex> CRLF` into `out` and returns the used part. A length of 0 would end the body and is not allowed: see
/// [`LAST_CHUNK`].
pub fn chunk_header(out: &mut [u8; CHUNK_HEADER_BYTES_MAX], length: u64) -> &[u8] {
    debug_assert!(length > 0, "an empty chunk ends the body");
    let mut start = CHUNK_HEADER_BYTES_MAX - 2;
    let mut rest = length;
    for (index, slot) in out[..CHUNK_HEADER_BYTES_MAX - 2].iter_mut().enumerate().rev() {
        *slot = DIGITS[(rest & 0xf) as usize];
        rest >>= 4;
        start = index;
        if rest == 0 {
            break;
        }
    }
    out[CHUNK_HEADER_BYTES_MAX - 2..].copy_from_slice(b"\r\n");
    &out[start..]
}

/// The reason phrase of a status (RFC 9110 §15 and the registry), empty for one that is not registered.
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}

/// Ends the data of a chunk, and a trailer section.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk, without the trailer section and the [`CHUNK_END`] that follow it.
pub const LAST_CHUNK: &[u8] = b"0\r\n";

/// 16 hexadecimal digits and CRLF.
pub const CHUNK_HEADER_BYTES_MAX: usize = 18;

/// The digits of `u64::MAX`.
const DECIMAL_DIGITS_MAX: usize = 20;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HeadLimits, parse_request};
    use corelane_semantics::{Known, RequestHead};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = b"|".to_vec();
        write(&mut out);
        out
    }

    #[test]
    fn copies_runs_of_kept_lines_unchanged() {
        let lines = ["A:1\r\n", "b: \t2 \r\n", "C:\r\n", "A: 4\r\n"];
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", lines.concat());
        let mut request = RequestHead::default();
        parse_request(head.as_bytes(), &HeadLimits::default(), &mut request).unwrap();
        // Every subset of the lines.
        for kept in 0_u32..16 {
            let mut index = 0;
            let out = written(|out| {
                write_fields(out, head.as_bytes(), &request.fields, request.fields_end, |_| {
                    index += 1;
                    kept >> (index - 1) & 1 == 1
                });
            });
            let expected: String =
                (0..4).filter(|line| kept >> line & 1 == 1).map(|line: usize| lines[line]).collect();
            assert_eq!(out, format!("|{expected}").into_bytes(), "{kept:04b}");
        }
    }

    #[test]
    fn no_fields_write_nothing() {
        let head = b"GET / HTTP/1.1\r\n\r\n";
        let mut request = RequestHead::default();
        parse_request(head, &HeadLimits::default(), &mut request).unwrap();
        let out = written(|out| write_fields(out, head, &request.fields, request.fields_end, |_| true));
        assert_eq!(out, b"|");
    }

    #[test]
    fn writes_lines() {
        assert_eq!(written(|out| write_field(out, Known::Via.name(), b"1.1 a")), b"|via: 1.1 a\r\n");
        assert_eq!(written(|out| write_request_line(out, b"GET", b"/a?b")), b"|GET /a?b HTTP/1.1\r\n");
        assert_eq!(written(|out| write_status_line(out, 404, b"Not Found")), b"|HTTP/1.1 404 Not Found\r\n");
        assert_eq!(written(|out| write_status_line(out, 599, b"")), b"|HTTP/1.1 599 \r\n");
    }

    #[test]
    fn writes_decimals() {
        for n in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            assert_eq!(written(|out| write_decimal(out, n)), format!("|{n}").into_bytes());
        }
    }

    #[test]
    fn writes_chunk_headers() {
        let mut buffer = [0xff; CHUNK_HEADER_BYTES_MAX];
        for length in [1, 9, 10, 15, 16, 255, 256, 65_536, u64::MAX] {
            assert_eq!(chunk_header(&mut buffer, length), format!("{length:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn registered_statuses_have_a_reason() {
        assert_eq!(reason_phrase(200), "OK");
        assert_eq!(reason_phrase(418), "");
        assert_eq!(reason_phrase(0), "");
        // Those that this proxy answers with by itself.
        for status in [400, 404, 408, 413, 414, 421, 429, 431, 500, 501, 502, 503, 504, 505] {
            assert!(!reason_phrase(status).is_empty(), "{status}");
        }
    }
}
