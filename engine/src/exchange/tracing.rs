//! What an exchange tells of itself to a trace: a `traceparent` for the upstream, and spans if it is sampled.
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions for HTTP spans; `corelane.*` are our own. What
//! the request's head says is written at once, because the head is gone when the exchange ends.

use std::net::IpAddr;

use corelane_semantics::{Fields, RequestHead, TraceParent, Version, is_trace_state};

use super::{Exchange, Phase};
use crate::core::Core;
use crate::failure::{Failure, Fault};
use crate::heads::{ClientAddress, Sender};
use crate::io::{Dial, clock};
use crate::message::Downstream;
use crate::reason::Word;
use crate::snapshot::Address;
use crate::tracing::protobuf::{Attribute, write_attribute};
use crate::tracing::{
    ATTRIBUTES, Kind, PARENT_ID_AT, Span, TRACE_ID_AT, TRACE_ID_DIGITS, Trace, TraceFields, TracedAttempt,
    Tracing, trace_parent,
};

/// A request as its trace sees it, but for what the exchange knows itself.
pub(super) struct Traceable<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) bytes: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) client: &'a ClientAddress,
    pub(super) sender: Sender,
}

/// The span of an attempt.
pub(super) struct AttemptSpan {
    pub(super) id: u64,
    pub(super) endpoint: usize,
    pub(super) reused: bool,
    pub(super) started_ns: u64,
    /// How many attempts were made before.
    pub(super) before: usize,
}

