//! The access log's record of one exchange: a JSON object on one line, or a line of text.
//!
//! The fields that every JSON record has are written here, in one pass. What a configuration names beyond them, and lines of
//! text, are variables (`text.rs`).

mod format;
mod kept;
mod redaction;
mod sampling;
mod text;
mod variable;

use std::mem::take;

use corelane_semantics::Span;

use self::format::Shape;
pub use self::format::{AccessLog, COMBINED, COMMON, JSON_FIELDS, LogFormat};
pub(crate) use self::kept::{Keeping, KeptWords, keep_response};
pub use self::redaction::Redaction;
pub(crate) use self::sampling::{Asked, Spreads};
pub use self::sampling::{LogPolicy, SamplingRule};
pub use self::variable::{Surroundings, variable_names};
use crate::access_log::LogBatch;
use crate::calendar::write_rfc3339;
use crate::exchange::Exchange;
use crate::failure::Failure;
use crate::heads::ClientAddress;
use crate::io::Dial;
use crate::message::Downstream;
use crate::reason::Word;
use crate::request_id::RequestId;
use crate::snapshot::{Endpoint, Listener, Route, Snapshot, Upstream};
use crate::tripwire::Tripwires;

/// What records say of a snapshot's parts, as it stands in them; empty without an access log.
#[derive(Default)]
pub(crate) struct LogNames {
    /// `","listener":"..."`, behind the client's text.
    listeners: Vec<Box<[u8]>>,
    /// `,"route":"..."`
    routes: Vec<Box<[u8]>>,
    upstreams: Vec<UpstreamNames>,
}

/// What records say of one upstream.
struct UpstreamNames {
    /// `,"upstream":"...","endpoint":null,"method":`
    alone: Box<[u8]>,
    /// `,"upstream":"...","endpoint":"...","method":`
    endpoints: Vec<Box<[u8]>>,
}

impl LogNames {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        if snapshot.access_log.is_none() {
            return Self::default();
        }
        let text = |before: &str, pairs: &[(&str, &str)], behind: &str| {
            let mut out = before.as_bytes().to_vec();
            for (name, value) in pairs {
                out.extend_from_slice(format!(",\"{name}\":\"").as_bytes());
                escape(&mut out, value.as_bytes());
                out.push(b'"');
            }
            out.extend_from_slice(behind.as_bytes());
            out.into_boxed_slice()
        };
        let listener = |it: &Listener| text("\"", &[("listener", &it.name)], "");
        let route = |it: &Route| text("", &[("route", &it.name)], "");
        let upstream = |it: &Upstream| {
            let endpoint = |endpoint: &Endpoint| {
                text("", &[("upstream", &it.name), ("endpoint", &endpoint.label)], ",\"method\":")
            };
            UpstreamNames {
                alone: text("", &[("upstream", &it.name)], ",\"endpoint\":null,\"method\":"),
                endpoints: it.endpoints.iter().map(endpoint).collect(),
            }
        };
        Self {
            listeners: snapshot.listeners.iter().map(listener).collect(),
            routes: snapshot.routes.iter().map(route).collect(),
            upstreams: snapshot.upstreams.iter().map(upstream).collect(),
        }
    }
}

/// How a record begins: the time, and the key of what follows.
pub(crate) type Opening = [u8; 49];

/// `unix_ns` is the time in nanoseconds since 1970; `out` is reused, so that nothing is allocated.
pub(crate) fn opening(unix_ns: u64, out: &mut Vec<u8>) -> Opening {
    out.clear();
    out.extend_from_slice(b"{\"time\":\"");
    write_rfc3339(out, unix_ns);
    out.extend_from_slice(b"\",\"request_id\":\"");
    out[..].try_into().expect("a time of 24 characters")
}

/// Writes one exchange.
pub(crate) struct Record<'a, S: Dial, D: Downstream> {
    pub(crate) exchange: &'a Exchange<S, D>,
    pub(crate) names: &'a LogNames,
    /// Who asked.
    pub(crate) client: &'a ClientAddress,
    /// Requests so far on its connection.
    pub(crate) connection_requests: u64,
    /// Bytes that the client's socket took.
    pub(crate) sent_bytes: u64,
    pub(crate) request_id: RequestId<'a>,
    pub(crate) log: &'a AccessLog,
    /// Of [`crate::action::SHARE_ALL`] requests like this one so many have a record.
    pub(crate) share: u32,
}

