//! Small pieces of text: percent-encoding, decimal numbers, parts of a query and of cookies.

use std::fmt::{self, Display};

use corelane_semantics::{cookies, form_decoded, parameters, percent_encoded};

/// Appends what a value shows, without an allocation of its own.
pub(crate) fn write_display(out: &mut Vec<u8>, value: impl Display) {
    struct Bytes<'a>(&'a mut Vec<u8>);
    impl fmt::Write for Bytes<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0.extend_from_slice(part.as_bytes());
            Ok(())
        }
    }
    // A Vec takes everything, and the values shown are numbers and addresses.
    let _ = fmt::Write::write_fmt(&mut Bytes(out), format_args!("{value}"));
}

/// The text of a query's first parameter of this name, as it stands there; empty for one without `=`.
pub(crate) fn query_value<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    parameters(query).find(|(other, _)| is_encoded(other, name)).map(|(_, value)| value)
}

/// Whether a parameter's name, as it stands in a query, says `name`: percent-encoding and `+` make no difference, so that
/// no spelling hides a parameter.
pub(crate) fn is_encoded(encoded: &[u8], name: &[u8]) -> bool {
    form_decoded(encoded).eq(name.iter().copied())
}

/// The value of the first cookie of this name in the values of Cookie fields (RFC 6265 §4.2.1), without quotes.
pub(crate) fn cookie_value<'a>(mut lines: impl Iterator<Item = &'a [u8]>, name: &[u8]) -> Option<&'a [u8]> {
    lines.find_map(|line| {
        let value = cookies(line).find(|(other, _)| other.trim_ascii_end() == name)?.1;
        let value = value.unwrap_or_default().trim_ascii_start();
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// Appends text of which every byte that `keeps` refuses is percent-encoded (RFC 3986 §2.1). What is encoded already stays.
pub(crate) fn write_encoded(out: &mut Vec<u8>, text: &[u8], keeps: impl Fn(u8) -> bool) {
    for (index, &byte) in text.iter().enumerate() {
        let digits = text.get(index + 1..index + 3).unwrap_or_default();
        let is_escape = byte == b'%' && digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit);
        if is_escape || keeps(byte) {
            out.push(byte);
        } else {
            out.extend(percent_encoded(byte));
        }
    }
}

/// What a path has in it unencoded (RFC 3986 §3.3).
pub(crate) fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

/// What the value of a query's parameter has in it unencoded. `+` would be a space, `&` the end.
pub(crate) fn is_query_value_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$'()*,;:@/?=".contains(&byte)
}
