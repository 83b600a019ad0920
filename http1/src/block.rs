//! Runs of bytes of one kind, sixteen at a time.
//!
//! With SSE2, which is part of x86-64, so nothing is detected at run time; elsewhere byte by byte, in a form that compilers
//! can make SIMD of.

/// Where the first byte from `from` on stands that is neither a letter nor `-`; `None`: not in this buffer.
#[inline]
pub(crate) fn letters_end(buffer: &[u8], from: usize) -> Option<usize> {
    find(buffer, from, Kind::OtherThanLetters)
}

/// Where the first control byte from `from` on stands, HTAB included.
#[inline]
pub(crate) fn find_control(buffer: &[u8], from: usize) -> Option<usize> {
    find(buffer, from, Kind::Control)
}

/// Where the first byte from `from` on stands that is `?` or that no request target holds (RFC 9112 §3.2).
#[inline]
pub(crate) fn find_target_mark(buffer: &[u8], from: usize) -> Option<usize> {
    find(buffer, from, Kind::TargetMark)
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
enum Kind {
    OtherThanLetters,
    Control,
    TargetMark,
}

type Block = [u8; BLOCK_BYTES];

const BLOCK_BYTES: usize = 16;

/// Where the first byte of a kind stands.
#[inline(always)]
fn find(buffer: &[u8], from: usize, kind: Kind) -> Option<usize> {
    let mut unseen = buffer.get(from..)?;
    while let Some((block, rest)) = unseen.split_first_chunk() {
        let found = marks(block, kind);
        if found != 0 {
            return Some(buffer.len() - unseen.len() + found.trailing_zeros() as usize);
        }
        unseen = rest;
    }
    // Less than a block is left: the last one of the buffer holds it behind bytes that were looked at.
    let found = marks(buffer.last_chunk()?, kind) >> (BLOCK_BYTES - unseen.len());
    (found != 0).then(|| buffer.len() - unseen.len() + found.trailing_zeros() as usize)
}

/// A bit for each byte of the kind; the lowest one is the first byte's.
#[cfg(target_feature = "sse2")]
#[expect(unsafe_code, reason = "a head takes a third fewer instructions than in words of eight bytes")]
#[inline(always)]
fn marks(block: &Block, kind: Kind) -> u32 {
    // SAFETY: what is called needs SSE2, and this is compiled only for processors that have it.
    unsafe { sse2::marks(block, kind) }
}

#[cfg(not(target_feature = "sse2"))]
use bytewise::marks;

#[cfg(target_feature = "sse2")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_cmplt_epi8,
        _mm_max_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    use super::{Block, Kind};

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn marks(block: &Block, kind: Kind) -> u32 {
        let bytes = load(block);
        let equals = |byte| _mm_cmpeq_epi8(bytes, each(byte));
        match kind {
            Kind::OtherThanLetters => {
                // Comparisons are signed: what is from `a` to `z` becomes the 26 smallest numbers.
                let moved = _mm_add_epi8(_mm_or_si128(bytes, each(0x20)), each(0x80 - b'a'));
                bits(_mm_or_si128(_mm_cmplt_epi8(moved, each(0x80 + 26)), equals(b'-'))) ^ ALL
            }
            Kind::Control => {
                let low = _mm_cmpeq_epi8(_mm_max_epu8(bytes, each(0x1f)), each(0x1f));
                bits(_mm_or_si128(low, equals(0x7f)))
            }
            Kind::TargetMark => {
                let marks = _mm_or_si128(equals(0x7f), _mm_or_si128(equals(b'#'), equals(b'?')));
                // Signed: bytes beyond ASCII are below all others.
                bits(_mm_andnot_si128(marks, _mm_cmpgt_epi8(bytes, each(b' ')))) ^ ALL
            }
        }
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn load(block: &Block) -> __m128i {
        // The compiler makes one load of it.
        let word = u128::from_le_bytes(*block).cast_signed();
        #[expect(clippy::cast_possible_truncation, reason = "these are the two halves")]
        let [high, low] = [(word >> 64) as i64, word as i64];
        _mm_set_epi64x(high, low)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn each(byte: u8) -> __m128i {
        _mm_set1_epi8(byte.cast_signed())
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn bits(lanes: __m128i) -> u32 {
        _mm_movemask_epi8(lanes).cast_unsigned()
    }

    const ALL: u32 = 0xffff;
}

#[cfg(any(test, not(target_feature = "sse2")))]
mod bytewise {
    use super::{Block, Kind};

    pub(super) fn marks(block: &Block, kind: Kind) -> u32 {
        let bit = |&byte: &u8| u32::from(is_of(byte, kind));
        block.iter().rev().fold(0, |bits, byte| bits << 1 | bit(byte))
    }

    fn is_of(byte: u8, kind: Kind) -> bool {
        match kind {
            Kind::OtherThanLetters => !byte.is_ascii_alphabetic() && byte != b'-',
            Kind::Control => byte < b' ' || byte == 0x7f,
            Kind::TargetMark => !byte.is_ascii_graphic() || matches!(byte, b'#' | b'?'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_the_same_to_both_ways_at_every_place() {
        for byte in 0..=u8::MAX {
            for other in [b'a', b'Z', b'-', b' ', 0, 0x7f, 0x80, 0xff, b'?'] {
                for place in 0..BLOCK_BYTES {
                    let mut block = [other; BLOCK_BYTES];
                    block[place] = byte;
                    for kind in [Kind::OtherThanLetters, Kind::Control, Kind::TargetMark] {
                        let expected = bytewise::marks(&block, kind);
                        assert_eq!(marks(&block, kind), expected, "{kind:?} {byte:#04x} at {place}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_mark_is_found_wherever_the_buffer_ends() {
        for length in BLOCK_BYTES..60 {
            for place in 0..length {
                let mut buffer = vec![b'a'; length];
                buffer[place] = b'\t';
                for from in 0..=length + 20 {
                    let expected = (from <= place).then_some(place);
                    assert_eq!(find_control(&buffer, from), expected, "{length} {place} {from}");
                    assert_eq!(letters_end(&buffer, from), expected, "{length} {place} {from}");
                    assert_eq!(find_target_mark(&buffer, from), expected, "{length} {place} {from}");
                }
            }
        }
        // No head is as short as this.
        assert_eq!(find_control(&[0; BLOCK_BYTES - 1], 0), None);
    }
}
