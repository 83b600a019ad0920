//! Requests that are sent to a second upstream too, and whose answers nobody sees.
//!
//! ```text
//! exchange: MirrorCopy, while the request is received ──▶ task of its own: CheckOut / Connect → SendRequest ‖ DropResponse
//! ```
//!
//! The task begins when the request is complete; the exchange does not wait for it, and it is never tried a second time.
//! A mirrored request has a [`Place`] from its first byte on, so that the memory of all of them is bounded: without a place
//! it is not mirrored.

mod mirrored;

use std::cell::Cell;
use std::rc::Rc;

use corelane_http1::write_decimal;
use corelane_semantics::{BodyFraming, Method};

use self::mirrored::Mirrored;
pub(crate) use self::mirrored::PIECE_BYTES_MAX;
use crate::action::{Mirror as Settings, MirrorSkip};
use crate::core::Core;
use crate::io::Dial;
use crate::local::Local;
use crate::message::BodyBatch;
use crate::task;

/// One of the `mirrors_max` places that a route has on a worker. Given back when dropped.
struct Place<S: Dial> {
    core: Rc<Core<S>>,
    local: Rc<Local<S>>,
    route: usize,
    taken: Rc<Cell<usize>>,
}

impl<S: Dial> Place<S> {
    fn settings(&self) -> &Settings {
        let mirror = &self.local.snapshot().routes[self.route].mirror;
        mirror.as_ref().expect("only routes that mirror have places")
    }
}

impl<S: Dial> Drop for Place<S> {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - 1);
        self.settings().counters.of(self.core.index).active.decrement();
    }
}

/// A request that is to be mirrored, while it is received.
pub(crate) struct MirrorCopy<S: Dial> {
    place: Place<S>,
    body: Vec<u8>,
    is_whole: bool,
}

impl<S: Dial> MirrorCopy<S> {
    /// Begins a copy for a request of this route, if it is the mirror's turn and nothing speaks against it.
    pub(crate) fn begin(
        core: &Rc<Core<S>>,
        local: &Rc<Local<S>>,
        route: usize,
        framing: BodyFraming,
        may_switch: bool,
    ) -> Option<Box<Self>> {
        let settings = local.snapshot().routes[route].mirror.as_ref()?;
        let (rule, state) = (&settings.rule, local.route_state(route)?);
        if !state.takes(rule.share) {
            return None;
        }
        let counters = settings.counters.of(core.index);
        let is_large = matches!(framing, BodyFraming::Length(length) if length > rule.body_bytes_max as u64);
        let skip = if may_switch {
            Some(MirrorSkip::Upgrade)
        } else if is_large {
            Some(MirrorSkip::BodyTooLarge)
        } else if state.mirrors().get() >= rule.mirrors_max {
            Some(MirrorSkip::Busy)
        } else {
            None
        };
        if let Some(skip) = skip {
            counters.skipped.add(skip);
            return None;
        }
        let taken = state.mirrors().clone();
        taken.set(taken.get() + 1);
        counters.active.increment();
        let place = Place { core: core.clone(), local: local.clone(), route, taken };
        // Only mirrored requests allocate: this, and their task.
        Some(Box::new(Self { place, body: core.buffers.take(), is_whole: false }))
    }

    /// Adds what was received of the body. `false`: it is more than is mirrored, which is counted.
    pub(crate) fn add(&mut self, batch: &BodyBatch<'_>) -> bool {
        if (self.body.len() as u64).saturating_add(batch.bytes)
            > self.place.settings().rule.body_bytes_max as u64
        {
            self.skip(MirrorSkip::BodyTooLarge);
            return false;
        }
        batch.slices().for_each(|slice| self.body.extend_from_slice(slice));
        self.is_whole |= batch.end;
        true
    }

    /// The rest of the request stands with its head.
    pub(crate) fn complete(&mut self) {
        self.is_whole = true;
    }

    /// Whether the request was received completely.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Counts that the request is not mirrored.
    pub(crate) fn skip(&self, skip: MirrorSkip) {
        self.place.settings().counters.of(self.place.core.index).skipped.add(skip);
    }

    /// Sends the request, in a task of its own. `head` is what the route's own upstream gets, perhaps with a body behind it.
    pub(crate) fn send(self, head: &[u8], method: Method, framing: BodyFraming, is_of_connection: bool) {
        let Self { place, body, .. } = self;
        let core = place.core.clone();
        let mut request = core.buffers.take();
        if framing == BodyFraming::Chunked {
            write_with_length(head, body.len(), &mut request);
        } else {
            request.extend_from_slice(head);
        }
        let mirrored = Mirrored { place, head: request, body, method, is_of_connection };
        task::spawn_aside(&core, mirrored.run());
    }
}

/// Writes a head whose body is chunked as one whose body has a length; the trailers are lost.
fn write_with_length(head: &[u8], length: usize, out: &mut Vec<u8>) {
    // As we write it; what a client sends in its place ends here.
    const CHUNKED: &[u8] = b"\r\nTransfer-Encoding: chunked\r\n";
    let at = head.windows(CHUNKED.len()).position(|window| window == CHUNKED);
    let at = at.expect("a head for a chunked body says so");
    out.extend_from_slice(&head[..at]);
    out.extend_from_slice(b"\r\nContent-Length: ");
    write_decimal(out, length as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&head[at + CHUNKED.len()..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_head_becomes_one_with_a_length() {
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nVia: 1.1 corelane\r\n\r\n";
        let mut out = Vec::new();
        write_with_length(head, 1234, &mut out);
        assert_eq!(out, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1234\r\nVia: 1.1 corelane\r\n\r\n");
    }
}