impl<S: Dial, D: Downstream> Record<'_, S, D> {
    /// `opening` is for the time of the record.
    pub(crate) fn write(&self, batch: &mut LogBatch, opening: &Opening) {
        match &self.log.format.shape {
            Shape::Json(further) => {
                self.write_json(batch, opening);
                if !further.is_empty() || self.exchange.attempts > 1 {
                    self.write_shaped(batch);
                }
            }
            Shape::Text(_) => self.write_shaped(batch),
        }
    }

    #[inline(always)]
    fn write_json(&self, batch: &mut LogBatch, opening: &Opening) {
        let (head, words) = (&self.exchange.head[..], &self.exchange.words);
        let is_plain = is_plain(head, words.host) && is_plain(head, words.target);
        // Stars are at most twice as long as what they hide.
        let target_bytes = 2 * words.target.len();
        let spelled_bytes = (words.host.len() + target_bytes) * if is_plain { 1 } else { ESCAPED_BYTES_MAX };
        let tripwires_bytes = if self.exchange.tripwires.is_empty() { 0 } else { TRIPWIRES_BYTES_MAX };
        let names = self.names();
        let names_bytes = names.iter().map(|name| name.len()).sum::<usize>();
        let named_bytes = self.request_id.len() + words.method.len() + names_bytes;
        let bytes_max = OTHER_BYTES_MAX + named_bytes + spelled_bytes + tripwires_bytes;
        batch.add(bytes_max, |room| {
            let bytes = room.len();
            bytes - self.write_line(Line { room, is_plain }, opening, names)
        });
    }

    /// Returns how much room is left.
    #[inline(always)]
    fn write_line(&self, mut line: Line<'_>, opening: &Opening, names: [&[u8]; 3]) -> usize {
        let exchange = self.exchange;
        let (head, words) = (&exchange.head[..], &exchange.words);
        line.fixed(opening);
        match &self.request_id {
            RequestId::Made(id) => line.fixed(id),
            RequestId::Given(id) => line.text(id),
        }
        line.fixed(b"\",\"client\":\"");
        let (client, client_bytes) = self.client.text_with_port();
        line.short(client, client_bytes);
        names.into_iter().for_each(|name| line.text(name));
        // The words are in the head that was written; a head that could not be parsed has none.
        if words.method.is_empty() {
            line.fixed(b"null");
        } else {
            line.fixed(b"\"");
            // A token (RFC 9110 §5.6.2) has nothing to escape.
            line.word(head, words.method);
            line.fixed(b"\"");
        }
        line.optional_word(b",\"host\":", head, (!words.host.is_empty()).then_some(words.host));
        let (path, query) = split_target(head, words.target);
        line.optional_word(b",\"path\":", head, path);
        match query {
            None => line.fixed(b",\"query\":null"),
            Some(query) => line = line.query(query.bytes(head), &self.log.redaction),
        }
        line.fixed(b",\"status\":");
        line.number(u64::from(exchange.status));
        if exchange.failure.is_none() && exchange.tripwires.is_empty() {
            line.fixed(b",\"reason\":null,\"suspicious\":null");
        } else {
            line = line.reason_and_suspicious(exchange.failure, exchange.tripwires);
        }
        line.fixed(b",\"request_bytes\":");
        line.number(exchange.request_bytes);
        line.fixed(b",\"response_bytes\":");
        line.number(exchange.response_bytes);
        match (exchange.attempts, exchange.reused, exchange.times.connect_ns) {
            (1, true, None) => line.fixed(b",\"attempts\":1,\"reused\":true,\"connect_us\":null"),
            (attempts, reused, connect_ns) => {
                line.fixed(b",\"attempts\":");
                line.number(u64::from(attempts));
                line.text(if reused { b",\"reused\":true" } else { b",\"reused\":false" });
                line.fixed(b",\"connect_us\":");
                line.optional_microseconds(connect_ns);
            }
        }
        line.fixed(b",\"response_head_us\":");
        line.optional_microseconds(exchange.times.response_head_ns());
        line.fixed(b",\"duration_us\":");
        line.number(exchange.times.duration_ns() / 1000);
        if let Some(trace_id) = exchange.trace_id() {
            line.fixed(b",\"trace_id\":\"");
            line.fixed(trace_id);
            line.fixed(b"\"");
        }
        line.fixed(b"}\n");
        line.room.len()
    }

    /// The pieces from the end of the client's text to the key of the method.
    fn names(&self) -> [&[u8]; 3] {
        let exchange = self.exchange;
        let listener = &*self.names.listeners[exchange.listener_index()];
        let Some(route) = exchange.route else {
            return [listener, b",\"route\":null", NO_UPSTREAM];
        };
        let route = &*self.names.routes[route];
        let Some(upstream) = exchange.upstream.map(|upstream| &self.names.upstreams[upstream]) else {
            return [listener, route, NO_UPSTREAM];
        };
        let endpoint = exchange.endpoint.map(|endpoint| &upstream.endpoints[endpoint]);
        [listener, route, endpoint.unwrap_or(&upstream.alone)]
    }
}

