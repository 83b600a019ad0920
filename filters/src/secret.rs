//! Hashes of secrets in settings, and comparing with them.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A hash as the configuration has it. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash(String);

impl SecretHash {
    /// The text from the configuration.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// A salted hash: `sha256:SALT:HEX`.
    pub(crate) fn salted(&self) -> Result<Salted, &'static str> {
        let mut parts = self.0.split(':');
        let (Some("sha256"), Some(salt), Some(hex), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("not a hash: sha256:SALT:HEX, the hash of salt and password, one behind the other");
        };
        let is_salt = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'_' | b'-');
        if !(SALT_BYTES_MIN..=SALT_BYTES_MAX).contains(&salt.len()) || !salt.bytes().all(is_salt) {
            return Err("the salt is not 16 to 64 letters, digits or ./_-");
        }
        Ok(Salted { salt: salt.as_bytes().into(), hash: parse_hex(hex)? })
    }

    /// A hash without salt: `sha256:HEX`. For secrets that nobody can guess.
    pub(crate) fn plain(&self) -> Result<Hash, &'static str> {
        let hex = self.0.strip_prefix("sha256:").ok_or("not a hash: sha256:HEX")?;
        parse_hex(hex)
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// What SHA-256 makes of a secret.
#[derive(Clone, Copy)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    pub(crate) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Whether two are the same, in a time that does not tell how far they are.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

/// The hash of a salt and a secret behind it.
#[derive(Debug)]
pub(crate) struct Salted {
    salt: Box<[u8]>,
    hash: Hash,
}

impl Salted {
    /// What nobody's secret makes: for unknown names, so that they take as long as known ones.
    pub(crate) fn nobody() -> Self {
        Self { salt: [b'.'; SALT_BYTES_MIN].into(), hash: Hash([0; 32]) }
    }

    pub(crate) fn fits(&self, secret: &[u8]) -> bool {
        let hash = Hash(Sha256::new().chain_update(&self.salt).chain_update(secret).finalize().into());
        self.hash.is(&hash)
    }
}

fn parse_hex(hex: &str) -> Result<Hash, &'static str> {
    let mut hash = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("the hash is not 64 hexadecimal digits");
    }
    for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, &half| byte << 4 | digit(half));
    }
    Ok(Hash(hash))
}

/// What a hexadecimal digit says; 0 for anything else.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => 0,
    }
}

const SALT_BYTES_MIN: usize = 16;

const SALT_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4's example for `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn hashes_fit_their_secrets_only() {
        let plain = SecretHash::new(format!("sha256:{}", ABC.to_ascii_uppercase())).plain().unwrap();
        assert!(plain.is(&Hash::of(b"abc")) && !plain.is(&Hash::of(b"abd")));
        // printf abcdefghijklmnopsecret | sha256sum
        let salted =
            "sha256:abcdefghijklmnop:a6530e40dddd4db2c3d36377095d696285b4cc29bffb4409fb1a6e91dd15b3ab";
        let hash = SecretHash::new(salted.to_owned());
        let salted = hash.salted().unwrap();
        assert!(salted.fits(b"secret") && !salted.fits(b"secre") && !Salted::nobody().fits(b""));
        let made = salted.hash;
        assert_eq!(format!("{hash:?} {made:?}"), "SecretHash(…) Hash(…)");
    }

    #[test]
    fn other_texts_are_no_hashes() {
        let salt = "abcdefghijklmnop";
        for wrong in [
            "",
            "secret",
            &format!("sha256:{ABC}"),
            &format!("sha256:short:{ABC}"),
            &format!("sha256:{salt}:{}", &ABC[1..]),
            &format!("sha256:{salt}:{ABC}:"),
            &format!("md5:{salt}:{ABC}"),
            &format!("sha256:abcdefghijklmn p:{ABC}"),
        ] {
            assert!(SecretHash::new(wrong.to_owned()).salted().is_err(), "{wrong}");
        }
        assert!(SecretHash::new(format!("sha256:{salt}:{ABC}")).salted().is_ok());
        assert!(SecretHash::new(ABC.to_owned()).plain().is_err());
    }
}
