//! Properties that hold for any bytes: nothing panics, splits do not matter, what is written parses back.

use corelane_http1::{
    CHUNK_END, CHUNK_HEADER_BYTES_MAX, HeadError, HeadLimits, HeadScanner, LAST_CHUNK, chunk_header,
    parse_request, parse_response, write_field, write_fields, write_request_line, write_status_line,
};
use corelane_semantics::{Fields, RequestHead, ResponseHead, Span, TargetForm, Version};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::feed::{all_ways, decode, ends, scan as scan_with};

/// Pieces that heads and chunked bodies are made of, so that random sequences of them come close to valid ones.
const PIECES: &[&[u8]] = &[
    b"GET",
    b"CONNECT",
    b"OPTIONS",
    b" ",
    b"  ",
    b"/",
    b"*",
    b"http://",
    b"a",
    b"a:80",
    b"?",
    b"#",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"200",
    b"OK",
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b"\0",
    b":",
    b": ",
    b"Host",
    b"Host: a\r\n",
    b"\t",
    b"\x7f",
    b"\xff",
    b"0",
    b"1",
    b"5",
    b"ffffffffffffffff",
    b";",
    b"\"",
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\n",
    b"GET / HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\n",
];

/// Starts and ends, so that whole messages are common enough.
const STARTS: &[&[u8]] =
    &[b"", b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"5\r\nhello\r\n", b"0\r\n", b"\r\n"];
const ENDS: &[&[u8]] = &[b"", b"\r\n", b"\r\n\r\n", b"\r\n0\r\n\r\n"];

fn bytes_like_messages() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![8 => select(PIECES).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..4)];
    (select(STARTS), vec(piece, 0..16), select(ENDS))
        .prop_map(|(start, pieces, end)| [start, &pieces.concat(), end].concat())
}

fn token() -> impl Strategy<Value = Vec<u8>> {
    "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,20}".prop_map(String::into_bytes)
}

/// A field value without white space at its ends.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8];
    vec(byte, 0..60).prop_map(|bytes| bytes.trim_ascii().to_vec())
}

fn limits_small() -> impl Strategy<Value = HeadLimits> {
    (0..120_usize, 0..60_usize, 0..40_usize, 0..6_usize).prop_map(
        |(head_bytes_max, request_line_bytes_max, field_bytes_max, fields_max)| HeadLimits {
            head_bytes_max,
            request_line_bytes_max,
            field_bytes_max,
            fields_max,
        },
    )
}

fn scan(bytes: &[u8], limits: &HeadLimits, ends: &[usize]) -> Result<Option<(usize, usize)>, HeadError> {
    scan_with(HeadScanner::new(), bytes, limits, ends)
}

/// What is read from a request: method, target, path, version and fields.
type Read = (Vec<u8>, Vec<u8>, Vec<u8>, Version, Vec<(Vec<u8>, Vec<u8>)>);

fn read(bytes: &[u8], ends: &[usize]) -> Result<Option<Read>, HeadError> {
    let limits = HeadLimits::default();
    let Some((start, end)) = scan(bytes, &limits, ends)? else { return Ok(None) };
    let (head, mut out) = (&bytes[start..end], RequestHead::default());
    parse_request(head, &limits, &mut out)?;
    let text = |span: Span| span.bytes(head).to_vec();
    let fields = out.fields.lines().iter().map(|field| (text(field.name), text(field.value))).collect();
    Ok(Some((text(out.method_token), text(out.target), text(out.path), out.version, fields)))
}

