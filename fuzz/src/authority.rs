//! Authorities (RFC 3986 §3.2) and the one host of a request (RFC 9112 §3.2).

use crate::head::{Parts, Request};

/// uri-host [ ":" port ], without user information; the host is not empty and has no escapes.
pub fn is_authority(text: &[u8]) -> bool {
    split(text).is_some()
}

/// uri-host ":" port, the port from 1 to 65535.
pub fn is_host_and_port(text: &[u8]) -> bool {
    split(text).flatten().is_some_and(|port| port > 0)
}

/// Whether the request says in one way which host it is for.
pub fn has_one_host(request: &Request) -> bool {
    let hosts: Vec<&[u8]> = request
        .fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"host"))
        .map(|(_, value)| &value[..])
        .collect();
    let named = match &request.parts {
        Parts::Absolute(authority, ..) => Some(&authority[..]),
        Parts::Authority => Some(&request.target[..]),
        Parts::Origin(..) | Parts::Asterisk => None,
    };
    match hosts[..] {
        [] => request.minor == 0,
        [host] => is_authority(host) && named.is_none_or(|named| named.eq_ignore_ascii_case(host)),
        _ => false,
    }
}

/// The port behind a host; `Some(None)` for none, or one of no digits.
fn split(text: &[u8]) -> Option<Option<u32>> {
    let mut at = 0;
    if text.first() == Some(&b'[') {
        while *text.get(at)? != b']' {
            at += 1;
        }
        if !is_ipv6(&text[1..at]) {
            return None;
        }
        at += 1;
    } else {
        while at < text.len() && text[at] != b':' {
            if !is_name_character(text[at]) {
                return None;
            }
            at += 1;
        }
        if at == 0 {
            return None;
        }
    }
    match &text[at..] {
        [] | [b':'] => Some(None),
        [b':', digits @ ..] => {
            let is_port = digits.len() <= 5 && digits.iter().all(|digit| digit.is_ascii_digit());
            let port: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
            (is_port && port <= 65535).then_some(Some(port))
        }
        _ => None,
    }
}

/// `unreserved`, and `sub-delims` without `,`.
fn is_name_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte)
}

/// RFC 3986 §3.2.2: `IPv6address`, as eight groups of which `::` stands for one or more; std's parser takes no more and no
/// less than that.
fn is_ipv6(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).into_owned();
    let halves: Vec<&str> = text.split("::").collect();
    match halves[..] {
        [whole] => groups(whole, true) == Some(8),
        [before, after] => {
            let before = if before.is_empty() { Some(0) } else { groups(before, false) };
            let after = if after.is_empty() { Some(0) } else { groups(after, true) };
            matches!((before, after), (Some(before), Some(after)) if before + after <= 7)
        }
        _ => false,
    }
}

/// How many groups of 16 bits; an IPv4 address at the end counts for two.
fn groups(text: &str, may_end_in_ipv4: bool) -> Option<usize> {
    let pieces: Vec<&str> = text.split(':').collect();
    let mut count = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let is_hex =
            !piece.is_empty() && piece.len() <= 4 && piece.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex {
            count += 1;
        } else if may_end_in_ipv4 && index + 1 == pieces.len() && is_ipv4(piece) {
            count += 2;
        } else {
            return None;
        }
    }
    Some(count)
}

/// Four numbers to 255 without leading zeros.
fn is_ipv4(text: &str) -> bool {
    let octets: Vec<&str> = text.split('.').collect();
    octets.len() == 4
        && octets.iter().all(|octet| {
            let is_number = matches!(octet.len(), 1..=3) && octet.bytes().all(|byte| byte.is_ascii_digit());
            is_number
                && (octet.len() == 1 || !octet.starts_with('0'))
                && octet.parse::<u16>().is_ok_and(|n| n < 256)
        })
}
