//! Every counter set of the process, by the name of what it counts.
//!
//! Sets survive reloads: what keeps its name keeps its counters. A set is dropped when its name is no longer configured
//! and no exchange works from a snapshot that still had it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use corelane_engine::counters::{
    CounterSet, EndpointCounters, FilterCounters, ListenerCounters, MirrorCounters, PerWorker, RouteCounters,
    UpstreamCounters, WorkerCounters,
};
use corelane_engine::limits::{OpenConnections, Peers, Places, SharedBreaker, SharedLimits, WaitingLine};
use corelane_engine::outlier::FailureRow;
use corelane_engine::snapshot::Address;

/// All counter sets.
#[derive(Debug)]
pub(crate) struct Registry {
    /// What the workers count about themselves.
    pub(crate) workers: PerWorker<WorkerCounters>,
    /// By the listener's name.
    pub(crate) listeners: Family<Arc<str>, ListenerCounters>,
    /// What the workers share of a listener, by its name.
    pub(crate) shared_limits: Limits,
    /// By the route's name.
    pub(crate) routes: Family<Arc<str>, RouteCounters>,
    /// By the name of the route that mirrors.
    pub(crate) mirrors: Family<Arc<str>, MirrorCounters>,
    /// By the filter's name.
    pub(crate) filters: Family<Arc<str>, FilterCounters>,
    /// By the upstream's name.
    pub(crate) upstreams: Family<Arc<str>, UpstreamCounters>,
    /// By the upstream's name and the endpoint's address.
    pub(crate) endpoints: Family<(Arc<str>, Address), EndpointCounters>,
    /// Attempts at endpoints that have failed in a row.
    pub(crate) failures: Shared<(Arc<str>, Address), FailureRow>,
    /// Requests in progress at endpoints where they are limited.
    pub(crate) places: Shared<(Arc<str>, Address), Places>,
    /// The same at upstreams, by name.
    pub(crate) upstream_places: Shared<Arc<str>, Places>,
    /// Retries of upstreams where they are limited, by name.
    pub(crate) retry_places: Shared<Arc<str>, Places>,
    /// The breakers of upstreams, by name.
    pub(crate) breakers: Shared<Arc<str>, SharedBreaker>,
    /// Connections to endpoints where they are limited.
    pub(crate) connections_open: Shared<(Arc<str>, Address), OpenConnections>,
    /// Who waits for a place, by the upstream's name.
    lines: Shared<Arc<str>, WaitingLine>,
}

impl Registry {
    /// No sets yet but the workers' own.
    pub(crate) fn new(peers: &Peers) -> Self {
        let workers = peers.workers();
        Self {
            shared_limits: Limits { peers: peers.clone(), sets: BTreeMap::new() },
            workers: PerWorker::new(workers),
            listeners: Family::new(workers),
            routes: Family::new(workers),
            mirrors: Family::new(workers),
            filters: Family::new(workers),
            upstreams: Family::new(workers),
            endpoints: Family::new(workers),
            failures: Shared::default(),
            places: Shared::default(),
            upstream_places: Shared::default(),
            retry_places: Shared::default(),
            breakers: Shared::default(),
            connections_open: Shared::default(),
            lines: Shared::default(),
        }
    }

    /// Who waits at the upstream for the snapshot `serial`.
    pub(crate) fn line(&mut self, upstream: Arc<str>, serial: u64) -> Arc<WaitingLine> {
        let peers = &self.shared_limits.peers;
        self.lines.of(upstream, serial, || WaitingLine::new(peers))
    }

    /// Drops the sets that only snapshots older than `serial` used.
    pub(crate) fn drop_unused_since(&mut self, serial: u64) {
        self.listeners.drop_unused_since(serial);
        self.shared_limits.sets.retain(|_, (_, used_by)| *used_by >= serial);
        self.routes.drop_unused_since(serial);
        self.mirrors.drop_unused_since(serial);
        self.filters.drop_unused_since(serial);
        self.upstreams.drop_unused_since(serial);
        self.endpoints.drop_unused_since(serial);
        self.failures.drop_unused_since(serial);
        self.places.drop_unused_since(serial);
        self.upstream_places.drop_unused_since(serial);
        self.retry_places.drop_unused_since(serial);
        self.breakers.drop_unused_since(serial);
        self.connections_open.drop_unused_since(serial);
        self.lines.drop_unused_since(serial);
    }

