//! What the clients of one listener cost on this worker, over all their connections: the sum of what `conduct.rs` calls excess.
//!
//! Who behaves never gets here. At most [`CLIENTS_MAX`] are known at once; who comes beyond that takes the place of the one with
//! the smallest sum.

use std::cell::RefCell;
use std::collections::HashMap;

use super::conduct::Score;
use crate::limits::ClientKey;

/// Clients that are known at once. An entry takes 37 to 74 bytes of a hash map.
pub(crate) const CLIENTS_MAX: usize = 1024;

/// See the module. Seeded: whoever chooses many addresses cannot choose where they go.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    scores: RefCell<HashMap<ClientKey, Score>>,
}

impl Clients {
    /// Adds to the sum of a client; whether it is above `sum_max` now, at a time in milliseconds that never goes back.
    pub(crate) fn charge(&self, client: ClientKey, price: u32, now_ms: u64, sum_max: u32) -> bool {
        let mut scores = self.scores.borrow_mut();
        if scores.len() >= CLIENTS_MAX && !scores.contains_key(&client) {
            scores.retain(|_, score| score.forgive(now_ms, sum_max) > 0);
            let least = scores.iter().min_by_key(|(_, score)| score.sum).map(|(client, _)| *client);
            if let Some(least) = least.filter(|_| scores.len() >= CLIENTS_MAX) {
                scores.remove(&least);
            }
        }
        let score = scores.entry(client).or_insert_with(|| Score::at(now_ms));
        score.forgive(now_ms, sum_max);
        score.sum = score.sum.saturating_add(price);
        score.sum > sum_max
    }

    /// Whether the sum of a client is above `sum_max`.
    pub(crate) fn is_bad(&self, client: ClientKey, now_ms: u64, sum_max: u32) -> bool {
        let mut scores = self.scores.borrow_mut();
        let Some(score) = scores.get_mut(&client) else { return false };
        let left = score.forgive(now_ms, sum_max);
        if left == 0 {
            scores.remove(&client);
        }
        left > sum_max
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn client(number: u32) -> ClientKey {
        ClientKey::new(IpAddr::from(Ipv4Addr::from(number)))
    }

    #[test]
    fn a_client_is_bad_until_a_part_is_forgiven() {
        let clients = Clients::default();
        assert!(!clients.is_bad(client(1), 50_000, 300));
        assert!(!clients.charge(client(1), 300, 50_000, 300));
        assert!(!clients.is_bad(client(1), 50_000, 300));
        assert!(clients.charge(client(1), 15, 50_999, 300));
        assert!(clients.is_bad(client(1), 50_999, 300) && !clients.is_bad(client(2), 50_999, 300));
        // 10 a second.
        assert!(clients.is_bad(client(1), 51_999, 300) && !clients.is_bad(client(1), 52_000, 300));
        assert!(!clients.is_bad(client(1), 90_000, 300));
        assert!(clients.scores.borrow().is_empty(), "forgotten with the last of it");
    }

    #[test]
    fn no_more_are_known_than_there_may_be() {
        let clients = Clients::default();
        let most = u32::try_from(CLIENTS_MAX).unwrap();
        assert!(clients.charge(client(0), 1000, 0, 300));
        for number in 1..2 * most {
            clients.charge(client(number), 100, 0, 300);
        }
        assert_eq!(clients.scores.borrow().len(), CLIENTS_MAX);
        assert!(clients.is_bad(client(0), 0, 300), "the worst is not pushed out");
        // Those that are forgiven go first.
        clients.charge(client(3 * most), 1, 12_000, 300);
        assert_eq!(clients.scores.borrow().len(), 2);
    }
}
