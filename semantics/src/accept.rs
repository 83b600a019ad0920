//! What a client would rather have (RFC 9110 §12.5.1).

/// The largest weight: `q=1`.
pub const WEIGHT_MAX: u16 = 1000;

/// The weight that the values of `Accept` fields give to a media type, in thousandths: 0 when they do not accept it,
/// [`WEIGHT_MAX`] when there is no such field.
///
/// The most precise range decides: the type itself, then `type/*`, then `*/*`. Parameters of a range other than its
/// weight are not compared. What is not a media range counts for nothing.
///
/// ```
/// use corelane_semantics::accept_weight;
///
/// let browser = [&b"text/html,application/xml;q=0.9,*/*;q=0.8"[..]];
/// assert_eq!(accept_weight(browser, "text", "html"), 1000);
/// assert_eq!(accept_weight(browser, "application", "json"), 800);
/// ```
pub fn accept_weight<'a>(values: impl IntoIterator<Item = &'a [u8]>, kind: &str, subtype: &str) -> u16 {
    let mut found = None;
    let mut is_absent = true;
    for value in values {
        is_absent = false;
        for member in split_unquoted(value, b',') {
            if let Some((precision, weight)) = media_range(member, kind, subtype)
                && found.is_none_or(|best| (precision, weight) > best)
            {
                found = Some((precision, weight));
            }
        }
    }
    match found {
        Some((_, weight)) => weight,
        None if is_absent => WEIGHT_MAX,
        None => 0,
    }
}

/// How precisely a range names the type, if it does, and its weight.
fn media_range(member: &[u8], kind: &str, subtype: &str) -> Option<(u8, u16)> {
    let mut parts = split_unquoted(member, b';').map(<[u8]>::trim_ascii);
    let range = parts.next()?;
    let slash = range.iter().position(|&byte| byte == b'/')?;
    let (range_kind, range_subtype) = (&range[..slash], &range[slash + 1..]);
    let precision = match (range_kind, range_subtype) {
        (b"*", b"*") => 0,
        (_, _) if !range_kind.eq_ignore_ascii_case(kind.as_bytes()) => return None,
        (_, b"*") => 1,
        (_, _) if range_subtype.eq_ignore_ascii_case(subtype.as_bytes()) => 2,
        (_, _) => return None,
    };
    let weight = parts.find_map(|part| match part {
        [b'q' | b'Q', b'=', value @ ..] => Some(value),
        _ => None,
    });
    let weight = match weight {
        Some(value) => parse_weight(value)?,
        None => WEIGHT_MAX,
    };
    Some((precision, weight))
}

/// RFC 9110 §12.4.2: 0 to 1 with at most three decimals.
fn parse_weight(value: &[u8]) -> Option<u16> {
    let (whole, decimals) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => WEIGHT_MAX,
        _ => return None,
    };
    let mut unit = 100;
    for digit in decimals {
        weight += u16::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?) * unit;
        unit /= 10;
    }
    (weight <= WEIGHT_MAX).then_some(weight)
}

/// The pieces between separators that do not stand in a quoted string (RFC 9110 §5.6.4).
fn split_unquoted(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |&byte| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        escaped = quoted && byte == b'\\';
        quoted ^= byte == b'"';
        byte == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_weights(values: &[&str], html: u16, json: u16) {
        let weight =
            |kind, subtype| accept_weight(values.iter().map(|value| value.as_bytes()), kind, subtype);
        assert_eq!((weight("text", "html"), weight("application", "json")), (html, json), "{values:?}");
    }

    #[test]
    fn weighs_media_ranges() {
        // Without the field everything is welcome; an empty one welcomes nothing.
        assert_weights(&[], 1000, 1000);
        assert_weights(&[""], 0, 0);
        assert_weights(&["*/*"], 1000, 1000);
        assert_weights(&["text/html"], 1000, 0);
        assert_weights(&["TEXT/Html;Q=0.5"], 500, 0);
        assert_weights(&["text/*;q=0.3, text/html;q=0.7"], 700, 0);
        // Precision goes before weight, and before the order.
        assert_weights(&["text/html;q=0, text/*, */*;q=0.1"], 0, 100);
        assert_weights(&["*/*;q=0.1", "application/json ; q=0.25"], 100, 250);
        assert_weights(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], 1000, 800);
        assert_weights(&["text/html;level=1;q=0.4"], 400, 0);
        assert_weights(&["application/*"], 0, 1000);
    }

    #[test]
    fn takes_weights_by_the_grammar_only() {
        for (text, weight) in
            [("0", 0), ("0.", 0), ("1", 1000), ("1.000", 1000), ("0.5", 500), ("0.25", 250), ("0.125", 125)]
        {
            assert_eq!(parse_weight(text.as_bytes()), Some(weight), "{text}");
        }
        for text in ["", ".5", "2", "1.001", "0.1234", "0.x", "-1", "0,5", "1 "] {
            assert_eq!(parse_weight(text.as_bytes()), None, "{text}");
        }
        // A range with a bad weight counts for nothing.
        assert_weights(&["text/html;q=high, */*;q=0.2"], 200, 200);
    }

    #[test]
    fn quoted_strings_separate_nothing() {
        assert_weights(&[r#"text/html;a="x,application/json;q=1\",y";q=0.5"#], 500, 0);
        assert_weights(&[r#"text/html;a="unterminated, application/json"#], 1000, 0);
    }

    #[test]
    fn survives_any_bytes() {
        for length in 0..6 {
            for seed in 0..3000_usize {
                let alphabet = b"*/;q=0.1,\" ta\xff";
                let bytes: Vec<u8> =
                    (0..length).map(|at| alphabet[(seed >> (2 * at)) % alphabet.len()]).collect();
                assert!(accept_weight([&bytes[..]], "text", "html") <= WEIGHT_MAX);
            }
        }
    }
}
