//! Sizes as they stand in the file: `16384` or `"16KiB"`.

use super::show;

/// The units, the largest first. Powers of two only: `KB` means two things.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads a whole number with a unit; `None`: larger than any number.
pub(super) fn parse(text: &str) -> Result<Option<u64>, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shown = show::quoted(text);
    if number.is_empty() {
        return Err(format!("{shown} is not a size; write e.g. 16384 or \"16KiB\""));
    }
    if unit.is_empty() {
        return Err(format!(
            "{shown} has no unit; write bytes as a number without quotes, or e.g. \"16KiB\""
        ));
    }
    let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(wrong_unit(&shown, number, unit));
    };
    Ok(number.parse::<u64>().ok().and_then(|number| number.checked_mul(*bytes)))
}

/// The shortest spelling.
pub(super) fn shown(bytes: usize) -> String {
    let fitting = UNITS.iter().find_map(|(name, unit)| {
        let unit = usize::try_from(*unit).ok()?;
        (bytes > 0 && bytes.is_multiple_of(unit)).then(|| format!("\"{}{name}\"", bytes / unit))
    });
    fitting.unwrap_or_else(|| bytes.to_string())
}

fn wrong_unit(shown: &str, number: &str, unit: &str) -> String {
    let letter = unit.trim().chars().next().map(|c| c.to_ascii_uppercase());
    let near = UNITS
        .iter()
        .find(|(name, _)| unit.trim().len() <= 3 && number.len() <= 9 && name.chars().next() == letter);
    let meant = match near {
        Some((name, _)) => format!("; did you mean \"{number}{name}\"?"),
        None => String::new(),
    };
    format!("{shown} has the unknown unit {}{meant} (units: KiB, MiB, GiB)", show::quoted(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        assert_eq!(parse("16KiB"), Ok(Some(16 << 10)));
        assert_eq!(parse("1MiB"), Ok(Some(1 << 20)));
        assert_eq!(parse("0GiB"), Ok(Some(0)));
        assert_eq!(parse("99999999999999999999KiB"), Ok(None));
        assert_eq!(parse("18446744073709551615GiB"), Ok(None));
    }

    #[test]
    fn shows_the_largest_unit() {
        assert_eq!(shown(16 << 10), "\"16KiB\"");
        assert_eq!(shown(1 << 20), "\"1MiB\"");
        assert_eq!(shown(1025), "1025");
        assert_eq!(shown(0), "0");
    }

    #[test]
    fn refuses_the_rest() {
        for (text, message) in [
            ("", r#""" is not a size; write e.g. 16384 or "16KiB""#),
            ("big", r#""big" is not a size; write e.g. 16384 or "16KiB""#),
            ("64", r#""64" has no unit; write bytes as a number without quotes, or e.g. "16KiB""#),
            ("16k", r#""16k" has the unknown unit "k"; did you mean "16KiB"? (units: KiB, MiB, GiB)"#),
            (
                "16 KiB",
                r#""16 KiB" has the unknown unit " KiB"; did you mean "16KiB"? (units: KiB, MiB, GiB)"#,
            ),
            ("2mb", r#""2mb" has the unknown unit "mb"; did you mean "2MiB"? (units: KiB, MiB, GiB)"#),
            ("16x", r#""16x" has the unknown unit "x" (units: KiB, MiB, GiB)"#),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }
}
