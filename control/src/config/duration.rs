//! Durations as they stand in the file: `"500ms"`, `"10s"`, `"1m30s"`.

use std::time::Duration;

use super::show;

/// The longest duration, one year of 365 days. A guess: long enough for anyone, short enough that sums never overflow.
pub(super) const LONGEST: &str = "8760h";

const LONGEST_MILLIS: u64 = 8760 * 3_600_000;

/// The units, the largest first, and their milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads whole numbers with units, the largest unit first.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let shown = show::quoted(text);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(no_unit_in(&shown, text));
    }
    let mut millis: u64 = 0;
    let mut units_left = &UNITS[..];
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, behind) = split(rest);
        if number.is_empty() || unit.is_empty() {
            return Err(malformed(&shown, text));
        }
        let Some(place) = units_left.iter().position(|(name, _)| *name == unit) else {
            return Err(match UNITS.iter().any(|(name, _)| *name == unit) {
                true => {
                    format!("{shown} has its units out of order; write the largest first, e.g. \"1m30s\"")
                }
                false => wrong_unit(&shown, text, unit),
            });
        };
        // Saturating: digits without end are too long and nothing else.
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        millis = millis.saturating_add(number.saturating_mul(units_left[place].1));
        units_left = &units_left[place + 1..];
        rest = behind;
    }
    match millis {
        _ if text.is_empty() => Err(malformed(&shown, text)),
        0..=LONGEST_MILLIS => Ok(Duration::from_millis(millis)),
        _ => Err(format!("{shown} is too long; the longest is \"{LONGEST}\"")),
    }
}

/// What to say of a bare number.
pub(super) fn no_unit(number: &str) -> String {
    no_unit_in(number, number)
}

/// The shortest spelling.
pub(super) fn shown(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit) in UNITS {
        if millis >= unit {
            text.push_str(&format!("{}{name}", millis / unit));
            millis %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The number, the unit and what follows.
fn split(text: &str) -> (&str, &str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    (number, unit, rest)
}

fn no_unit_in(shown: &str, number: &str) -> String {
    if number.len() > 9 || number.starts_with('-') {
        return format!("{shown} has no unit; write e.g. \"10s\" (units: {})", units());
    }
    format!("{shown} has no unit; for seconds write \"{number}s\" (units: {})", units())
}

fn wrong_unit(shown: &str, text: &str, unit: &str) -> String {
    let lower = text.to_lowercase();
    let meant = match unit {
        "d" | "day" | "days" => "; write days in hours: 1 day is \"24h\"".to_owned(),
        _ if lower != text && parse(&lower).is_ok() => format!("; did you mean \"{lower}\"?"),
        _ => String::new(),
    };
    format!("{shown} has the unknown unit {}{meant} (units: {})", show::quoted(unit), units())
}

fn malformed(shown: &str, text: &str) -> String {
    if text.contains('.') {
        return format!("{shown} is not a whole number; write \"1s500ms\" for one and a half seconds");
    }
    let close: String = text.split_whitespace().collect();
    if close != text && parse(&close).is_ok() {
        return format!("{shown} is not a duration; did you mean \"{close}\"?");
    }
    format!("{shown} is not a duration; write e.g. \"500ms\", \"10s\", \"5m\", \"1m30s\"")
}

fn units() -> String {
    UNITS.iter().rev().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("0s", 0),
        ] {
            let expected = Duration::from_millis(millis);
            assert_eq!(parse(text), Ok(expected), "{text}");
            assert_eq!(shown(expected), text);
        }
        assert_eq!(parse("1h2m3s4ms"), Ok(Duration::from_millis(3_723_004)));
        assert_eq!(parse("0ms"), Ok(Duration::ZERO));
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("8760h"), Ok(Duration::from_secs(8760 * 3600)));
    }

    #[test]
    fn refuses_the_rest() {
        for (text, message) in [
            ("", r#""" is not a duration; write e.g. "500ms", "10s", "5m", "1m30s""#),
            ("s", r#""s" is not a duration; write e.g. "500ms", "10s", "5m", "1m30s""#),
            ("10", r#""10" has no unit; for seconds write "10s" (units: ms, s, m, h)"#),
            ("1m30", r#""1m30" is not a duration; write e.g. "500ms", "10s", "5m", "1m30s""#),
            ("-1s", r#""-1s" is not a duration; write e.g. "500ms", "10s", "5m", "1m30s""#),
            ("10 s", r#""10 s" is not a duration; did you mean "10s"?"#),
            ("1.5s", r#""1.5s" is not a whole number; write "1s500ms" for one and a half seconds"#),
            ("30s1m", r#""30s1m" has its units out of order; write the largest first, e.g. "1m30s""#),
            ("1s1s", r#""1s1s" has its units out of order; write the largest first, e.g. "1m30s""#),
            ("10S", r#""10S" has the unknown unit "S"; did you mean "10s"? (units: ms, s, m, h)"#),
            (
                "7d",
                r#""7d" has the unknown unit "d"; write days in hours: 1 day is "24h" (units: ms, s, m, h)"#,
            ),
            ("10µs", r#""10µs" has the unknown unit "µs" (units: ms, s, m, h)"#),
            ("8760h1ms", r#""8760h1ms" is too long; the longest is "8760h""#),
            ("99999999999999999999s", r#""99999999999999999999s" is too long; the longest is "8760h""#),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }
}
