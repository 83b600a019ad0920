//! The handshakes of a worker that are in progress: how many there may be, and how many get on in one turn.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::task::{Context, Poll};

use crate::io::{clock, wake_next_turn};
use crate::limits::ClientKey;

/// Handshakes that reach their signature in one turn of the worker: with RSA keys these are some 2 ms.
const SIGNATURES_A_TURN: u32 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    count: Cell<usize>,
    /// Of each client, where that is limited.
    clients: RefCell<HashMap<ClientKey, usize>>,
    turn: Cell<u32>,
    signed: Cell<u32>,
}

/// A place among them, until it is dropped.
pub(crate) struct Place<'a> {
    handshakes: &'a Handshakes,
    client: Option<ClientKey>,
}

impl Handshakes {
    /// A place for one more, if `most` and `client_most` (0: no limit) allow it.
    pub(crate) fn place(&self, most: usize, client: Option<IpAddr>, client_most: usize) -> Option<Place<'_>> {
        if most > 0 && self.count.get() >= most {
            return None;
        }
        let client = client.filter(|_| client_most > 0).map(ClientKey::new);
        if let Some(client) = client {
            let mut clients = self.clients.borrow_mut();
            let count = clients.entry(client).or_default();
            if *count >= client_most {
                return None;
            }
            *count += 1;
        }
        self.count.set(self.count.get() + 1);
        Some(Place { handshakes: self, client })
    }

    /// Waits until this turn of the worker has room for another signature; those that wait come first in the next.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn.replace(clock::turn()) != clock::turn() {
            self.signed.set(0);
        }
        if self.signed.get() == SIGNATURES_A_TURN {
            wake_next_turn(cx.waker());
            return Poll::Pending;
        }
        self.signed.set(self.signed.get() + 1);
        Poll::Ready(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.handshakes.count.set(self.handshakes.count.get() - 1);
        let Some(client) = self.client else { return };
        let mut clients = self.handshakes.clients.borrow_mut();
        if let Some(count) = clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_turn_has_so_many_signatures_and_no_more() {
        let handshakes = Handshakes::default();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            clock::refresh();
            for _ in 0..SIGNATURES_A_TURN {
                assert!(handshakes.poll_turn(&mut cx).is_ready());
            }
            assert!(handshakes.poll_turn(&mut cx).is_pending());
        }
    }

    #[test]
    fn places_are_counted_for_all_and_for_each_client() {
        let handshakes = Handshakes::default();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| Some(ip.parse().unwrap()));
        let first = handshakes.place(3, one, 1);
        assert!(first.is_some() && handshakes.place(3, one, 1).is_none());
        let second = handshakes.place(3, other, 1);
        // Over a Unix socket nobody is told from others.
        let third = handshakes.place(3, None, 1);
        assert!(second.is_some() && third.is_some());
        assert!(handshakes.place(3, None, 0).is_none());
        drop((first, third));
        assert!(handshakes.place(3, one, 1).is_some() && handshakes.place(0, None, 0).is_some());
        drop(second);
        assert!(handshakes.clients.borrow().is_empty(), "nothing is kept of who has gone");
    }
}
