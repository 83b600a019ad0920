//! Which trailer fields of a message are forwarded.
//!
//! What may never stand in a trailer section has been left out when it was received (RFC 9110 §6.5.1); this is what the
//! listener and the message itself leave out besides.

use std::cell::Cell;
use std::io;

use corelane_grpc::Status;

use crate::heads::ConnectionOptions;
use crate::message::BodyBatch;
use crate::snapshot::{RequestRules, Trailers, UnderscoreFields};

/// The message's own part of the rule.
#[derive(Debug, Default)]
pub(super) struct TrailerFilter {
    is_request: bool,
    /// Names that end here, because `Connection` names them (RFC 9110 §7.6.1). Rare, and empty without memory.
    nominated: Vec<Box<[u8]>>,
    has_dropped: Cell<bool>,
    /// The message answers a call, whose end is in its trailers.
    is_of_call: bool,
    call_status: Cell<Option<Status>>,
}

impl TrailerFilter {
    pub(super) fn of_request(options: &ConnectionOptions, bytes: &[u8]) -> Self {
        Self { is_request: true, ..Self::of_response(options, bytes, false) }
    }

    pub(super) fn of_response(options: &ConnectionOptions, bytes: &[u8], is_of_call: bool) -> Self {
        let nominated = options.nominated(bytes).map(Box::from).collect();
        Self { nominated, is_of_call, ..Self::default() }
    }

    /// Hands the batch to `send`, with those of its trailers that go on.
    pub(super) fn filter(
        &self,
        rules: &RequestRules,
        batch: &BodyBatch<'_>,
        send: impl FnOnce(&BodyBatch<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        if batch.trailers.is_empty() {
            return send(batch);
        }
        let mut kept = Vec::with_capacity(batch.trailers.len());
        for line in batch.trailers.split_inclusive(|&byte| byte == b'\n') {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            if self.keeps(rules, name) {
                kept.extend_from_slice(line);
            }
        }
        if self.is_of_call {
            self.call_status.set(Status::in_lines(&batch.trailers));
        }
        self.has_dropped.set(self.has_dropped.get() || kept.len() < batch.trailers.len());
        send(&batch.with_trailers(kept))
    }

    /// Whether a trailer field ended here.
    pub(super) fn has_dropped(&self) -> bool {
        self.has_dropped.get()
    }

    /// How the call has ended, if the trailers of its answer have passed.
    pub(super) fn call_status(&self) -> Option<Status> {
        self.call_status.get()
    }

    fn keeps(&self, rules: &RequestRules, name: &[u8]) -> bool {
        let is_allowed = match &rules.trailers {
            Trailers::All => true,
            Trailers::Only(names) => names.iter().any(|it| name.eq_ignore_ascii_case(it.as_bytes())),
        };
        // Without its end no call has succeeded.
        let is_of_call = self.is_of_call && name.get(..5).is_some_and(|it| it.eq_ignore_ascii_case(b"grpc-"));
        let drops_underscores = self.is_request && rules.underscore_fields != UnderscoreFields::Pass;
        (is_allowed || is_of_call)
            && !(drops_underscores && name.contains(&b'_'))
            && !self.nominated.iter().any(|it| name.eq_ignore_ascii_case(it))
    }
}
