//! How a worker ends.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_engine::command::{Command, Event, ListenSocket};
use corelane_engine::counters::PerWorker;
use corelane_engine::driver::{DriverRequest, probe};
use corelane_engine::event::{EventReceiver, event_channel};
use corelane_engine::limits::{Peers, SharedLimits};
use corelane_engine::snapshot::{
    Address, ClientHalfClose, ForwardedFields, Listener, ListenerLimits, RequestRules, Snapshot,
};
use corelane_engine::worker::{WorkerConfig, spawn};

const DEADLINE: Duration = Duration::from_secs(10);

fn wait_for(events: &EventReceiver, wanted: impl Fn(&Event) -> bool) {
    let start = Instant::now();
    while !events.try_recv().is_some_and(|event| wanted(&event)) {
        assert!(start.elapsed() < DEADLINE, "the event does not come");
        std::thread::yield_now();
    }
}

/// A worker that is joined, or has failed, leaves no connection open and no queue that nobody accepts from.
fn ends_cleanly_on(request: DriverRequest) {
    let (sender, events) = event_channel().unwrap();
    let peers = Peers::new(1).unwrap();
    let limits = Arc::new(SharedLimits::new(&peers));
    let worker = spawn(WorkerConfig {
        index: 0,
        peers,
        core: None,
        driver: probe(request).unwrap().driver,
        counters: PerWorker::new(1),
        events: sender,
        log: None,
    })
    .unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let bound = socket.local_addr().unwrap();
    let address = Address::Tcp(bound);
    let listener = Listener {
        name: "web".into(),
        address: address.clone(),
        head_timeout: DEADLINE,
        body_idle_timeout: DEADLINE,
        keepalive_timeout: DEADLINE,
        send_timeout: DEADLINE,
        head_bytes_max: 16 * 1024,
        fields_max: 100,
        trusted_proxies: vec![],
        forwarded: ForwardedFields { x_forwarded: true, forwarded: true, via: true },
        client_half_close: ClientHalfClose::Abort,
        limits: ListenerLimits::default(),
        rules: RequestRules::default(),
        shared_limits: limits.clone(),
        error_pages: Arc::default(),
        counters: PerWorker::new(1),
    };
    let counters = listener.counters.clone();
    let snapshot = Arc::new(Snapshot { serial: 1, listeners: vec![listener], ..Snapshot::default() });
    let sockets = vec![ListenSocket { address, fd: socket.into() }];
    worker.send(Command::Apply { snapshot, sockets }).unwrap();
    wait_for(&events, |event| matches!(event, Event::Applied { .. }));
    let mut client = TcpStream::connect(bound).unwrap();
    let start = Instant::now();
    while counters.of(0).connections.value() == 0 {
        assert!(start.elapsed() < DEADLINE, "the connection is not accepted");
        std::thread::yield_now();
    }
    worker.join();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "the connection is closed");
    assert!(TcpStream::connect(bound).is_err(), "nobody listens");
    assert_eq!(limits.open(), 0, "what it held of the limit is given back");
    assert_eq!(counters.of(0).connections.value(), 0);
}

#[test]
fn a_worker_on_io_uring_closes_what_it_had() {
    ends_cleanly_on(DriverRequest::Auto);
}

#[test]
fn a_worker_on_epoll_closes_what_it_had() {
    ends_cleanly_on(DriverRequest::Epoll);
}
