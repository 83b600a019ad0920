//! How a worker ends.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_engine::command::{Command, Event, ListenSocket};
use corelane_engine::counters::{ListenerCounters, PerWorker};
use corelane_engine::driver::{DriverRequest, probe};
use corelane_engine::event::{EventReceiver, event_channel};
use corelane_engine::limits::{Peers, SharedLimits};
use corelane_engine::snapshot::{
    Address, ClientHalfClose, ForwardedFields, Listener, ListenerLimits, RequestRules, Snapshot,
};
use corelane_engine::worker::{WorkerConfig, WorkerHandle, spawn};

const DEADLINE: Duration = Duration::from_secs(10);

fn wait_for(events: &EventReceiver, wanted: impl Fn(&Event) -> bool) {
    let start = Instant::now();
    while !events.try_recv().is_some_and(|event| wanted(&event)) {
        assert!(start.elapsed() < DEADLINE, "the event does not come");
        std::thread::yield_now();
    }
}

#[track_caller]
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}

/// Workers that share the limits of one listener and have a port each, so that a test can choose one.
struct Workers {
    handles: Vec<Option<WorkerHandle>>,
    ports: Vec<SocketAddr>,
    limits: Arc<SharedLimits>,
    counters: PerWorker<ListenerCounters>,
}

impl Workers {
    fn start(count: usize, connections_max: usize, request: DriverRequest) -> Self {
        let (sender, events) = event_channel().unwrap();
        let peers = Peers::new(count).unwrap();
        let limits = Arc::new(SharedLimits::new(&peers));
        let counters = PerWorker::new(count);
        let (mut handles, mut ports) = (Vec::new(), Vec::new());
        for index in 0..count {
            let worker = spawn(WorkerConfig {
                index,
                peers: peers.clone(),
                core: None,
                driver: probe(request).unwrap().driver,
                counters: PerWorker::new(count),
                events: sender.clone(),
                log: None,
                spans: None,
                trim: || {},
            })
            .unwrap();
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let port = socket.local_addr().unwrap();
            let address = Address::Tcp(port);
            let listener = Listener {
                name: "web".into(),
                address: address.clone(),
                tls: None,
                http2: None,
                head_timeout: DEADLINE,
                body_idle_timeout: DEADLINE,
                keepalive_timeout: DEADLINE,
                send_timeout: DEADLINE,
                head_bytes_max: 16 * 1024,
                fields_max: 100,
                trusted_proxies: vec![],
                forwarded: ForwardedFields { x_forwarded: true, forwarded: true, via: true },
                client_half_close: ClientHalfClose::Abort,
                limits: ListenerLimits { connections_max, ..ListenerLimits::default() },
                rules: RequestRules::default(),
                shared_limits: limits.clone(),
                error_pages: Arc::default(),
                counters: counters.clone(),
            };
            let snapshot = Arc::new(Snapshot { serial: 1, listeners: vec![listener], ..Snapshot::default() });
            let sockets = vec![ListenSocket { address, fd: socket.into() }];
            worker.send(Command::Apply { snapshot, sockets }).unwrap();
            wait_for(&events, |event| matches!(event, Event::Applied { .. }));
            handles.push(Some(worker));
            ports.push(port);
        }
        Self { handles, ports, limits, counters }
    }

    fn open(&self, worker: usize) -> u64 {
        self.counters.of(worker).connections.value()
    }

    fn waited(&self, worker: usize) -> u64 {
        self.counters.of(worker).connections_waited.value()
    }

    /// A connection with a request that has begun.
    fn busy_client(&self, worker: usize) -> TcpStream {
        let mut client = TcpStream::connect(self.ports[worker]).unwrap();
        client.write_all(b"G").unwrap();
        client
    }

    fn end(&mut self, worker: usize) {
        self.handles[worker].take().unwrap().join();
    }
}

/// A worker that is joined, or has failed, leaves no connection open and no queue that nobody accepts from.
fn ends_cleanly_on(request: DriverRequest) {
    let mut workers = Workers::start(1, 10, request);
    let mut clients = [TcpStream::connect(workers.ports[0]).unwrap(), workers.busy_client(0)];
    eventually("both are accepted", || workers.open(0) == 2);
    eventually("one is busy", || workers.counters.of(0).connections_active.value() == 1);
    workers.end(0);
    for client in &mut clients {
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        // The end, after an answer to the request that had begun.
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 503 "));
    }
    assert!(TcpStream::connect(workers.ports[0]).is_err(), "nobody listens");
    assert_eq!(workers.limits.open(), 0, "what it held of the limit is given back");
    assert_eq!((workers.open(0), workers.counters.of(0).connections_active.value()), (0, 0));
}

#[test]
fn what_an_ended_worker_held_goes_to_those_that_wait() {
    let mut workers = Workers::start(2, 2, DriverRequest::Auto);
    let _held = [workers.busy_client(0), workers.busy_client(0)];
    eventually("the limit is reached", || workers.open(0) == 2);
    // It waits itself, too.
    let _waiting = [workers.busy_client(0), workers.busy_client(1), workers.busy_client(1)];
    eventually("both wait", || workers.waited(0) == 1 && workers.waited(1) == 1);
    workers.end(0);
    eventually("the others are accepted", || workers.open(1) == 2);
    assert_eq!((workers.open(0), workers.limits.open()), (0, 2));
    workers.end(1);
    assert_eq!(workers.limits.open(), 0);
}

#[test]
fn nothing_is_granted_to_an_ended_worker() {
    let mut workers = Workers::start(2, 1, DriverRequest::Auto);
    let held = workers.busy_client(0);
    eventually("the limit is reached", || workers.open(0) == 1);
    let _waiting = workers.busy_client(1);
    eventually("the other waits", || workers.waited(1) == 1);
    workers.end(1);
    drop(held);
    eventually("it is free again", || workers.limits.open() == 0);
    let _next = workers.busy_client(0);
    eventually("the next is accepted", || workers.open(0) == 1);
}

#[test]
fn workers_end_beside_each_other() {
    let mut workers = Workers::start(2, 10, DriverRequest::Auto);
    let mut clients = [workers.busy_client(0), workers.busy_client(1)];
    eventually("both are busy", || {
        (0..2).all(|worker| workers.counters.of(worker).connections_active.value() == 1)
    });
    workers.handles.iter_mut().flatten().for_each(WorkerHandle::end);
    for client in &mut clients {
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    // Nobody has joined them yet.
    assert!(workers.handles[0].as_ref().unwrap().send(Command::Drain).is_err());
}

#[test]
fn a_worker_on_io_uring_closes_what_it_had() {
    ends_cleanly_on(DriverRequest::Auto);
}

#[test]
fn a_worker_on_epoll_closes_what_it_had() {
    ends_cleanly_on(DriverRequest::Epoll);
}
