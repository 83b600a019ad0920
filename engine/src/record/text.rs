//! Variables as they stand in a record: in a line of text, or as values of JSON.

use std::io::Write as _;

use corelane_semantics::{Span, parameters};

use super::format::{AccessLog, Field, Part, Shape, Value};
use super::kept::Kept;
use super::variable::{TimeForm, TlsWord, Unit, Variable};
use super::{Record, split_target};
use crate::access_log::LogBatch;
use crate::calendar::{write_common_log, write_rfc3339};
use crate::exchange::{Outcome, Try};
use crate::io::{Dial, clock};
use crate::message::Downstream;
use crate::reason::Word as _;
use crate::snapshot::Address;
use crate::tls::Secured;
use crate::tripwire::Tripwires;

/// The value of a variable.
enum Shown<'a> {
    Absent,
    /// Of a peer or of the configuration.
    Text(&'a [u8]),
    /// The same, where secrets may stand; or a query by itself.
    Guarded(&'a [u8], InQuery),
    /// Our own, with nothing to escape.
    Plain(&'a [u8]),
    Address(&'a Address),
    Tripwires(Tripwires),
    Tries(Vec<Try<'a>>),
    Time(TimeForm),
    Flag(bool),
    Number(u64),
    /// Of thousandths.
    Thousandths(u64),
    /// Of [`crate::action::SHARE_ALL`].
    Millionths(u32),
}

type InQuery = bool;

/// Where a value stands, which is how it is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text,
    Json,
}

impl<S: Dial, D: Downstream> Record<'_, S, D> {
    /// Writes the exchange as the format has it. Text is written here; to a JSON record what it has behind its last field.
    #[inline(never)]
    pub(super) fn write_shaped(&self, batch: &mut LogBatch) {
        let log = self.log;
        let kept = Kept::of(&self.exchange.head, self.exchange.kept);
        match &log.format.shape {
            Shape::Text(parts) => batch.add_text(|out| {
                for part in parts {
                    match part {
                        Part::Text(text) => out.extend_from_slice(text),
                        Part::Variable(variable) => {
                            self.shown(variable, &kept).write(Place::Text, log, out);
                        }
                    }
                }
                out.push(b'\n');
            }),
            Shape::Json(fields) => batch.extend(JSON_END.len(), |out| {
                if self.exchange.attempts > 1 {
                    out.extend_from_slice(b",\"tries\":");
                    self.shown(&Variable::Tries, &kept).write(Place::Json, log, out);
                }
                for Field { key, value } in fields {
                    out.extend_from_slice(key);
                    match value {
                        Value::Text(text) => out.extend_from_slice(text),
                        Value::Variable(variable) => {
                            self.shown(variable, &kept).write(Place::Json, log, out);
                        }
                    }
                }
                out.extend_from_slice(JSON_END);
            }),
        }
    }

    fn shown<'a>(&'a self, variable: &'a Variable, kept: &Kept<'a>) -> Shown<'a> {
        let exchange = self.exchange;
        let (snapshot, words) = (exchange.snapshot(), &exchange.words);
        let of_head = |word: Span| (!word.is_empty()).then(|| word.bytes(&exchange.head));
        let text = |text: Option<&'a [u8]>| text.map_or(Shown::Absent, Shown::Text);
        let guarded = |text: Option<&'a [u8]>, in_query| {
            text.map_or(Shown::Absent, |text| Shown::Guarded(text, in_query))
        };
        let (peer, peer_bytes) = self.client.text_with_port();
        match variable {
            Variable::Request(word) => guarded(kept.request(*word), false),
            Variable::Response(word) => guarded(kept.response(*word), false),
            Variable::Client(word) => Shown::Plain(kept.request(*word).unwrap_or(self.client.text())),
            Variable::Peer => Shown::Plain(&peer[..peer_bytes]),
            Variable::PeerIp => Shown::Plain(self.client.text()),
            Variable::PeerPort => match peer[..peer_bytes].rsplit(|&byte| byte == b':').next() {
                Some(port @ [_, ..]) => Shown::Plain(port),
                _ => Shown::Absent,
            },
            Variable::Listener => Shown::Text(exchange.listener().name.as_bytes()),
            Variable::ListenerAddress => Shown::Address(&exchange.listener().address),
            Variable::Route => text(exchange.route.map(|route| snapshot.routes[route].name.as_bytes())),
            Variable::Upstream => {
                text(exchange.upstream.map(|upstream| snapshot.upstreams[upstream].name.as_bytes()))
            }
            Variable::Endpoint => {
                text(exchange.upstream.zip(exchange.endpoint).map(|(upstream, endpoint)| {
                    snapshot.upstreams[upstream].endpoints[endpoint].label.as_bytes()
                }))
            }
            Variable::RequestId => Shown::Text(&self.request_id),
            Variable::TraceId => exchange.trace_id().map_or(Shown::Absent, |id| Shown::Plain(id)),
            Variable::Method => text(of_head(words.method)),
            Variable::Host => text(of_head(words.host)),
            Variable::Target => guarded(of_head(words.target), false),
            Variable::Path => {
                text(split_target(&exchange.head, words.target).0.map(|path| path.bytes(&exchange.head)))
            }
            Variable::Query => guarded(self.query(), true),
            Variable::QueryParameter(name) => {
                let found = self.query().and_then(|query| parameters(query).find(|it| it.0 == &**name));
                match found {
                    Some((name, value)) if self.log.redaction.hides(name) && !value.is_empty() => {
                        Shown::Plain(super::redaction::STARS)
                    }
                    found => guarded(found.map(|(_, value)| value), false),
                }
            }
            Variable::Status => Shown::Number(u64::from(exchange.status)),
            Variable::GrpcStatus => match exchange.call_status() {
                Some(status) => Shown::Number(u64::from(status as u8)),
                None => Shown::Absent,
            },
            Variable::Reason => {
                exchange.failure.map_or(Shown::Absent, |it| Shown::Plain(it.reason().name().as_bytes()))
            }
            Variable::Suspicious if exchange.tripwires.is_empty() => Shown::Absent,
            Variable::Suspicious => Shown::Tripwires(exchange.tripwires),
            Variable::RequestBytes => Shown::Number(exchange.request_bytes),
            Variable::ResponseBytes => Shown::Number(exchange.response_bytes),
            Variable::BodyBytes => Shown::Number(exchange.response_bytes + exchange.kept.own_body_bytes),
            Variable::SentBytes => Shown::Number(self.sent_bytes),
            Variable::Attempts => Shown::Number(u64::from(exchange.attempts)),
            Variable::Tries if exchange.attempts == 0 => Shown::Absent,
            Variable::Tries => Shown::Tries(exchange.tries().collect()),
            Variable::Reused => Shown::Flag(exchange.reused),
            Variable::Time(form) => Shown::Time(*form),
            Variable::Duration(unit) => duration(Some(exchange.times.duration_ns()), *unit),
            Variable::ResponseHead(unit) => duration(exchange.times.response_head_ns(), *unit),
            Variable::Connect(unit) => duration(exchange.times.connect_ns, *unit),
            Variable::UpstreamStatus => exchange
                .upstream_response()
                .map_or(Shown::Absent, |(status, ..)| Shown::Number(u64::from(status))),
            Variable::UpstreamHead(unit) => {
                duration(exchange.upstream_response().map(|(_, head_ns, _)| head_ns), *unit)
            }
            Variable::UpstreamDuration(unit) => {
                duration(exchange.upstream_response().and_then(|(.., duration_ns)| duration_ns), *unit)
            }
            Variable::ConnectionRequests => Shown::Number(self.connection_requests),
            Variable::Tls(word) => self.client.secured().map_or(Shown::Absent, |secured| tls(*word, secured)),
            Variable::Worker => Shown::Number(exchange.worker() as u64),
            Variable::Share => Shown::Millionths(self.share),
        }
    }

    fn query(&self) -> Option<&[u8]> {
        let head = &self.exchange.head;
        split_target(head, self.exchange.words.target).1.map(|query| query.bytes(head))
    }
}

