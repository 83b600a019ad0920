//! Names and values that stand in one text: parameters of a query, cookies; and the percent-encoding of the former.

/// Name and value of a pair, at the first `=`; without one there is no value.
#[inline]
#[must_use]
pub fn split_pair(pair: &[u8]) -> (&[u8], Option<&[u8]>) {
    match pair.iter().position(|&byte| byte == b'=') {
        Some(end) => (&pair[..end], Some(&pair[end + 1..])),
        None => (pair, None),
    }
}

/// The parameters of a query as they stand there; the value of one without `=` is empty.
#[inline]
pub fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let parameters = query.split(|&byte| byte == b'&').filter(|parameter| !parameter.is_empty());
    parameters.map(split_pair).map(|(name, value)| (name, value.unwrap_or_default()))
}

/// The cookies in the value of a Cookie field (RFC 6265 §4.2.1), without white space around each.
#[inline]
pub fn cookies(value: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii).map(split_pair)
}

/// A byte percent-encoded (RFC 3986 §2.1); §6.2.2.1: in upper case.
#[inline]
#[must_use]
pub fn percent_encoded(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]
}

/// What a percent-encoded text says (RFC 3986 §2.1). A `%` without two hexadecimal digits stands for itself.
#[inline]
pub fn percent_decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    decoded(text, b'+')
}

/// The same where `+` is a space, as forms write names and values (application/x-www-form-urlencoded).
#[inline]
pub fn form_decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    decoded(text, b' ')
}

fn decoded(text: &[u8], plus: u8) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        match (first, after) {
            (b'+', _) => Some(plus),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_between_ampersands() {
        let all: Vec<_> = parameters(b"&&a=1&b&=c&d=e=f&").collect();
        assert_eq!(all, [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"", b"c"), (b"d", b"e=f")]);
        assert_eq!(parameters(b"").count(), 0);
    }

    #[test]
    fn cookies_stand_between_semicolons() {
        let all: Vec<_> = cookies(b" a=1;b ; c = d;").collect();
        let expected = [(&b"a"[..], Some(&b"1"[..])), (b"b", None), (b"c ", Some(b" d")), (b"", None)];
        assert_eq!(all, expected);
    }

    #[test]
    fn only_forms_have_plus_for_a_space() {
        for (text, percent, form) in
            [("a%20b+c", "a b+c", "a b c"), ("%2b%2B", "++", "++"), ("%zz%4", "%zz%4", "%zz%4"), ("", "", "")]
        {
            assert!(percent_decoded(text.as_bytes()).eq(percent.bytes()), "{text}");
            assert!(form_decoded(text.as_bytes()).eq(form.bytes()), "{text}");
        }
    }

    #[test]
    fn every_byte_is_encoded_in_upper_case() {
        for byte in 0..=255 {
            let encoded = percent_encoded(byte);
            assert_eq!(encoded.as_slice(), format!("%{byte:02X}").as_bytes());
            assert!(percent_decoded(&encoded).eq([byte]));
        }
    }
}
