//! The part of a mirrored request's life that its own exchange has: it is copied while it is received.

use std::rc::Rc;

use corelane_semantics::Method;

use super::Exchange;
use crate::action::MirrorSkip;
use crate::core::Core;
use crate::io::Dial;
use crate::message::Downstream;
use crate::mirror::MirrorCopy;

impl<S: Dial, D: Downstream> Exchange<S, D> {
    // Out of the way of exchanges that are not mirrored.

    pub(super) fn is_mirrored(&self) -> bool {
        self.route.is_some_and(|route| self.snapshot().routes[route].mirror.is_some())
    }

    /// Begins the copy, if the request is one of the mirror's. `resendable`: its body, if it has one, stands behind its head.
    #[cold]
    pub(super) fn begin_mirror(&mut self, core: &Rc<Core<S>>, route: usize, resendable: bool) {
        let may_switch = !self.words.upgrade.is_empty() || self.method == Method::Connect;
        self.mirror = MirrorCopy::begin(core, &self.local, route, self.framing, may_switch);
        if let (Some(copy), true) = (&mut self.mirror, resendable) {
            copy.complete();
        }
    }

    /// Sends the copy when it is complete.
    #[cold]
    pub(super) fn send_mirror(&mut self) {
        if let Some(copy) = self.mirror.take_if(|copy| copy.is_whole()) {
            let head = &self.head[self.head_start..];
            copy.send(head, self.method, self.framing, self.authenticates_connection);
        }
    }

    /// The exchange is over, whatever came of it.
    #[cold]
    pub(super) fn end_mirror(&mut self) {
        self.send_mirror();
        if let Some(copy) = self.mirror.take() {
            copy.skip(MirrorSkip::Incomplete);
        }
    }
}
