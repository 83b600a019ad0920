//! The values that conditions look at: of fields, query parameters and cookies.

use corelane_semantics::{Field, RequestHead};

/// A field's value. Several lines are one value, joined by a comma and a space (RFC 9110 §5.3).
pub(crate) fn field<'a>(
    head: &RequestHead,
    bytes: &'a [u8],
    name: &[u8],
    joined: &'a mut Vec<u8>,
) -> Option<&'a [u8]> {
    let named = |field: &&Field| field.name.bytes(bytes).eq_ignore_ascii_case(name);
    let mut values = head.fields.lines().iter().filter(named).map(|field| field.value.bytes(bytes));
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(first) };
    joined.clear();
    joined.extend_from_slice(first);
    for value in std::iter::once(second).chain(values) {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value);
    }
    Some(joined)
}

/// The decoded value of the first query parameter with a name, which is compared decoded, too; without `=` it is empty.
///
/// As forms write them (application/x-www-form-urlencoded): `%41` is `A`, `+` is a space, a `%` without two hexadecimal digits
/// stands for itself.
pub(crate) fn query<'a>(query: &'a [u8], name: &[u8], decoded: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let value = parameters(query).find(|(key, _)| unescape(key).eq(name.iter().copied()))?.1;
    if !value.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(value);
    }
    decoded.clear();
    decoded.extend(unescape(value));
    Some(decoded)
}

fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&byte| byte == b'&').filter(|part| !part.is_empty()).map(|part| {
        let equals = part.iter().position(|&byte| byte == b'=').unwrap_or(part.len());
        (&part[..equals], part.get(equals + 1..).unwrap_or_default())
    })
}

fn unescape(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        match (first, after) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, behind @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = behind;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            _ => Some(first),
        }
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The value of the first cookie with a name. A client sends the one with the longest path first (RFC 6265 §5.4), so it is
/// the most specific. Names differ by case, quotes belong to the value, a pair without `=` is none.
pub(crate) fn cookie<'a>(head: &RequestHead, bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let is_cookie = |field: &&Field| field.name.bytes(bytes).eq_ignore_ascii_case(b"cookie");
    let lines = head.fields.lines().iter().filter(is_cookie).map(|field| field.value.bytes(bytes));
    let mut pairs = lines.flat_map(|line| line.split(|&byte| byte == b';')).filter_map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
    });
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::head;

    #[test]
    fn query_parameters_are_decoded_and_the_first_counts() {
        for (text, name, expected) in [
            ("v=2", "v", Some("2")),
            ("a=1&v=2&v=3", "v", Some("2")),
            ("v", "v", Some("")),
            ("v=", "v", Some("")),
            ("&&v=1", "v", Some("1")),
            ("v=a%20b+c", "v", Some("a b c")),
            ("%76=%32", "v", Some("2")),
            ("v=%zz%4", "v", Some("%zz%4")),
            ("v=a=b", "v", Some("a=b")),
            ("V=2", "v", None),
            ("w=2", "v", None),
            ("", "v", None),
            ("vv=1;v=2", "v", None),
            ("a+b=1", "a b", Some("1")),
        ] {
            let seen = query(text.as_bytes(), name.as_bytes(), &mut Vec::new()).map(<[u8]>::to_vec);
            assert_eq!(seen.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn fields_of_several_lines_are_joined() {
        let (parsed, bytes) = head("GET / HTTP/1.1", &["X-A: 1", "x-b: 2", "x-a:  3 ", "X-a: 4"]);
        let seen = |name: &str| field(&parsed, &bytes, name.as_bytes(), &mut Vec::new()).map(<[u8]>::to_vec);
        assert_eq!(seen("x-a").as_deref(), Some(&b"1, 3, 4"[..]));
        assert_eq!(seen("X-B").as_deref(), Some(&b"2"[..]));
        assert_eq!(seen("x"), None);
    }

    #[test]
    fn cookies_are_found_by_name() {
        let lines = ["Cookie: a=1; group=b;c=\"q\" ; d", "cookie: group=late; e = f=g"];
        let (parsed, bytes) = head("GET / HTTP/1.1", &lines);
        for (name, expected) in [
            ("a", Some("1")),
            ("group", Some("b")),
            ("c", Some("\"q\"")),
            ("e", Some("f=g")),
            ("d", None),
            ("Group", None),
            ("roup", None),
        ] {
            assert_eq!(cookie(&parsed, &bytes, name.as_bytes()), expected.map(str::as_bytes), "{name}");
        }
    }
}
