//! `grpc-timeout`: how long a client waits for its call.

/// The value in milliseconds, rounded up, so that no call ends before its client gives it up. `None`: it is no timeout, and
/// says nothing.
///
/// `1*8DIGIT` and a unit: `H`, `M`, `S`, `m`, `u` or `n`.
#[must_use]
pub fn milliseconds(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if !(1..=DIGITS_MAX).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(count * 3_600_000),
        b'M' => Some(count * 60_000),
        b'S' => Some(count * 1_000),
        b'm' => Some(count),
        b'u' => Some(count.div_ceil(1_000)),
        b'n' => Some(count.div_ceil(1_000_000)),
        _ => None,
    }
}

const DIGITS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_the_protocol() {
        for (value, expected) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3_000)),
            ("4m", Some(4)),
            ("5u", Some(1)),
            ("1000u", Some(1)),
            ("1001u", Some(2)),
            ("6n", Some(1)),
            ("0n", Some(0)),
            ("0S", Some(0)),
            ("99999999H", Some(359_999_996_400_000)),
            ("99999999n", Some(100)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("1h", None),
            ("100000000S", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("1 S", None),
            (" 1S", None),
            ("1SS", None),
        ] {
            assert_eq!(milliseconds(value.as_bytes()), expected, "{value}");
        }
    }
}
