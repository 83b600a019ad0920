//! The heads that Corelane sends: a received head without what belongs to one connection, and with what a proxy adds.
//!
//! Unchanged runs of field lines are copied as they came, so order, case and duplicates survive. A head is written to one
//! buffer that the exchange keeps until the response has begun, because a request may have to be sent again.

mod claims;
mod client;
mod options;

use std::cell::Cell;
use std::net::IpAddr;

use corelane_filters::{Edits, FieldEdits};
use corelane_http1::{
    write_decimal, write_field, write_lines, write_request_line, write_request_line_in_parts,
    write_status_line,
};
use corelane_semantics::{
    BodyFraming, Field, Fields, Known, Method, RequestHead, ResponseHead, Span, TargetForm, Version,
};

pub(crate) use self::claims::hide_dropped;
pub use self::claims::hide_from_filters;
use self::claims::is_unbelieved;
pub use self::client::forwarded_client;
pub(crate) use self::client::{ClientAddress, Sender};
pub(crate) use self::options::{ConnectionOptions, connection_options, upgrades, wants_upgrade};
use crate::action::SetCookie;
use crate::snapshot::ForwardedFields;
use crate::tracing::TraceFields;

/// Written in `Via` (RFC 9110 §7.6.3).
const PSEUDONYM: &[u8] = b"corelane";

/// The field that says which attempt an upstream gets.
const ATTEMPT: &[u8] = b"X-Corelane-Attempt";

/// What a request head towards an upstream is made from.
pub(crate) struct UpstreamHead<'a> {
    /// The received head.
    pub(crate) head: &'a RequestHead,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
    /// The host that the client asked for.
    pub(crate) host: &'a [u8],
    /// The framing of the body.
    pub(crate) framing: BodyFraming,
    /// What its Connection fields say.
    pub(crate) options: &'a ConnectionOptions,
    /// Who sent it.
    pub(crate) client: &'a ClientAddress,
    /// Whether what the client says about where the request came from is believed.
    pub(crate) trusted: bool,
    /// What the listener is to add.
    pub(crate) forwarded: ForwardedFields,
    /// The host for the upstream, if it is not the client's.
    pub(crate) set_host: Option<&'a [u8]>,
    /// The path as it is forwarded.
    pub(crate) path: &'a [u8],
    /// What filters change.
    pub(crate) edits: Option<&'a Edits>,
    /// How many more hops the request may take, this one included; never 0.
    pub(crate) max_forwards: Option<u32>,
    /// The protocols that the client may switch to, if it asks to.
    pub(crate) upgrades: &'a [Box<str>],
    /// Whether fields with `_` in their name end here.
    pub(crate) drops_underscores: bool,
    /// Set when one did.
    pub(crate) dropped_underscore: Cell<bool>,
    /// Whether the upstream is told which attempt it gets.
    pub(crate) tells_attempt: bool,
    /// What is said of the trace, instead of what the client says; absent: that passes.
    pub(crate) trace: Option<TraceFields>,
}

/// Where the log finds its words in a written request head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadWords {
    pub(crate) method: Span,
    pub(crate) target: Span,
    pub(crate) host: Span,
    /// The value of `Upgrade`, if the client may switch.
    pub(crate) upgrade: Span,
    /// The value of `traceparent`, if it is ours.
    pub(crate) trace_parent: Span,
    /// The number of the attempt, if the upstream is told: the head's last field.
    pub(crate) attempt: Span,
}