const NO_UPSTREAM: &[u8] = b",\"upstream\":null,\"endpoint\":null,\"method\":";

/// What a byte takes at most that is escaped.
const ESCAPED_BYTES_MAX: usize = 6;

/// What a record takes at most besides what differs in length: keys, the client, the id, the reason, nine numbers of 20
/// digits.
const OTHER_BYTES_MAX: usize = 640;

/// The names of all, with a comma each.
const TRIPWIRES_BYTES_MAX: usize = 512;

fn split_target(head: &[u8], target: Span) -> (Option<Span>, Option<Span>) {
    if target.is_empty() {
        return (None, None);
    }
    match target.bytes(head).iter().zip(target.start..).find(|(byte, _)| **byte == b'?') {
        Some((_, mark)) => (Some(Span { end: mark, ..target }), Some(Span { start: mark + 1, ..target })),
        None => (Some(target), None),
    }
}

/// A record in the making. What is not inlined takes it by value, so that the room stays in registers.
#[derive(Default)]
struct Line<'a> {
    /// What is left of it, which was large enough at first.
    room: &'a mut [u8],
    /// No string has anything to escape.
    is_plain: bool,
}

impl Line<'_> {
    #[inline(always)]
    fn fixed<const N: usize>(&mut self, piece: &[u8; N]) {
        let (slot, rest) = take(&mut self.room).split_first_chunk_mut().expect(HAS_ROOM);
        *slot = *piece;
        self.room = rest;
    }

    #[inline(always)]
    fn text(&mut self, text: &[u8]) {
        let (slot, rest) = take(&mut self.room).split_at_mut_checked(text.len()).expect(HAS_ROOM);
        slot.copy_from_slice(text);
        self.room = rest;
    }

    /// The first bytes of `text`. It is copied as a whole, because a fixed length costs less; what comes next overwrites
    /// the others.
    #[inline(always)]
    fn short<const N: usize>(&mut self, text: &[u8; N], bytes: usize) {
        let room = take(&mut self.room);
        *room.first_chunk_mut().expect(HAS_ROOM) = *text;
        self.room = room.get_mut(bytes..).expect(HAS_ROOM);
    }

    /// A word out of `head`.
    #[inline(always)]
    fn word(&mut self, head: &[u8], word: Span) {
        match head[word.start as usize..].first_chunk::<16>() {
            Some(text) if word.len() <= text.len() => self.short(text, word.len()),
            _ => self.text(word.bytes(head)),
        }
    }

    #[inline(always)]
    fn optional_word<const N: usize>(&mut self, key: &[u8; N], head: &[u8], value: Option<Span>) {
        self.fixed(key);
        let Some(value) = value else { return self.fixed(b"null") };
        self.fixed(b"\"");
        if self.is_plain {
            self.word(head, value);
        } else {
            *self = take(self).escaped(value.bytes(head));
        }
        self.fixed(b"\"");
    }

    /// For what hardly any client sends.
    #[cold]
    fn escaped(mut self, value: &[u8]) -> Self {
        for &byte in value {
            let (text, bytes) = escaped(byte);
            self.short(&text, bytes);
        }
        self
    }

    /// With stars in place of its secrets.
    #[inline(never)]
    fn query(mut self, query: &[u8], redaction: &Redaction) -> Self {
        self.fixed(b",\"query\":\"");
        let is_plain = self.is_plain;
        redaction.pieces(query, true, |piece| {
            if is_plain {
                self.text(piece);
            } else {
                self = take(&mut self).escaped(piece);
            }
        });
        self.fixed(b"\"");
        self
    }

    /// The tripwires as `"a,b"`, or null.
    #[cold]
    fn reason_and_suspicious(mut self, failure: Option<Failure>, tripwires: Tripwires) -> Self {
        match failure {
            Some(failure) => {
                self.fixed(b",\"reason\":\"");
                self.text(failure.reason().name().as_bytes());
                self.fixed(b"\",\"suspicious\":");
            }
            None => self.fixed(b",\"reason\":null,\"suspicious\":"),
        }
        if tripwires.is_empty() {
            self.fixed(b"null");
            return self;
        }
        for (index, tripwire) in tripwires.iter().enumerate() {
            self.fixed(if index == 0 { b"\"" } else { b"," });
            self.text(tripwire.name().as_bytes());
        }
        self.fixed(b"\"");
        self
    }

    #[inline(always)]
    fn optional_microseconds(&mut self, ns: Option<u64>) {
        match ns {
            Some(ns) => self.number(ns / 1000),
            None => self.fixed(b"null"),
        }
    }

    #[inline(always)]
    fn number(&mut self, value: u64) {
        // Nearly all are small, and then they are one copy of fixed length each.
        match usize::try_from(value) {
            Ok(value @ 0..10) => self.fixed(&[PAIRS[value][1]]),
            Ok(value @ 10..100) => self.fixed(&PAIRS[value]),
            Ok(value @ 100..10_000) => {
                let ([a, b], [c, d]) = (PAIRS[value / 100], PAIRS[value % 100]);
                if value < 1000 { self.fixed(&[b, c, d]) } else { self.fixed(&[a, b, c, d]) }
            }
            _ => *self = take(self).large_number(value),
        }
    }

    /// Two digits a step.
    #[inline(never)]
    fn large_number(mut self, value: u64) -> Self {
        let (mut digits, mut start, mut rest) = ([0; 20], 20, value);
        while rest > 0 {
            let [high, low] = PAIRS[usize::try_from(rest % 100).expect("below 100")];
            (digits[start - 2], digits[start - 1]) = (high, low);
            (start, rest) = (start - 2, rest / 100);
        }
        start += usize::from(digits[start] == b'0');
        self.text(&digits[start..]);
        self
    }
}