/// Where an authority has none.
const PORT_HTTP: u64 = 80;

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// Joins the client's trace or begins one, and says what the upstream is told of it.
    #[inline(never)]
    pub(super) fn begin_trace(
        &mut self,
        core: &Core<S>,
        tracing: &Tracing,
        request: &Traceable<'_>,
    ) -> TraceFields {
        let parent = TraceParent::of(&request.head.fields, request.bytes);
        // A trace that begins here has the id of its request.
        let [high, low] = core.request_ids.halves(self.number);
        let made = (u128::from(high) << 64 | u128::from(low)).max(1);
        let (id, random) =
            parent.map_or((made, TraceParent::RANDOM), |it| (it.trace_id, it.flags & TraceParent::RANDOM));
        let is_sampled = tracing.samples(parent, request.sender.is_trusted, low);
        let flags = if is_sampled { random | TraceParent::SAMPLED } else { random };
        let attempt_id = core.tracer.span_id();
        if is_sampled {
            let mut trace = core.tracer.take();
            let (now_ns, unix_ns) = (clock::monotonic_ns(), clock::unix_ns());
            trace.id = id;
            trace.parent_id = parent.map_or(0, |parent| parent.parent_id);
            trace.server_id = core.tracer.span_id();
            trace.first_attempt_id = attempt_id;
            trace.flags = flags;
            trace.unix_minus_monotonic_ns = unix_ns.wrapping_sub(now_ns);
            self.describe_request(core, tracing, request, &mut trace, parent.is_some());
            self.trace = Some(trace);
        }
        TraceFields { parent: trace_parent(id, attempt_id, flags), is_joined: parent.is_some() }
    }

    #[cold]
    fn describe_request(
        &self,
        core: &Core<S>,
        tracing: &Tracing,
        request: &Traceable<'_>,
        trace: &mut Trace,
        is_joined: bool,
    ) {
        let Traceable { head, bytes, host, client, sender } = request;
        if is_joined {
            keep_state(&head.fields, bytes, &mut trace.state);
        }
        let route = self.route.map(|route| &*self.snapshot().routes[route].name);
        let method = head.method_token.bytes(bytes);
        let known_method = known_method(method);
        trace.name.extend_from_slice(if known_method == OTHER_METHOD { b"HTTP" } else { known_method });
        trace.method_bytes = trace.name.len();
        if let Some(route) = route {
            trace.name.push(b' ');
            trace.name.extend_from_slice(route.as_bytes());
        }
        let mut add = Attributes(&mut trace.attributes);
        add.text("http.request.method", known_method);
        if known_method == OTHER_METHOD {
            add.text("http.request.method_original", method);
        }
        add.text("url.scheme", request.client.scheme());
        add.text("url.path", head.path.bytes(bytes));
        if let Some(query) = head.query {
            let mut text = core.buffers.take();
            tracing.write_query(&mut text, query.bytes(bytes));
            add.text("url.query", &text);
            core.buffers.give(text);
        }
        if let Some(route) = route {
            add.text("http.route", route.as_bytes());
        }
        if !host.is_empty() {
            let (name, port) = split_authority(host);
            add.text("server.address", name);
            add.number("server.port", port.unwrap_or(PORT_HTTP));
        }
        let version: &[u8] = match head.version {
            Version::Http10 => b"1.0",
            Version::Http11 if request.client.is_http2() => b"2",
            Version::Http11 => b"1.1",
        };
        add.text("network.protocol.version", version);
        if client.ip().is_some() {
            let (peer, port) = split_authority(client.with_port());
            add.text("network.peer.address", peer);
            add.number("network.peer.port", port.unwrap_or_default());
        } else {
            add.text("network.transport", b"unix");
        }
        let mut text = [0; IP_TEXT_BYTES_MAX];
        if let Some(ip) = sender.client {
            add.text("client.address", ip_text(ip, &mut text));
        }
        if let Some(agent) = head.fields.find(b"user-agent", bytes) {
            add.text("user_agent.original", agent);
        }
        add.text("corelane.listener", self.listener().name.as_bytes());
    }

    /// A request goes to an endpoint, or is to. The head that is sent says which attempt it is.
    #[inline]
    pub(super) fn begin_attempt(&mut self, core: &Core<S>) {
        if self.trace.is_some() {
            self.describe_attempt(core);
        }
    }

    #[cold]
    fn describe_attempt(&mut self, core: &Core<S>) {
        let attempts = self.trace.as_ref().map_or(0, |trace| trace.attempts.len());
        let id = self.name_attempt(core, attempts);
        let Some(endpoint) = self.endpoint else { return };
        let (reused, started_ns) = (self.reused, clock::monotonic_ns());
        self.open_span(core, &AttemptSpan { id, endpoint, reused, started_ns, before: attempts });
    }

    /// What the span of an attempt is called that is about to be sent, after so many others; 0 if there is none. The head
    /// says it.
    pub(super) fn name_attempt(&mut self, core: &Core<S>, before: usize) -> u64 {
        let Some(trace) = &self.trace else { return 0 };
        let id = if before == 0 { trace.first_attempt_id } else { core.tracer.span_id() };
        if before > 0 && !self.words.trace_parent.is_empty() {
            let at = self.words.trace_parent.start as usize + PARENT_ID_AT;
            self.head[at..at + 16].copy_from_slice(&crate::request_id::hexadecimal(id));
        }
        id
    }

    /// Begins the span of an attempt.
    #[cold]
    pub(super) fn open_span(&mut self, core: &Core<S>, attempt: &AttemptSpan) {
        let Some(mut trace) = self.trace.take() else { return };
        let local = self.local.clone();
        let snapshot = local.snapshot();
        let (Some(upstream), Some(tracing)) = (self.upstream, &snapshot.tracing) else { return };
        let upstream = &snapshot.upstreams[upstream];
        let endpoint = &upstream.endpoints[attempt.endpoint];
        let method = self.words.method.bytes(&self.head);
        let mut text = core.buffers.take();
        let mut add = Attributes(&mut trace.attempt_attributes);
        add.text("http.request.method", known_method(method));
        let authority = match &endpoint.address {
            Address::Tcp(address) => {
                let (ip, port) = split_authority(endpoint.label.as_bytes());
                for key in ["server.address", "network.peer.address"] {
                    add.text(key, ip);
                }
                for key in ["server.port", "network.peer.port"] {
                    add.number(key, port.unwrap_or_else(|| address.port().into()));
                }
                endpoint.label.as_bytes()
            }
            Address::Unix(_) => {
                add.text("server.address", endpoint.label.as_bytes());
                add.text("network.transport", b"unix");
                self.words.host.bytes(&self.head)
            }
        };
        text.extend_from_slice(b"http://");
        text.extend_from_slice(authority);
        let (path, query) = sent_target(&self.head[self.head_start..]);
        text.extend_from_slice(path);
        if let Some(query) = query {
            text.push(b'?');
            tracing.write_query(&mut text, query);
        }
        add.text("url.full", &text);
        add.text("network.protocol.version", b"1.1");
        add.text("corelane.upstream", upstream.name.as_bytes());
        add.flag("corelane.connection_reused", attempt.reused);
        if attempt.before > 0 {
            add.number("http.request.resend_count", attempt.before as u64);
        }
        core.buffers.give(text);
        let AttemptSpan { id, started_ns, .. } = *attempt;
        trace.attempts.push(TracedAttempt { id, started_ns, ..TracedAttempt::default() });
        self.trace = Some(trace);
    }

    /// The span of an attempt that ends while the one goes on beside which it was made. The attributes of that one stay
    /// behind all others.
    #[cold]
    pub(super) fn add_ended_span(&mut self, core: &Core<S>, attempt: &AttemptSpan, failure: Failure) {
        let Some(trace) = &mut self.trace else { return };
        let Some(open) = trace.attempts.pop() else { return };
        let attributes_start = trace.attempts.last().map_or(0, |attempt| attempt.attributes_end);
        let of_open = trace.attempt_attributes.split_off(attributes_start);
        self.open_span(core, attempt);
        self.fail_attempt(failure);
        if let Some(trace) = &mut self.trace {
            trace.attempt_attributes.extend_from_slice(&of_open);
            trace.attempts.push(open);
        }
    }

    /// An attempt has failed; what becomes of one that has not is what becomes of the exchange.
    #[inline]
    pub(super) fn fail_attempt(&mut self, failure: Failure) {
        // A response that broke off had a status.
        let status = if self.phase == Phase::Head { 0 } else { self.status };
        if let Some(trace) = &mut self.trace {
            end_attempt(trace, Some(failure), status);
        }
    }

    /// The id of the trace that the upstream was told of.
    pub(crate) fn trace_id(&self) -> Option<&[u8; TRACE_ID_DIGITS]> {
        self.words.trace_parent.bytes(&self.head).get(TRACE_ID_AT..)?.first_chunk()
    }

    /// Writes the spans.
    #[inline(never)]
    pub(super) fn end_trace(&mut self, core: &Core<S>) {
        let Some(mut trace) = self.trace.take() else { return };
        let failure = self.failure;
        end_attempt(&mut trace, None, self.status);
        let (status, call) = (self.status, self.call_status());
        let judged = self.judged_status();
        let mut add = Attributes(&mut trace.attributes);
        // 499 is not sent.
        if status != 0 && status != Failure::ClientGone.status() {
            add.number("http.response.status_code", status.into());
        }
        if let Some(call) = call {
            add.text("rpc.system", b"grpc");
            add.number("rpc.grpc.status_code", call as u64);
        }
        if let Some(failure) = failure {
            add.text("corelane.reason", failure.reason().name().as_bytes());
        }
        add.text("corelane.request_id", &self.request_id(core));
        // The client's mistakes are none of the server's errors.
        let is_error = judged >= 500 || failure.is_some_and(|it| it.fault() == Fault::Upstream);
        if is_error {
            add.error(failure, judged);
        }
        let counters = core.counters();
        let unix = |monotonic_ns: u64| monotonic_ns.wrapping_add(trace.unix_minus_monotonic_ns);
        let server = Span {
            trace_id: trace.id,
            id: trace.server_id,
            parent_id: trace.parent_id,
            state: &trace.state,
            name: &trace.name,
            kind: Kind::Server,
            started_unix_ns: unix(self.times.started_ns()),
            ended_unix_ns: unix(clock::monotonic_ns()),
            attributes: &trace.attributes,
            is_error,
            flags: trace.flags,
        };
        core.tracer.record(&server, counters);
        let mut attributes_start = 0;
        for attempt in &trace.attempts {
            let client = Span {
                id: attempt.id,
                parent_id: trace.server_id,
                name: &trace.name[..trace.method_bytes],
                kind: Kind::Client,
                started_unix_ns: unix(attempt.started_ns),
                ended_unix_ns: unix(attempt.ended_ns),
                attributes: &trace.attempt_attributes[attributes_start..attempt.attributes_end],
                is_error: attempt.is_error,
                ..server
            };
            core.tracer.record(&client, counters);
            attributes_start = attempt.attributes_end;
        }
        core.tracer.give_back(trace);
        core.keep_ticking();
    }
}

