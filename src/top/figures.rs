//! Figures as people read them: short, with a unit, never wider than seven characters.

use std::time::Duration;

/// Times per second, or a number that may be large: `0`, `4.2`, `123`, `12.3k`.
pub(super) fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        ..9.95 => format!("{value:.1}"),
        ..999.5 => format!("{value:.0}"),
        ..9_995.0 => format!("{:.2}k", value / 1e3),
        ..99_950.0 => format!("{:.1}k", value / 1e3),
        ..999_500.0 => format!("{:.0}k", value / 1e3),
        ..99_950_000.0 => format!("{:.1}M", value / 1e6),
        ..999_500_000.0 => format!("{:.0}M", value / 1e6),
        ..99.95e9 => format!("{:.1}G", value / 1e9),
        ..999.5e9 => format!("{:.0}G", value / 1e9),
        _ => format!("{:.1}T", value / 1e12),
    }
}

/// A whole number, exact while it is short.
pub(super) fn count(value: u64) -> String {
    if value < 10_000 { value.to_string() } else { number(value as f64) }
}

/// A share: `0`, `0.4%`, `12%`; `-` where there is none.
pub(super) fn share(ratio: Option<f64>) -> String {
    match ratio.map(|ratio| ratio * 100.0) {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(..0.1) => "<0.1%".to_owned(),
        Some(percent @ ..9.95) => format!("{percent:.1}%"),
        Some(percent) => format!("{percent:.0}%"),
    }
}

/// A short time: `850us`, `1.2ms`, `12ms`, `2.5s`; `-` where there is none.
pub(super) fn seconds(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(s @ ..0.000_999_5) => format!("{:.0}us", s * 1e6),
        Some(s @ ..0.009_95) => format!("{:.1}ms", s * 1e3),
        Some(s @ ..0.9995) => format!("{:.0}ms", s * 1e3),
        Some(s @ ..9.95) => format!("{s:.1}s"),
        Some(s) => format!("{s:.0}s"),
    }
}

/// The two largest units of a time: `3d 4h`, `12m 5s`.
pub(super) fn age(seconds: f64) -> String {
    let mut rest = whole(seconds);
    let mut parts = Vec::new();
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if rest >= length || !parts.is_empty() || length == 1 {
            parts.push(format!("{}{unit}", rest / length));
        }
        rest %= length;
    }
    parts.truncate(2);
    parts.join(" ")
}

/// The time of day in UTC, of seconds since 1970.
pub(super) fn clock(time: f64) -> String {
    let second = whole(time) % 86_400;
    format!("{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Whole seconds; 0 for what is no time.
fn whole(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_two_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.2, "0.2"),
            (9.94, "9.9"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (1234.0, "1.23k"),
            (12_345.0, "12.3k"),
            (999_499.0, "999k"),
            (999_600.0, "1.0M"),
            (45e6, "45.0M"),
            (2.5e9, "2.5G"),
            (3e15, "3000.0T"),
        ] {
            assert_eq!(number(value), text, "{value}");
            assert!(text.len() <= 7);
        }
        assert_eq!((count(9_999), count(10_000)), ("9999".to_owned(), "10.0k".to_owned()));
    }

    #[test]
    fn shares_tell_little_from_nothing() {
        for (ratio, text) in [
            (None, "-"),
            (Some(0.0), "0"),
            (Some(0.0001), "<0.1%"),
            (Some(0.004), "0.4%"),
            (Some(0.0994), "9.9%"),
            (Some(0.0999), "10%"),
            (Some(1.0), "100%"),
        ] {
            assert_eq!(share(ratio), text, "{ratio:?}");
        }
    }

    #[test]
    fn times_are_short() {
        for (seconds, text) in
            [(0.4, "0s"), (61.0, "1m 1s"), (3600.0, "1h 0m"), (90_061.0, "1d 1h"), (-1.0, "0s")]
        {
            assert_eq!(age(seconds), text);
        }
        for (time, text) in [
            (None, "-"),
            (Some(0.000_85), "850us"),
            (Some(0.000_999_6), "1.0ms"),
            (Some(0.0123), "12ms"),
            (Some(0.9996), "1.0s"),
            (Some(60.0), "60s"),
        ] {
            assert_eq!(super::seconds(time), text);
        }
        assert_eq!(clock(1_795_230_302.5), "03:05:02Z");
    }
}