const HAS_ROOM: &str = "room was made for the longest record";

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

/// Whether each byte of a word in `head` stands for itself: eight at a time.
#[inline(always)]
fn is_plain(head: &[u8], word: Span) -> bool {
    let mut odd = 0;
    let (mut unseen, mut left) = (head.get(word.start as usize..).unwrap_or_default(), word.len());
    while left > 0 {
        let Some((chunk, rest)) = unseen.split_first_chunk::<8>() else {
            // The head ends here.
            let mut chunk = [b' '; 8];
            chunk.iter_mut().zip(&unseen[..left]).for_each(|(slot, byte)| *slot = *byte);
            odd |= odd_bits(u64::from_le_bytes(chunk));
            break;
        };
        let mut chunk = u64::from_le_bytes(*chunk);
        if left < 8 {
            // What stands behind the word is shifted out, and something plain in.
            chunk = chunk << (64 - 8 * left) | PLAIN >> (8 * left);
        }
        odd |= odd_bits(chunk);
        (unseen, left) = (rest, left.saturating_sub(8));
    }
    odd & HIGH == 0
}

const PLAIN: u64 = u64::from_ne_bytes([b' '; 8]);

const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// With one of the bits in [`HIGH`] if one of the bytes must be escaped.
#[inline(always)]
fn odd_bits(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // Below 0x80, a byte gets its high bit by a borrow or a carry alone, and the first of those is from an odd byte.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit);
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let is_delete = word.wrapping_add(ONES);
    word | below(word, 0x20) | equal(b'"') | equal(b'\\') | is_delete
}

/// RFC 8259 §7.
fn escape(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        let (text, bytes) = escaped(byte);
        out.extend_from_slice(&text[..bytes]);
    }
}

