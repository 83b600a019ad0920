//! `api_key`: a key in a field or in the query.
//!
//! Keys stand in the configuration as SHA-256 hashes. A key that a machine made, of 128 bits or more, cannot be guessed, so
//! that a salt or a slow hash would add nothing. Every hash is compared, in constant time.

use corelane_semantics::{parameters, percent_decoded, split_pair};

use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::field_name::FieldName;
use crate::filters::Build;
use crate::reason::Reason;
use crate::secret::Hash;
use crate::settings::{Key, Kind, Read};
use crate::text::is_encoded;

pub use crate::secret::SecretHash;

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the key stands.
    pub place: Place,
    /// Names for `{auth.key}`, and the hashes of the keys: `sha256:HEX`.
    pub keys: Vec<(String, SecretHash)>,
    /// Whether the upstream gets the key.
    pub forward: bool,
}

/// Where a key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a field; in Authorization behind `Bearer` (RFC 6750 §2.1).
    Header(String),
    /// In a parameter of the query. It will be in logs and histories: a field is better.
    Query(String),
}

impl Default for Settings {
    fn default() -> Self {
        Self { place: Place::Header("X-Api-Key".to_owned()), keys: Vec::new(), forward: false }
    }
}

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::optional("header", Kind::Text, "X-API-Key, unless query is given").says(
        "The field with the key; in Authorization behind Bearer (RFC 6750 §2.1).",
        "a field's name",
        "\"Authorization\"",
    ),
    Key::optional("query", Kind::Text, "not in the query").says(
        "The parameter with the key. It will be in logs and histories: a field is better.",
        "a name",
        "\"key\"",
    ),
    Key::required("keys", Kind::Secrets).says(
        "Names for the keys, and their hashes.",
        "names, and sha256:HEX",
        "{ ci = \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\" }",
    ),
    Key::or("forward", Kind::Flag, "false").says(
        "Whether the upstream gets the key.",
        "true or false",
        "true",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let (keys, forward) = (table.pairs("keys"), table.flag("forward"));
        let place = match (table.text("header"), table.text("query")) {
            (Some(_), Some(query)) => {
                table.wrong("query", "not beside header: a key is in one place".to_owned());
                Place::Query(query)
            }
            (None, Some(query)) => Place::Query(query),
            (header, None) => Place::Header(header.unwrap_or_else(|| "X-API-Key".to_owned())),
        };
        Some(Self {
            place,
            keys: keys?.into_iter().map(|(name, hash)| (name, SecretHash::new(hash))).collect(),
            forward: forward?,
        })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    place: Found,
    keys: Box<[(Box<[u8]>, Hash)]>,
    forward: bool,
}

#[derive(Debug)]
enum Found {
    Header { name: FieldName, is_bearer: bool },
    Query(Box<[u8]>),
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        let place = match &settings.place {
            Place::Header(name) => {
                let is_bearer = name.eq_ignore_ascii_case("authorization");
                Found::Header { name: build.editable("header", name)?, is_bearer }
            }
            Place::Query(name) => {
                if name.is_empty() {
                    build.problem("query", "a parameter without a name");
                }
                Found::Query(name.as_bytes().into())
            }
        };
        let mut keys: Vec<(Box<[u8]>, Hash)> = Vec::new();
        for (name, hash) in &settings.keys {
            let key = format!("keys.{name}");
            if name.is_empty() || name.contains(char::is_control) {
                build.problem(key.as_str(), "a name is not empty and has no control character");
            }
            match hash.plain() {
                Ok(hash) if keys.iter().any(|(_, other)| other.is(&hash)) => {
                    build.problem(key, "another has this key")
                }
                Ok(hash) => keys.push((name.as_bytes().into(), hash)),
                Err(why) => build.problem(key, why),
            }
        }
        if settings.keys.is_empty() || settings.keys.len() > KEYS_MAX {
            build.problem("keys", format!("{} keys are not from 1 to {KEYS_MAX}", settings.keys.len()));
        }
        Some(Self { place, keys: keys.into(), forward: settings.forward })
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let hash = edits.with_text(|edits, secret| {
            let hash = self.read(context, edits, secret).then(|| Hash::of(secret));
            secret.fill(0);
            hash
        });
        let (reason, name) = match hash {
            None => (Reason::ApiKeyMissing, None),
            Some(hash) => (Reason::ApiKeyWrong, self.name_of(&hash)),
        };
        let Some(name) = name else {
            // RFC 9110 §15.5.2: a 401 has a challenge.
            let is_bearer = matches!(self.place, Found::Header { is_bearer: true, .. });
            edits.response.add(b"WWW-Authenticate", if is_bearer { b"Bearer" } else { b"ApiKey" });
            edits.refuse(401, reason);
            return Flow::Answered;
        };
        edits.api_key.set(name);
        if self.forward {
            return Flow::Passed;
        }
        self.take_away(context, edits);
        Flow::Acted
    }
}