/// The attributes of a span, as they are written.
struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    fn text(&mut self, key: &str, value: &[u8]) {
        write_attribute(self.0, ATTRIBUTES, key, Attribute::Text(value));
    }

    fn number(&mut self, key: &str, value: u64) {
        write_attribute(self.0, ATTRIBUTES, key, Attribute::Integer(value));
    }

    fn flag(&mut self, key: &str, value: bool) {
        write_attribute(self.0, ATTRIBUTES, key, Attribute::Flag(value));
    }

    /// Why a span is one of an error: the reason, or the status if that is all that is known.
    fn error(&mut self, failure: Option<Failure>, status: u16) {
        let mut digits = [0; 3];
        for (digit, unit) in digits.iter_mut().zip([100, 10, 1]) {
            *digit = b'0' + u8::try_from(status / unit % 10).expect("a digit");
        }
        self.text("error.type", failure.map_or(&digits, |failure| failure.reason().name().as_bytes()));
    }
}

/// Ends the attempt that is in progress.
#[cold]
fn end_attempt(trace: &mut Trace, failure: Option<Failure>, status: u16) {
    let Some(attempt) = trace.attempts.last_mut().filter(|attempt| attempt.ended_ns == 0) else { return };
    attempt.ended_ns = clock::monotonic_ns();
    let mut add = Attributes(&mut trace.attempt_attributes);
    if status != 0 {
        add.number("http.response.status_code", status.into());
    }
    // RFC 9110 §15.5: to who asks, the mistakes of the one who asks are errors too.
    if failure == Some(Failure::HedgeLost) {
        add.text("corelane.reason", Failure::HedgeLost.reason().name().as_bytes());
    } else if failure.is_some() || status >= 400 {
        add.error(failure, status);
        attempt.is_error = failure.is_none_or(|failure| failure.fault() != Fault::Downstream);
    }
    attempt.attributes_end = trace.attempt_attributes.len();
}