/// How a JSON record ends.
const JSON_END: &[u8; 2] = b"}\n";

fn tls(word: TlsWord, secured: &Secured) -> Shown<'_> {
    let text = match word {
        TlsWord::Resumed => return Shown::Flag(secured.is_resumed),
        TlsWord::Version => Some(secured.version),
        TlsWord::CipherSuite => Some(secured.cipher_suite),
        TlsWord::Group => secured.group,
        TlsWord::ServerName => secured.server_name.as_deref(),
        TlsWord::ClientSubject => secured.client.as_ref().map(|client| &*client.subject),
        TlsWord::ClientFingerprint => secured.client.as_ref().map(|client| &*client.fingerprint),
    };
    text.map_or(Shown::Absent, |text| Shown::Text(text.as_bytes()))
}

fn duration(ns: Option<u64>, unit: Unit) -> Shown<'static> {
    let Some(ns) = ns else { return Shown::Absent };
    match unit {
        Unit::Seconds => Shown::Thousandths(ns / 1_000_000),
        Unit::Milliseconds => Shown::Number(ns / 1_000_000),
        Unit::Microseconds => Shown::Number(ns / 1_000),
    }
}

impl Shown<'_> {
    fn write(&self, place: Place, log: &AccessLog, out: &mut Vec<u8>) {
        match (place, self) {
            (Place::Text, Self::Absent) => out.push(b'-'),
            (Place::Json, Self::Absent) => out.extend_from_slice(b"null"),
            (
                Place::Json,
                Self::Text(_)
                | Self::Guarded(..)
                | Self::Plain(_)
                | Self::Address(_)
                | Self::Tripwires(_)
                | Self::Tries(_)
                | Self::Time(TimeForm::Iso | TimeForm::Common),
            ) => {
                out.push(b'"');
                self.write_bare(place, log, out);
                out.push(b'"');
            }
            _ => self.write_bare(place, log, out),
        }
    }

    fn write_bare(&self, place: Place, log: &AccessLog, out: &mut Vec<u8>) {
        let escape = |text: &[u8], out: &mut Vec<u8>| match place {
            Place::Text => escape_text(out, text),
            Place::Json => super::escape(out, text),
        };
        match self {
            Self::Absent => {}
            Self::Text(text) => escape(text, out),
            Self::Guarded(text, in_query) => {
                log.redaction.pieces(text, *in_query, |piece| escape(piece, out));
            }
            Self::Plain(text) => out.extend_from_slice(text),
            // To memory, which takes everything; names of sockets have no control characters.
            Self::Address(address) => drop(write!(out, "{address}")),
            Self::Tripwires(tripwires) => {
                for (index, tripwire) in tripwires.iter().enumerate() {
                    out.extend_from_slice(if index == 0 { b"" } else { b"," });
                    out.extend_from_slice(tripwire.name().as_bytes());
                }
            }
            Self::Tries(tries) => {
                for (index, Try { endpoint, outcome, took_ns }) in tries.iter().enumerate() {
                    out.extend_from_slice(if index == 0 { b"" } else { b", " });
                    escape(endpoint.as_bytes(), out);
                    out.push(b' ');
                    match outcome {
                        Outcome::Status(status) => write_number(out, u64::from(*status)),
                        Outcome::Failed(reason) => out.extend_from_slice(reason.name().as_bytes()),
                    }
                    out.push(b' ');
                    write_number(out, took_ns / 1_000_000);
                    out.extend_from_slice(b"ms");
                }
            }
            Self::Time(form) => write_time(*form, clock::unix_coarse_ns(), out),
            Self::Flag(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Self::Number(number) => write_number(out, *number),
            Self::Thousandths(number) => {
                write_number(out, number / 1000);
                write_decimals(out, number % 1000, 3);
            }
            Self::Millionths(number) => {
                write_number(out, u64::from(number / 1_000_000));
                if number % 1_000_000 > 0 {
                    write_decimals(out, u64::from(number % 1_000_000), 6);
                }
            }
        }
    }
}

