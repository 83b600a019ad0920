//! Properties that hold for any bytes: nothing panics, splits do not matter, what is written parses back.

use corelane_http1::{
    CHUNK_END, CHUNK_HEADER_BYTES_MAX, ChunkError, ChunkEvent, ChunkedDecoder, HeadError, HeadLimits,
    HeadScanner, LAST_CHUNK, chunk_header, parse_request, parse_response, write_field, write_fields,
    write_request_line, write_status_line,
};
use corelane_semantics::{Fields, RequestHead, ResponseHead, Span, Version};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

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

/// Ends of pieces of `length` bytes, from arbitrary numbers; the last one is `length`.
fn ends(cuts: &[usize], length: usize) -> Vec<usize> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (length + 1)).chain([length]).collect();
    ends.sort_unstable();
    ends
}

fn scan(bytes: &[u8], limits: &HeadLimits, ends: &[usize]) -> Result<Option<(usize, usize)>, HeadError> {
    let mut scanner = HeadScanner::new();
    for &end in ends {
        if let Some(found) = scanner.scan(&bytes[..end], limits)? {
            return Ok(Some((scanner.start(), found)));
        }
    }
    Ok(None)
}

type Decoded = (Vec<u8>, Result<Option<(Vec<u8>, usize)>, ChunkError>);

/// The body, and either the trailers and the bytes taken, or nothing of an unfinished body, or the error.
fn decode(bytes: &[u8], ends: &[usize]) -> Decoded {
    let mut decoder = ChunkedDecoder::new();
    let (mut body, mut start) = (Vec::new(), 0);
    for &end in ends {
        let mut input = &bytes[start..end];
        start = end;
        loop {
            match decoder.decode(&mut input) {
                Ok(ChunkEvent::Data(data)) => body.extend_from_slice(data),
                Ok(ChunkEvent::NeedMore) => break,
                Ok(ChunkEvent::End) => {
                    return (body, Ok(Some((decoder.trailers().to_vec(), end - input.len()))));
                }
                Err(error) => return (body, Err(error)),
            }
        }
    }
    (body, Ok(None))
}

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
        prop_assert_eq!(out.version, Version::Http11);
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
}
