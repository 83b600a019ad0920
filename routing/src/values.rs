//! The values that conditions look at: of fields, query parameters and cookies.

use corelane_semantics::{Field, RequestHead, form_decoded, parameters};

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
    let value = parameters(query).find(|(key, _)| form_decoded(key).eq(name.iter().copied()))?.1;
    if !value.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(value);
    }
    decoded.clear();
    decoded.extend(form_decoded(value));
    Some(decoded)
}

/// The value of the first cookie with a name. A client sends the one with the longest path first (RFC 6265 §5.4), so it is
/// the most specific. Names differ by case, quotes belong to the value, a pair without `=` is none.
pub(crate) fn cookie<'a>(head: &RequestHead, bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs =
        head.fields.cookies(bytes).filter_map(|(key, value)| Some((key.trim_ascii(), value?.trim_ascii())));
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
