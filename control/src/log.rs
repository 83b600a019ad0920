//! The process's own log: one line to stderr for each thing that an operator wants to know.
//!
//! `2026-11-21T01:02:03.456Z INFO  message key=value key="value with spaces"`. Never used per request (that is the
//! access log) and never on a worker.

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_engine::calendar::write_rfc3339;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Something that was asked for did not happen.
    Error,
    /// It happened, but not quite as asked.
    Warn,
    /// What happened.
    Info,
}

/// `error!("message", key = value, ...)`
macro_rules! error {
    ($($line:tt)*) => { $crate::log::line!($crate::log::Level::Error, $($line)*) };
}

/// `warning!("message", key = value, ...)`
macro_rules! warning {
    ($($line:tt)*) => { $crate::log::line!($crate::log::Level::Warn, $($line)*) };
}

/// `info!("message", key = value, ...)`
macro_rules! info {
    ($($line:tt)*) => { $crate::log::line!($crate::log::Level::Info, $($line)*) };
}

macro_rules! line {
    ($level:expr, $message:expr $(, $key:ident = $value:expr)* $(,)?) => {
        $crate::log::write($level, &$message, &[$((stringify!($key), &$value as &dyn std::fmt::Display)),*])
    };
}

pub(crate) use {error, info, line, warning};

/// Writes one line to stderr. A stderr that cannot be written to is ignored: there is nowhere left to say so.
pub(crate) fn write(level: Level, message: &dyn Display, fields: &[(&str, &dyn Display)]) {
    let line = render(SystemTime::now(), level, message, fields);
    // One write a line, so that lines of two threads never mix.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

fn render(now: SystemTime, level: Level, message: &dyn Display, fields: &[(&str, &dyn Display)]) -> String {
    let level = match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN ",
        Level::Info => "INFO ",
    };
    let mut line = format!("{} {level} ", Rfc3339(now));
    for c in message.to_string().chars() {
        push_escaped(&mut line, c, false);
    }
    for (key, value) in fields {
        let value = value.to_string();
        let _ = write!(line, " {key}=");
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        if quoted {
            line.push('"');
        }
        for c in value.chars() {
            push_escaped(&mut line, c, quoted);
        }
        if quoted {
            line.push('"');
        }
    }
    line.push('\n');
    line
}

/// What comes from a file or a peer must not start a line of its own.
fn push_escaped(line: &mut String, c: char, quoted: bool) {
    if c.is_control() || (quoted && (c == '"' || c == '\\')) {
        line.extend(c.escape_default());
    } else {
        line.push(c);
    }
}

/// A time as RFC 3339 §5.6 writes it, in UTC, with milliseconds.
struct Rfc3339(SystemTime);

impl Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut text = Vec::with_capacity(24);
        write_rfc3339(&mut text, u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn writes_time_level_message_and_fields() {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_222_923_456);
        let line = render(now, Level::Info, &"reloaded", &[("generation", &2), ("file", &"a b.toml")]);
        assert_eq!(line, "2026-11-21T01:02:03.456Z INFO  reloaded generation=2 file=\"a b.toml\"\n");
    }

    #[test]
    fn keeps_one_line_one_line() {
        let line = render(UNIX_EPOCH, Level::Error, &"a\nb", &[("value", &"x\n\"y")]);
        assert_eq!(line, "1970-01-01T00:00:00.000Z ERROR a\\nb value=\"x\\n\\\"y\"\n");
    }

    #[test]
    fn knows_leap_days() {
        let date = |days: u64| Rfc3339(UNIX_EPOCH + Duration::from_secs(days * 86_400)).to_string();
        for (days, expected) in
            [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01")]
        {
            assert_eq!(date(days), format!("{expected}T00:00:00.000Z"));
        }
        assert_eq!(date(365), "1971-01-01T00:00:00.000Z");
    }
}
