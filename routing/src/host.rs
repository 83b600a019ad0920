//! Hosts: the pattern that a rule holds and the form of a request's host that is compared with it.

use std::fmt;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::PatternError;
use crate::pattern::{Case, Pattern};

/// A host that a route matches, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name or address alone, without a port; an IPv6 address in brackets and in its shortest form (RFC 5952).
    Exact(Box<str>),
    /// `*.suffix`: any name with one or more labels before the suffix; holds the suffix without the leading dot.
    Wildcard(Box<str>),
    /// Any name that the regex is found in, in lower case; letters of the regex match in any case.
    Regex(Pattern),
}

impl HostPattern {
    /// Names that a regex is found in.
    ///
    /// # Errors
    ///
    /// [`PatternError`] says what the text breaks; the configuration is to be refused.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        Pattern::new(text, Case::Ignored).map(Self::Regex)
    }

    /// Reads `a.example.com`, `*.example.org`, `192.0.2.1`, `2001:db8::1` or `[2001:db8::1]`, in any case.
    ///
    /// # Errors
    ///
    /// [`PatternError`] says what the text breaks; the configuration is to be refused.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(bracketed) = text.strip_prefix('[') {
            let (address, port) = bracketed.split_once(']').ok_or(PatternError::Ipv6Invalid)?;
            return match port {
                "" => ipv6(address),
                _ if port.starts_with(':') => Err(PatternError::HostPort),
                _ => Err(PatternError::Ipv6Invalid),
            };
        }
        match text.bytes().filter(|&byte| byte == b':').count() {
            0 => {}
            1 => return Err(PatternError::HostPort),
            _ => return ipv6(text),
        }
        match text.strip_prefix("*.") {
            Some(suffix) => Ok(Self::Wildcard(name(suffix, HOST_BYTES_MAX - 2, true)?)),
            None => Ok(Self::Exact(name(text, HOST_BYTES_MAX, false)?)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Regex(pattern) => pattern.fmt(f),
        }
    }
}

fn ipv6(text: &str) -> Result<HostPattern, PatternError> {
    let address: Ipv6Addr = text.parse().map_err(|_| PatternError::Ipv6Invalid)?;
    Ok(HostPattern::Exact(format!("[{address}]").into()))
}

fn name(text: &str, bytes_max: usize, wildcard: bool) -> Result<Box<str>, PatternError> {
    if text.is_empty() {
        return Err(if wildcard { PatternError::LabelEmpty } else { PatternError::HostEmpty });
    }
    if text.contains('*') {
        return Err(PatternError::WildcardPlace);
    }
    let foreign = |c: &char| !u8::try_from(*c).is_ok_and(|byte| lower_host_byte(byte).is_some());
    if let Some(character) = text.chars().find(foreign) {
        return Err(PatternError::HostCharacter(character));
    }
    if text.split('.').any(str::is_empty) {
        return Err(PatternError::LabelEmpty);
    }
    if text.len() > bytes_max || text.split('.').any(|label| label.len() > LABEL_BYTES_MAX) {
        return Err(PatternError::HostTooLong);
    }
    // RFC 1123 §2.1: the last label of a name is never a number, so this was meant to be an address.
    let numeric =
        text.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if numeric && (wildcard || text.parse::<Ipv4Addr>().is_err()) {
        return Err(PatternError::Ipv4Invalid);
    }
    Ok(text.to_ascii_lowercase().into())
}

/// Where a request's host is lower-cased.
pub(crate) type HostBuffer = [u8; 255];

/// The name or address in a Host field's value, as patterns write it. `None`: no pattern can hold it (empty, longer than
/// the buffer, or with bytes outside of host names), only rules for any host match.
pub(crate) fn comparable<'a>(host: &[u8], buffer: &'a mut HostBuffer) -> Option<&'a [u8]> {
    if let Some(bracketed) = host.strip_prefix(b"[") {
        let close = bracketed.iter().position(|&byte| byte == b']')?;
        let (address, port) = bracketed.split_at(close);
        return is_port(&port[1..]).then(|| comparable_ipv6(address, buffer))?;
    }
    let colon = host.iter().position(|&byte| byte == b':').unwrap_or(host.len());
    let (name, port) = host.split_at(colon);
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || !is_port(port) {
        return None;
    }
    let lower = buffer.get_mut(..name.len())?;
    for (to, &from) in lower.iter_mut().zip(name) {
        *to = lower_host_byte(from)?;
    }
    Some(lower)
}

/// One address has many spellings; both sides are compared in the one that the standard library writes.
fn comparable_ipv6<'a>(address: &[u8], buffer: &'a mut HostBuffer) -> Option<&'a [u8]> {
    let address: Ipv6Addr = std::str::from_utf8(address).ok()?.parse().ok()?;
    let mut free = &mut buffer[..];
    write!(free, "[{address}]").ok()?;
    let written = HOST_BUFFER_BYTES - free.len();
    buffer.get(..written)
}

/// Nothing, or a colon and digits, possibly none (RFC 3986 §3.2.3).
fn is_port(text: &[u8]) -> bool {
    match text.split_first() {
        None => true,
        Some((b':', digits)) => digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    }
}

