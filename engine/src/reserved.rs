//! What an attempt has at its endpoint where requests or connections are limited: all of it, or it goes elsewhere. An exchange
//! has it in a box, so that it costs those without limits one word; the others pay an allocation.

use crate::io::{ByteStream, clock};
use crate::limits::{Permit, Place};
use crate::pool::{Pool, Pooled};
use crate::snapshot::{Endpoint, Upstream};

/// See the module.
pub(crate) struct Reserved<S> {
    /// Only held.
    _place: Option<Place>,
    /// An idle connection.
    stream: Option<S>,
    /// For that, or for one that is to be opened. It outlives the connection.
    permit: Option<Permit>,
}

impl<S: ByteStream> Reserved<S> {
    /// What one attempt needs, if there is room for it.
    pub(crate) fn take(endpoint: &Endpoint, pool: &Pool<S>, upstream: &Upstream) -> Option<Self> {
        let place = match &endpoint.limit {
            Some(limit) => Some(limit.try_take()?),
            None => None,
        };
        let Some(limit) = &endpoint.connections else {
            return Some(Self { _place: place, stream: None, permit: None });
        };
        if upstream.protocol.may_be_http2() && pool.shared().has_room() {
            return Some(Self { _place: place, stream: None, permit: None });
        }
        let mut permit = None;
        while let Some(stream) = pool.check_out(clock::coarse_ms(), upstream, &mut permit) {
            if permit.as_ref().is_some_and(|permit| permit.is_of(limit)) {
                return Some(Self { _place: place, stream: Some(stream), permit });
            }
            // It is older than the limit, and closes.
        }
        // One that was found closed leaves its permit.
        let permit = permit.filter(|permit| permit.is_of(limit)).or_else(|| limit.try_take())?;
        Some(Self { _place: place, stream: None, permit: Some(permit) })
    }

    /// What is left of it after a response: a connection that can be kept. The place is free.
    #[inline(never)]
    pub(crate) fn with(self, stream: S) -> Pooled<S> {
        Pooled { stream, permit: self.permit }
    }

    /// The permit: it goes with a connection that is opened for several requests, or is not needed.
    pub(crate) fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    /// The permit of a connection that others have opened.
    pub(crate) fn set_permit(&mut self, permit: Option<Permit>) {
        self.permit = permit;
    }

