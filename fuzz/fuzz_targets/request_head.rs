//! Request heads: no panic, no dependence on splits, and what is accepted obeys RFC 9112.

#![no_main]

use corelane_http1::{HeadError, HeadLimits, HeadScanner, parse_request, read_request, write_fields};
use corelane_semantics::{RequestHead, Span, request_framing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&selector, bytes)) = data.split_first() else { return };
    let limits = if selector & 1 == 0 {
        HeadLimits::default()
    } else {
        HeadLimits { head_bytes_max: 64, request_line_bytes_max: 24, field_bytes_max: 20, fields_max: 3 }
    };
    let mut out = RequestHead::default();
    // The parser alone, on bytes that no scanner has seen: it accepts only what the scanner does.
    let unscanned = parse_request(bytes, &limits, &mut out);
    let whole = scan(bytes, &limits, [bytes.len()].into_iter());
    let split = usize::from(selector) % (bytes.len() + 1);
    assert_eq!(scan(bytes, &limits, [split, bytes.len()].into_iter()), whole);
    assert_eq!(scan(bytes, &limits, 0..=bytes.len()), whole);
    // The length of lines is the scanner's to bound.
    if unscanned.is_ok() && !matches!(whole, Err(HeadError::RequestLineTooLong | HeadError::FieldTooLarge)) {
        assert_eq!(whole, Ok(Some((0, bytes.len()))));
    }
    let in_two_steps = whole.and_then(|place| match place {
        Some((start, end)) => parse_request(&bytes[start..end], &limits, &mut out).map(|()| Some(start..end)),
        None => Ok(None),
    });
    let two_steps = format!("{out:?}");
    // In one step: the same place, and of a head that is taken the same parts.
    let place = read_request(&mut HeadScanner::new(), bytes, &limits, &mut out);
    assert_eq!(place, in_two_steps);
    let Ok(Some(place)) = place else { return };
    assert_eq!(format!("{out:?}"), two_steps);
    let head = &bytes[place];
    assert!(out.fields.lines().len() <= limits.fields_max);
    assert!(!out.method_token.is_empty() && !out.target.is_empty());
    assert!(out.target.bytes(head).iter().all(u8::is_ascii_graphic));
    for field in out.fields.lines() {
        assert!(!field.name.is_empty());
        let value = field.value.bytes(head);
        assert!(value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)));
        assert!(![value.first(), value.last()].iter().any(|end| matches!(end, Some(b' ' | b'\t'))));
    }
    let mut written = Vec::new();
    write_fields(&mut written, head, &out.fields, out.fields_end, |_| true);
    assert_eq!(written, Span { start: out.fields_start, end: out.fields_end }.bytes(head));
    let _ = (out.host(head), request_framing(&out, head));
});

fn scan(
    bytes: &[u8],
    limits: &HeadLimits,
    ends: impl Iterator<Item = usize>,
) -> Result<Option<(usize, usize)>, HeadError> {
    let mut scanner = HeadScanner::new();
    for end in ends {
        if let Some(found) = scanner.scan(&bytes[..end], limits)? {
            return Ok(Some((scanner.start(), found)));
        }
    }
    Ok(None)
}
