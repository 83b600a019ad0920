//! This reader against the scanner and the careful parser, which is httparse with what it tolerates refused.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::request::judge_request;
use crate::response::judge_response;
use crate::{HeadError, HeadScanner};

/// What is read from a head, its spans included; those of empty values mean nothing.
type Read = (usize, String);

fn shown(head: &impl Debug, fields: &Fields) -> String {
    let lines: Vec<_> = fields
        .lines()
        .iter()
        .map(|field| (field.name, (!field.value.is_empty()).then_some(field.value), field.known))
        .collect();
    format!("{head:?} {lines:?} {}", fields.has_underscore())
}

fn shown_request(out: &RequestHead) -> String {
    let RequestHead { method, method_token, target, form, authority, path, query, version, fields, .. } = out;
    let path = (form != &TargetForm::Authority && !path.is_empty()).then_some(path);
    let parts = (method, method_token, target, form, authority, path, query, version);
    shown(&(parts, out.fields_start, out.fields_end), fields)
}

fn shown_response(out: &ResponseHead) -> String {
    let ResponseHead { status, reason, version, fields, fields_start, fields_end } = out;
    shown(&(status, reason, version, fields_start, fields_end), fields)
}

fn fast_request(bytes: &[u8], limits: &HeadLimits) -> Option<Read> {
    let mut out = RequestHead::default();
    read_request(bytes, limits, &mut out).map(|end| (end, shown_request(&out)))
}

fn fast_response(bytes: &[u8], limits: &HeadLimits) -> Option<Read> {
    let mut out = ResponseHead::default();
    read_response(bytes, limits, &mut out).map(|end| (end, shown_response(&out)))
}

fn careful_request(bytes: &[u8], limits: &HeadLimits) -> Result<Option<Read>, HeadError> {
    let (mut scanner, mut out) = (HeadScanner::new(), RequestHead::default());
    let Some(end) = scanner.scan(bytes, limits)? else { return Ok(None) };
    judge_request(&bytes[scanner.start()..end], limits, &mut out)?;
    // The empty line that may come first is the scanner's alone.
    Ok((scanner.start() == 0).then(|| (end, shown_request(&out))))
}

fn careful_response(bytes: &[u8], limits: &HeadLimits) -> Result<Option<Read>, HeadError> {
    let (mut scanner, mut out) = (HeadScanner::for_response(), ResponseHead::default());
    let Some(end) = scanner.scan(bytes, limits)? else { return Ok(None) };
    judge_response(&bytes[..end], limits, &mut out)?;
    Ok(Some((end, shown_response(&out))))
}

#[track_caller]
fn compare(bytes: &[u8], limits: &HeadLimits) {
    let text = || bytes.escape_ascii().to_string();
    assert_eq!(fast_request(bytes, limits), careful_request(bytes, limits).unwrap_or(None), "{}", text());
    assert_eq!(fast_response(bytes, limits), careful_response(bytes, limits).unwrap_or(None), "{}", text());
}

const REQUEST: &[u8] =
    b"GET /a/b?c=d&e?f HTTP/1.1\r\nHost: example.org:8080\r\nAccept-Encoding:\tgzip, deflate \t\r\n\
    X_1: \r\nUpgrade-Insecure-Requests:1\r\nCookie: a=\xffb\tc\r\ncontent-length: 0\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.0 404 Not\tFound \r\nServer: nginx\r\nContent-Length: 1024\r\n\
    Strict-Transport-Security: max-age=0 \r\nX:\r\n\r\n";

fn limits_from(numbers: (usize, usize, usize, usize)) -> HeadLimits {
    let (head_bytes_max, request_line_bytes_max, field_bytes_max, fields_max) = numbers;
    HeadLimits { head_bytes_max, request_line_bytes_max, field_bytes_max, fields_max }
}

#[test]
fn both_are_taken_in_one_pass() {
    let limits = HeadLimits::default();
    assert_eq!(fast_request(REQUEST, &limits).map(|(end, _)| end), Some(REQUEST.len()));
    assert_eq!(fast_response(RESPONSE, &limits).map(|(end, _)| end), Some(RESPONSE.len()));
}

#[test]
fn every_byte_at_every_place_is_judged_the_same() {
    let limits = HeadLimits::default();
    for head in [REQUEST, RESPONSE] {
        for place in 0..head.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = head.to_vec();
                bytes[place] = byte;
                compare(&bytes, &limits);
            }
        }
    }
}

#[test]
fn every_length_and_what_follows_are_judged_the_same() {
    let limits = HeadLimits::default();
    for head in [REQUEST, RESPONSE] {
        for end in 0..=head.len() {
            for after in [&b""[..], b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0binary\x01 and much more of it"] {
                compare(&[&head[..end], after].concat(), &limits);
            }
        }
    }
}

#[test]
fn every_limit_is_kept_the_same() {
    for head in [REQUEST, RESPONSE] {
        for n in 0..=head.len() + 1 {
            compare(head, &HeadLimits { head_bytes_max: n, ..HeadLimits::default() });
            compare(head, &HeadLimits { request_line_bytes_max: n, ..HeadLimits::default() });
            compare(head, &HeadLimits { field_bytes_max: n, ..HeadLimits::default() });
            compare(head, &HeadLimits { fields_max: n, ..HeadLimits::default() });
        }
    }
}

/// Pieces that make heads of nearly every kind, good and bad.
const PIECES: &[&[u8]] = &[
    b"GET ",
    b"get",
    b"POST ",
    b"CONNECT ",
    b"OPTIONS ",
    b"* ",
    b"/",
    b"/a.b",
    b"?",
    b"#",
    b"http://a:80/b?c ",
    b"a:443 ",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"HTTP/1.1\r\n",
    b"HTTP/1.1 200",
    b" OK",
    b"\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b":",
    b": ",
    b":\t",
    b" ",
    b"\t",
    b"Host: a\r\n",
    b"X_Y: b\r\n",
    b"Accept-Language-And-Much-More",
    b"a",
    b"0",
    b"\0",
    b"\x7f",
    b"\xe9",
    b"\x1f",
    b"\r\n\r\n",
    b"Content-Length",
    b"a longer value; q=0.9, with more, and more",
];

const STARTS: &[&[u8]] = &[b"", b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"];

const ENDS: &[&[u8]] = &[b"", b"\r\n\r\n", b": v\r\n\r\n"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn heads_of_pieces_are_judged_the_same(
        start in select(STARTS),
        pieces in vec(prop_oneof![12 => select(PIECES).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..4)], 0..20),
        end in select(ENDS),
        numbers in (0..120_usize, 0..60_usize, 0..40_usize, 0..6_usize),
    ) {
        let bytes = [start, &pieces.concat(), end].concat();
        compare(&bytes, &HeadLimits::default());
        compare(&bytes, &limits_from(numbers));
    }
}