impl Step {
    /// Appends the only key of the request; `false` if there is none or more than one.
    fn read(&self, context: &Context<'_>, edits: &Edits, out: &mut Vec<u8>) -> bool {
        let key = match &self.place {
            Found::Header { name, is_bearer } => {
                let mut values = edits.request.values(name, &context.head.fields, context.bytes);
                let value = values.next().filter(|_| values.next().is_none());
                let value = if *is_bearer { value.and_then(bearer) } else { value };
                out.extend_from_slice(value.unwrap_or_default());
                value
            }
            Found::Query(name) => {
                let query = edits.query_now(context).unwrap_or_default();
                let mut values = parameters(query).filter(|(other, _)| is_encoded(other, name));
                let value = values.next().filter(|_| values.next().is_none()).map(|(_, value)| value);
                out.extend(percent_decoded(value.unwrap_or_default()));
                value
            }
        };
        key.is_some_and(|key| !key.is_empty())
    }

    /// Whose key it is. Every one is looked at, so that the time does not tell.
    fn name_of(&self, hash: &Hash) -> Option<&[u8]> {
        self.keys.iter().fold(None, |found, (name, other)| if other.is(hash) { Some(&**name) } else { found })
    }

    fn take_away(&self, context: &Context<'_>, edits: &mut Edits) {
        match &self.place {
            Found::Header { name, .. } => {
                edits.request.remove(name, &context.head.fields, context.bytes);
            }
            Found::Query(name) => edits.with_text(|edits, text| {
                let query = edits.query_now(context).unwrap_or_default();
                for parameter in query.split(|&byte| byte == b'&') {
                    if !parameter.is_empty() && !is_encoded(split_pair(parameter).0, name) {
                        if !text.is_empty() {
                            text.push(b'&');
                        }
                        text.extend_from_slice(parameter);
                    }
                }
                edits.query_removed = text.is_empty();
                edits.query.set(text);
            }),
        }
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// Each costs a comparison for each request.
const KEYS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    fn hash(secret: &str) -> SecretHash {
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(secret.as_bytes());
        SecretHash::new(format!(
            "sha256:{}",
            hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        ))
    }

    fn settings(place: Place) -> Settings {
        let keys = vec![("one".to_owned(), hash("k-1")), ("two".to_owned(), hash("k-2"))];
        Settings { place, keys, forward: false }
    }

    #[test]
    fn lets_in_who_has_a_key() {
        let header = |name: &str| Place::Header(name.to_owned());
        for (place, target, lines, answer, name) in [
            (header("X-Key"), "/", "x-key: k-2\r\n", "", "two"),
            (header("X-Key"), "/", "x-key: k-3\r\n", "401 api_key_wrong\nWWW-Authenticate: ApiKey\n", ""),
            (header("X-Key"), "/", "x-key: \r\n", "401 api_key_missing\nWWW-Authenticate: ApiKey\n", ""),
            (header("X-Key"), "/", "", "401 api_key_missing\nWWW-Authenticate: ApiKey\n", ""),
            (
                header("X-Key"),
                "/",
                "X-Key: k-1\r\nX-Key: k-2\r\n",
                "401 api_key_missing\nWWW-Authenticate: ApiKey\n",
                "",
            ),
            (header("Authorization"), "/", "Authorization: bearer k-1\r\n", "", "one"),
            (
                header("Authorization"),
                "/",
                "Authorization: k-1\r\n",
                "401 api_key_missing\nWWW-Authenticate: Bearer\n",
                "",
            ),
            (Place::Query("key".into()), "/?k%65y=k%2d1", "", "", "one"),
            (
                Place::Query("key".into()),
                "/?key=k-1&key=k-2",
                "",
                "401 api_key_missing\nWWW-Authenticate: ApiKey\n",
                "",
            ),
        ] {
            let seen = Sent::with(target, lines).through(&chain([Any::ApiKey(settings(place))]));
            assert_eq!(
                (seen.answer().as_str(), seen.edits.api_key()),
                (answer, name.as_bytes()),
                "{target} {lines}"
            );
            if answer.is_empty() {
                assert_eq!(seen.upstream_fields(), "", "the key ends here");
            }
        }
    }

    #[test]
    fn the_query_goes_on_without_the_key() {
        let chain = chain([Any::ApiKey(settings(Place::Query("key".into())))]);
        for (target, query) in [("/?key=k-1", None), ("/?a=1&key=k-1&b=%20", Some(&b"a=1&b=%20"[..]))] {
            assert_eq!(Sent::get(target).through(&chain).edits.query(), Some(query));
        }
    }

    #[test]
    fn wrong_settings_are_told_without_their_hashes() {
        let keys = vec![
            ("a".to_owned(), hash("k")),
            ("b".to_owned(), hash("k")),
            (String::new(), hash("l")),
            ("c".to_owned(), SecretHash::new("my-key".to_owned())),
        ];
        let text =
            problems(Any::ApiKey(Settings { keys, place: Place::Query(String::new()), forward: true }));
        for key in ["query: ", "keys.b: another", "keys.: ", "keys.c: "] {
            assert!(text.lines().any(|line| line.starts_with(key)), "{key}: {text}");
        }
        assert!(!text.contains("my-key"));
        assert!(problems(Any::ApiKey(Settings::default())).starts_with("keys: "));
    }
}