fn write_time(form: TimeForm, unix_ns: u64, out: &mut Vec<u8>) {
    match form {
        TimeForm::Iso => write_rfc3339(out, unix_ns),
        TimeForm::Common => write_common_log(out, unix_ns / 1_000_000_000),
        TimeForm::Unix => {
            write_number(out, unix_ns / 1_000_000_000);
            write_decimals(out, unix_ns / 1_000_000 % 1000, 3);
        }
        TimeForm::UnixSeconds => write_number(out, unix_ns / 1_000_000_000),
        TimeForm::UnixMilliseconds => write_number(out, unix_ns / 1_000_000),
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    corelane_http1::write_decimal(out, number);
}

/// A point and so many digits.
fn write_decimals(out: &mut Vec<u8>, number: u64, digits: u32) {
    out.push(b'.');
    for place in (0..digits).rev() {
        out.push(b'0' + u8::try_from(number / 10u64.pow(place) % 10).unwrap_or_default());
    }
}

/// As nginx writes values by default: `"`, `\` and what is not visible ASCII as `\xHH`.
fn escape_text(out: &mut Vec<u8>, value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_odd = |byte: &u8| !matches!(byte, 0x20..=0x7e) || matches!(byte, b'"' | b'\\');
    let mut rest = value;
    while let Some(place) = rest.iter().position(is_odd) {
        let byte = rest[place];
        out.extend_from_slice(&rest[..place]);
        let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
        out.extend_from_slice(&[b'\\', b'x', high, low]);
        rest = &rest[place + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::record::Redaction;

    fn written(shown: &Shown<'_>, place: Place) -> String {
        let log = AccessLog { redaction: Redaction::new(["token"]), ..AccessLog::default() };
        let mut out = Vec::new();
        shown.write(place, &log, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_escaped_as_their_place_asks() {
        let odd = b"a\"b\\c\n\x7f\xe9";
        for (shown, text, json) in [
            (Shown::Text(odd), r"a\x22b\x5Cc\x0A\x7F\xE9", r#""a\"b\\c\u000a\u007f\u00e9""#),
            (Shown::Text(b""), "", r#""""#),
            (Shown::Absent, "-", "null"),
            (Shown::Guarded(b"token=a&b=\"", true), r"token=***&b=\x22", r#""token=***&b=\"""#),
            (Shown::Guarded(b"token=a", false), "token=a", r#""token=a""#),
            (Shown::Plain(b"::1"), "::1", r#""::1""#),
            (Shown::Flag(true), "true", "true"),
            (Shown::Number(u64::MAX), "18446744073709551615", "18446744073709551615"),
            (Shown::Thousandths(5), "0.005", "0.005"),
            (Shown::Thousandths(12_345), "12.345", "12.345"),
            (Shown::Millionths(1_000_000), "1", "1"),
            (Shown::Millionths(10_000), "0.010000", "0.010000"),
        ] {
            assert_eq!(written(&shown, Place::Text), text);
            assert_eq!(written(&shown, Place::Json), json);
        }
    }

    #[test]
    fn attempts_stand_behind_each_other() {
        let one = |endpoint, outcome, took_ns| Try { endpoint, outcome, took_ns };
        let tries = vec![
            one("unix:/a\"b", Outcome::Failed(Reason::ConnectFailed), 999_999),
            one("[::1]:80", Outcome::Status(503), 1_000_000),
            one("127.0.0.1:80", Outcome::Status(200), 12_999_999),
        ];
        let shown = Shown::Tries(tries);
        let text = r"unix:/a\x22b connect_failed 0ms, [::1]:80 503 1ms, 127.0.0.1:80 200 12ms";
        assert_eq!(written(&shown, Place::Text), text);
        let json = text.replace(r"\x22", r#"\""#);
        assert_eq!(written(&shown, Place::Json), format!("\"{json}\""));
    }

    #[test]
    fn a_time_in_each_form() {
        let shown = |form| {
            let mut out = Vec::new();
            write_time(form, 784_111_777_007_999_999, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(TimeForm::Iso), "1994-11-06T08:49:37.007Z");
        assert_eq!(shown(TimeForm::Common), "06/Nov/1994:08:49:37 +0000");
        assert_eq!(shown(TimeForm::Unix), "784111777.007");
        assert_eq!(shown(TimeForm::UnixSeconds), "784111777");
        assert_eq!(shown(TimeForm::UnixMilliseconds), "784111777007");
    }

    #[test]
    fn durations_in_each_unit() {
        for (unit, text) in
            [(Unit::Seconds, "0.012"), (Unit::Milliseconds, "12"), (Unit::Microseconds, "12345")]
        {
            assert_eq!(written(&duration(Some(12_345_678), unit), Place::Text), text);
        }
        assert_eq!(written(&duration(None, Unit::Seconds), Place::Text), "-");
    }
}
