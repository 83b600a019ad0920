//! Heads that are there as a whole and break no rule, which nearly all are: their end and their parts in one pass.
//!
//! This reader only ever says yes. What is incomplete, refused, or rare enough not to matter is left to the scanner and
//! the careful parser, which say why; what this one takes, they take as well and read the same from it.

use corelane_semantics::{Fields, Known, Method, RequestHead, ResponseHead, Span, TargetForm, Version};

use crate::HeadLimits;
use crate::block::{find_control, find_target_mark, letters_end};
use crate::bytes::is_token_byte;
use crate::request::split_target;
use crate::response::REASON_START;

/// Reads the request head at the start of `buffer` and returns where it ends. `None` says nothing about the head, and
/// `out` means nothing then.
pub(crate) fn read_request(buffer: &[u8], limits: &HeadLimits, out: &mut RequestHead) -> Option<usize> {
    let buffer = bounded(buffer, limits);
    let method_end = if buffer.starts_with(b"GET ") {
        out.method = Method::Get;
        3
    } else {
        let end = token_end(buffer, 0)?;
        out.method = Method::from_token(buffer.get(..end)?);
        end
    };
    if method_end == 0 || buffer.get(method_end) != Some(&b' ') {
        return None;
    }
    out.method_token = span(0, method_end);

    let start = method_end + 1;
    let mut end = find_target_mark(buffer, start)?;
    let path_end = end;
    while buffer.get(end) == Some(&b'?') {
        end = find_target_mark(buffer, end + 1)?;
    }
    out.version = match buffer.get(end..end + AFTER_TARGET_BYTES)? {
        b" HTTP/1.1\r\n" => Version::Http11,
        b" HTTP/1.0\r\n" => Version::Http10,
        _ => return None,
    };
    let fields_start = end + AFTER_TARGET_BYTES;
    if fields_start - CRLF.len() > limits.request_line_bytes_max {
        return None;
    }
    if buffer.get(start) == Some(&b'/') && out.method != Method::Connect {
        out.target = span(start, end);
        out.form = TargetForm::Origin;
        out.authority = None;
        out.path = span(start, path_end);
        out.query = (path_end < end).then(|| span(path_end + 1, end));
    } else {
        split_target(buffer, span(start, end), out).ok()?;
    }

    let fields_end = read_fields(buffer, fields_start, limits, &mut out.fields)?;
    Span { start: out.fields_start, end: out.fields_end } = span(fields_start, fields_end);
    Some(fields_end + CRLF.len())
}

/// As [`read_request`], for a response.
pub(crate) fn read_response(buffer: &[u8], limits: &HeadLimits, out: &mut ResponseHead) -> Option<usize> {
    let buffer = bounded(buffer, limits);
    let (start, rest) = buffer.split_first_chunk::<STATUS_END>()?;
    let [version @ .., b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = start else { return None };
    out.version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return None,
    };
    let [a, b, c] = [a, b, c].map(|digit| u16::from(digit - b'0'));
    out.status = a * 100 + b * 10 + c;
    let line_end = match rest {
        [b' ', ..] => text_end(buffer, STATUS_END + 1)?,
        _ if is_line_end(buffer, STATUS_END) => STATUS_END,
        _ => return None,
    };
    if line_end > limits.request_line_bytes_max {
        return None;
    }
    let fields_start = line_end + CRLF.len();
    out.reason = span((REASON_START as usize).min(line_end), line_end);

    let fields_end = read_fields(buffer, fields_start, limits, &mut out.fields)?;
    Span { start: out.fields_start, end: out.fields_end } = span(fields_start, fields_end);
    Some(fields_end + CRLF.len())
}

/// What a head may fill. Spans have 32 bits, whatever the configuration allows.
fn bounded<'a>(buffer: &'a [u8], limits: &HeadLimits) -> &'a [u8] {
    buffer.get(..limits.head_bytes_max.min(u32::MAX as usize)).unwrap_or(buffer)
}

/// Reads the lines from `start` on and returns where the empty one stands.
fn read_fields(buffer: &[u8], start: usize, limits: &HeadLimits, out: &mut Fields) -> Option<usize> {
    out.clear();
    let mut line = start;
    loop {
        let mut name_end = letters_end(buffer, line)?;
        if buffer.get(name_end) != Some(&b':') {
            if is_line_end(buffer, line) {
                return Some(line);
            }
            name_end = token_end(buffer, name_end)?;
            // RFC 9112 §5.1: no white space between the name and the colon.
            if buffer.get(name_end) != Some(&b':') {
                return None;
            }
            if buffer.get(line..name_end)?.contains(&b'_') {
                out.mark_underscore();
            }
        }
        if name_end == line {
            return None;
        }
        let start = value_start(buffer, name_end + 1);
        let line_end = text_end(buffer, start)?;
        if line_end - line > limits.field_bytes_max || out.lines().len() >= limits.fields_max {
            return None;
        }
        let known = Known::from_name(buffer.get(line..name_end)?);
        let end = value_end(buffer, start, line_end);
        out.push(span(line, name_end), span(start, end), known);
        line = line_end + CRLF.len();
    }
}

/// Where the token ends that goes on at `start`; `None`: the buffer ends before it does.
#[cold]
fn token_end(buffer: &[u8], start: usize) -> Option<usize> {
    let rest = buffer.get(start..)?;
    Some(start + rest.iter().position(|&byte| !is_token_byte(byte))?)
}

/// RFC 9112 §5.1: white space around a value is not part of it.
#[inline]
fn value_start(buffer: &[u8], after_colon: usize) -> usize {
    let is_space = |at| matches!(buffer.get(at), Some(b' ' | b'\t'));
    let mut start = after_colon + usize::from(buffer.get(after_colon) == Some(&b' '));
    while is_space(start) {
        start += 1;
    }
    start
}

/// As [`value_start`]; the line ends at `line_end`.
#[inline]
fn value_end(buffer: &[u8], start: usize, line_end: usize) -> usize {
    match buffer.get(start..line_end) {
        Some(value @ [.., b' ' | b'\t']) => start + value.trim_ascii_end().len(),
        _ => line_end,
    }
}

/// Where the text that starts at `start` ends with its line; `None`: with a control byte, or not in this buffer.
#[inline]
fn text_end(buffer: &[u8], start: usize) -> Option<usize> {
    let mut end = find_control(buffer, start)?;
    while !is_line_end(buffer, end) {
        if buffer.get(end) != Some(&b'\t') {
            return None;
        }
        end = find_control(buffer, end + 1)?;
    }
    Some(end)
}

#[inline]
fn is_line_end(buffer: &[u8], at: usize) -> bool {
    buffer.get(at..at + CRLF.len()) == Some(CRLF)
}

/// A span of a buffer that [`bounded`] gave.
#[expect(clippy::cast_possible_truncation, reason = "what is bounded has no position above 32 bits")]
fn span(start: usize, end: usize) -> Span {
    debug_assert!(start <= end && u32::try_from(end).is_ok(), "a span of something else");
    Span { start: start as u32, end: end as u32 }
}

const CRLF: &[u8] = b"\r\n";

/// ` HTTP/1.1` and CRLF.
const AFTER_TARGET_BYTES: usize = 11;

/// `HTTP/1.1 200`
const STATUS_END: usize = 12;

#[cfg(test)]
mod tests;
