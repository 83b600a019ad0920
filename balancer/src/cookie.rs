//! Cookies that name the endpoint at which a client stays, signed, with an end.
//!
//! A value is 40 characters of base64url (RFC 4648 §5, no padding) for 30 bytes: a version, a token for the endpoint,
//! when the cookie ends, and the first half of an HMAC-SHA256 (RFC 2104) over these three. Token and signature are made
//! with a key that follows from the secret and the upstream's name. So a client can neither choose an endpoint, nor learn
//! its address by trying, nor use the cookie of another upstream; what it can do is to share its own.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Signs and reads the cookies of one upstream. The same on every worker and machine that has the same secret.
#[derive(Clone)]
pub struct CookieKey(Hmac<Sha256>);

/// Stands for an endpoint in cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieToken([u8; TOKEN_BYTES]);

/// The text of a cookie.
pub type CookieText = [u8; TEXT_BYTES];

/// What a valid cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Where the client stays; it may be gone.
    pub token: CookieToken,
    /// When the cookie ends, in seconds since 1970: to renew it in time.
    pub ends_s: u64,
}

/// Why a cookie does not count. The client gets another endpoint, and another cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCookie {
    /// It is not of our making, or of another secret, upstream or version.
    Forged,
    /// Its time is over.
    Expired,
}

const VERSION: u8 = 1;
const TOKEN_BYTES: usize = 8;
/// Seconds for 34 000 years.
const END_BYTES: usize = 5;
/// RFC 2104 §5: at least half of the hash.
const SIGNATURE_BYTES: usize = 16;
const SIGNED_BYTES: usize = 1 + TOKEN_BYTES + END_BYTES;
const BYTES: usize = SIGNED_BYTES + SIGNATURE_BYTES;
const TEXT_BYTES: usize = BYTES / 3 * 4;

impl CookieKey {
    /// `secret` should have 32 bytes of chance; `scope` is the upstream's name.
    #[must_use]
    pub fn new(secret: &[u8], scope: &str) -> Self {
        let derived = keyed(secret).chain_update(b"corelane cookie\0").chain_update(scope).finalize();
        Self(keyed(&derived.into_bytes()))
    }

    /// The token of the endpoint with this name ([`Member`](crate::Member)). To be made once, with the snapshot.
    #[must_use]
    pub fn token(&self, name: u64) -> CookieToken {
        let hash = self.0.clone().chain_update([TOKEN_DOMAIN]).chain_update(name.to_be_bytes()).finalize();
        CookieToken(first(&hash.into_bytes()))
    }

    /// A cookie for a client that stays there until `ends_s` seconds since 1970.
    #[must_use]
    pub fn sign(&self, token: CookieToken, ends_s: u64) -> CookieText {
        let mut bytes = [0; BYTES];
        let (signed, signature) = bytes.split_at_mut(SIGNED_BYTES);
        signed[0] = VERSION;
        signed[1..=TOKEN_BYTES].copy_from_slice(&token.0);
        let ends_s = ends_s.min((1 << (8 * END_BYTES)) - 1);
        signed[1 + TOKEN_BYTES..].copy_from_slice(&ends_s.to_be_bytes()[8 - END_BYTES..]);
        signature.copy_from_slice(&self.over(signed).finalize().into_bytes()[..SIGNATURE_BYTES]);
        encode(&bytes)
    }

    /// Reads a cookie that a client has sent, in constant time for cookies of the right form.
    ///
    /// # Errors
    ///
    /// [`BadCookie`]: choose an endpoint as if there were none.
    pub fn verify(&self, text: &[u8], now_s: u64) -> Result<Seat, BadCookie> {
        let bytes = decode(text).ok_or(BadCookie::Forged)?;
        let (signed, signature) = bytes.split_at(SIGNED_BYTES);
        self.over(signed).verify_truncated_left(signature).map_err(|_| BadCookie::Forged)?;
        if signed[0] != VERSION {
            return Err(BadCookie::Forged);
        }
        let token = CookieToken(first(&signed[1..]));
        let ends_s = signed[1 + TOKEN_BYTES..].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        if now_s >= ends_s { Err(BadCookie::Expired) } else { Ok(Seat { token, ends_s }) }
    }

    fn over(&self, signed: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update([COOKIE_DOMAIN]).chain_update(signed)
    }
}