/// A byte as it stands in a string, and how many bytes that takes. Bytes beyond ASCII are taken for ISO 8859-1, so that
/// every record is valid UTF-8 and no byte is lost.
fn escaped(byte: u8) -> ([u8; ESCAPED_BYTES_MAX], usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => ([b'\\', byte, 0, 0, 0, 0], 2),
        0x20..=0x7e => ([byte, 0, 0, 0, 0, 0], 1),
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            ([b'\\', b'u', b'0', b'0', high, low], 6)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::tripwire::Tripwire;

    fn written(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut room = [0; 200];
        let mut line = Line { room: &mut room, is_plain: false };
        write(&mut line);
        let left = line.room.len();
        String::from_utf8(room[..room.len() - left].to_vec()).unwrap()
    }

    #[test]
    fn escapes_everything_that_json_does_not_allow() {
        let value = b"/a\"b\\c\x01\x7f\xe9";
        let shown = |word| written(|line| line.optional_word(b",\"path\":", value, word));
        assert_eq!(shown(Some(Span::new(0, value.len()))), r#","path":"/a\"b\\c\u0001\u007f\u00e9""#);
        assert_eq!(shown(None), r#","path":null"#);
    }

    #[test]
    fn a_query_is_written_without_its_secrets() {
        let redaction = Redaction::new(["token"]);
        let shown = written(|line| *line = take(line).query(b"a=\"&token=\"&token=b&c", &redaction));
        assert_eq!(shown, r#","query":"a=\"&token=***&token=***&c""#);
        for value in ["a", "ab", "abcd"] {
            let query = format!("token={value}&").repeat(10);
            let room = 2 * query.len() + OTHER_BYTES_MAX;
            let mut room = vec![0; room];
            let line = Line { room: &mut room, is_plain: true };
            assert!(line.query(query.as_bytes(), &redaction).room.len() >= OTHER_BYTES_MAX - 16);
        }
    }

    #[test]
    fn every_byte_is_plain_or_escaped_at_every_place() {
        for byte in 0..=u8::MAX {
            let is_odd = !(0x20..=0x7e).contains(&byte) || byte == b'"' || byte == b'\\';
            for length in 1..=20 {
                for place in 0..length {
                    // Odd bytes around the word are none of it, be they few or many.
                    for behind in [0, 3, 20] {
                        let mut head = vec![b'"'; 2 + length + behind];
                        head[2..2 + length].fill(b'~');
                        head[2 + place] = byte;
                        let is_plain = is_plain(&head, Span::new(2, 2 + length));
                        assert_eq!(is_plain, !is_odd, "{byte} at {place} of {length}, {behind} behind");
                    }
                }
            }
        }
        assert!(is_plain(b"", Span::default()));
    }

    #[test]
    fn writes_numbers_of_every_length() {
        for value in [0, 9, 10, 42, 99, 100, 101, 999, 1000, 1024, 9999, 10_000, 65_535, u64::MAX] {
            assert_eq!(written(|line| line.number(value)), value.to_string());
        }
    }

    #[test]
    fn lists_tripwires_or_says_null() {
        let mut tripwires = Tripwires::default();
        let shown = |tripwires| written(|line| *line = take(line).reason_and_suspicious(None, tripwires));
        assert_eq!(shown(tripwires), r#","reason":null,"suspicious":null"#);
        tripwires.add(Tripwire::UpgradeStripped);
        assert_eq!(shown(tripwires), r#","reason":null,"suspicious":"upgrade_stripped""#);
        tripwires.add(Tripwire::SurplusBytes);
        assert_eq!(shown(tripwires), r#","reason":null,"suspicious":"upgrade_stripped,surplus_bytes""#);
    }

    #[test]
    fn there_is_room_for_all_words_of_our_own() {
        let longest_reason = Reason::ALL.iter().map(|it| it.name().len()).max();
        assert!(longest_reason.unwrap() <= 64);
        let tripwires = Tripwire::ALL.iter().map(|it| it.name().len() + 1).sum::<usize>();
        assert!(tripwires <= TRIPWIRES_BYTES_MAX);
    }

    #[test]
    fn copies_words_of_every_length_from_every_place() {
        let head = b"abcdefghijklmnopqrstuvwxyz";
        for start in 0..head.len() {
            for end in start..=head.len() {
                let shown = written(|line| {
                    line.word(head, Span::new(start, end));
                    line.fixed(b"|");
                });
                assert_eq!(shown.as_bytes(), [&head[start..end], b"|"].concat());
            }
        }
    }

    #[test]
    fn splits_a_target_at_the_first_question_mark() {
        let split = |target: &[u8]| {
            let head = [b"GET ", target, b"?"].concat();
            let (path, query) = split_target(&head, Span::new(4, 4 + target.len()));
            [path, query].map(|part| part.map(|part| String::from_utf8(part.bytes(&head).to_vec()).unwrap()))
        };
        assert_eq!(split(b"/a?b?c"), [Some("/a".into()), Some("b?c".into())]);
        assert_eq!(split(b"/a?"), [Some("/a".into()), Some("".into())]);
        assert_eq!(split(b"/a"), [Some("/a".into()), None]);
        assert_eq!(split(b""), [None, None]);
    }
}
