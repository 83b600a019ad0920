//! From a value to a plain type, or to what is wrong with it.
//!
//! A message begins with the value, so that it reads on from the key's name: `weight` + `70000 is out of range; ...`.

use std::ops::RangeInclusive;

use super::tree::Value;
use super::{duration, show, size, suggest};

/// What a value means, or a message.
pub(super) type Parsed<T> = Result<T, String>;

/// A string.
pub(super) fn string(value: &Value) -> Parsed<&str> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            let (subject, shown) = (show::subject(value), show::value(value));
            Err(format!("{subject}; a string stands in quotes: \"{shown}\""))
        }
        Value::Null | Value::Array(_) | Value::Table(_) => Err(wrong_kind(value, "a string")),
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Parsed<bool> {
    match value {
        Value::Boolean(value) => Ok(*value),
        Value::String(text) if matches!(&**text, "true" | "false") => match text.is_substitution() {
            true => Ok(&**text == "true"),
            false => Err(format!("{} is a string; write {} without quotes", show::quoted(text), &**text)),
        },
        other => Err(wrong_kind(other, "true or false")),
    }
}

/// An integer within bounds.
pub(super) fn integer(value: &Value, bounds: RangeInclusive<u32>) -> Parsed<u32> {
    let (first, last) = (bounds.start(), bounds.end());
    let allowed = format!("allowed: {first} to {last}");
    let within = |number: Result<u32, _>| {
        let number = number.ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| format!("{} is out of range; {allowed}", show::value(value)))
    };
    match value {
        Value::Integer(number) => within(u32::from_str_radix(&number.digits, number.radix)),
        Value::String(text) if text.is_substitution() && is_digits(text) => within(text.parse()),
        Value::String(text) if is_digits(text) => {
            Err(format!("{} is a string; write {} without quotes", show::quoted(text), &**text))
        }
        other => Err(format!("{}; {allowed}", show::subject(other))),
    }
}

/// `"50%"`, whole percents within bounds.
pub(super) fn percent(value: &Value, bounds: RangeInclusive<u32>) -> Parsed<u32> {
    if let Value::Integer(number) = value {
        return Err(format!("{} is an integer; write \"{}%\"", show::value(value), number.digits));
    }
    let text = string(value)?;
    let digits = text.strip_suffix('%').filter(|it| is_digits(it));
    let percent = digits.and_then(|digits| digits.parse().ok()).filter(|percent| bounds.contains(percent));
    let (first, last) = (bounds.start(), bounds.end());
    percent
        .ok_or_else(|| format!("{} is not a share; allowed: \"{first}%\" to \"{last}%\"", show::quoted(text)))
}

/// Of a whole, in percent.
pub(super) fn share(value: &Value, min: u8) -> Parsed<u8> {
    let percent = percent(value, min.into()..=100)?;
    u8::try_from(percent).map_err(|error| error.to_string())
}

/// One of a few names.
pub(super) fn choice<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Parsed<T> {
    let names = || choices.iter().map(|(name, _)| *name);
    let allowed = || names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let Value::String(text) = value else {
        return Err(format!("{}; allowed: {}", show::subject(value), allowed()));
    };
    choices.iter().find(|(name, _)| *name == &**text).map(|(_, choice)| *choice).ok_or_else(|| {
        let meant = suggest::did_you_mean(text, names());
        format!("{} is not one of the choices{meant} (allowed: {})", show::quoted(text), allowed())
    })
}

/// A duration of at least a least one.
pub(super) fn duration(value: &Value, least: std::time::Duration) -> Parsed<std::time::Duration> {
    let parsed = match value {
        Value::String(text) => duration::parse(text)?,
        Value::Integer(_) => return Err(duration::no_unit(&show::value(value))),
        Value::Float(_) => {
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
pub(super) fn size(value: &Value, bounds: RangeInclusive<usize>) -> Parsed<usize> {
    let bytes = match value {
        Value::String(text) if text.is_substitution() && is_digits(text) => text.parse().ok(),
        Value::String(text) => size::parse(text)?,
        Value::Integer(number) => u64::from_str_radix(&number.digits, number.radix).ok(),
        other => return Err(wrong_kind(other, "a size, e.g. \"16KiB\"")),
    };
    let fitting = bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| bounds.contains(bytes));
    fitting.ok_or_else(|| {
        let (first, last) = (size::shown(*bounds.start()), size::shown(*bounds.end()));
        format!("{} is out of range; allowed: {first} to {last}", show::value(value))
    })
}

/// `x is a list; expected a string`
pub(super) fn wrong_kind(value: &Value, expected: &str) -> String {
    format!("{}; expected {expected}", show::subject(value))
}

fn is_digits(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}