    /// Client connections that are open now, on all listeners.
    pub(crate) fn connections(&self) -> u64 {
        let open = self.listeners.iter().flat_map(|(_, counters)| counters.iter());
        open.fold(0, |sum: u64, counters| sum.wrapping_add(counters.connections.value()))
    }
}

/// The counter sets of one kind of thing.
#[derive(Debug)]
pub(crate) struct Family<K, T> {
    workers: usize,
    sets: BTreeMap<K, Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    counters: PerWorker<T>,
    /// The serial of the newest snapshot with this set.
    used_by: u64,
}

impl<K: Ord, T: CounterSet> Family<K, T> {
    fn new(workers: usize) -> Self {
        Self { workers, sets: BTreeMap::new() }
    }

    /// The counters of `key` for the snapshot `serial`: those that it has, or new ones.
    pub(crate) fn of(&mut self, key: K, serial: u64) -> PerWorker<T> {
        let workers = self.workers;
        let entry = self.sets.entry(key);
        let entry = entry.or_insert_with(|| Entry { counters: PerWorker::new(workers), used_by: serial });
        entry.used_by = entry.used_by.max(serial);
        entry.counters.clone()
    }

    /// Each key behind `key`, or each one, with its counters, ordered.
    pub(crate) fn after(&self, key: Option<&K>) -> impl Iterator<Item = (&K, &PerWorker<T>)> {
        let start = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.sets.range((start, Bound::Unbounded)).map(|(key, entry)| (key, &entry.counters))
    }

    /// Each key with its counters, ordered.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &PerWorker<T>)> {
        self.sets.iter().map(|(key, entry)| (key, &entry.counters))
    }

    /// Drops the sets that only snapshots older than `serial` used.
    pub(crate) fn drop_unused_since(&mut self, serial: u64) {
        self.sets.retain(|_, entry| entry.used_by >= serial);
    }
}

/// The limits of every listener that are counted over all workers. They live as long as its counters.
#[derive(Debug)]
pub(crate) struct Limits {
    peers: Peers,
    /// With the serial of the newest snapshot that has them.
    sets: BTreeMap<Arc<str>, (Arc<SharedLimits>, u64)>,
}

impl Limits {
    /// Those of the listener for the snapshot `serial`: the ones that it has, or new ones.
    pub(crate) fn of(&mut self, name: Arc<str>, serial: u64) -> Arc<SharedLimits> {
        let peers = &self.peers;
        let (limits, used_by) =
            self.sets.entry(name).or_insert_with(|| (Arc::new(SharedLimits::new(peers)), serial));
        *used_by = serial.max(*used_by);
        limits.clone()
    }
}

/// What all workers share of one kind of thing. It lives as long as the thing's counters.
#[derive(Debug)]
pub(crate) struct Shared<K, T> {
    /// With the serial of the newest snapshot that has it.
    sets: BTreeMap<K, (Arc<T>, u64)>,
}

impl<K, T> Default for Shared<K, T> {
    fn default() -> Self {
        Self { sets: BTreeMap::new() }
    }
}

impl<K: Ord, T> Shared<K, T> {
    /// That of `key` for the snapshot `serial`: the one that it has, or a new one.
    pub(crate) fn of(&mut self, key: K, serial: u64, make: impl FnOnce() -> T) -> Arc<T> {
        let (shared, used_by) = self.sets.entry(key).or_insert_with(|| (Arc::new(make()), serial));
        *used_by = serial.max(*used_by);
        shared.clone()
    }

    /// Each key behind `key`, or each one, with its own, ordered.
    pub(crate) fn after(&self, key: Option<&K>) -> impl Iterator<Item = (&K, &T)> {
        let start = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.sets.range((start, Bound::Unbounded)).map(|(key, (shared, _))| (key, &**shared))
    }

    fn drop_unused_since(&mut self, serial: u64) {
        self.sets.retain(|_, (_, used_by)| *used_by >= serial);
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures;

    #[test]
    fn counters_survive_while_a_snapshot_has_them() {
        let mut registry = fixtures::registry(2);
        registry.listeners.of("web".into(), 1).of(0).connections.add(3);
        registry.listeners.of("old".into(), 1).of(1).connections.add(4);
        assert_eq!(registry.connections(), 7);

        registry.listeners.of("web".into(), 2).of(1).connections.increment();
        registry.drop_unused_since(1);
        assert_eq!(registry.connections(), 8, "an exchange still uses snapshot 1");
        registry.drop_unused_since(2);
        assert_eq!(registry.connections(), 4);
        assert_eq!(registry.listeners.of("old".into(), 3).of(1).connections.value(), 0);
    }
}