/// A request head that is valid, with white space and an empty line where they may be, and what is to be read from it.
fn valid_head() -> impl Strategy<Value = (Vec<u8>, Read)> {
    let method = token().prop_filter("has a target of its own form", |method| method != b"CONNECT");
    let space = || "[ \t]{0,3}";
    let line = (token(), space(), value(), space());
    let origin =
        ("/[!-\"$->@-~]{0,40}", proptest::option::of("[!-\"$-~]{0,40}")).prop_map(|(path, query)| {
            let target = query.map_or(path.clone(), |query| format!("{path}?{query}"));
            (target, path)
        });
    let absolute = ("[hH][tT][tT][pP][sS]?", "[a-z0-9.-]{1,12}(:[0-9]{0,4})?", "(/[!-\"$->@-~]{0,20})?")
        .prop_map(|(scheme, authority, path)| (format!("{scheme}://{authority}{path}"), path));
    let target = prop_oneof![4 => origin, 1 => absolute];
    (any::<bool>(), method, target, any::<bool>(), vec(line, 0..12)).prop_map(
        |(empty_line, method, (target, path), is_old, lines)| {
            let mut head = if empty_line { b"\r\n".to_vec() } else { Vec::new() };
            let version = if is_old { Version::Http10 } else { Version::Http11 };
            let version_text: &[u8] = if is_old { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" };
            head.extend_from_slice(&[&method[..], b" ", target.as_bytes(), version_text].concat());
            for (name, before, value, after) in &lines {
                head.extend_from_slice(
                    &[name, &b":"[..], before.as_bytes(), value, after.as_bytes(), b"\r\n"].concat(),
                );
            }
            head.extend_from_slice(b"\r\n");
            let fields = lines.into_iter().map(|(name, _, value, _)| (name, value)).collect();
            (head, (method, target.into_bytes(), path.into_bytes(), version, fields))
        },
    )
}

/// A small change to bytes: one put in, taken out, replaced, or two swapped.
fn mutated(mut bytes: Vec<u8>, place: usize, byte: u8, kind: u8) -> Vec<u8> {
    let at = place % bytes.len();
    match kind % 4 {
        0 => bytes.insert(at, byte),
        1 => drop(bytes.remove(at)),
        2 => bytes[at] = byte,
        _ => bytes.swap(at, at / 2),
    }
    bytes
}

/// Bytes that change what a head means.
const POINTED: &[u8] = b"\r\n\0 \t:;,#?%@\\/\"(\x01\x7f\x80a0_-";

fn named_values<'a>(fields: &Fields, head: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    fields.lines().iter().map(|field| (field.name.bytes(head), field.value.bytes(head))).collect()
}