impl UpstreamHead<'_> {
    /// Writes the head, ready to be sent.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> HeadWords {
        let mut words = self.write_received(out);
        if self.framing == BodyFraming::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        write_odd_length(out, &self.head.fields, self.bytes, self.framing);
        if let Some(hops) = self.max_forwards {
            out.extend_from_slice(b"Max-Forwards: ");
            write_decimal(out, u64::from(hops.saturating_sub(1)));
            out.extend_from_slice(b"\r\n");
        }
        words.upgrade = self.write_upgrade(out);
        let accepts_trailers = self.accepts_trailers();
        if accepts_trailers {
            out.extend_from_slice(b"TE: trailers\r\n");
        }
        out.extend_from_slice(match (accepts_trailers, words.upgrade.is_empty()) {
            (false, true) => b"",
            (true, true) => b"Connection: TE\r\n",
            (false, false) => b"Connection: upgrade\r\n",
            (true, false) => b"Connection: TE, upgrade\r\n",
        });
        for (name, value) in self.fields().into_iter().flat_map(FieldEdits::added) {
            write_field(out, name, value);
        }
        if self.forwarded.x_forwarded {
            self.write_x_forwarded(out);
        }
        if self.forwarded.forwarded && !self.sets(b"Forwarded") {
            self.write_forwarded(out);
        }
        if self.forwarded.via && !self.sets(b"Via") {
            out.extend_from_slice(match self.head.version {
                Version::Http10 => b"Via: 1.0 ",
                Version::Http11 if self.client.is_http2() => b"Via: 2.0 ",
                Version::Http11 => b"Via: 1.1 ",
            });
            out.extend_from_slice(PSEUDONYM);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(trace) = self.trace.filter(|_| !self.sets(b"traceparent")) {
            write_field(out, b"traceparent", &trace.parent);
            words.trace_parent = Span::new(out.len() - 2 - trace.parent.len(), out.len() - 2);
        }
        if self.tells_attempt && !self.sets(ATTEMPT) {
            write_field(out, ATTEMPT, b"1");
            words.attempt = Span::new(out.len() - 3, out.len() - 2);
        }
        out.extend_from_slice(b"\r\n");
        words
    }

    /// What filters change of the fields.
    fn fields(&self) -> Option<&FieldEdits> {
        self.edits.map(|edits| &edits.request).filter(|edits| !edits.is_empty())
    }

    /// Whether a filter has written a field that would be added here.
    fn sets(&self, name: &[u8]) -> bool {
        self.fields().is_some_and(|edits| edits.adds(name))
    }

    /// Writes the request line and the lines that go on.
    fn write_received(&self, out: &mut Vec<u8>) -> HeadWords {
        let head = self.head;
        let keep_host = self.set_host.is_none() && head.fields.count(Known::Host) == 1;
        let keep_target = match head.form {
            TargetForm::Authority | TargetForm::Asterisk => true,
            TargetForm::Origin => {
                !self.edits.is_some_and(Edits::changes_target) && self.path == head.path.bytes(self.bytes)
            }
            TargetForm::Absolute => false,
        };
        let start = out.len();
        let (lines_start, mut words) = if keep_host && keep_target && head.version == Version::Http11 {
            // Nothing stands between the request line as it came and the fields: one piece with them.
            let moved = |span: Span| Span::new(start + span.start as usize, start + span.end as usize);
            let (method, target) = (moved(head.method_token), moved(head.target));
            (0, HeadWords { method, target, ..HeadWords::default() })
        } else {
            let mut words = self.write_request_line(out, keep_target);
            if !keep_host {
                words.host = self.write_host(out);
            }
            (head.fields_start, words)
        };
        let lines = Span { start: lines_start, end: head.fields_end };
        let (edits, drops_names) = (self.fields(), self.drops_names());
        let mut index = 0..;
        write_lines(out, self.bytes, lines, &head.fields, |field, place| {
            let index = index.next().unwrap_or_default();
            let keep =
                self.keeps(field, keep_host, drops_names) && !edits.is_some_and(|edits| edits.drops(index));
            if keep && field.known == Some(Known::Host) {
                let start = place + (field.value.start - field.name.start) as usize;
                words.host = Span::new(start, start + field.value.len());
            }
            keep
        });
        words
    }

    fn write_request_line(&self, out: &mut Vec<u8>, keep_target: bool) -> HeadWords {
        let method = self.head.method_token.bytes(self.bytes);
        let start = out.len();
        if keep_target {
            write_request_line(out, method, self.head.target.bytes(self.bytes));
        } else {
            // RFC 9112 §3.2.1: origin-form towards an origin. §3.2.4: an empty path is `*` for OPTIONS, else `/`.
            let received = || self.head.query.map(|query| query.bytes(self.bytes));
            let query = self.edits.and_then(Edits::query).unwrap_or_else(received);
            let path = match self.edits.and_then(Edits::path).unwrap_or(self.path) {
                b"" if query.is_none() && self.head.method == Method::Options => b"*",
                b"" => b"/",
                path => path,
            };
            write_request_line_in_parts(out, method, path, query);
        }
        let target_start = start + method.len() + 1;
        HeadWords {
            method: Span::new(start, start + method.len()),
            // The line ends in " HTTP/1.1\r\n".
            target: Span::new(target_start, out.len() - 11),
            ..HeadWords::default()
        }
    }

    /// Writes a Host field, and returns where its value stands. RFC 9110 §7.2: one that was not there comes first.
    fn write_host(&self, out: &mut Vec<u8>) -> Span {
        let value = self.set_host.unwrap_or(self.host);
        write_field(out, b"Host", value);
        Span::new(out.len() - 2 - value.len(), out.len() - 2)
    }

    /// Writes the `Upgrade` field with those of the client's protocols that are allowed, and returns where its value
    /// stands; empty when there is none. RFC 9110 §7.8: `Connection` must name it, and HTTP/1.0 has no upgrade.
    fn write_upgrade(&self, out: &mut Vec<u8>) -> Span {
        if !wants_upgrade(self.head, self.options) {
            return Span::default();
        }
        let mut value = Span::default();
        for protocol in upgrades(self.head, self.bytes, self.upgrades) {
            if value.is_empty() {
                out.extend_from_slice(b"Upgrade: ");
                value = Span::new(out.len(), out.len());
            } else {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(protocol);
            value = Span::new(value.start as usize, out.len());
        }
        if !value.is_empty() {
            out.extend_from_slice(b"\r\n");
        }
        value
    }

    /// Whether any field may end here, or be replaced, because of its name.
    fn drops_names(&self) -> bool {
        self.drops_underscores || self.tells_attempt || self.trace.is_some() || self.options.names_fields()
    }

    fn drops_name(&self, field: &Field, name: &[u8]) -> bool {
        if self.drops_underscores && name.contains(&b'_') {
            self.dropped_underscore.set(true);
            return true;
        }
        self.options.nominate(field, self.bytes)
            || self.trace.is_some_and(|trace| trace.replaces(name))
            || self.tells_attempt && name.eq_ignore_ascii_case(ATTEMPT)
    }

    /// `drops_names`: asked once for all lines.
    fn keeps(&self, field: &Field, keep_host: bool, drops_names: bool) -> bool {
        match field.known {
            None => {
                let name = field.name.bytes(self.bytes);
                let is_dropped = drops_names && self.drops_name(field, name);
                !is_dropped && !is_unbelieved(name, self.trusted)
            }
            Some(Known::ContentLength) => {
                matches!(self.framing, BodyFraming::Length(_)) && is_plain_length(field, self.bytes)
            }
            Some(Known::Host) => keep_host,
            Some(Known::MaxForwards) => self.max_forwards.is_none(),
            // HTTP/1.0 has no interim responses (RFC 9110 §10.1.1).
            Some(Known::Expect) => self.head.version == Version::Http11,
            Some(Known::XForwardedFor) => self.trusted && !self.forwarded.x_forwarded,
            Some(Known::XForwardedProto | Known::XForwardedHost) => self.trusted,
            Some(Known::Forwarded) => self.trusted && !self.forwarded.forwarded,
            Some(known) => !known.is_hop_by_hop(),
        }
    }

    /// RFC 9110 §10.1.4: TE speaks of the next hop only, so it is said anew.
    fn accepts_trailers(&self) -> bool {
        self.head.fields.has(Known::Te)
            && self
                .head
                .fields
                .list(Known::Te, self.bytes)
                .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
    }

    fn write_x_forwarded(&self, out: &mut Vec<u8>) {
        let fields = &self.head.fields;
        if !self.sets(b"X-Forwarded-For") {
            out.extend_from_slice(b"X-Forwarded-For: ");
            if self.trusted {
                for earlier in fields.all(Known::XForwardedFor, self.bytes) {
                    out.extend_from_slice(earlier);
                    out.extend_from_slice(b", ");
                }
            }
            out.extend_from_slice(self.client.text());
            out.extend_from_slice(b"\r\n");
        }
        if (!self.trusted || !fields.has(Known::XForwardedProto)) && !self.sets(b"X-Forwarded-Proto") {
            let is_tls = self.client.secured().is_some();
            let line: &[u8] =
                if is_tls { b"X-Forwarded-Proto: https\r\n" } else { b"X-Forwarded-Proto: http\r\n" };
            out.extend_from_slice(line);
        }
        let keeps_host = self.trusted && fields.has(Known::XForwardedHost);
        if !self.host.is_empty() && !keeps_host && !self.sets(b"X-Forwarded-Host") {
            write_field(out, b"X-Forwarded-Host", self.host);
        }
    }

    /// RFC 7239 §4.
    fn write_forwarded(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Forwarded: ");
        if self.trusted {
            // An open quote would swallow what is added behind it.
            let is_closed = |value: &&[u8]| value.iter().filter(|&&byte| byte == b'"').count() % 2 == 0;
            for earlier in self.head.fields.all(Known::Forwarded, self.bytes).filter(is_closed) {
                out.extend_from_slice(earlier);
                out.extend_from_slice(b", ");
            }
        }
        out.extend_from_slice(b"for=");
        match self.client.ip() {
            Some(IpAddr::V4(_)) => out.extend_from_slice(self.client.text()),
            Some(IpAddr::V6(_)) => {
                out.extend_from_slice(b"\"[");
                out.extend_from_slice(self.client.text());
                out.extend_from_slice(b"]\"");
            }
            None => out.extend_from_slice(b"unknown"),
        }
        if !self.host.is_empty() {
            // A valid authority has no quote or backslash.
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(self.host);
            out.push(b'"');
        }
        let is_tls = self.client.secured().is_some();
        let proto: &[u8] = if is_tls { b";proto=https\r\n" } else { b";proto=http\r\n" };
        out.extend_from_slice(proto);
    }
}