/// What the same key is used for, so that the one cannot pass for the other.
const TOKEN_DOMAIN: u8 = 0;
const COOKIE_DOMAIN: u8 = 1;

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|index| bytes[index])
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8; BYTES]) -> CookieText {
    let mut text = [0; TEXT_BYTES];
    for (four, three) in text.chunks_exact_mut(4).zip(bytes.chunks_exact(3)) {
        let bits = three.iter().fold(0, |bits, &byte| bits << 8 | usize::from(byte));
        for (place, letter) in four.iter_mut().enumerate() {
            *letter = ALPHABET[bits >> (18 - 6 * place) & 63];
        }
    }
    text
}

/// There is only one text for the same bytes, as 40 letters hold 240 bits and no more.
fn decode(text: &[u8]) -> Option<[u8; BYTES]> {
    let text: &CookieText = text.try_into().ok()?;
    let mut bytes = [0; BYTES];
    for (three, four) in bytes.chunks_exact_mut(3).zip(text.chunks_exact(4)) {
        let mut bits = 0_u32;
        for &letter in four {
            bits = bits << 6 | six_bits(letter)?;
        }
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

fn six_bits(letter: u8) -> Option<u32> {
    Some(u32::from(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NAME: u64 = 0x0123_4567_89ab_cdef;
    const END: u64 = 1_800_000_000;

    fn key() -> CookieKey {
        CookieKey::new(SECRET, "shop")
    }

    #[test]
    fn a_cookie_is_the_same_for_ever() {
        // Made by Python's hmac and base64 from the description at the head of this file.
        let text = b"AQO2HFBP6qDZAGtJ0gCESA7m2p8J237PWwPILG-r";
        assert_eq!(&key().sign(key().token(NAME), END), text);
        assert_eq!(key().verify(text, END - 1), Ok(Seat { token: key().token(NAME), ends_s: END }));
    }

    #[test]
    fn it_ends() {
        let text = key().sign(key().token(NAME), END);
        assert_eq!(key().verify(&text, END), Err(BadCookie::Expired));
        assert_eq!(key().verify(&text, u64::MAX), Err(BadCookie::Expired));
        // Later than its bytes can say.
        let text = key().sign(key().token(NAME), u64::MAX);
        assert_eq!(key().verify(&text, END).map(|seat| seat.ends_s), Ok((1 << 40) - 1));
    }

    #[test]
    fn each_secret_and_upstream_has_its_own() {
        let text = key().sign(key().token(NAME), END);
        let others = [
            CookieKey::new(SECRET, "shop2"),
            CookieKey::new(SECRET, ""),
            CookieKey::new(b"another", "shop"),
            CookieKey::new(&[], "shop"),
        ];
        for other in others {
            assert_eq!(other.verify(&text, 0), Err(BadCookie::Forged));
            assert_ne!(other.token(NAME), key().token(NAME));
        }
        assert_ne!(key().token(NAME), key().token(NAME + 1));
    }

    #[test]
    fn no_other_text_counts() {
        let text = key().sign(key().token(NAME), END);
        for place in 0..text.len() {
            for byte in 0..=u8::MAX {
                let mut other = text;
                other[place] = byte;
                assert_eq!(key().verify(&other, 0).is_ok(), other == text, "{place} {byte}");
            }
            assert_eq!(key().verify(&text[..place], 0), Err(BadCookie::Forged));
        }
        let longer = [&text[..], b"A"].concat();
        assert_eq!(key().verify(&longer, 0), Err(BadCookie::Forged));
    }

    #[test]
    fn another_version_does_not_count_though_it_is_signed() {
        let mut bytes = [0; BYTES];
        bytes[0] = VERSION + 1;
        bytes[SIGNED_BYTES - 1] = 9;
        let signature = key().over(&bytes[..SIGNED_BYTES]).finalize().into_bytes();
        bytes[SIGNED_BYTES..].copy_from_slice(&signature[..SIGNATURE_BYTES]);
        assert_eq!(key().verify(&encode(&bytes), 0), Err(BadCookie::Forged));
        bytes[0] = VERSION;
        let signature = key().over(&bytes[..SIGNED_BYTES]).finalize().into_bytes();
        bytes[SIGNED_BYTES..].copy_from_slice(&signature[..SIGNATURE_BYTES]);
        assert!(key().verify(&encode(&bytes), 0).is_ok());
    }

    proptest! {
        #[test]
        fn what_was_signed_is_read(name in any::<u64>(), ends_s in 1..1_u64 << 40, early_s in 1..1000_u64) {
            let token = key().token(name);
            let seat = key().verify(&key().sign(token, ends_s), ends_s.saturating_sub(early_s));
            prop_assert_eq!(seat, Ok(Seat { token, ends_s }));
        }

        #[test]
        fn bytes_survive_their_text(bytes in any::<[u8; 30]>()) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
