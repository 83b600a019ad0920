//! `traceparent` against a reader that takes the value apart at its dashes, as W3C Trace Context §3.2 and §4.3 say.

#![no_main]

use corelane_semantics::{Fields, Span, TraceParent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let expected = plainly(data);
    let read = TraceParent::parse(data).map(|read| (read.trace_id, read.parent_id, read.flags));
    assert_eq!(read, expected, "{}", data.escape_ascii());

    let name = b"TraceParent";
    let mut bytes = name.to_vec();
    bytes.extend_from_slice(data);
    let mut fields = Fields::default();
    let (name, value) = (Span::new(0, name.len()), Span::new(name.len(), bytes.len()));
    fields.push(name, value, None);
    let one = TraceParent::of(&fields, &bytes);
    assert_eq!(one.map(|read| (read.trace_id, read.parent_id, read.flags)), expected);
    fields.push(name, value, None);
    assert_eq!(TraceParent::of(&fields, &bytes), None);
});

fn plainly(value: &[u8]) -> Option<(u128, u64, u8)> {
    let text = std::str::from_utf8(value.get(..55)?).ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    if lengths != [2, 32, 16, 2]
        || parts.iter().any(|part| part.contains(|c| !"0123456789abcdef".contains(c)))
    {
        return None;
    }
    let ends_well = match (parts[0], value.get(55)) {
        ("ff", _) => false,
        ("00", more) => more.is_none(),
        (_, more) => matches!(more, None | Some(b'-')),
    };
    let trace = u128::from_str_radix(parts[1], 16).ok()?;
    let parent = u64::from_str_radix(parts[2], 16).ok()?;
    let flags = u8::from_str_radix(parts[3], 16).ok()?;
    (ends_well && trace != 0 && parent != 0).then_some((trace, parent, flags & 3))
}
