//! The handshakes of a worker that are in progress: how many there may be, and how many get on in one turn.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::task::{Context, Poll};

use super::ServerTls;
use crate::counters::ListenerCounters;
use crate::io::{Work, clock, wake_next_turn};
use crate::limits::ClientKey;

/// Steps of handshakes in one turn of the worker, of clients and with endpoints: four signatures with RSA keys are some 2 ms.
const STEPS_A_TURN: u32 = 4;

/// Rations what takes long in handshakes, so that everything else gets on between.
#[derive(Debug, Default)]
pub(crate) struct HandshakeTurns {
    turn: Cell<u32>,
    steps: Cell<u32>,
}

impl HandshakeTurns {
    /// Waits until this turn of the worker has room for another step; those that wait come first in the next.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>, work: Work) -> Poll<()> {
        if self.turn.replace(clock::turn()) != clock::turn() {
            self.steps.set(0);
        }
        if self.steps.get() == STEPS_A_TURN {
            wake_next_turn(cx.waker(), work);
            return Poll::Pending;
        }
        self.steps.set(self.steps.get() + 1);
        Poll::Ready(())
    }
}

/// Of one listener's clients, where they are limited: how many each has in progress.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    clients: RefCell<HashMap<ClientKey, usize>>,
}

/// A place among them, until it is dropped.
pub(crate) struct HandshakePlace<'a> {
    handshakes: &'a Handshakes,
    counters: &'a ListenerCounters,
    client: Option<ClientKey>,
}

impl Handshakes {
    /// A place for one more, if the listener's limits allow it. `counters` are the listener's.
    pub(crate) fn place<'a>(
        &'a self,
        counters: &'a ListenerCounters,
        tls: &ServerTls,
        client: Option<IpAddr>,
    ) -> Option<HandshakePlace<'a>> {
        if tls.handshakes_max > 0 && counters.tls_handshaking.value() >= tls.handshakes_max as u64 {
            return None;
        }
        let client = client.filter(|_| tls.client_handshakes_max > 0).map(ClientKey::new);
        if let Some(client) = client {
            let mut clients = self.clients.borrow_mut();
            let count = clients.entry(client).or_default();
            if *count >= tls.client_handshakes_max {
                return None;
            }
            *count += 1;
        }
        counters.tls_handshaking.increment();
        Some(HandshakePlace { handshakes: self, counters, client })
    }
}

impl Drop for HandshakePlace<'_> {
    fn drop(&mut self) {
        self.counters.tls_handshaking.decrement();
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
    use crate::tls::tests::both;

    #[test]
    fn a_turn_has_so_many_steps_and_no_more() {
        let turns = HandshakeTurns::default();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            clock::refresh();
            for step in 0..STEPS_A_TURN {
                let work = if step % 2 == 0 { Work::New } else { Work::Begun };
                assert!(turns.poll_turn(&mut cx, work).is_ready());
            }
            assert!(turns.poll_turn(&mut cx, Work::Begun).is_pending());
        }
    }

    #[test]
    fn places_are_counted_for_all_and_for_each_client() {
        let (handshakes, counters) = (Handshakes::default(), ListenerCounters::default());
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| Some(ip.parse().unwrap()));
        let limited = |most, client_most| ServerTls {
            handshakes_max: most,
            client_handshakes_max: client_most,
            ..ServerTls::clone(&both().0)
        };
        let place =
            |client, most, client_most| handshakes.place(&counters, &limited(most, client_most), client);
        let first = place(one, 3, 1);
        assert!(first.is_some() && place(one, 3, 1).is_none());
        let second = place(other, 3, 1);
        // Over a Unix socket nobody is told from others.
        let third = place(None, 3, 1);
        assert!(second.is_some() && third.is_some());
        assert!(place(None, 3, 0).is_none());
        assert_eq!(counters.tls_handshaking.value(), 3);
        drop((first, third));
        assert!(place(one, 3, 1).is_some() && place(None, 0, 0).is_some());
        drop(second);
        assert!(handshakes.clients.borrow().is_empty(), "nothing is kept of who has gone");
        assert_eq!(counters.tls_handshaking.value(), 0);
    }
}