/// Whether a length is written as everybody reads it: with a zero in front some take it for octal.
fn is_plain_length(field: &Field, bytes: &[u8]) -> bool {
    !matches!(field.value.bytes(bytes), [b'0', _, ..])
}

/// Writes a length that was left out because of its zeros.
fn write_odd_length(out: &mut Vec<u8>, fields: &Fields, bytes: &[u8], framing: BodyFraming) {
    if let BodyFraming::Length(length) = framing
        && matches!(fields.first(Known::ContentLength, bytes), Some([b'0', _, ..]))
    {
        out.extend_from_slice(b"Content-Length: ");
        write_decimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
}

/// What a response head towards a client is made from.
pub(crate) struct DownstreamHead<'a> {
    /// The received head.
    pub(crate) head: &'a ResponseHead,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
    /// What its Connection fields say.
    pub(crate) options: &'a ConnectionOptions,
    /// The framing towards the client.
    pub(crate) framing: BodyFraming,
    /// What becomes of the client's connection.
    pub(crate) persistence: Persistence,
    /// What filters change of the fields.
    pub(crate) edits: Option<&'a FieldEdits>,
    /// Cookies of Corelane's own.
    pub(crate) set_cookies: [Option<SetCookie<'a>>; 2],
}

/// What becomes of a client's connection after a response, and what must be said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// It stays, as HTTP/1.1 assumes.
    Keep,
    /// It stays, and an HTTP/1.0 client must be told.
    KeepSaid,
    /// It closes.
    Close,
}

