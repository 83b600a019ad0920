//! What request and response heads share: room for httparse's field lines, spans out of them, and which rule a refused
//! field section breaks (RFC 9112 §5).

use std::mem::MaybeUninit;

use corelane_semantics::{Fields, Known, Span};
use httparse::Header;

use crate::bytes::{has_underscore, is_token, is_value_byte};
use crate::{HeadError, HeadLimits};

/// A slot that httparse fills.
pub(crate) type Slot<'a> = MaybeUninit<Header<'a>>;

/// Calls `parse` with room for as many field lines as the limits allow.
pub(crate) fn with_slots<'a, R>(limits: &HeadLimits, parse: impl FnOnce(&mut [Slot<'a>]) -> R) -> R {
    if limits.fields_max <= SLOTS_ON_STACK {
        let mut slots = [const { MaybeUninit::uninit() }; SLOTS_ON_STACK];
        parse(&mut slots[..limits.fields_max])
    } else {
        // An allocation per head, paid only by a configuration that allows more lines than are usual.
        parse(&mut vec![MaybeUninit::uninit(); limits.fields_max])
    }
}

/// Turns httparse's lines into spans. Returns where the first field line starts and where the last one ends.
///
/// httparse takes a bare LF for a line end, so each line's end is looked at again: the parser is then strict even for
/// bytes that no scanner has seen, and lines follow each other without a gap, which `write_fields` relies on.
pub(crate) fn collect_fields(
    head: &[u8],
    headers: &[Header<'_>],
    out: &mut Fields,
) -> Result<(u32, u32), HeadError> {
    let fields_end = head.len().saturating_sub(CRLF.len());
    if !ends_with_crlf(head, head.len()) || !ends_with_crlf(head, fields_end) {
        return Err(HeadError::BareLineFeed);
    }
    let mut fields_start = fields_end;
    for (index, header) in headers.iter().enumerate() {
        let name = Span::of(head, header.name.as_bytes());
        let line_start = name.start as usize;
        if !ends_with_crlf(head, line_start) {
            return Err(HeadError::BareLineFeed);
        }
        if index == 0 {
            fields_start = line_start;
        }
        let known = Known::from_name(header.name.as_bytes());
        if known.is_none() && has_underscore(header.name.as_bytes()) {
            out.mark_underscore();
        }
        // httparse has taken the white space off both ends.
        out.push(name, Span::of(head, header.value), known);
    }
    let bounds = Span::new(fields_start, fields_end);
    Ok((bounds.start, bounds.end))
}

/// The rule that a head breaks which httparse refused with `error`. Not on the hot path: it reads the head again.
/// `check_start_line` judges the first line, without its CRLF; `otherwise` if no rule is found.
pub(crate) fn classify(
    head: &[u8],
    error: httparse::Error,
    check_start_line: impl FnOnce(&[u8]) -> Result<(), HeadError>,
    otherwise: HeadError,
) -> HeadError {
    let mut rest = head;
    let mut lines = std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |place| place + 1);
        (end > 0).then(|| rest.split_off(..end)).flatten()
    })
    .map(line_text);
    let start_line = lines.next().unwrap_or(Err(otherwise));
    if let Err(rule) = start_line.and_then(check_start_line) {
        return rule;
    }
    // Before the fields are looked at: a head with too many of them is refused for that.
    if error == httparse::Error::TooManyHeaders {
        return HeadError::TooManyFields;
    }
    lines.find_map(|line| line.and_then(check_field_line).err()).unwrap_or(otherwise)
}

/// A line without its CRLF.
fn line_text(line: &[u8]) -> Result<&[u8], HeadError> {
    match line {
        [text @ .., b'\r', b'\n'] => Ok(text),
        [.., b'\n'] => Err(HeadError::BareLineFeed),
        _ => Err(HeadError::NotOneHead),
    }
}

/// Whether a line without its CRLF is a field line, or empty.
pub(crate) fn check_field_line(line: &[u8]) -> Result<(), HeadError> {
    match line.first() {
        None => return Ok(()),
        // RFC 9112 §5.2: obs-fold. After the start line, RFC 9112 §2.2: the same white space before the first field.
        Some(b' ' | b'\t') => return Err(HeadError::LineFolding),
        Some(_) => {}
    }
    // RFC 9112 §5.1: no white space between the name and the colon; it is no token byte, so the name is none.
    let colon = memchr::memchr(b':', line).ok_or(HeadError::FieldNameInvalid)?;
    if !is_token(&line[..colon]) {
        return Err(HeadError::FieldNameInvalid);
    }
    check_text(&line[colon + 1..], HeadError::FieldValueInvalid)
}

/// Whether the bytes may stand in a field value or a reason phrase; `otherwise` if one of them may not for no closer
/// reason.
pub(crate) fn check_text(text: &[u8], otherwise: HeadError) -> Result<(), HeadError> {
    match text.iter().find(|&&byte| !is_value_byte(byte)) {
        None => Ok(()),
        Some(b'\r') => Err(HeadError::BareCarriageReturn),
        Some(0) => Err(HeadError::Nul),
        Some(_) => Err(otherwise),
    }
}

fn ends_with_crlf(head: &[u8], end: usize) -> bool {
    head.get(..end).is_some_and(|before| before.ends_with(CRLF))
}

const CRLF: &[u8] = b"\r\n";

/// Covers the default `fields_max` of 100: 4 KiB of stack that is not written before it is used.
const SLOTS_ON_STACK: usize = 128;
