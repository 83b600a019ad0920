//! Protocol buffers as far as OTLP's traces need them: fields are written one behind the other, in the order of their
//! numbers, with lengths of the fewest bytes.

/// A field's number with its wire type, as it stands before its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u16);

impl Tag {
    /// A number.
    #[must_use]
    pub const fn varint(field: u16) -> Self {
        Self(field << 3)
    }

    /// Eight bytes.
    #[must_use]
    pub const fn fixed64(field: u16) -> Self {
        Self(field << 3 | 1)
    }

    /// Bytes, a text or a message.
    #[must_use]
    pub const fn bytes(field: u16) -> Self {
        Self(field << 3 | 2)
    }

    /// Four bytes.
    #[must_use]
    pub const fn fixed32(field: u16) -> Self {
        Self(field << 3 | 5)
    }

    fn write(self, out: &mut Vec<u8>) {
        write_base128(out, u64::from(self.0));
    }
}

/// Writes what stands before a message of that length, which follows.
pub fn write_prefix(out: &mut Vec<u8>, tag: Tag, bytes: usize) {
    tag.write(out);
    write_base128(out, bytes as u64);
}

/// Writes a number.
pub fn write_varint(out: &mut Vec<u8>, tag: Tag, value: u64) {
    tag.write(out);
    write_base128(out, value);
}

/// Writes eight bytes.
pub fn write_fixed64(out: &mut Vec<u8>, tag: Tag, value: u64) {
    tag.write(out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes four bytes.
pub fn write_fixed32(out: &mut Vec<u8>, tag: Tag, value: u32) {
    tag.write(out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes bytes, or a message that is written already.
pub fn write_bytes(out: &mut Vec<u8>, tag: Tag, value: &[u8]) {
    write_prefix(out, tag, value.len());
    out.extend_from_slice(value);
}

/// Writes a text. What is no UTF-8, which receivers would refuse all of a message for, is taken for ISO 8859-1.
pub fn write_text(out: &mut Vec<u8>, tag: Tag, value: &[u8]) {
    write_prefix(out, tag, text_bytes(value));
    extend_with_text(out, value);
}

/// What the value of an attribute is.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    /// A text.
    Text(&'a [u8]),
    /// A number.
    Integer(u64),
    /// Yes or no.
    Flag(bool),
}

/// Longer texts of attributes are cut: a target or a field of a client may have many kilobytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 1024;

const KEY: Tag = Tag::bytes(1);
const VALUE: Tag = Tag::bytes(2);
const STRING_VALUE: Tag = Tag::bytes(1);
const BOOL_VALUE: Tag = Tag::varint(2);
const INT_VALUE: Tag = Tag::varint(3);

/// Writes a `KeyValue`. Keys are short.
pub fn write_attribute(out: &mut Vec<u8>, tag: Tag, key: &str, value: Attribute<'_>) {
    let value = match value {
        Attribute::Text(text) => Attribute::Text(cut(text)),
        other => other,
    };
    let any_bytes = match value {
        Attribute::Text(text) => sized(text_bytes(text)),
        Attribute::Integer(number) => 1 + base128_bytes(number),
        Attribute::Flag(_) => 2,
    };
    write_prefix(out, tag, sized(key.len()) + sized(any_bytes));
    write_bytes(out, KEY, key.as_bytes());
    write_prefix(out, VALUE, any_bytes);
    match value {
        Attribute::Text(text) => write_text(out, STRING_VALUE, text),
        Attribute::Integer(number) => write_varint(out, INT_VALUE, number),
        Attribute::Flag(flag) => write_varint(out, BOOL_VALUE, u64::from(flag)),
    }
}

/// At most [`ATTRIBUTE_BYTES_MAX`] bytes, and no part of a character at the end.
fn cut(text: &[u8]) -> &[u8] {
    let Some(start) = text.get(..ATTRIBUTE_BYTES_MAX) else { return text };
    match std::str::from_utf8(start) {
        Err(error) if error.error_len().is_none() => &start[..error.valid_up_to()],
        _ => start,
    }
}

/// What so many bytes take with a tag and their length.
fn sized(bytes: usize) -> usize {
    1 + base128_bytes(bytes as u64) + bytes
}

fn text_bytes(value: &[u8]) -> usize {
    match std::str::from_utf8(value) {
        Ok(text) => text.len(),
        Err(_) => value.len() + value.iter().filter(|byte| !byte.is_ascii()).count(),
    }
}

fn extend_with_text(out: &mut Vec<u8>, value: &[u8]) {
    if std::str::from_utf8(value).is_ok() {
        out.extend_from_slice(value);
        return;
    }
    for &byte in value {
        out.extend_from_slice(char::from(byte).encode_utf8(&mut [0; 2]).as_bytes());
    }
}

fn base128_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

fn write_base128(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let digit = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            return out.push(digit);
        }
        out.push(digit | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_as_the_specification_has_them() {
        for (value, expected) in [
            (0, &[0][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut out = Vec::new();
            write_base128(&mut out, value);
            assert_eq!((&out[..], base128_bytes(value)), (expected, expected.len()), "{value}");
        }
        let mut out = Vec::new();
        write_varint(&mut out, Tag::varint(1), 150);
        write_fixed64(&mut out, Tag::fixed64(7), 1);
        write_fixed32(&mut out, Tag::fixed32(16), 0x0301);
        assert_eq!(out, [0x08, 0x96, 1, 0x39, 1, 0, 0, 0, 0, 0, 0, 0, 0x85, 1, 1, 3, 0, 0]);
    }

    #[test]
    fn writes_attributes_of_each_kind() {
        let written = |value| {
            let mut out = Vec::new();
            write_attribute(&mut out, Tag::bytes(9), "k", value);
            out
        };
        assert_eq!(written(Attribute::Text(b"ab")), b"\x4a\x09\x0a\x01k\x12\x04\x0a\x02ab");
        assert_eq!(written(Attribute::Integer(300)), b"\x4a\x08\x0a\x01k\x12\x03\x18\xac\x02");
        assert_eq!(written(Attribute::Flag(true)), b"\x4a\x07\x0a\x01k\x12\x02\x10\x01");
        assert_eq!(written(Attribute::Text(b"\xff!")), b"\x4a\x0a\x0a\x01k\x12\x05\x0a\x03\xc3\xbf!");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let ascii = [b'a'; 3000];
        assert_eq!(cut(&ascii).len(), ATTRIBUTE_BYTES_MAX);
        let text = "x".to_owned() + &"é".repeat(1000);
        let short = cut(text.as_bytes());
        assert_eq!((short.len(), std::str::from_utf8(short).is_ok()), (ATTRIBUTE_BYTES_MAX - 1, true));
        assert_eq!(cut(b"\xff\xff"), b"\xff\xff");
        let mut out = Vec::new();
        write_attribute(&mut out, Tag::bytes(9), "k", Attribute::Text(&[0xff; 5000]));
        assert!(out.len() < 2 * ATTRIBUTE_BYTES_MAX + 20);
    }
}
