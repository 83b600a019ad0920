//! Bytes as they stand in the file: text with `\n`, `\r`, `\t`, `\\` and `\xNN`.

use super::tree::Value;
use super::value::Parsed;
use super::{show, value};

/// What a probe sends or expects at most. A guess at what is plenty.
const BYTES_MAX: usize = 4096;

/// At least one.
pub(super) fn parsed(value: &Value) -> Parsed<Box<[u8]>> {
    let text = value::string(value)?;
    let shown = show::quoted(text);
    let bytes = unescaped(text).map_err(|fault| format!("{shown} {fault}"))?;
    match bytes.len() {
        0 => Err(format!("{shown} is empty; leave the key out")),
        1..=BYTES_MAX => Ok(bytes.into()),
        many => Err(format!("{shown} has {many} bytes; allowed: 1 to {BYTES_MAX}")),
    }
}

fn unescaped(text: &str) -> Parsed<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let Some(kind) = escape.chars().next() else {
            return Err("ends with a single \\; a backslash is \\\\".to_owned());
        };
        rest = &escape[kind.len_utf8()..];
        bytes.push(match kind {
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            '\\' => b'\\',
            'x' => {
                let digits = rest.get(..2).filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                rest = rest.get(2..).unwrap_or_default();
                byte.ok_or("has \\x without two hexadecimal digits behind it")?
            }
            other => return Err(format!("has \\{other}; the escapes are \\n, \\r, \\t, \\\\ and \\xNN")),
        });
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_bytes() {
        for (text, bytes) in [
            ("PING\\r\\n", &b"PING\r\n"[..]),
            ("\\x00\\xff\\xFfa", b"\x00\xff\xffa"),
            ("\\\\x41\\t", b"\\x41\t"),
            ("é\n", "é\n".as_bytes()),
        ] {
            assert_eq!(unescaped(text).as_deref(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_escape_is_refused() {
        for text in ["\\", "a\\", "\\q", "\\x", "\\x1", "\\xgg", "\\x1é", "\\é"] {
            assert!(unescaped(text).is_err(), "{text}");
        }
    }
}
