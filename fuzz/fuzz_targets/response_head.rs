//! Response heads: no panic, no dependence on splits, and what is accepted obeys RFC 9112.

#![no_main]

use corelane_http1::{HeadError, HeadLimits, HeadScanner, parse_response, read_response, write_fields};
use corelane_semantics::{Method, ResponseHead, Span, response_framing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&selector, bytes)) = data.split_first() else { return };
    let head_bytes_max = if selector & 1 == 0 { 16 * 1024 } else { 64 };
    let limits = HeadLimits {
        head_bytes_max,
        request_line_bytes_max: head_bytes_max,
        field_bytes_max: head_bytes_max,
        fields_max: 100,
    };
    let mut out = ResponseHead::default();
    // The parser alone, on bytes that no scanner has seen: it accepts only what the scanner does.
    let unscanned = parse_response(bytes, &limits, &mut out);
    let whole = scan(bytes, &limits, [bytes.len()].into_iter());
    let split = usize::from(selector) % (bytes.len() + 1);
    assert_eq!(scan(bytes, &limits, [split, bytes.len()].into_iter()), whole);
    assert_eq!(scan(bytes, &limits, 0..=bytes.len()), whole);
    if unscanned.is_ok() {
        assert_eq!(whole, Ok(Some(bytes.len())));
    }
    let in_two_steps = whole.and_then(|end| match end {
        Some(end) => parse_response(&bytes[..end], &limits, &mut out).map(|()| Some(0..end)),
        None => Ok(None),
    });
    let two_steps = format!("{out:?}");
    // In one step: the same place, and of a head that is taken the same parts.
    let place = read_response(&mut HeadScanner::for_response(), bytes, &limits, &mut out);
    assert_eq!(place, in_two_steps);
    let Ok(Some(place)) = place else { return };
    assert_eq!(format!("{out:?}"), two_steps);
    let head = &bytes[place];
    assert!((100..=999).contains(&out.status));
    assert!(out.fields.lines().len() <= limits.fields_max);
    assert!(out.reason.bytes(head).iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)));
    let mut written = Vec::new();
    write_fields(&mut written, head, &out.fields, out.fields_end, |_| true);
    assert_eq!(written, Span { start: out.fields_start, end: out.fields_end }.bytes(head));
    let _ = response_framing(&out, head, Method::Get);
});

fn scan(
    bytes: &[u8],
    limits: &HeadLimits,
    ends: impl Iterator<Item = usize>,
) -> Result<Option<usize>, HeadError> {
    let mut scanner = HeadScanner::for_response();
    for end in ends {
        if let Some(found) = scanner.scan(&bytes[..end], limits)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
