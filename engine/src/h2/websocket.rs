//! WebSocket over HTTP/2 (RFC 8441). For everything behind, an extended CONNECT is the HTTP/1.1 request that means the same:
//!
//! | HTTP/2 | HTTP/1.1 |
//! | --- | --- |
//! | CONNECT with `:protocol: websocket` | GET with `Connection: upgrade`, `Upgrade: websocket` and a `Sec-WebSocket-Key` |
//! | 200 | 101 with the `Sec-WebSocket-Accept` that belongs to the key |
//! | END_STREAM, RST_STREAM with CANCEL | FIN, RST |
//!
//! The key is one of ours, and it is we who look at the answer to it (RFC 8441 §5). What is not `websocket` has neither.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The protocol of `:protocol` and of `Upgrade`.
pub(super) const WEBSOCKET: &[u8] = b"websocket";

/// The field with the key.
pub(super) const KEY_FIELD: &str = "sec-websocket-key";

/// RFC 6455 §1.3: what a server appends to a key, to show that it means WebSocket.
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A `Sec-WebSocket-Key`: 16 bytes in base64.
pub(super) type Key = [u8; 24];

/// A key that nobody can foresee (RFC 6455 §4.1).
pub(super) fn random_key() -> Key {
    // With keys from the system's random numbers.
    let random = RandomState::new();
    let mut nonce = [0; 16];
    for (index, half) in nonce.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *half = random.hash_one(index).to_ne_bytes();
    }
    base64(&nonce)
}

/// The `Sec-WebSocket-Accept` that belongs to a key.
pub(super) fn accept_of(key: &[u8]) -> [u8; 28] {
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, SUFFIX].concat()).as_ref())
}

/// RFC 4648 §4. `N` is four for each three bytes that `bytes` has begun.
fn base64<const N: usize>(bytes: &[u8]) -> [u8; N] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = [b'='; N];
    for (three, digits) in bytes.chunks(3).zip(text.as_chunks_mut::<4>().0) {
        let word =
            three.iter().enumerate().fold(0u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        for (at, digit) in digits.iter_mut().enumerate().take(three.len() + 1) {
            *digit = DIGITS[(word >> (18 - 6 * at)) as usize & 63];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        // RFC 6455 §1.3.
        assert_eq!(&accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_are_16_bytes_and_differ() {
        let keys = [random_key(), random_key()];
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| key.ends_with(b"==") && key[21] != b'='), "{keys:?}");
    }

    #[test]
    fn base64_as_in_rfc_4648() {
        assert_eq!(&base64::<4>(b"f"), b"Zg==");
        assert_eq!(&base64::<4>(b"fo"), b"Zm8=");
        assert_eq!(&base64::<4>(b"foo"), b"Zm9v");
        assert_eq!(&base64::<8>(b"foob"), b"Zm9vYg==");
        assert_eq!(&base64::<4>(b"\xfb\xff\xfe"), b"+//+");
    }
}
