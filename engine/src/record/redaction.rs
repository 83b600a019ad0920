//! Parameters of queries whose values are secret: what of a text no record shows.
//!
//! A parameter is looked for wherever one can stand: in a query, behind the `?` or the `#` of a target or of an address in a
//! field. A name may be percent-encoded, as servers decode it, and have parts in brackets (`user[password]`). What stands in an address before its host is a secret, too.

use std::ops::Range;

use corelane_semantics::form_decoded;

/// Names of parameters. They are compared without regard to case, `-`, `_` and `.`: `api_key` is `API-Key` and `apikey`, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    names: Vec<Box<[u8]>>,
}

/// What stands for a secret.
pub(crate) const STARS: &[u8] = b"***";

/// The longest name that is looked for, without what does not count in it.
const NAME_BYTES_MAX: usize = 64;

impl Redaction {
    /// Of these names. One is not looked for that is empty, or longer than 64 bytes, but for what does not count.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        // As they stand: it is clients that encode.
        let plain = |name: &str| plain(name.bytes(), &mut [0; NAME_BYTES_MAX]).map(Into::into);
        let mut names: Vec<Box<[u8]>> = names.into_iter().filter_map(plain).collect();
        names.sort_unstable();
        names.dedup();
        Self { names }
    }

    /// Where the next secret stands in a text; `in_query`: a name may stand at its beginning.
    pub(crate) fn find(&self, text: &[u8], in_query: bool) -> Option<Range<usize>> {
        let mut name_start = in_query.then_some(0);
        for (place, &byte) in text.iter().enumerate() {
            match byte {
                b':' if text[place..].starts_with(b"://") => {
                    if let Some(length) = user_information(&text[place + 3..]) {
                        return Some(place + 3..place + 3 + length);
                    }
                }
                b'?' | b'&' | b'#' | b';' => name_start = Some(place + 1),
                b'=' => {
                    let Some(start) = name_start.take() else { continue };
                    // First the name: values overlap, and to look for the end of each could take long.
                    if !self.hides(&text[start..place]) {
                        continue;
                    }
                    let value = &text[place + 1..];
                    let ends = |byte: &u8| matches!(byte, b'&' | b'#' | b' ' | b'\t');
                    let length = value.iter().position(ends).unwrap_or(value.len());
                    if length > 0 {
                        return Some(place + 1..place + 1 + length);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Hands a text over piece by piece, with stars in place of each secret.
    pub(crate) fn pieces(&self, text: &[u8], in_query: bool, mut take: impl FnMut(&[u8])) {
        let (mut rest, mut in_query) = (text, in_query);
        while let Some(secret) = self.find(rest, in_query) {
            take(&rest[..secret.start]);
            take(STARS);
            (rest, in_query) = (&rest[secret.end..], false);
        }
        take(rest);
    }

    /// Whether the value of a parameter of this name is secret: because of the whole name, or of a part of `a[b][c]`.
    pub(crate) fn hides(&self, name: &[u8]) -> bool {
        let mut room = [0; NAME_BYTES_MAX];
        if plain(form_decoded(name), &mut room).is_some_and(|name| self.knows(name)) {
            return true;
        }
        if !name.iter().any(|byte| matches!(byte, b'[' | b'%')) {
            return false;
        }
        let mut decoded = form_decoded(name).peekable();
        while decoded.peek().is_some() {
            let mut part = decoded.by_ref().take_while(|byte| !matches!(byte, b'[' | b']'));
            let is_known = plain(part.by_ref(), &mut room).is_some_and(|name| self.knows(name));
            if is_known {
                return true;
            }
            // The rest of a part that is too long.
            part.for_each(drop);
        }
        false
    }

    fn knows(&self, name: &[u8]) -> bool {
        self.names.binary_search_by(|known| (**known).cmp(name)).is_ok()
    }
}

/// How much of an authority stands before its `@` (RFC 3986 §3.2.1).
fn user_information(authority: &[u8]) -> Option<usize> {
    let ends = |byte: &u8| matches!(byte, b'/' | b'?' | b'#' | b' ' | b'\t');
    let end = authority.iter().position(ends).unwrap_or(authority.len());
    authority[..end].iter().rposition(|&byte| byte == b'@').filter(|&length| length > 0)
}

/// A name without what does not count in it; `None` if nothing is left, or too much.
fn plain(name: impl Iterator<Item = u8>, room: &mut [u8; NAME_BYTES_MAX]) -> Option<&[u8]> {
    let mut length = 0;
    for byte in name.filter(|byte| !matches!(byte, b'-' | b'_' | b'.')) {
        *room.get_mut(length)? = byte.to_ascii_lowercase();
        length += 1;
    }
    (length > 0).then(|| &room[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str, in_query: bool) -> String {
        let redaction = Redaction::new(["token", "api_key", "", "--"]);
        let mut out = Vec::new();
        redaction.pieces(text.as_bytes(), in_query, |piece| out.extend_from_slice(piece));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hides_the_values_of_secret_parameters_only() {
        for (query, shown) in [
            ("", ""),
            ("a=1&b=2", "a=1&b=2"),
            ("token=abc", "token=***"),
            ("a=1&token=x&b=2&token=y", "a=1&token=***&b=2&token=***"),
            ("TOKEN=abc&Api-Key=d&apikey=e", "TOKEN=***&Api-Key=***&apikey=***"),
            ("%74oken=abc", "%74oken=***"),
            ("token=a=b;c", "token=***"),
            ("a=1;token=b", "a=1;token=***"),
            ("a=b?token=c", "a=b?token=***"),
            ("token=", "token="),
            ("token", "token"),
            ("tokens=1&mytoken=2&x.token=3", "tokens=1&mytoken=2&x.token=3"),
            ("=abc&-=d&%", "=abc&-=d&%"),
            ("token==", "token=***"),
            ("token[]=a&Token[0]=b", "token[]=***&Token[0]=***"),
            ("user[api_key]=a&b[c][token]=d", "user[api_key]=***&b[c][token]=***"),
            ("user%5Btoken%5d=a&token%5B%5D=b", "user%5Btoken%5d=***&token%5B%5D=***"),
            ("[token=a&a]token]=b", "[token=***&a]token]=b"),
            ("user[tokens]=a&my[x]=b&[]=c&]=d&%5B=e", "user[tokens]=a&my[x]=b&[]=c&]=d&%5B=e"),
        ] {
            assert_eq!(redacted(query, true), shown, "{query}");
        }
    }

    #[test]
    fn finds_parameters_in_targets_and_addresses() {
        for (text, shown) in [
            ("/a?token=b", "/a?token=***"),
            ("/token=b", "/token=b"),
            ("GET /a?x=1&token=b HTTP/1.1", "GET /a?x=1&token=*** HTTP/1.1"),
            ("https://a.test/cb?token=b#token=c", "https://a.test/cb?token=***#token=***"),
            ("/#token=b&c=d", "/#token=***&c=d"),
            ("https://user:pass@word@a.test/?token=b", "https://***@a.test/?token=***"),
            ("/?to=https://me@a.test&token=b", "/?to=https://***@a.test&token=***"),
            ("https://a.test/@b:c@ http://@d", "https://a.test/@b:c@ http://@d"),
            ("Mozilla/5.0 (X11; Linux) a=b", "Mozilla/5.0 (X11; Linux) a=b"),
        ] {
            assert_eq!(redacted(text, false), shown, "{text}");
        }
    }

    #[test]
    fn long_names_are_not_looked_for() {
        let name = "n".repeat(NAME_BYTES_MAX + 1);
        let redaction = Redaction::new([&*name, &name[1..]]);
        assert!(redaction.find(format!("{name}=1").as_bytes(), true).is_none());
        assert_eq!(redaction.find(format!("{}=1", &name[1..]).as_bytes(), true), Some(65..66));
        assert!(redaction.find(format!("{name}[{name}]=1").as_bytes(), true).is_none());
        assert!(redaction.hides(format!("{name}[{}]", &name[1..]).as_bytes()), "a part behind a long one");
    }

    #[test]
    fn names_of_the_configuration_stand_as_they_are() {
        let redaction = Redaction::new(["key+1", "100%41"]);
        assert!(redaction.hides(b"key%2B1") && redaction.hides(b"100%2541"));
        assert!(!redaction.hides(b"key+1") && !redaction.hides(b"100A"));
    }

    #[test]
    fn many_parameters_are_looked_through_in_one_pass() {
        // Were each value looked through for its end, this would take minutes.
        for parameter in [";=", "?a=", "&x;y=", "token=;"] {
            let text = parameter.repeat((1 << 20) / parameter.len());
            redacted(&text, true);
        }
    }
}