/// What every accepted head has, whatever its bytes.
fn assert_lines_without_gaps(head: &[u8], fields: &Fields, start: u32, end: u32) {
    assert_eq!(end as usize, head.len() - 2);
    let first = fields.lines().first().map_or(end, |field| field.name.start);
    assert_eq!(first, start);
    let mut out = Vec::new();
    write_fields(&mut out, head, fields, end, |_| true);
    assert_eq!(out, Span { start, end }.bytes(head));
    let one_by_one: Vec<u8> = (0..fields.lines().len())
        .flat_map(|kept| {
            let (mut out, mut index) = (Vec::new(), 0);
            write_fields(&mut out, head, fields, end, |_| {
                index += 1;
                index - 1 == kept
            });
            assert!(out.ends_with(b"\r\n") && out.iter().filter(|&&byte| byte == b'\n').count() == 1);
            out
        })
        .collect();
    assert_eq!(one_by_one, out);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn scanning_does_not_depend_on_splits(
        bytes in bytes_like_messages(),
        limits in prop_oneof![Just(HeadLimits::default()), limits_small()],
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let whole = scan(&bytes, &limits, &[bytes.len()]);
        prop_assert_eq!(scan(&bytes, &limits, &ends(&cuts, bytes.len())), whole);
        let single: Vec<usize> = (0..=bytes.len()).collect();
        prop_assert_eq!(scan(&bytes, &limits, &single), whole);
    }

    #[test]
    fn parsing_never_panics_and_accepts_only_what_the_scanner_does(bytes in bytes_like_messages()) {
        let limits = HeadLimits::default();
        let scanned = scan(&bytes, &limits, &[bytes.len()]);
        let (mut request, mut response) = (RequestHead::default(), ResponseHead::default());
        if parse_request(&bytes, &limits, &mut request).is_ok() {
            prop_assert_eq!(scanned, Ok(Some((0, bytes.len()))));
            assert_lines_without_gaps(&bytes, &request.fields, request.fields_start, request.fields_end);
        }
        if parse_response(&bytes, &limits, &mut response).is_ok() {
            prop_assert_eq!(scanned, Ok(Some((0, bytes.len()))));
            assert_lines_without_gaps(&bytes, &response.fields, response.fields_start, response.fields_end);
        }
    }

    #[test]
    fn a_valid_head_is_read_as_what_it_says((head, expected) in valid_head()) {
        let outcome = read(&head, &[head.len()]);
        prop_assert_eq!(outcome, Ok(Some(expected)));
    }

    #[test]
    fn a_valid_head_with_one_change_does_not_depend_on_splits(
        (head, _) in valid_head(),
        place in any::<usize>(),
        byte in prop_oneof![3 => select(POINTED), 1 => any::<u8>()],
        kind in any::<u8>(),
    ) {
        let bytes = mutated(head, place, byte, kind);
        let _ = all_ways(&bytes, |ends| read(&bytes, ends));
    }

    #[test]
    fn a_written_request_parses_back(
        method in token(),
        path in "/[!-\"$->@-~]{0,40}",
        query in proptest::option::of("[!-\"$-~]{0,40}"),
        lines in vec((token(), value()), 0..20),
    ) {
        prop_assume!(method != b"CONNECT");
        let target = query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        let mut head = Vec::new();
        write_request_line(&mut head, &method, target.as_bytes());
        lines.iter().for_each(|(name, value)| write_field(&mut head, name, value));
        head.extend_from_slice(b"\r\n");
        let limits = HeadLimits::default();
        prop_assert_eq!(scan(&head, &limits, &[head.len()]), Ok(Some((0, head.len()))));
        let mut out = RequestHead::default();
        prop_assert_eq!(parse_request(&head, &limits, &mut out), Ok(()));
        prop_assert_eq!(out.method_token.bytes(&head), &method[..]);
        prop_assert_eq!(out.path.bytes(&head), path.as_bytes());
        prop_assert_eq!(out.query.map(|span| span.bytes(&head)), query.as_ref().map(String::as_bytes));
        prop_assert_eq!((out.version, out.form), (Version::Http11, TargetForm::Origin));
        let expected: Vec<(&[u8], &[u8])> = lines.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        prop_assert_eq!(named_values(&out.fields, &head), expected);
        assert_lines_without_gaps(&head, &out.fields, out.fields_start, out.fields_end);
    }

    #[test]
    fn a_written_response_parses_back(
        status in 100..=999_u16,
        reason in value(),
        lines in vec((token(), value()), 0..20),
    ) {
        let mut head = Vec::new();
        write_status_line(&mut head, status, &reason);
        lines.iter().for_each(|(name, value)| write_field(&mut head, name, value));
        head.extend_from_slice(b"\r\n");
        let mut out = ResponseHead::default();
        prop_assert_eq!(parse_response(&head, &HeadLimits::default(), &mut out), Ok(()));
        prop_assert_eq!((out.status, out.reason.bytes(&head)), (status, &reason[..]));
        let expected: Vec<(&[u8], &[u8])> = lines.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        prop_assert_eq!(named_values(&out.fields, &head), expected);
        assert_lines_without_gaps(&head, &out.fields, out.fields_start, out.fields_end);
    }

    #[test]
    fn decoding_does_not_depend_on_splits(bytes in bytes_like_messages(), cuts in vec(any::<usize>(), 0..6)) {
        let whole = decode(&bytes, &[bytes.len()]);
        prop_assert_eq!(&decode(&bytes, &ends(&cuts, bytes.len())), &whole);
        let single: Vec<usize> = (0..=bytes.len()).collect();
        prop_assert_eq!(&decode(&bytes, &single), &whole);
    }

    #[test]
    fn an_encoded_body_decodes_back(
        chunks in vec(vec(any::<u8>(), 1..300), 0..12),
        trailers in vec((token(), value()), 0..6),
        next in vec(any::<u8>(), 0..20),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let mut encoded = Vec::new();
        let mut header = [0; CHUNK_HEADER_BYTES_MAX];
        for chunk in &chunks {
            encoded.extend_from_slice(chunk_header(&mut header, chunk.len() as u64));
            encoded.extend_from_slice(chunk);
            encoded.extend_from_slice(CHUNK_END);
        }
        encoded.extend_from_slice(LAST_CHUNK);
        let mut lines = Vec::new();
        // A name that random bytes will not turn into one that is left out.
        for (name, value) in &trailers {
            write_field(&mut lines, &[b"t-", &name[..]].concat(), value);
        }
        encoded.extend_from_slice(&lines);
        encoded.extend_from_slice(CHUNK_END);
        let taken = encoded.len();
        encoded.extend_from_slice(&next);
        let expected = (chunks.concat(), Ok(Some((lines, taken))));
        prop_assert_eq!(decode(&encoded, &ends(&cuts, encoded.len())), expected);
    }

    #[test]
    fn a_valid_body_with_one_change_does_not_depend_on_splits(
        chunks in vec((vec(any::<u8>(), 1..20), select(&["", ";a", " ; a = \"b\\\"\" ;c"][..])), 0..4),
        trailers in select(&["", "A: b\r\n", "Cookie: a\r\nB:\r\n"][..]),
        place in any::<usize>(),
        byte in prop_oneof![3 => select(POINTED), 1 => any::<u8>()],
        kind in any::<u8>(),
    ) {
        let mut body = Vec::new();
        for (data, extension) in &chunks {
            body.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            body.extend_from_slice(&[data, CHUNK_END].concat());
        }
        body.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        let (_, whole) = decode(&body, &[body.len()]);
        prop_assert!(matches!(whole, Ok(Some((_, taken))) if taken == body.len()));
        let bytes = mutated(body, place, byte, kind);
        let _ = all_ways(&bytes, |ends| decode(&bytes, ends));
    }
}
