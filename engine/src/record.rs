//! The access log's record of one exchange: a JSON object on one line.

use corelane_http1::write_decimal;

use crate::calendar::write_rfc3339;
use crate::exchange::Exchange;
use crate::heads::ClientAddress;
use crate::io::{Dial, clock};
use crate::reason::Word;
use crate::request_id::REQUEST_ID_DIGITS;
use crate::tripwire::Tripwires;

/// Writes one exchange.
pub(crate) struct Record<'a, S: Dial> {
    pub(crate) exchange: &'a Exchange<S>,
    pub(crate) client: &'a ClientAddress,
    pub(crate) request_id: [u8; REQUEST_ID_DIGITS],
}

impl<S: Dial> Record<'_, S> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let exchange = self.exchange;
        let snapshot = exchange.snapshot();
        out.extend_from_slice(b"{\"time\":\"");
        write_rfc3339(out, clock::unix_coarse_ns());
        out.extend_from_slice(b"\",\"request_id\":\"");
        out.extend_from_slice(&self.request_id);
        out.extend_from_slice(b"\",\"client\":\"");
        self.write_client(out);
        out.push(b'"');
        string(out, "listener", exchange.listener().name.as_bytes());
        let route = exchange.route.map(|route| &snapshot.routes[route]);
        let upstream = route.map(|route| &snapshot.upstreams[route.upstream]);
        let endpoint =
            upstream.zip(exchange.endpoint).map(|(upstream, index)| &upstream.endpoints[index].label);
        optional_string(out, "route", route.map(|route| route.name.as_bytes()));
        optional_string(out, "upstream", upstream.map(|upstream| upstream.name.as_bytes()));
        optional_string(out, "endpoint", endpoint.map(|label| label.as_bytes()));
        // The words are in the head that was written; a head that could not be parsed has none.
        let word = |span: corelane_semantics::Span| (!span.is_empty()).then(|| span.bytes(&exchange.head));
        optional_string(out, "method", word(exchange.words.method));
        optional_string(out, "host", word(exchange.words.host));
        let (path, query) = split_target(exchange.words.target.bytes(&exchange.head));
        optional_string(out, "path", path);
        optional_string(out, "query", query);
        number(out, "status", u64::from(exchange.status));
        optional_string(out, "reason", exchange.failure.map(|failure| failure.reason().name().as_bytes()));
        write_suspicious(out, exchange.tripwires);
        number(out, "request_bytes", exchange.request_bytes);
        number(out, "response_bytes", exchange.response_bytes);
        number(out, "attempts", u64::from(exchange.attempts));
        out.extend_from_slice(if exchange.reused { b",\"reused\":true" } else { b",\"reused\":false" });
        optional_microseconds(out, "connect_us", exchange.connect_ns);
        optional_microseconds(out, "response_head_us", exchange.response_head_ns);
        let duration_ns = clock::monotonic_ns().saturating_sub(exchange.started_ns);
        optional_microseconds(out, "duration_us", Some(duration_ns));
        out.extend_from_slice(b"}\n");
    }

    fn write_client(&self, out: &mut Vec<u8>) {
        let Some(ip) = self.client.ip() else {
            out.extend_from_slice(self.client.text());
            return;
        };
        let brackets = ip.is_ipv6();
        if brackets {
            out.push(b'[');
        }
        out.extend_from_slice(self.client.text());
        if brackets {
            out.push(b']');
        }
        out.push(b':');
        write_decimal(out, u64::from(self.client.port()));
    }
}

/// `"a,b"`, or null.
fn write_suspicious(out: &mut Vec<u8>, tripwires: Tripwires) {
    if tripwires.is_empty() {
        return optional_string(out, "suspicious", None);
    }
    key(out, "suspicious");
    for (index, tripwire) in tripwires.iter().enumerate() {
        out.push(if index == 0 { b'"' } else { b',' });
        out.extend_from_slice(tripwire.name().as_bytes());
    }
    out.push(b'"');
}

fn split_target(target: &[u8]) -> (Option<&[u8]>, Option<&[u8]>) {
    if target.is_empty() {
        return (None, None);
    }
    match target.iter().position(|&byte| byte == b'?') {
        Some(mark) => (Some(&target[..mark]), Some(&target[mark + 1..])),
        None => (Some(target), None),
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn string(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    key(out, name);
    out.push(b'"');
    escape(out, value);
    out.push(b'"');
}

fn optional_string(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    match value {
        Some(value) => string(out, name, value),
        None => {
            key(out, name);
            out.extend_from_slice(b"null");
        }
    }
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    write_decimal(out, value);
}

fn optional_microseconds(out: &mut Vec<u8>, name: &str, ns: Option<u64>) {
    match ns {
        Some(ns) => number(out, name, ns / 1000),
        None => optional_string(out, name, None),
    }
}

/// RFC 8259 §7. Bytes beyond ASCII are taken for ISO 8859-1, so that every record is valid UTF-8 and no byte is lost.
fn escape(out: &mut Vec<u8>, value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x20..=0x7e => out.push(byte),
            _ => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tripwire::Tripwire;

    #[test]
    fn escapes_everything_that_json_does_not_allow() {
        let mut out = Vec::new();
        string(&mut out, "path", b"/a\"b\\c\x01\x7f\xe9");
        assert_eq!(out, br#","path":"/a\"b\\c\u0001\u007f\u00e9""#);
    }

    #[test]
    fn lists_tripwires_or_says_null() {
        let mut out = Vec::new();
        let mut tripwires = Tripwires::default();
        write_suspicious(&mut out, tripwires);
        tripwires.add(Tripwire::UpgradeStripped);
        write_suspicious(&mut out, tripwires);
        tripwires.add(Tripwire::SurplusBytes);
        write_suspicious(&mut out, tripwires);
        let lists = br#","suspicious":null,"suspicious":"upgrade_stripped","suspicious":"upgrade_stripped,surplus_bytes""#;
        assert_eq!(out, lists);
    }

    #[test]
    fn splits_a_target_at_the_first_question_mark() {
        assert_eq!(split_target(b"/a?b?c"), (Some(&b"/a"[..]), Some(&b"b?c"[..])));
        assert_eq!(split_target(b"/a"), (Some(&b"/a"[..]), None));
        assert_eq!(split_target(b""), (None, None));
    }
}
