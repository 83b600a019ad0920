//! Message heads: a request line or status line and its fields, as spans into one buffer.

use std::net::Ipv6Addr;

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
                if !is_authority(authority) {
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

/// The host of an authority that is one, without its port.
#[must_use]
pub fn host_name(authority: &[u8]) -> &[u8] {
    let from = authority.iter().rposition(|&byte| byte == b']').unwrap_or(0);
    let colon = authority[from..].iter().position(|&byte| byte == b':');
    colon.map_or(authority, |colon| &authority[..from + colon])
}

/// Whether the bytes are `host[:port]` by RFC 3986 §3.2.2 and §3.2.3, without user information. The host is not empty
/// (RFC 9110 §4.2.1).
#[must_use]
pub fn is_authority(value: &[u8]) -> bool {
    let (is_host, port) = match value.strip_prefix(b"[") {
        Some(literal) => match literal.iter().position(|&byte| byte == b']') {
            Some(end) => (is_ipv6(&literal[..end]), &literal[end + 1..]),
            None => return false,
        },
        None => {
            let end = value.iter().position(|&byte| !IS_NAME_BYTE[usize::from(byte)]);
            let (name, port) = value.split_at(end.unwrap_or(value.len()));
            (!name.is_empty(), port)
        }
    };
    is_host && is_port(port)
}

fn is_ipv6(literal: &[u8]) -> bool {
    std::str::from_utf8(literal).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// What a name consists of, an IPv4 address too: `unreserved` and `sub-delims` of RFC 3986 §2, without `,`: a list of hosts
/// is none; and without escapes: a server that decodes them would see another host than the routes did.
const IS_NAME_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
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
            );
        byte += 1;
    }
    table
};

/// Nothing, or a colon and a port, which may be empty.
fn is_port(text: &[u8]) -> bool {
    match text.split_first() {
        None => true,
        Some((b':', digits)) => {
            digits.len() <= 5 && number(digits).is_some_and(|port| port <= u64::from(u16::MAX))
        }
        Some(_) => false,
    }
}

/// What digits say, 0 if there are none; at most 19 fit. `None` if there is anything else.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    debug_assert!(digits.len() <= 19, "more digits than fit");
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit <= 9).then(|| number * 10 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for good in [
            "a",
            "a.b:80",
            "a:",
            "a:0",
            "a:65535",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:443",
            "[::ffff:1.2.3.4]",
            "a_b.c",
            "xn--a",
            "-._~!$&'()*+;=",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "a%2eb",
            "a b",
            "a@b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a:b",
            "a:65536",
            "a:123456",
            "a:-1",
            "a:+1",
            "a:8 0",
            "a:80:80",
            ":80",
            ":",
            "[::1",
            "[]",
            "[::1]x",
            "[::1]:x",
            "a,b",
            "[g]",
            "[:::]",
            "[1.2.3.4]",
            "[v1.a]",
            "[::1%25a]",
            "a%2eb",
            "::1",
            "a\u{1}",
            "a\u{e9}",
            "a%",
            "a%2",
            "a%zz",
            "\"a\"",
            "<a>",
            "a|b",
            "a^b",
            "a`b",
            "{a}",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
