//! `basic_auth`: user names and passwords (RFC 7617).
//!
//! Passwords stand in the configuration as salted SHA-256 hashes. Hashes that are slow on purpose (bcrypt, argon2) would stop
//! a worker for tens of milliseconds for each wrong password that anybody sends, and with it every other client of that
//! core; to remember right ones does not help against wrong ones. So a hash here protects against being read, not
//! against being guessed for years: passwords should be long and random.
//!
//! The hash is compared in constant time, and made for unknown names, too.

use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::field_name::FieldName;
use crate::filters::Build;
use crate::reason::Reason;
use crate::secret::Salted;
use crate::settings::{Key, Kind, Read};

pub use crate::secret::SecretHash;

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the browser shows when it asks.
    pub realm: String,
    /// Names, and the hashes of their passwords: `sha256:SALT:HEX`.
    pub users: Vec<(String, SecretHash)>,
    /// Whether the upstream gets the password.
    pub forward: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { realm: "restricted".to_owned(), users: Vec::new(), forward: false }
    }
}

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::or("realm", Kind::Text, "\"restricted\"").says(
        "What the browser shows when it asks.",
        "printable ASCII without \" and \\",
        "\"Staff only\"",
    ),
    Key::required("users", Kind::Secrets).says(
        "Names, and the hashes of their passwords.",
        "names without a colon, and sha256:SALT:HEX",
        "{ ann = \"sha256:abcdefghijklmnop:a6530e40dddd4db2c3d36377095d696285b4cc29bffb4409fb1a6e91dd15b3ab\" }",
    ),
    Key::or("forward", Kind::Flag, "false").says(
        "Whether the upstream gets the password.",
        "true or false",
        "true",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let (users, realm, forward) = (table.pairs("users"), table.text("realm"), table.flag("forward"));
        Some(Self {
            realm: realm?,
            users: users?.into_iter().map(|(name, hash)| (name, SecretHash::new(hash))).collect(),
            forward: forward?,
        })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    users: Box<[(Box<[u8]>, Salted)]>,
    nobody: Salted,
    challenge: Box<[u8]>,
    name: FieldName,
    forward: bool,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        let mut users: Vec<(Box<[u8]>, Salted)> = Vec::new();
        for (name, hash) in &settings.users {
            let key = format!("users.{name}");
            if name.is_empty() || name.contains(|letter: char| letter == ':' || letter.is_control()) {
                build.problem(key.as_str(), "a name has no colon and no control character, and is not empty");
            }
            if users.iter().any(|(other, _)| **other == *name.as_bytes()) {
                build.problem(key.as_str(), "twice");
            }
            match hash.salted() {
                Ok(hash) => users.push((name.as_bytes().into(), hash)),
                Err(why) => build.problem(key, why),
            }
        }
        if settings.users.is_empty() {
            build.problem("users", "names nobody");
        }
        let realm = &settings.realm;
        if !realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            build.problem("realm", "must be printable ASCII without \" and \\");
        }
        Some(Self {
            users: users.into(),
            nobody: Salted::nobody(),
            challenge: format!("Basic realm=\"{realm}\", charset=\"UTF-8\"").into_bytes().into(),
            name: build.field_name("", "Authorization")?,
            forward: settings.forward,
        })
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let (fields, bytes) = (&context.head.fields, context.bytes);
        let refused = edits.with_text(|edits, secret| {
            {
                let mut values = edits.request.values(&self.name, fields, bytes);
                // More than one is none: who knows which the upstream takes.
                let value = values.next().filter(|_| values.next().is_none());
                if !value.and_then(credentials).is_some_and(|encoded| decode_base64(encoded, secret)) {
                    secret.fill(0);
                    return Some(Reason::CredentialsMissing);
                }
            }
            let refused = match secret.iter().position(|&byte| byte == b':') {
                Some(colon) => {
                    let user = self.find(&secret[..colon], &secret[colon + 1..]);
                    user.map(|name| edits.user.set(name)).is_none().then_some(Reason::CredentialsWrong)
                }
                None => Some(Reason::CredentialsMissing),
            };
            // The password must not stay in memory that is used again and again.
            secret.fill(0);
            refused
        });
        if let Some(reason) = refused {
            edits.response.add(b"WWW-Authenticate", &self.challenge);
            edits.refuse(401, reason);
            return Flow::Answered;
        }
        if self.forward {
            return Flow::Passed;
        }
        edits.request.remove(&self.name, fields, bytes);
        Flow::Acted
    }
}

impl Step {
    /// The name of the user, if the password is theirs.
    fn find(&self, name: &[u8], password: &[u8]) -> Option<&[u8]> {
        let user = self.users.iter().find(|(other, _)| **other == *name);
        let is_right = user.map_or(&self.nobody, |(_, hash)| hash).fits(password);
        user.filter(|_| is_right).map(|(name, _)| &**name)
    }
}

/// Appends the user name that an Authorization field gives, be it right or wrong; `false` if it gives none.
pub fn user_name(authorization: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let is_decoded = credentials(authorization).is_some_and(|encoded| decode_base64(encoded, out));
    let length = out[start..].iter().position(|&byte| byte == b':').filter(|_| is_decoded).unwrap_or(0);
    // The password must not stay in memory that is used again and again.
    out[start + length..].fill(0);
    out.truncate(start + length);
    length > 0
}

