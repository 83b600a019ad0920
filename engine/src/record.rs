//! The access log's record of one exchange: a JSON object on one line.

use corelane_http1::write_decimal;
use corelane_semantics::Span;

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
    /// `,"route":"..."`
    routes: Vec<Box<[u8]>>,
    upstreams: Vec<UpstreamNames>,
}

/// What records say of one upstream.
struct UpstreamNames {
    /// `,"upstream":"...","endpoint":null`
    alone: Box<[u8]>,
    /// `,"upstream":"...","endpoint":"..."`
    endpoints: Vec<Box<[u8]>>,
}

impl LogNames {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        if !snapshot.access_log {
            return Self::default();
        }
        let text = |pairs: &[(&str, &str)]| {
            let mut out = Vec::new();
            pairs.iter().for_each(|(name, value)| {
                string(&mut out, format!(",\"{name}\":").as_bytes(), value.as_bytes())
            });
            out.into_boxed_slice()
        };
        Self {
            listeners: snapshot.listeners.iter().map(|it| text(&[("listener", &it.name)])).collect(),
            routes: snapshot.routes.iter().map(|it| text(&[("route", &it.name)])).collect(),
            upstreams: (snapshot.upstreams.iter())
                .map(|it| UpstreamNames {
                    alone: [&text(&[("upstream", &it.name)]), &b",\"endpoint\":null"[..]].concat().into(),
                    endpoints: (it.endpoints.iter())
                        .map(|endpoint| text(&[("upstream", &it.name), ("endpoint", &endpoint.label)]))
                        .collect(),
                })
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
        out.extend_from_slice(self.client.text_with_port());
        out.push(b'"');
        self.write_names(out);
        // The words are in the head that was written; a head that could not be parsed has none.
        let word = |span: Span| (!span.is_empty()).then(|| span.bytes(&exchange.head));
        optional_string(out, b",\"method\":", word(exchange.words.method));
        optional_string(out, b",\"host\":", word(exchange.words.host));
        let (path, query) = split_target(exchange.words.target.bytes(&exchange.head));
        optional_string(out, b",\"path\":", path);
        optional_string(out, b",\"query\":", query);
        number(out, b",\"status\":", u64::from(exchange.status));
        if exchange.failure.is_none() && exchange.tripwires.is_empty() {
            out.extend_from_slice(b",\"reason\":null,\"suspicious\":null");
        } else {
            optional_string(
                out,
                b",\"reason\":",
                exchange.failure.map(|failure| failure.reason().name().as_bytes()),
            );
            write_suspicious(out, exchange.tripwires);
        }
        number(out, b",\"request_bytes\":", exchange.request_bytes);
        number(out, b",\"response_bytes\":", exchange.response_bytes);
        number(out, b",\"attempts\":", u64::from(exchange.attempts));
        match (exchange.reused, exchange.connect_ns) {
            (true, None) => out.extend_from_slice(b",\"reused\":true,\"connect_us\":null"),
            (reused, connect_ns) => {
                out.extend_from_slice(if reused { b",\"reused\":true" } else { b",\"reused\":false" });
                optional_microseconds(out, b",\"connect_us\":", connect_ns);
            }
        }
        optional_microseconds(out, b",\"response_head_us\":", exchange.response_head_ns);
        let duration_ns = clock::monotonic_ns().saturating_sub(exchange.started_ns);
        number(out, b",\"duration_us\":", duration_ns / 1000);
        out.extend_from_slice(b"}\n");
    }

    fn write_names(&self, out: &mut Vec<u8>) {
        let exchange = self.exchange;
        out.extend_from_slice(&self.names.listeners[exchange.listener_index()]);
        let Some(route) = exchange.route else {
            out.extend_from_slice(b",\"route\":null,\"upstream\":null,\"endpoint\":null");
            return;
        };
        out.extend_from_slice(&self.names.routes[route]);
        let Some(upstream) = exchange.upstream.map(|upstream| &self.names.upstreams[upstream]) else {
            out.extend_from_slice(b",\"upstream\":null,\"endpoint\":null");
            return;
        };
        let endpoint = exchange.endpoint.map(|endpoint| &upstream.endpoints[endpoint]);
        out.extend_from_slice(endpoint.unwrap_or(&upstream.alone));
    }
}

