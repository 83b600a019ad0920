//! Message heads: a request line or status line and its fields, as spans into one buffer.

use crate::{Fields, Known, Method, Span};

/// The version that a message names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1 (and any later 1.x, RFC 9110 §6.2).
    #[default]
    Http11,
}

/// The four forms of a request target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `authority`, only for CONNECT
    Authority,
    /// `*`, only for OPTIONS
    Asterisk,
}

/// A request head. The bytes stay with the caller: every method that needs them takes the buffer.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method's token.
    pub method_token: Span,
    /// The whole target as received.
    pub target: Span,
    /// The target's form.
    pub form: TargetForm,
    /// The authority of an absolute-form or authority-form target.
    pub authority: Option<Span>,
    /// The path: starts with `/`, but empty for `*`, for CONNECT, and for absolute-form without a path.
    pub path: Span,
    /// The query without its `?`.
    pub query: Option<Span>,
    /// The version.
    pub version: Version,
    /// The field lines.
    pub fields: Fields,
    /// Where the first field line starts; from there to `fields_end` the lines follow each other without a gap.
    pub fields_start: u32,
    /// Where the last field line, its CRLF included, ends.
    pub fields_end: u32,
}

/// A response head.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// The status code, 100 to 999.
    pub status: u16,
    /// The reason phrase, possibly empty.
    pub reason: Span,
    /// The version.
    pub version: Version,
    /// The field lines.
    pub fields: Fields,
    /// Where the first field line starts; from there to `fields_end` the lines follow each other without a gap.
    pub fields_start: u32,
    /// Where the last field line, its CRLF included, ends.
    pub fields_end: u32,
}

/// Why a request's host cannot be told. All are the client's fault and answered with 400 (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// An HTTP/1.1 request without a Host field.
    #[error("no Host field")]
    Missing,
    /// More than one Host field line.
    #[error("more than one Host field")]
    Repeated,
    /// A value that is not `host[:port]`.
    #[error("not a valid host")]
    Invalid,
    /// The authority of an absolute-form target and the Host field differ.
    #[error("Host differs from the target's authority")]
    Mismatch,
}

impl RequestHead {
    /// The host that the request is for, with its port if it names one: an absolute-form target's authority, else the
    /// Host field (RFC 9112 §3.3). Empty for an HTTP/1.0 request that names none.
    ///
    /// # Errors
    ///
    /// [`HostError`]; the caller answers 400.
    pub fn host<'a>(&self, buffer: &'a [u8]) -> Result<&'a [u8], HostError> {
        let field = self.fields.first(Known::Host, buffer);
        match self.fields.count(Known::Host) {
            0 if self.version == Version::Http11 => return Err(HostError::Missing),
            0 | 1 => {}
            _ => return Err(HostError::Repeated),
        }
        if field.is_some_and(|value| !is_authority(value)) {
            return Err(HostError::Invalid);
        }
        match (self.authority, field) {
            (Some(authority), field) => {
                let authority = authority.bytes(buffer);
                if !is_authority(authority) || authority.is_empty() {
                    return Err(HostError::Invalid);
                }
                if field.is_some_and(|value| !value.eq_ignore_ascii_case(authority)) {
                    return Err(HostError::Mismatch);
                }
                Ok(authority)
            }
            (None, Some(value)) => Ok(value),
            (None, None) => Ok(b""),
        }
    }
}

/// Whether the bytes are `host[:port]` by RFC 3986 §3.2.2 and §3.2.3, without user information; empty is allowed
/// (RFC 9112 §3.2).
fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value.first() {
        Some(b'[') => match value.iter().position(|&byte| byte == b']') {
            Some(end) => {
                let inside = &value[1..end];
                let literal = !inside.is_empty()
                    && inside.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
                if !literal {
                    return false;
                }
                (&b""[..], &value[end + 1..])
            }
            None => return false,
        },
        _ => match value.iter().position(|&byte| byte == b':') {
            Some(colon) => value.split_at(colon),
            None => (value, &b""[..]),
        },
    };
    let host_ok = host.iter().all(|&byte| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            )
    });
    let port_ok = match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    host_ok && port_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for good in ["", "a", "a.b:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:443", "a_b.c"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in ["a b", "a@b", "a/b", "a:b", "a:123456", "[::1", "[]", "[::1]x", "a,b", "[g]", "a\u{1}"] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
