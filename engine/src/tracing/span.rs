//! A span as it stands in OTLP (`opentelemetry.proto.trace.v1.Span`).

use super::protobuf::{Tag, write_bytes, write_fixed32, write_fixed64, write_text, write_varint};

/// One span.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    pub(crate) trace_id: u128,
    pub(crate) id: u64,
    /// 0: it is the first of its trace.
    pub(crate) parent_id: u64,
    pub(crate) state: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) kind: Kind,
    pub(crate) started_unix_ns: u64,
    pub(crate) ended_unix_ns: u64,
    /// Written by [`super::protobuf::write_attribute`] as [`ATTRIBUTES`].
    pub(crate) attributes: &'a [u8],
    pub(crate) is_error: bool,
    /// Those of the trace (W3C Trace Context).
    pub(crate) flags: u8,
}

/// Which side of a request it describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The one that answers.
    Server,
    /// The one that asks.
    Client,
}

/// A span in `ScopeSpans`.
pub(super) const SPANS_OF_SCOPE: Tag = Tag::bytes(2);

/// An attribute of a span.
pub(crate) const ATTRIBUTES: Tag = Tag::bytes(9);

const TRACE_ID: Tag = Tag::bytes(1);
const SPAN_ID: Tag = Tag::bytes(2);
const TRACE_STATE: Tag = Tag::bytes(3);
const PARENT_SPAN_ID: Tag = Tag::bytes(4);
const NAME: Tag = Tag::bytes(5);
const KIND: Tag = Tag::varint(6);
const START_TIME: Tag = Tag::fixed64(7);
const END_TIME: Tag = Tag::fixed64(8);
const STATUS: Tag = Tag::bytes(15);
const FLAGS: Tag = Tag::fixed32(16);

const KIND_SERVER: u64 = 2;
const KIND_CLIENT: u64 = 3;

/// `Status { code: ERROR }`
const STATUS_ERROR: &[u8] = &[3 << 3, 2];

/// Whether the parent is elsewhere is known; and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

impl Span<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_bytes(out, TRACE_ID, &self.trace_id.to_be_bytes());
        write_bytes(out, SPAN_ID, &self.id.to_be_bytes());
        if !self.state.is_empty() {
            write_text(out, TRACE_STATE, self.state);
        }
        if self.parent_id != 0 {
            write_bytes(out, PARENT_SPAN_ID, &self.parent_id.to_be_bytes());
        }
        write_text(out, NAME, self.name);
        let (kind, remote) = match self.kind {
            Kind::Server if self.parent_id != 0 => (KIND_SERVER, IS_REMOTE),
            Kind::Server => (KIND_SERVER, 0),
            Kind::Client => (KIND_CLIENT, 0),
        };
        write_varint(out, KIND, kind);
        write_fixed64(out, START_TIME, self.started_unix_ns);
        write_fixed64(out, END_TIME, self.ended_unix_ns.max(self.started_unix_ns));
        out.extend_from_slice(self.attributes);
        if self.is_error {
            write_bytes(out, STATUS, STATUS_ERROR);
        }
        write_fixed32(out, FLAGS, u32::from(self.flags) | HAS_IS_REMOTE | remote);
    }
}
