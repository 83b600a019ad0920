//! Which bytes may stand where (RFC 9110 §5.5 and §5.6.2).

/// Whether the byte may stand in a token (RFC 9110 §5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether the bytes are a token (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

/// Whether the byte may stand in a field value, a reason phrase or a chunk extension: HTAB, SP, visible ASCII and
/// obs-text (RFC 9110 §5.5).
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Whether a name holds `_`. Eight bytes a step: names are too short for a search that must be called.
pub(crate) fn has_underscore(name: &[u8]) -> bool {
    let (words, _) = name.as_chunks::<8>();
    let Some(last) = name.last_chunk::<8>() else { return name.contains(&b'_') };
    let mark = |word: &[u8; 8]| {
        // The highest bit is set below 0x80 by a borrow alone, which only a byte of zero starts; name bytes are ASCII.
        let different = u64::from_le_bytes(*word) ^ u64::from_le_bytes([b'_'; 8]);
        different.wrapping_sub(u64::from_le_bytes([1; 8]))
    };
    let marks = words.iter().chain([last]).fold(0, |marks, word| marks | mark(word));
    marks & u64::from_le_bytes([0x80; 8]) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_underscore_is_found_at_any_place() {
        for length in 0..40 {
            let mut name = vec![b'-'; length];
            assert!(!has_underscore(&name));
            for byte in (0..0x80).filter(|&byte| is_token_byte(byte)) {
                name.fill(byte);
                assert_eq!(has_underscore(&name), byte == b'_' && length > 0, "{length} of {byte:#04x}");
                for place in 0..length {
                    name[place] = b'_';
                    assert!(has_underscore(&name), "{length} of {byte:#04x}, `_` at {place}");
                    name[place] = byte;
                }
            }
        }
    }
}
