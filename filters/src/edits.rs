//! What filters change, and a worker's memory for it.

use std::time::Duration;

use corelane_semantics::{Known, Span};

use crate::carry::Carry;
use crate::context::{Context, Purpose};
use crate::field_edits::FieldEdits;
use crate::field_name::FieldName;
use crate::filters::FilterId;
use crate::pattern::Caches;
use crate::reason::Reason;
use crate::text::{cookie_value, query_value};

/// What becomes of a request after its filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It goes on, with [`Edits`].
    Continue,
    /// It ends here, with [`Edits::answer`].
    Answer,
}

/// An answer that a filter gives. Its fields are the lines of [`Edits::response`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// Why.
    pub reason: Reason,
    /// What stands in it.
    pub body: Body<'a>,
}

/// The body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The listener's error page for the status.
    Page,
    /// None: `Content-Length: 0`, and no length for a 204.
    Empty,
    /// This text. Its Content-Type is among the fields.
    Text(&'a [u8]),
}

/// What happened at one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which.
    pub filter: FilterId,
    /// What.
    pub outcome: Outcome,
}

/// What a filter did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and had nothing to do.
    Passed,
    /// It changed something, or answered what is not a refusal.
    Acted,
    /// It refused the request.
    Refused,
}

/// Limits of a route that differ from those of its listener and upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request's body; the smaller of this and the listener's holds.
    pub request_body_bytes_max: Option<u64>,
    /// Replaces the upstream's `request_timeout`.
    pub request_timeout: Option<Duration>,
    /// Replaces the upstream's `response_head_timeout`.
    pub response_head_timeout: Option<Duration>,
    /// Replaces the upstream's `body_idle_timeout`.
    pub body_idle_timeout: Option<Duration>,
}

/// What the filters of one request, or of one response, change. One for each worker and configuration, reused.
#[derive(Debug, Default)]
pub struct Edits {
    /// The fields that go to the upstream.
    pub request: FieldEdits,
    /// The fields that go to the client; those of [`Edits::answer`] too.
    pub response: FieldEdits,
    pub(crate) path: Replaced,
    pub(crate) query: Replaced,
    /// Whether the query, which [`Edits::query`] may have, is taken away.
    pub(crate) query_removed: bool,
    pub(crate) host: Replaced,
    pub(crate) request_id: Replaced,
    pub(crate) user: Replaced,
    pub(crate) api_key: Replaced,
    pub(crate) limits: Limits,
    pub(crate) events: Vec<Event>,
    pub(crate) carry: Carry,
    answer: Option<(u16, Reason, BodyKind)>,
    body: Vec<u8>,
    text: Vec<u8>,
    spare: Vec<u8>,
    /// Memory of exchanges that have ended.
    carries: Vec<Carry>,
    /// The place in the chain of the filter that runs.
    pub(crate) entry: u16,
    pub(crate) caches: Caches,
    /// Received lines that the next request's filters do not see.
    hidden: Vec<usize>,
    /// The groups of a pattern in the path as it is now.
    pub(crate) matches: Vec<Option<Span>>,
    /// What filters note for their part in the response, by their place in the chain.
    notes: Vec<(u16, Span)>,
    note_bytes: Vec<u8>,
    /// What the filter that runs says of itself when it is only asked.
    pub(crate) remark: String,
}

#[derive(Clone, Copy, Debug)]
enum BodyKind {
    Page,
    Empty,
    Text,
}

/// A text that may stand for another.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    text: Vec<u8>,
    is_set: bool,
}

impl Replaced {
    pub(crate) fn get(&self) -> Option<&[u8]> {
        self.is_set.then_some(&self.text)
    }

    pub(crate) fn set(&mut self, text: &[u8]) {
        self.text.clear();
        self.text.extend_from_slice(text);
        self.is_set = true;
    }

    fn clear(&mut self) {
        self.is_set = false;
    }
}

