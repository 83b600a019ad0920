//! Connections that each client has open, over all workers: a table with an entry for each client that has one.
//!
//! Used only where `client_connections_max` is set, at accept and at close. A lock around a shard of it is held for one
//! operation on a hash map; ARCHITECTURE.md says why that is right here and nowhere else on a worker.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::counters::Padded;

/// Shards of the table: with one accept in some 20 µs on each worker and 100 ns under the lock, two of 64 workers meet
/// at one of them once in a few hundred accepts.
const SHARDS: usize = 64;

/// Who counts as one client: an IPv4 address, or the /64 network of an IPv6 address, which is what one customer has at
/// least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey {
    is_v6: bool,
    bits: u64,
}

impl ClientKey {
    pub(crate) fn new(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self { is_v6: false, bits: u64::from(ip.to_bits()) },
            IpAddr::V6(ip) => Self {
                is_v6: true,
                bits: u64::try_from(ip.to_bits() >> 64).expect("the upper half of 128 bits"),
            },
        }
    }

    /// A number that stands for it; two clients of different families may share one.
    pub(crate) fn bits(self) -> u64 {
        self.bits
    }
}

/// How many connections each of some clients has open.
type Shard = Mutex<HashMap<ClientKey, u32>>;

/// See the module. An entry takes 29 to 57 bytes of a hash map; there are at most as many as connections open, and a
/// shard keeps the room that it once needed.
#[derive(Debug)]
pub(crate) struct ClientLimit {
    shards: Box<[Padded<Shard>]>,
    /// Seeded: whoever chooses many addresses cannot choose where they go.
    hasher: RandomState,
}

impl Default for ClientLimit {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Padded::default()).collect(), hasher: RandomState::new() }
    }
}

impl ClientLimit {
    /// Counts one more connection of a client, unless it has `max` already.
    pub(crate) fn try_take(&self, client: ClientKey, max: u32) -> bool {
        let mut shard = self.shard(client);
        let count = shard.entry(client).or_default();
        let free = *count < max;
        if free {
            *count += 1;
        } else if *count == 0 {
            shard.remove(&client);
        }
        free
    }

    /// A connection that was counted has ended.
    pub(crate) fn give_back(&self, client: ClientKey) {
        let mut shard = self.shard(client);
        let Some(count) = shard.get_mut(&client) else { return };
        *count -= 1;
        if *count == 0 {
            shard.remove(&client);
        }
    }

    /// Clients with a connection open.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|Padded(shard)| lock(shard).len()).sum()
    }

    fn shard(&self, client: ClientKey) -> MutexGuard<'_, HashMap<ClientKey, u32>> {
        let hash = self.hasher.hash_one(client);
        let index = usize::try_from(hash % SHARDS as u64).expect("less than the number of shards");
        lock(&self.shards[index].0)
    }
}

/// A map is whole after each operation, whatever a thread that held it did next.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(ip: &str) -> ClientKey {
        ClientKey::new(ip.parse().unwrap())
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
        // The same bits in another family.
        assert_ne!(key("0.0.0.1"), key("0:0:0:1::1"));
    }

    #[test]
    fn entries_last_as_long_as_connections() {
        let limit = ClientLimit::default();
        assert!(!limit.try_take(key("192.0.2.1"), 0));
        assert_eq!(limit.len(), 0);
        assert!(limit.try_take(key("192.0.2.1"), 2) && limit.try_take(key("192.0.2.1"), 2));
        assert!(!limit.try_take(key("192.0.2.1"), 2) && limit.try_take(key("192.0.2.2"), 2));
        assert_eq!(limit.len(), 2);
        // Lowered: nobody is cut, nobody comes in.
        assert!(!limit.try_take(key("192.0.2.1"), 1));
        limit.give_back(key("192.0.2.1"));
        assert!(!limit.try_take(key("192.0.2.1"), 1));
        limit.give_back(key("192.0.2.1"));
        limit.give_back(key("192.0.2.2"));
        assert_eq!(limit.len(), 0);
    }

    #[test]
    fn is_exact_over_threads() {
        const MAX: u32 = 3;
        let limit = ClientLimit::default();
        let open: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0u32..50_000 {
                        let client = (round % 4) as usize;
                        let key = ClientKey::new(IpAddr::from(std::net::Ipv4Addr::from(round % 4)));
                        if limit.try_take(key, MAX) {
                            let now = open[client].fetch_add(1, Ordering::SeqCst) + 1;
                            assert!(now <= MAX as usize, "{now} at once");
                            open[client].fetch_sub(1, Ordering::SeqCst);
                            limit.give_back(key);
                        }
                    }
                });
            }
        });
        assert_eq!(limit.len(), 0);
    }
}
