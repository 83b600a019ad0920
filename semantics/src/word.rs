//! Words that are compared without regard to case, as field names and connection options are.

/// Whether `word` is `lower` without regard to case; `lower` has no upper-case letters. For words that are known when this
/// is compiled: they become a few comparisons of up to eight bytes.
#[inline]
#[must_use]
pub fn is_word<const N: usize>(word: &[u8], lower: &[u8; N]) -> bool {
    word.len() == N && word.first_chunk().is_some_and(|word| is_same_word(word, lower))
}

#[inline]
fn is_same_word<const N: usize>(word: &[u8; N], lower: &[u8; N]) -> bool {
    debug_assert!(!lower.iter().any(u8::is_ascii_uppercase), "not in lower case");
    match N {
        8.. => is_same_in_pieces::<8, N>(word, lower),
        4.. => is_same_in_pieces::<4, N>(word, lower),
        _ => is_same_in_pieces::<1, N>(word, lower),
    }
}

/// All whole pieces, and the last one, which may hold some of its bytes once more.
#[inline]
fn is_same_in_pieces<const K: usize, const N: usize>(word: &[u8; N], lower: &[u8; N]) -> bool {
    let (pieces, _) = word.as_chunks::<K>();
    let (lower_pieces, _) = lower.as_chunks();
    pieces.iter().zip(lower_pieces).all(|(piece, lower)| is_same_piece(piece, lower))
        && word
            .last_chunk()
            .zip(lower.last_chunk())
            .is_none_or(|(piece, lower)| is_same_piece::<K>(piece, lower))
}

#[inline]
fn is_same_piece<const K: usize>(piece: &[u8; K], lower: &[u8; K]) -> bool {
    let lower = number(lower);
    // Of what words have (letters, digits and marks below them), letters alone have 0x40. Theirs is the case, 0x20.
    let case = (lower & u64::from_le_bytes([0x40; 8])) >> 1;
    number(piece) | case == lower
}

/// Up to eight bytes as a number.
#[inline]
fn number<const K: usize>(bytes: &[u8; K]) -> u64 {
    let mut word = [0; 8];
    word[..K].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const N: usize>(lower: &[u8; N]) {
        assert!(is_word(lower, lower) && is_word(&lower.to_ascii_uppercase(), lower));
        assert!(!is_word(&lower[1..], lower) && !is_word(&[&lower[..], b"a"].concat(), lower));
        for place in 0..N {
            for byte in 0..=u8::MAX {
                let mut word = *lower;
                word[place] = byte;
                assert_eq!(
                    is_word(&word, lower),
                    word.eq_ignore_ascii_case(lower),
                    "{}",
                    word.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn words_of_any_length_are_told_from_all_others() {
        check(b"a");
        check(b"te");
        check(b"via");
        check(b"host");
        check(b"close");
        check(b"http2-");
        check(b"upgrade");
        check(b"chunked7");
        check(b"forwarded");
        check(b"x-forwarded-for");
        check(b"x-forwarded-hos7");
        check(b"x-forwarded-proto");
        check(b"proxy-authorization");
        check(b"access-control-allow-origin");
    }
}
