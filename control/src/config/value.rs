//! From a TOML value to a plain type, or to what is wrong with it.
//!
//! A message begins with the value, so that it reads on from the key's name: `weight` + `70000 is out of range; ...`.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::{duration, show, size, suggest};

/// What a value means, or a message.
pub(super) type Parsed<T> = Result<T, String>;

/// A string.
pub(super) fn string<'v>(value: &'v DeValue<'_>) -> Parsed<&'v str> {
    match value {
        DeValue::String(text) => Ok(text),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            let (subject, shown) = (show::subject(value), show::value(value));
            Err(format!("{subject}; a string stands in quotes: \"{shown}\""))
        }
        DeValue::Array(_) | DeValue::Table(_) => Err(wrong_kind(value, "a string")),
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Parsed<bool> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        DeValue::String(text) if matches!(&**text, "true" | "false") => {
            Err(format!("{} is a string; write {text} without quotes", show::quoted(text)))
        }
        other => Err(wrong_kind(other, "true or false")),
    }
}

/// An integer within bounds.
pub(super) fn integer(value: &DeValue<'_>, bounds: RangeInclusive<u32>) -> Parsed<u32> {
    let (first, last) = (bounds.start(), bounds.end());
    let allowed = format!("allowed: {first} to {last}");
    match value {
        DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| format!("{} is out of range; {allowed}", show::value(value))),
        DeValue::String(text) if is_digits(text) => {
            Err(format!("{} is a string; write {text} without quotes", show::quoted(text)))
        }
        other => Err(format!("{}; {allowed}", show::subject(other))),
    }
}

/// One of a few names.
pub(super) fn choice<T: Copy>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Parsed<T> {
    let names = || choices.iter().map(|(name, _)| *name);
    let allowed = || names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let DeValue::String(text) = value else {
        return Err(format!("{}; allowed: {}", show::subject(value), allowed()));
    };
    choices.iter().find(|(name, _)| name == text).map(|(_, choice)| *choice).ok_or_else(|| {
        let meant = suggest::did_you_mean(text, names());
        format!("{} is not one of the choices{meant} (allowed: {})", show::quoted(text), allowed())
    })
}

/// A duration of at least a least one.
pub(super) fn duration(value: &DeValue<'_>, least: std::time::Duration) -> Parsed<std::time::Duration> {
    let parsed = match value {
        DeValue::String(text) => duration::parse(text)?,
        DeValue::Integer(_) => return Err(duration::no_unit(&show::value(value))),
        DeValue::Float(_) => {
            return Err(format!("{} has no unit; write whole numbers: \"1s500ms\"", show::value(value)));
        }
        other => return Err(wrong_kind(other, "a duration, e.g. \"10s\"")),
    };
    if parsed < least {
        let (shown, least) = (show::value(value), duration::shown(least));
        return Err(format!("{shown} is too short; allowed: \"{least}\" to \"{}\"", duration::LONGEST));
    }
    Ok(parsed)
}

/// A number of bytes within bounds.
pub(super) fn size(value: &DeValue<'_>, bounds: RangeInclusive<usize>) -> Parsed<usize> {
    let bytes = match value {
        DeValue::String(text) => size::parse(text)?,
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        other => return Err(wrong_kind(other, "a size, e.g. \"16KiB\"")),
    };
    let fitting = bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| bounds.contains(bytes));
    fitting.ok_or_else(|| {
        let (first, last) = (size::shown(*bounds.start()), size::shown(*bounds.end()));
        format!("{} is out of range; allowed: {first} to {last}", show::value(value))
    })
}

/// `x is a list; expected a string`
pub(super) fn wrong_kind(value: &DeValue<'_>, expected: &str) -> String {
    format!("{}; expected {expected}", show::subject(value))
}

fn is_digits(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}
