//! HTTP's protocol-neutral words (RFC 9110): request and response heads, fields, body framing and paths.
//!
//! A head is one buffer of bytes plus [`Span`]s into it, whatever protocol it came in by. This crate never does I/O,
//! reads no clock and allocates only when a table grows past what it has held before.

mod accept;
mod canonical_path;
mod field;
mod framing;
mod head;
mod method;
mod pair;
mod path;
mod span;
mod trace_context;
mod word;

pub use accept::{WEIGHT_MAX, accept_weight};
pub use canonical_path::{PathBuffers, Paths};
pub use field::{Field, Fields, Known};
pub use framing::{BodyFraming, FramingError, request_framing, response_framing};
pub use head::{HostError, RequestHead, ResponseHead, TargetForm, Version, host_name, is_authority};
pub use method::{Method, MethodSet};
pub use pair::{cookies, form_decoded, parameters, percent_decoded, percent_encoded, split_pair};
pub use path::{PathError, PathPolicies, PathPolicy};
pub use span::Span;
pub use trace_context::{TRACE_PARENT_BYTES, TraceParent, is_trace_parent, is_trace_state};
pub use word::is_word;
