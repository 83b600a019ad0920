//! Which trailer fields of a message are forwarded.
//!
//! What may never stand in a trailer section has been left out when it was received (RFC 9110 §6.5.1); this is what the
//! listener and the message itself leave out besides.

use std::cell::Cell;
use std::io;

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
}

impl TrailerFilter {
    pub(super) fn of_request(options: &ConnectionOptions, bytes: &[u8]) -> Self {
        Self { is_request: true, ..Self::of_response(options, bytes) }
    }

    pub(super) fn of_response(options: &ConnectionOptions, bytes: &[u8]) -> Self {
        Self { nominated: options.nominated(bytes).map(Box::from).collect(), ..Self::default() }
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
        self.has_dropped.set(self.has_dropped.get() || kept.len() < batch.trailers.len());
        send(&batch.with_trailers(kept))
    }

    /// Whether a trailer field ended here.
    pub(super) fn has_dropped(&self) -> bool {
        self.has_dropped.get()
    }

    fn keeps(&self, rules: &RequestRules, name: &[u8]) -> bool {
        let is_allowed = match &rules.trailers {
            Trailers::All => true,
            Trailers::Only(names) => names.iter().any(|it| name.eq_ignore_ascii_case(it.as_bytes())),
        };
        let drops_underscores = self.is_request && rules.underscore_fields != UnderscoreFields::Pass;
        is_allowed
            && !(drops_underscores && name.contains(&b'_'))
            && !self.nominated.iter().any(|it| name.eq_ignore_ascii_case(it))
    }
}