/// What stands behind `Basic` (RFC 9110 §11.4).
fn credentials(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    scheme.eq_ignore_ascii_case(b"basic ").then(|| rest.trim_ascii())
}

/// Appends what Base64 says (RFC 4648 §4), with or without padding; `false` if it is none.
pub fn decode_base64(encoded: &[u8], out: &mut Vec<u8>) -> bool {
    let padding = encoded.iter().rev().take_while(|&&byte| byte == b'=').count();
    let digits = &encoded[..encoded.len() - padding];
    if digits.len() % 4 == 1 || padding > 0 && (padding > 2 || !encoded.len().is_multiple_of(4)) {
        return false;
    }
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for &digit in group {
            let digit = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return false,
            };
            bits = bits << 6 | u32::from(digit);
        }
        let [_, bytes @ ..] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        out.extend_from_slice(&bytes[..group.len() - 1]);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    /// Of `Aladdin` and `open sesame`, RFC 7617 §2; from sha256sum.
    const HASH: &str = "sha256:0123456789abcdef:HEX";

    fn settings() -> Settings {
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(b"0123456789abcdefopen sesame");
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let users = vec![("Aladdin".to_owned(), SecretHash::new(HASH.replace("HEX", &hex)))];
        Settings { users, ..Settings::default() }
    }

    #[test]
    fn lets_in_who_has_the_password() {
        let chain = chain([Any::BasicAuth(settings())]);
        let wrong =
            "401 credentials_wrong\nWWW-Authenticate: Basic realm=\"restricted\", charset=\"UTF-8\"\n";
        let missing = wrong.replace("_wrong", "_missing");
        for (lines, answer) in [
            ("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", ""),
            ("authorization: BASIC  QWxhZGRpbjpvcGVuIHNlc2FtZQ\r\n", ""),
            ("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZg==\r\n", wrong),
            ("Authorization: Basic Ojo=\r\n", wrong),
            ("Authorization: Basic QWxhZGRpbg==\r\n", &missing),
            ("Authorization: Basic QWx=\r\n", &missing),
            ("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=\r\n", &missing),
            ("Authorization: Basic !!!!\r\n", &missing),
            ("Authorization: Basic\r\n", &missing),
            ("Authorization: Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", &missing),
            ("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\nAuthorization: a\r\n", &missing),
            ("", &missing),
        ] {
            let seen = Sent::with("/", lines).through(&chain);
            assert_eq!(seen.answer(), answer, "{lines}");
            assert!(
                !format!("{seen:?}", seen = seen.edits).contains("115, 101, 115, 97, 109, 101"),
                "sesame"
            );
            if answer.is_empty() {
                assert_eq!((seen.edits.user(), seen.upstream_fields().as_str()), (&b"Aladdin"[..], ""));
            }
        }
        assert!(!format!("{chain:?}{:?}", settings()).contains("0, 0, 0"), "no hash is shown");
        let forward = crate::fixtures::chain([Any::BasicAuth(Settings { forward: true, ..settings() })]);
        let seen = Sent::with("/", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n").through(&forward);
        assert!(seen.upstream_fields().starts_with("Authorization: "));
    }

    #[test]
    fn a_user_is_named_without_the_password() {
        for (value, name) in [
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some("Aladdin")),
            ("bASIC  YTo=", Some("a")),
            ("Basic OnBhc3N3b3Jk", None),
            ("Basic QWxhZGRpbg==", None),
            ("Basic ?", None),
            ("Bearer YTpi", None),
            ("", None),
        ] {
            let mut out = b"> ".to_vec();
            assert_eq!(user_name(value.as_bytes(), &mut out), name.is_some(), "{value}");
            assert_eq!(out, format!("> {}", name.unwrap_or_default()).as_bytes(), "{value}");
        }
    }

    #[test]
    fn base64_as_in_rfc_4648() {
        for (encoded, decoded) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE=", "fooba"),
        ] {
            let mut out = Vec::new();
            assert!(decode_base64(encoded.as_bytes(), &mut out));
            assert_eq!(out, decoded.as_bytes());
        }
        for wrong in ["Z", "=", "====", "Zg=", "Z===", "Zm9v=", "Zm9v====", "Z g=", "Zm-v"] {
            assert!(!decode_base64(wrong.as_bytes(), &mut Vec::new()), "{wrong}");
        }
    }

    #[test]
    fn wrong_settings_are_told_without_their_hashes() {
        let good = settings().users.remove(0).1;
        let users = vec![
            ("a:b".to_owned(), good.clone()),
            ("c".to_owned(), SecretHash::new("my-password".to_owned())),
            ("d".to_owned(), good.clone()),
            ("d".to_owned(), good),
        ];
        let text = problems(Any::BasicAuth(Settings { realm: "\"".into(), users, forward: false }));
        for key in ["users.a:b: ", "users.c: ", "users.d: twice", "realm: "] {
            assert!(text.lines().any(|line| line.starts_with(key)), "{key}: {text}");
        }
        assert!(!text.contains("my-password"));
        assert_eq!(problems(Any::BasicAuth(Settings::default())), "users: names nobody\n");
    }
}