/// `"a,b"`, or null.
fn write_suspicious(out: &mut Vec<u8>, tripwires: Tripwires) {
    if tripwires.is_empty() {
        return optional_string(out, b",\"suspicious\":", None);
    }
    out.extend_from_slice(b",\"suspicious\":");
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

// A key is written with its comma and colon, so that it is one copy of a fixed length.

#[inline(always)]
fn string(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    out.push(b'"');
    escape(out, value);
    out.push(b'"');
}

#[inline(always)]
fn optional_string(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => string(out, key, value),
        None => {
            out.extend_from_slice(key);
            out.extend_from_slice(b"null");
        }
    }
}

#[inline(always)]
fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    // Nearly all are small, and then they are one copy of fixed length each.
    match usize::try_from(value) {
        Ok(value @ 0..10) => out.push(PAIRS[value][1]),
        Ok(value @ 10..100) => out.extend_from_slice(&PAIRS[value]),
        Ok(value @ 100..10_000) => {
            let ([a, b], [c, d]) = (PAIRS[value / 100], PAIRS[value % 100]);
            if value < 1000 {
                out.extend_from_slice(&[b, c, d])
            } else {
                out.extend_from_slice(&[a, b, c, d])
            }
        }
        _ => write_decimal(out, value),
    }
}

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0u8;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
};

#[inline(always)]
fn optional_microseconds(out: &mut Vec<u8>, key: &[u8], ns: Option<u64>) {
    match ns {
        Some(ns) => number(out, key, ns / 1000),
        None => optional_string(out, key, None),
    }
}

/// RFC 8259 §7. Bytes beyond ASCII are taken for ISO 8859-1, so that every record is valid UTF-8 and no byte is lost.
#[inline(always)]
fn escape(out: &mut Vec<u8>, value: &[u8]) {
    if is_plain(value) { out.extend_from_slice(value) } else { escape_odd(out, value) }
}

/// Whether each byte stands for itself: eight at a time, and the last eight again for what is left of them.
#[inline(always)]
fn is_plain(value: &[u8]) -> bool {
    let (whole, rest) = value.as_chunks::<8>();
    let odd = whole.iter().fold(0, |odd, word| odd | odd_bytes(*word));
    let last = match (value.last_chunk::<8>(), rest) {
        (_, []) => return odd == 0,
        (Some(last), _) => *last,
        (None, rest) => {
            let mut word = [b' '; 8];
            word.iter_mut().zip(rest).for_each(|(slot, byte)| *slot = *byte);
            word
        }
    };
    odd | odd_bytes(last) == 0
}

/// Not 0 if one of the bytes must be escaped.
#[inline(always)]
fn odd_bytes(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let word = u64::from_ne_bytes(word);
    // The high bit of a byte below the limit, and maybe of bytes above it: whether there is one is all that counts.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (word & HIGH) | below(word, 0x20) | equal(b'"') | equal(b'\\') | equal(0x7f)
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
        string(&mut out, b",\"path\":", b"/a\"b\\c\x01\x7f\xe9");
        assert_eq!(out, br#","path":"/a\"b\\c\u0001\u007f\u00e9""#);
    }

    #[test]
    fn every_byte_is_plain_or_escaped_at_every_place() {
        for byte in 0..=u8::MAX {
            let is_odd = !(0x20..=0x7e).contains(&byte) || byte == b'"' || byte == b'\\';
            for length in 1..=20 {
                for place in 0..length {
                    let mut value = vec![b'~'; length];
                    value[place] = byte;
                    assert_eq!(is_plain(&value), !is_odd, "{byte} at {place} of {length}");
                }
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn writes_numbers_of_every_length() {
        for value in [0, 9, 10, 42, 99, 100, 101, 999, 1000, 1024, 9999, 10_000, 65_535, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, b",\"n\":", value);
            assert_eq!(String::from_utf8(out).unwrap(), format!(",\"n\":{value}"));
        }
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