/// A byte of a host name in lower case; `None` if host names do not hold it. The underscore is no letter of a host name
/// by RFC 1123, but is used in many.
const fn lower_host_byte(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => Some(byte.to_ascii_lowercase()),
        _ => None,
    }
}

/// RFC 1035 §2.3.4 allows 255 octets on the wire, which is 253 characters without the trailing dot.
const HOST_BYTES_MAX: usize = 253;
/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// The size of [`HostBuffer`].
const HOST_BUFFER_BYTES: usize = size_of::<HostBuffer>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_wildcards_and_addresses() {
        for (text, shown) in [
            ("a.example.com", "a.example.com"),
            ("localhost", "localhost"),
            ("A.Example.COM", "a.example.com"),
            ("my_host-1.example", "my_host-1.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("*.Example.org", "*.example.org"),
            ("*.org", "*.org"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0:0::1", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("::1", "[::1]"),
        ] {
            let pattern = HostPattern::parse(text).expect(text);
            assert_eq!(pattern.to_string(), shown, "{text}");
            assert_eq!(
                HostPattern::parse(shown),
                Ok(pattern.clone()),
                "what is shown is read back the same: {text}"
            );
        }
        assert_eq!(HostPattern::parse("*.A.b"), Ok(HostPattern::Wildcard("a.b".into())));
        assert_eq!(HostPattern::parse("A.b"), Ok(HostPattern::Exact("a.b".into())));
    }

    #[test]
    fn refuses_what_is_no_host() {
        let label = "a".repeat(64);
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(62)].join(".");
        for (text, error) in [
            ("", PatternError::HostEmpty),
            ("*", PatternError::WildcardPlace),
            ("*.", PatternError::LabelEmpty),
            ("*example.com", PatternError::WildcardPlace),
            ("a.*.com", PatternError::WildcardPlace),
            ("*.*.com", PatternError::WildcardPlace),
            ("example.*", PatternError::WildcardPlace),
            (".example.com", PatternError::LabelEmpty),
            ("example.com.", PatternError::LabelEmpty),
            ("a..b", PatternError::LabelEmpty),
            ("*..b", PatternError::LabelEmpty),
            (".", PatternError::LabelEmpty),
            ("example.com:80", PatternError::HostPort),
            ("*.example.com:80", PatternError::HostPort),
            ("[::1]:80", PatternError::HostPort),
            ("[::1", PatternError::Ipv6Invalid),
            ("[::1]x", PatternError::Ipv6Invalid),
            ("[]", PatternError::Ipv6Invalid),
            ("[192.0.2.1]", PatternError::Ipv6Invalid),
            ("1:2:3", PatternError::Ipv6Invalid),
            ("fe80::1%eth0", PatternError::Ipv6Invalid),
            ("256.0.0.1", PatternError::Ipv4Invalid),
            ("10.1", PatternError::Ipv4Invalid),
            ("*.0.2.1", PatternError::Ipv4Invalid),
            ("a b", PatternError::HostCharacter(' ')),
            (" a", PatternError::HostCharacter(' ')),
            ("a/b", PatternError::HostCharacter('/')),
            ("user@a", PatternError::HostCharacter('@')),
            ("a%2e", PatternError::HostCharacter('%')),
            ("a\n", PatternError::HostCharacter('\n')),
            ("bücher.example", PatternError::HostCharacter('ü')),
            ("a\u{212a}", PatternError::HostCharacter('\u{212a}')),
            (&label, PatternError::HostTooLong),
            (&long, PatternError::HostTooLong),
        ] {
            assert_eq!(HostPattern::parse(text), Err(error), "{text:?}");
        }
        assert!(HostPattern::parse(&long[1..]).is_ok(), "253 characters are allowed");
        assert!(HostPattern::parse(&label[1..]).is_ok(), "63 characters between dots are allowed");
    }

    #[test]
    fn compares_without_case_port_and_trailing_dot() {
        let longest = "a".repeat(255);
        let too_long = "a".repeat(256);
        for (host, expected) in [
            ("a.example.com", Some("a.example.com")),
            ("A.EXAMPLE.com:8080", Some("a.example.com")),
            ("a.example.com.", Some("a.example.com")),
            ("a.example.com.:80", Some("a.example.com")),
            ("a:", Some("a")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("[::1]", Some("[::1]")),
            ("[0:0::1]:443", Some("[::1]")),
            ("[2001:DB8::A]", Some("[2001:db8::a]")),
            (&longest, Some(&longest)),
            (&too_long, None),
            ("", None),
            (".", None),
            (":80", None),
            ("a:b", None),
            ("a:80:80", None),
            ("user@a.example.com", None),
            ("a%2eb", None),
            ("*.example.com", None),
            ("[::1", None),
            ("[]", None),
            ("[::1]x", None),
            ("[::1%25eth0]", None),
            ("::1", None),
        ] {
            let mut buffer: HostBuffer = [0; HOST_BUFFER_BYTES];
            let seen = comparable(host.as_bytes(), &mut buffer);
            assert_eq!(seen, expected.map(str::as_bytes), "{host:?}");
        }
    }
}
