//! The access log's record of one exchange: a JSON object on one line.

use std::net::IpAddr;

use corelane_http1::write_decimal;

use crate::exchange::Exchange;
use crate::heads::ClientAddress;
use crate::io::{Dial, clock};
use crate::reason::Word;
use crate::request_id::REQUEST_ID_DIGITS;
use crate::snapshot::Snapshot;
use crate::tripwire::Tripwires;

/// What records say of a snapshot's parts, as it stands in them; empty without an access log.
#[derive(Default)]
pub(crate) struct LogNames {
    /// `,"listener":"..."`
    listeners: Vec<Box<[u8]>>,
    /// `,"route":"...","upstream":"..."`
    routes: Vec<Box<[u8]>>,
    /// `,"endpoint":"..."`, by upstream.
    endpoints: Vec<Vec<Box<[u8]>>>,
}

impl LogNames {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        if !snapshot.access_log {
            return Self::default();
        }
        let text = |pairs: &[(&str, &str)]| {
            let mut out = Vec::new();
            pairs.iter().for_each(|(name, value)| string(&mut out, name, value.as_bytes()));
            out.into_boxed_slice()
        };
        Self {
            listeners: snapshot.listeners.iter().map(|it| text(&[("listener", &it.name)])).collect(),
            routes: (snapshot.routes.iter())
                .map(|it| text(&[("route", &it.name), ("upstream", &snapshot.upstreams[it.upstream].name)]))
                .collect(),
            endpoints: (snapshot.upstreams.iter())
                .map(|it| it.endpoints.iter().map(|it| text(&[("endpoint", &it.label)])).collect())
                .collect(),
        }
    }
}

/// Writes one exchange.
pub(crate) struct Record<'a, S: Dial> {
    pub(crate) exchange: &'a Exchange<S>,
    pub(crate) names: &'a LogNames,
    pub(crate) client: &'a ClientAddress,
    pub(crate) request_id: [u8; REQUEST_ID_DIGITS],
}

impl<S: Dial> Record<'_, S> {
    /// `time` is the current time (RFC 3339).
    pub(crate) fn write(&self, out: &mut Vec<u8>, time: &[u8]) {
        let exchange = self.exchange;
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(time);
        out.extend_from_slice(b"\",\"request_id\":\"");
        out.extend_from_slice(&self.request_id);
        out.extend_from_slice(b"\",\"client\":\"");
        self.write_client(out);
        out.push(b'"');
        self.write_names(out);
        // The words are in the head that was written; a head that could not be parsed has none.
        let word = |span: corelane_semantics::Span| (!span.is_empty()).then(|| span.bytes(&exchange.head));
        optional_string(out, "method", word(exchange.words.method));
        optional_string(out, "host", word(exchange.words.host));
        let (path, query) = split_target(exchange.words.target.bytes(&exchange.head));
        optional_string(out, "path", path);
        optional_string(out, "query", query);
        number(out, "status", u64::from(exchange.status));
        if exchange.failure.is_none() && exchange.tripwires.is_empty() {
            out.extend_from_slice(b",\"reason\":null,\"suspicious\":null");
        } else {
            optional_string(
                out,
                "reason",
                exchange.failure.map(|failure| failure.reason().name().as_bytes()),
            );
            write_suspicious(out, exchange.tripwires);
        }
        number(out, "request_bytes", exchange.request_bytes);
        number(out, "response_bytes", exchange.response_bytes);
        number(out, "attempts", u64::from(exchange.attempts));
        match (exchange.reused, exchange.connect_ns) {
            (true, None) => out.extend_from_slice(b",\"reused\":true,\"connect_us\":null"),
            (reused, connect_ns) => {
                out.extend_from_slice(if reused { b",\"reused\":true" } else { b",\"reused\":false" });
                optional_microseconds(out, "connect_us", connect_ns);
            }
        }
        optional_microseconds(out, "response_head_us", exchange.response_head_ns);
        let duration_ns = clock::monotonic_ns().saturating_sub(exchange.started_ns);
        number(out, "duration_us", duration_ns / 1000);
        out.extend_from_slice(b"}\n");
    }

    fn write_client(&self, out: &mut Vec<u8>) {
        let Some(address) = self.client.address else {
            out.extend_from_slice(self.client.text());
            return;
        };
        let brackets = matches!(address.ip(), IpAddr::V6(_));
        if brackets {
            out.push(b'[');
        }
        out.extend_from_slice(self.client.text());
        if brackets {
            out.push(b']');
        }
        out.push(b':');
        write_decimal(out, u64::from(address.port()));
    }

    fn write_names(&self, out: &mut Vec<u8>) {
        let exchange = self.exchange;
        out.extend_from_slice(&self.names.listeners[exchange.listener_index()]);
        let Some(route) = exchange.route else {
            out.extend_from_slice(b",\"route\":null,\"upstream\":null,\"endpoint\":null");
            return;
        };
        out.extend_from_slice(&self.names.routes[route]);
        match exchange.endpoint {
            None => out.extend_from_slice(b",\"endpoint\":null"),
            Some(endpoint) => {
                let upstream = exchange.snapshot().routes[route].upstream;
                out.extend_from_slice(&self.names.endpoints[upstream][endpoint]);
            }
        }
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

#[inline]
fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

#[inline]
fn string(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    key(out, name);
    out.push(b'"');
    escape(out, value);
    out.push(b'"');
}

#[inline]
fn optional_string(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    match value {
        Some(value) => string(out, name, value),
        None => {
            key(out, name);
            out.extend_from_slice(b"null");
        }
    }
}

#[inline]
fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    write_decimal(out, value);
}

#[inline]
fn optional_microseconds(out: &mut Vec<u8>, name: &str, ns: Option<u64>) {
    match ns {
        Some(ns) => number(out, name, ns / 1000),
        None => optional_string(out, name, None),
    }
}

/// RFC 8259 §7. Bytes beyond ASCII are taken for ISO 8859-1, so that every record is valid UTF-8 and no byte is lost.
#[inline]
fn escape(out: &mut Vec<u8>, value: &[u8]) {
    let is_odd = |byte: u8| !matches!(byte, 0x20..=0x7e) | (byte == b'"') | (byte == b'\\');
    // Looks at every byte, which is cheaper than looking for the first odd one.
    if !value.iter().fold(false, |odd, &byte| odd | is_odd(byte)) {
        out.extend_from_slice(value);
        return;
    }
    escape_odd(out, value);
}

#[cold]
fn escape_odd(out: &mut Vec<u8>, value: &[u8]) {
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