    /// An idle connection: the one that it has, or one that has become idle since.
    #[inline(never)]
    pub(crate) fn check_out(&mut self, pool: &Pool<S>, upstream: &Upstream) -> Option<S> {
        self.stream.take().or_else(|| pool.check_out(clock::coarse_ms(), upstream, &mut self.permit))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::time::Duration;

    use super::*;
    use crate::counters::PerWorker;
    use crate::deadlines::Deadlines;
    use crate::event::event_channel;
    use crate::exchange_tests::snapshot;
    use crate::io::memory::{Faults, MemoryStream, pair};
    use crate::limits::{EndpointConnections, OpenConnections, Peers, WaitingLine};
    use crate::local::{Local, LocalUpstream};
    use crate::snapshot::Snapshot;

    /// One upstream with one endpoint, for so many workers.
    fn limited(workers: usize, connections_max: u32) -> (Arc<Snapshot>, Peers) {
        let peers = Peers::new(workers).unwrap();
        let mut snapshot = snapshot();
        let endpoint = &mut snapshot.upstreams[0].endpoints[0];
        endpoint.counters = PerWorker::new(workers);
        let line = Arc::new(WaitingLine::new(&peers));
        let open = Arc::new(OpenConnections::new(line));
        endpoint.connections = Some(EndpointConnections { connections_max, open });
        (Arc::new(snapshot), peers)
    }

    /// A worker, as far as it has to do with this.
    struct Worker {
        index: usize,
        local: Local<MemoryStream>,
        snapshot: Arc<Snapshot>,
        peers: Peers,
    }

    impl Worker {
        fn new(index: usize, (snapshot, peers): &(Arc<Snapshot>, Peers)) -> Self {
            let (events, _) = event_channel().unwrap();
            let local = Local::new(snapshot.clone(), &Local::empty(index), index, events);
            Self { index, local, snapshot: snapshot.clone(), peers: peers.clone() }
        }

        fn upstream(&self) -> (&Upstream, &EndpointConnections) {
            let upstream = &self.snapshot.upstreams[0];
            (upstream, upstream.endpoints[0].connections.as_ref().unwrap())
        }

        fn state(&self) -> (&LocalUpstream<MemoryStream>, &Pool<MemoryStream>) {
            let state = self.local.upstream(0).unwrap();
            (state, state.pool(0).unwrap())
        }

        fn take(&self) -> Option<Reserved<MemoryStream>> {
            let upstream = self.upstream().0;
            Reserved::take(&upstream.endpoints[0], self.state().1, upstream)
        }

        /// The connection is idle after its request; its far end.
        fn keep(&self, reserved: Reserved<MemoryStream>) -> Option<MemoryStream> {
            let (upstream, limit) = self.upstream();
            let (stream, far) = match reserved.stream {
                Some(stream) => (stream, None),
                None => {
                    let (near, far) = pair(Faults::none());
                    (near, Some(far))
                }
            };
            let connection = Pooled { stream, permit: reserved.permit };
            self.state().1.check_in(connection, clock::coarse_ms(), upstream, Some(limit));
            far
        }

        fn idle(&self) -> u64 {
            self.upstream().0.endpoints[0].counters.of(self.index).idle.value()
        }

        /// What the main task does when it is woken.
        fn attend(&self) {
            let calls = self.peers.take_calls(self.index);
            calls.rooms.iter().for_each(|connections| self.local.make_room(connections));
        }

        /// As an exchange does that finds no room.
        fn wait(&self) -> Reserved<MemoryStream> {
            let (upstream, limit) = self.upstream();
            let choice = self.state().0.choice();
            let turn = limit.line().join(self.index, Deadlines::new(0).insert(), u32::MAX).unwrap();
            let (mut is_turn, mut has_asked) = (turn.is_first(), false);
            let reserved = loop {
                if std::mem::take(&mut is_turn) || turn.take_call() {
                    if let Some(reserved) = self.take() {
                        break reserved;
                    }
                    turn.pass_on();
                    has_asked = false;
                    continue;
                }
                if !std::mem::replace(&mut has_asked, true) {
                    choice.ask_for_room(upstream);
                }
                let wake = self.peers.of(self.index);
                assert!(wake.wait(Duration::from_secs(20)), "worker {} waits for ever", self.index);
                wake.acknowledge();
                self.attend();
            };
            drop(turn);
            if choice.has_room(upstream) {
                limit.line().call();
            }
            reserved
        }
    }

    #[test]
    fn an_idle_connection_is_used_before_another_is_opened() {
        let shared = limited(2, 2);
        let [one, other] = [0, 1].map(|index| Worker::new(index, &shared));
        let _far = one.keep(one.take().unwrap());
        assert!(one.take().is_some_and(|reserved| reserved.stream.is_some()));
        let _far = one.keep(one.take().unwrap());
        let opened = other.take().unwrap();
        assert!(opened.stream.is_none() && opened.permit.is_some() && other.take().is_none());
        assert_eq!((one.idle(), one.upstream().1.open.count()), (1, 2));
        drop(opened);
        assert_eq!(one.upstream().1.open.count(), 1);
    }

    #[test]
    fn one_that_was_closed_leaves_its_permit_to_its_successor() {
        let shared = limited(1, 1);
        let worker = Worker::new(0, &shared);
        drop(worker.keep(worker.take().unwrap()));
        let again = worker.take().unwrap();
        assert!(again.stream.is_none() && again.permit.is_some());
        assert_eq!((worker.idle(), worker.upstream().1.open.count()), (0, 1));
    }

    #[test]
    fn who_waits_elsewhere_has_an_idle_one_closed_and_who_waits_here_gets_it() {
        let shared = limited(2, 1);
        let [one, other] = [0, 1].map(|index| Worker::new(index, &shared));
        let _far = one.keep(one.take().unwrap());
        let limit = one.upstream().1;
        let deadlines = Deadlines::new(0);
        let waits = limit.line().join(1, deadlines.insert(), 9).unwrap();
        assert!(other.state().0.choice().ask_for_room(other.upstream().0));
        assert!(!waits.take_call());
        one.attend();
        assert!(waits.take_call() && one.idle() == 0 && limit.open.count() == 0);
        assert!(!other.state().0.choice().ask_for_room(other.upstream().0), "there is none");
        drop(waits);
        // One that has just been used goes the same way, but stays for who waits here.
        let used = one.take().unwrap();
        let waits = limit.line().join(1, deadlines.insert(), 9).unwrap();
        let _far = one.keep(used);
        assert!(waits.take_call() && one.idle() == 0 && limit.open.count() == 0);
        drop(waits);
        let used = one.take().unwrap();
        let waits = limit.line().join(0, deadlines.insert(), 9).unwrap();
        let _far = one.keep(used);
        assert!(waits.take_call() && one.idle() == 1 && limit.open.count() == 1);
    }

    #[test]
    fn connections_older_than_the_limit_are_not_kept() {
        let shared = limited(1, 2);
        let worker = Worker::new(0, &shared);
        let _far = worker.keep(Reserved { _place: None, stream: None, permit: None });
        assert_eq!(worker.idle(), 0);
        let (upstream, pool) = (worker.upstream().0, worker.state().1);
        let (near, _far) = pair(Faults::none());
        pool.check_in(Pooled { stream: near, permit: None }, 0, upstream, None);
        assert_eq!(worker.idle(), 1);
        assert!(worker.take().is_some_and(|reserved| reserved.stream.is_none() && reserved.permit.is_some()));
        assert_eq!((worker.idle(), worker.upstream().1.open.count()), (0, 0));
    }

    /// Says that a worker's requests are over, be it that it has panicked.
    struct Running<'a>(&'a AtomicUsize);

    impl Drop for Running<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn no_idle_connection_is_overlooked() {
        const WORKERS: usize = 4;
        let (shared, done) = (limited(WORKERS, 2), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for index in 0..WORKERS {
                let (shared, done) = (&shared, &done);
                scope.spawn(move || {
                    let running = Running(done);
                    let worker = Worker::new(index, shared);
                    let mut fars = Vec::new();
                    for round in 0..20_000u32 {
                        worker.attend();
                        let reserved = worker.take().unwrap_or_else(|| worker.wait());
                        assert!(worker.upstream().1.open.count() <= 2);
                        if round % 11 == 0 {
                            // Its connection cannot be used again.
                            continue;
                        }
                        fars.extend(worker.keep(reserved));
                    }
                    // It keeps what is idle as long as nobody asks for it.
                    drop(running);
                    while done.load(SeqCst) < WORKERS {
                        worker.peers.of(index).wait(Duration::from_millis(10));
                        worker.peers.of(index).acknowledge();
                        worker.attend();
                    }
                });
            }
        });
        let limit = shared.0.upstreams[0].endpoints[0].connections.as_ref().unwrap();
        assert_eq!((limit.open.count(), limit.line().is_awaited()), (0, false));
    }
}
