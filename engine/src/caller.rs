//! Who an exchange serves: the client's side of it, and what it shares with the other exchanges of its connection.

use std::rc::Rc;

use crate::core::{Core, Timer};
use crate::heads::ClientAddress;
use crate::io::Dial;
use crate::listener::ListenerSlot;

/// See the module. References only, made anew for each request.
pub(crate) struct Caller<'c, S: Dial, D> {
    pub(crate) core: &'c Rc<Core<S>>,
    pub(crate) slot: &'c mut Rc<ListenerSlot<S>>,
    pub(crate) client: &'c ClientAddress,
    pub(crate) timer: &'c mut Timer<S>,
    pub(crate) down: &'c mut D,
    /// Requests so far on its connection, this one included.
    pub(crate) requests: u64,
}

impl<'c, S: Dial, D> Caller<'c, S, D> {
    /// What a wait needs of it.
    #[inline(always)]
    pub(crate) fn parts(&mut self) -> (&'c Rc<Core<S>>, &mut D, &mut Timer<S>) {
        (self.core, self.down, self.timer)
    }
}