impl Edits {
    /// The path for the upstream, if it is another than [`Context::forwarded_path`]: it starts with `/`, and holds what a path
    /// may hold.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        self.path.get()
    }

    /// The query for the upstream, if it is another than the received one; `Some(None)` for none.
    #[must_use]
    pub fn query(&self) -> Option<Option<&[u8]>> {
        if self.query_removed { Some(None) } else { self.query.get().map(Some) }
    }

    /// Whether the path or the query is another for the upstream.
    #[must_use]
    pub fn changes_target(&self) -> bool {
        self.path().is_some() || self.query().is_some()
    }

    /// The host for the upstream, if a filter says one: a valid authority.
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        self.host.get()
    }

    /// The request's id, if it is another than [`Context::request_id`].
    #[must_use]
    pub fn request_id(&self) -> Option<&[u8]> {
        self.request_id.get()
    }

    /// Who `basic_auth` let in; empty without it.
    #[must_use]
    pub fn user(&self) -> &[u8] {
        self.user.get().unwrap_or_default()
    }

    /// The name of the key that `api_key` found; empty without it.
    #[must_use]
    pub fn api_key(&self) -> &[u8] {
        self.api_key.get().unwrap_or_default()
    }

    /// The limits of this request.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What happened at each filter that ran: all of them for a request, those that acted for a response.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The answer, after [`Verdict::Answer`].
    #[must_use]
    pub fn answer(&self) -> Option<Answer<'_>> {
        self.answer.map(|(status, reason, kind)| {
            let body = match kind {
                BodyKind::Page => Body::Page,
                BodyKind::Empty => Body::Empty,
                BodyKind::Text => Body::Text(&self.body),
            };
            Answer { status, reason, body }
        })
    }

    /// Before the filters of an own answer that no filter gave: it has no fields yet.
    pub fn forget_answer(&mut self) {
        self.response.clear();
        self.answer = None;
    }

    /// What the exchange must keep until its end; to be taken after [`crate::Chain::request`], whatever its verdict.
    #[must_use = "places in limits would stay taken"]
    pub fn take_carry(&mut self) -> Carry {
        if self.carry.is_empty() { Carry::default() } else { std::mem::take(&mut self.carry) }
    }

    /// Takes the memory of a carry, after [`crate::Chain::finish`].
    pub fn give_back(&mut self, mut carry: Carry) {
        debug_assert!(carry.places.is_empty(), "places that were not given back");
        if self.carries.len() < CARRIES_MAX && carry.keeps_little() {
            carry.clear();
            self.carries.push(carry);
        }
    }

    /// Hides a received line from the filters of the next request: to be called before [`crate::Chain::request`].
    pub fn hide(&mut self, index: usize) {
        self.hidden.push(index);
    }

    /// Forgets the last request.
    pub(crate) fn begin(&mut self) {
        self.request.clear();
        for index in self.hidden.drain(..) {
            self.request.drop_received(index);
        }
        self.response.clear();
        self.query_removed = false;
        let texts = [&mut self.path, &mut self.query, &mut self.host, &mut self.request_id];
        for text in texts.into_iter().chain([&mut self.user, &mut self.api_key]) {
            text.clear();
        }
        self.limits = Limits::default();
        self.events.clear();
        self.answer = None;
        self.matches.clear();
        self.notes.clear();
        self.note_bytes.clear();
        debug_assert!(self.carry.is_empty(), "a carry that was not taken");
        if !self.carry.has_memory() {
            self.carry = self.carries.pop().unwrap_or_default();
        }
    }

    /// Lends a text to fill in.
    pub(crate) fn with_text<R>(&mut self, then: impl FnOnce(&mut Self, &mut Vec<u8>) -> R) -> R {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let result = then(self, &mut text);
        self.text = text;
        result
    }

    /// Lends the caches of patterns.
    pub(crate) fn with_caches<R>(&mut self, then: impl FnOnce(&Self, &mut Caches) -> R) -> R {
        let mut caches = std::mem::take(&mut self.caches);
        let result = then(self, &mut caches);
        self.caches = caches;
        result
    }

    /// Lends two texts.
    pub(crate) fn with_texts<R>(
        &mut self,
        then: impl FnOnce(&mut Self, &mut Vec<u8>, &mut Vec<u8>) -> R,
    ) -> R {
        let mut spare = std::mem::take(&mut self.spare);
        spare.clear();
        let result = self.with_text(|edits, text| then(edits, text, &mut spare));
        self.spare = spare;
        result
    }

    /// Notes something for the filter's part in the response: what `write` appends.
    pub(crate) fn note(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.note_bytes.len();
        write(&mut self.note_bytes);
        self.notes.push((self.entry, Span::new(start, self.note_bytes.len())));
    }

    /// What the filter noted.
    pub(crate) fn noted(&self) -> &[u8] {
        let note = self.notes.iter().find(|(entry, _)| *entry == self.entry);
        note.map_or(&[], |(_, span)| span.bytes(&self.note_bytes))
    }

    /// Answers with the listener's page.
    pub(crate) fn refuse(&mut self, status: u16, reason: Reason) {
        self.answer = Some((status, reason, BodyKind::Page));
    }

    /// Answers without a body.
    pub(crate) fn answer_empty(&mut self, status: u16, reason: Reason) {
        self.answer = Some((status, reason, BodyKind::Empty));
    }

    /// Answers with a text.
    pub(crate) fn answer_text(&mut self, status: u16, reason: Reason, body: &[u8]) {
        self.body.clear();
        self.body.extend_from_slice(body);
        self.answer = Some((status, reason, BodyKind::Text));
    }

    /// The path as it is now: canonical, or what a filter made of it.
    pub(crate) fn path_now<'a>(&'a self, context: &Context<'a>) -> &'a [u8] {
        self.path.get().unwrap_or(context.path)
    }

    /// The query as it is now.
    pub(crate) fn query_now<'a>(&'a self, context: &Context<'a>) -> Option<&'a [u8]> {
        match self.query() {
            Some(query) => query,
            None => context.head.query.map(|query| query.bytes(context.bytes)),
        }
    }

    /// The host as it is now.
    pub(crate) fn host_now<'a>(&'a self, context: &Context<'a>) -> &'a [u8] {
        self.host.get().unwrap_or(context.host)
    }

    pub(crate) fn request_id_now<'a>(&'a self, context: &Context<'a>) -> &'a [u8] {
        self.request_id.get().unwrap_or(context.request_id)
    }

    /// A parameter of the query as it is now.
    pub(crate) fn query_parameter<'a>(&'a self, name: &[u8], context: &Context<'a>) -> Option<&'a [u8]> {
        self.query_now(context).and_then(|query| query_value(query, name))
    }

    /// The first value of a request field as it is now.
    pub(crate) fn field<'a>(&'a self, name: &'a FieldName, context: &Context<'a>) -> Option<&'a [u8]> {
        self.request.values(name, &context.head.fields, context.bytes).next()
    }

    /// A cookie as it is now.
    pub(crate) fn cookie<'a>(&'a self, name: &[u8], context: &Context<'a>) -> Option<&'a [u8]> {
        let received = context.head.fields.lines().iter().enumerate();
        let received = received.filter(|(index, field)| {
            field.known.is_none() && is_cookie(field.name.bytes(context.bytes)) && !self.request.drops(*index)
        });
        let received = received.map(|(_, field)| field.value.bytes(context.bytes));
        let added = self.request.added().filter(|(name, _)| is_cookie(name)).map(|(_, value)| value);
        cookie_value(received.chain(added), name)
    }
}

impl Context<'_> {
    /// Whether the client speaks TLS: to us, or by the word of a trusted proxy in front, which knows better.
    pub(crate) fn is_secure(&self) -> bool {
        match self.head.fields.first(Known::XForwardedProto, self.bytes) {
            Some(scheme) if self.trusted => scheme.eq_ignore_ascii_case(b"https"),
            _ => self.tls.is_some(),
        }
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }

    pub(crate) fn is_served(&self) -> bool {
        self.purpose == Purpose::Serve
    }
}

fn is_cookie(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"cookie")
}

/// Carries whose memory a worker keeps, 1 KiB each at most.
const CARRIES_MAX: usize = 64;