impl Persistence {
    pub(crate) fn stays(self) -> bool {
        self != Self::Close
    }

    pub(crate) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Keep => {}
            Self::KeepSaid => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            Self::Close => out.extend_from_slice(b"Connection: close\r\n"),
        }
    }
}

impl DownstreamHead<'_> {
    /// Writes the head, ready to be sent. `date`: the current one as an HTTP date, for a response without one.
    pub(crate) fn write(&self, date: &[u8], out: &mut Vec<u8>) {
        // RFC 9110 §8.6: no Content-Length in 1xx and 204; a HEAD or 304 response keeps what a GET would have.
        let keep_length = matches!(self.framing, BodyFraming::Length(_))
            || (self.framing == BodyFraming::None && !matches!(self.head.status, 100..=199 | 204));
        self.write_start(out, keep_length);
        if self.framing == BodyFraming::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        write_odd_length(out, &self.head.fields, self.bytes, self.framing);
        // RFC 9110 §6.6.1: a recipient with a clock adds the Date that is missing.
        if !self.head.fields.has(Known::Date) && !self.edits.is_some_and(|edits| edits.adds(b"Date")) {
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(date);
            out.extend_from_slice(b"\r\n");
        }
        self.write_added(out);
        self.persistence.write(out);
        self.write_cookie(out);
        out.extend_from_slice(b"\r\n");
    }

    /// Writes an interim (1xx) head, or that of a 2xx to CONNECT: RFC 9110 §9.3.6, it has no framing.
    pub(crate) fn write_interim(&self, out: &mut Vec<u8>) {
        self.write_start(out, false);
        self.write_added(out);
        out.extend_from_slice(b"\r\n");
    }

    /// Writes a 101 head that switches to `protocol`.
    pub(crate) fn write_switch(&self, protocol: &[u8], out: &mut Vec<u8>) {
        self.write_start(out, false);
        out.extend_from_slice(b"Connection: upgrade\r\n");
        write_field(out, b"Upgrade", protocol);
        self.write_added(out);
        self.write_cookie(out);
        out.extend_from_slice(b"\r\n");
    }

    /// Writes the lines that filters add.
    fn write_added(&self, out: &mut Vec<u8>) {
        for (name, value) in self.edits.into_iter().flat_map(FieldEdits::added) {
            write_field(out, name, value);
        }
    }

    fn write_cookie(&self, out: &mut Vec<u8>) {
        for set_cookie in self.set_cookies.iter().flatten() {
            set_cookie.write(out);
        }
    }

    fn write_start(&self, out: &mut Vec<u8>, keep_length: bool) {
        let head = self.head;
        // RFC 9112 §4: the SP behind the code, which some servers leave out, stands there even without a reason.
        let keep_line = head.version == Version::Http11 && self.bytes.get(STATUS_END) == Some(&b' ');
        let lines_start = if keep_line {
            0
        } else {
            write_status_line(out, head.status, head.reason.bytes(self.bytes));
            head.fields_start
        };
        let lines = Span { start: lines_start, end: head.fields_end };
        let mut index = 0..;
        write_lines(out, self.bytes, lines, &head.fields, |field, _| {
            let index = index.next().unwrap_or_default();
            let keep = match field.known {
                None => !self.options.nominate(field, self.bytes),
                Some(Known::ContentLength) => keep_length && is_plain_length(field, self.bytes),
                Some(known) => !known.is_hop_by_hop(),
            };
            keep && !self.edits.is_some_and(|edits| edits.drops(index))
        });
    }
}

/// `HTTP/1.1 200`
const STATUS_END: usize = 12;

#[cfg(test)]
mod tests;