/// Keeps `tracestate`, the lines joined; a longer one than everybody passes on (W3C Trace Context §3.3.1.5) only passes.
fn keep_state(fields: &Fields, bytes: &[u8], out: &mut Vec<u8>) {
    for line in fields.lines().iter().filter(|line| is_trace_state(line.name.bytes(bytes))) {
        let value = line.value.bytes(bytes);
        let comma: &[u8] = if out.is_empty() { b"" } else { b"," };
        if out.len() + comma.len() + value.len() > STATE_BYTES_MAX {
            return out.clear();
        }
        out.extend_from_slice(comma);
        out.extend_from_slice(value);
    }
}

const STATE_BYTES_MAX: usize = 512;

/// What stands for a method that is not in RFC 9110 or RFC 5789, so that the number of names is bounded.
const OTHER_METHOD: &[u8] = b"_OTHER";

fn known_method(method: &[u8]) -> &[u8] {
    const KNOWN: [&[u8]; 9] =
        [b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"];
    if KNOWN.contains(&method) { method } else { OTHER_METHOD }
}

/// `[::1]:80` as address, without brackets, and port.
fn split_authority(authority: &[u8]) -> (&[u8], Option<u64>) {
    let (host, port) = match authority.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !authority[colon..].contains(&b']') => (&authority[..colon], &authority[colon + 1..]),
        _ => (authority, &[][..]),
    };
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    (host, std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok()).map(u64::from))
}

/// Path and query of the target in a head of ours.
fn sent_target(head: &[u8]) -> (&[u8], Option<&[u8]>) {
    let target = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    match target.iter().position(|&byte| byte == b'?') {
        Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
        None => (target, None),
    }
}

/// Eight groups of four digits.
const IP_TEXT_BYTES_MAX: usize = 39;

fn ip_text(ip: IpAddr, out: &mut [u8; IP_TEXT_BYTES_MAX]) -> &[u8] {
    use std::io::Write as _;
    let mut rest = &mut out[..];
    let written = write!(rest, "{ip}").map(|()| IP_TEXT_BYTES_MAX - rest.len());
    &out[..written.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_come_apart() {
        for (authority, expected) in [
            ("a.example", ("a.example", None)),
            ("a.example:8080", ("a.example", Some(8080))),
            ("[::1]:80", ("::1", Some(80))),
            ("[::1]", ("::1", None)),
            ("a:", ("a", None)),
            ("a:99999", ("a", None)),
        ] {
            let (host, port) = split_authority(authority.as_bytes());
            assert_eq!((std::str::from_utf8(host).unwrap(), port), expected);
        }
    }

    #[test]
    fn targets_of_heads_come_apart() {
        assert_eq!(sent_target(b"GET /a?b?c HTTP/1.1\r\n"), (&b"/a"[..], Some(&b"b?c"[..])));
        assert_eq!(sent_target(b"OPTIONS * HTTP/1.1\r\n"), (&b"*"[..], None));
    }

    #[test]
    fn the_longest_address_has_room() {
        let ip = "1111:2222:3333:4444:5555:6666:7777:8888";
        let mut text = [0; IP_TEXT_BYTES_MAX];
        assert_eq!(ip_text(ip.parse().unwrap(), &mut text), ip.as_bytes());
        assert_eq!(ip_text("::1".parse().unwrap(), &mut text), b"::1");
    }
}
