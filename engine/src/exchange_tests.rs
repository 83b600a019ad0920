//! Exchanges over streams in memory, with seeded faults: every transfer may be short, every attempt may block, every
//! wait may fire early or late, and either side may end at any byte. A failure names the seed that replays it.

mod instructions;
mod mirror;
mod splice;
mod tunnel;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use corelane_balancer::{Group, Policy};
use corelane_routing::{PathPattern, Router, Rule};

use self::wire::{Message, take_message};
use crate::access_log::LogSink;
use crate::action::{Action, RouteTimeouts};
use crate::core::{Core, CoreParts};
use crate::counters::PerWorker;
use crate::event::event_channel;
use crate::io::memory::{Faults, MemoryStream, Seed, pair, set_dial_faults, take_dialled};
use crate::io::{ByteStream, Interest, clock};
use crate::limits::{Peers, SharedLimits};
use crate::listener::ListenerSlot;
use crate::local::Local;
use crate::record::LogPolicy;
use crate::session::Session;
use crate::snapshot::{
    Address, Chains, ClientHalfClose, Endpoint, ForwardedFields, HostPolicy, Listener, ListenerLimits,
    RequestRules, Route, Snapshot, Upstream,
};
use crate::stages::{Established, run_secured, with_tls};
use crate::task::BoxedTask;
use crate::tls::{self, Secure as _, Transport};
use crate::tracing::SpanSink;

/// What connections are made of, as a worker has them over sockets.
pub(crate) type TestStream = Transport<MemoryStream>;

thread_local! {
    /// Tasks that belong to no connection, for the world to run.
    static TASKS: RefCell<Vec<BoxedTask>> = const { RefCell::new(Vec::new()) };
}

const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn snapshot() -> Snapshot {
    let address = Address::Tcp("127.0.0.1:1".parse().unwrap());
    let rule = Rule::new(vec![0], vec![], PathPattern::prefix("/").unwrap());
    let endpoint = Endpoint::new(address.clone(), "origin".into(), PerWorker::new(1));
    Snapshot {
        serial: 1,
        generation: 1,
        listeners: vec![Listener {
            name: "web".into(),
            address: address.clone(),
            tls: None,
            http2: None,
            head_timeout: TIMEOUT,
            body_idle_timeout: TIMEOUT,
            keepalive_timeout: TIMEOUT,
            send_timeout: TIMEOUT,
            head_bytes_max: 16 * 1024,
            fields_max: 100,
            trusted_proxies: vec![],
            forwarded: ForwardedFields { x_forwarded: true, forwarded: true, via: true },
            client_half_close: ClientHalfClose::Abort,
            limits: ListenerLimits::default(),
            rules: RequestRules::default(),
            shared_limits: Arc::new(SharedLimits::new(&Peers::new(1).unwrap())),
            error_pages: Arc::default(),
            counters: PerWorker::new(1),
        }],
        routes: vec![Route {
            name: "all".into(),
            action: Action::Upstream(0),
            mirror: None,
            timeouts: RouteTimeouts::default(),
            host: HostPolicy::Preserve,
            body_bytes_max: 0,
            upgrades: vec!["websocket".into()],
            grpc_web: false,
            captures: vec![],
            chains: Chains::default(),
            log: LogPolicy::default(),
            counters: PerWorker::new(1),
        }],
        router: Router::build(&[rule], 1).unwrap(),
        upstreams: vec![Upstream {
            connect_timeout: TIMEOUT,
            response_head_timeout: TIMEOUT,
            body_idle_timeout: TIMEOUT,
            idle_timeout: TIMEOUT,
            idle_connections_max: 8,
            ..Upstream::new("origin".into(), Group::of_weights(Policy::RoundRobin, &[1]), vec![endpoint], 1)
        }],
        filters: vec![],
        access_log: None,
        tracing: None,
        histograms: false,
        chooses_by_latency: false,
    }
}

pub(crate) fn worker() -> Rc<Core<TestStream>> {
    worker_with(None)
}

fn worker_with(log: Option<LogSink>) -> Rc<Core<TestStream>> {
    worker_for(Snapshot { access_log: log.as_ref().map(|_| Arc::default()), ..snapshot() }, log)
}

fn worker_for(snapshot: Snapshot, log: Option<LogSink>) -> Rc<Core<TestStream>> {
    worker_on(snapshot, log, None)
}

fn worker_on(snapshot: Snapshot, log: Option<LogSink>, spans: Option<SpanSink>) -> Rc<Core<TestStream>> {
    let (events, _receiver) = event_channel().unwrap();
    let core = Rc::new(Core::new(CoreParts {
        index: 0,
        counters: PerWorker::new(1),
        events: events.clone(),
        log,
        spans,
        // No descriptor: deadlines are far away here.
        ticker: -1,
        alarm: -1,
        table_workers: 1,
        trim: || {},
        spawn: |task| TASKS.with_borrow_mut(|tasks| tasks.push(task)),
    }));
    let local = Local::new(Arc::new(snapshot), &Local::empty(0), 0, events);
    core.local.replace(Rc::new(local));
    core
}

pub(crate) fn session_over(core: &Rc<Core<TestStream>>, stream: MemoryStream) -> Session<TestStream> {
    let local = core.local.borrow().clone();
    let slot = Rc::new(ListenerSlot::new(core, 0, &local.snapshot().listeners[0]));
    let permit = slot.admission().try_permit().expect("the first of many");
    let mut established = Established { stream: Transport::Plain(stream), peer: None };
    if let Some(config) = local.tls_config(0) {
        established = with_tls(established, config).unwrap();
    }
    Session::new(core, &slot, permit, established)
}

/// A worker that speaks TLS with everybody.
fn worker_over_tls() -> Rc<Core<TestStream>> {
    let mut snapshot = snapshot();
    let (server, client) = tls::tests::both();
    snapshot.listeners[0].tls = Some(server);
    snapshot.upstreams[0].endpoints[0].tls = Some(client);
    worker_for(snapshot, None)
}

/// A peer of the proxy: sends what is queued, collects what comes, and ends or resets when told.
struct Peer {
    stream: Option<TestStream>,
    to_send: VecDeque<u8>,
    received: Vec<u8>,
    ended: bool,
}

impl Peer {
    fn new(stream: TestStream) -> Self {
        Self { stream: Some(stream), to_send: VecDeque::new(), received: Vec::new(), ended: false }
    }

    /// Moves what can be moved. Returns whether anything did, or is worth another attempt.
    fn step(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        match stream.poll_handshake(cx, None, &mut |_, _| Poll::Ready(())) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.ended = true,
            Poll::Pending => return false,
        }
        let mut moved = false;
        // An error is found by whoever sends or receives.
        let _ = stream.poll_flush(cx);
        if !self.to_send.is_empty() {
            let sent = stream.try_send(&[IoSlice::new(self.to_send.make_contiguous())]);
            match sent {
                Ok(sent) => {
                    self.to_send.drain(..sent);
                    moved = true;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    moved = stream.poll_ready(cx, Interest::Write).is_ready();
                }
                Err(_) => self.to_send.clear(),
            }
        }
        let mut buffer = vec![0; 8192];
        match stream.try_recv(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(received) => {
                self.received.extend_from_slice(&buffer[..received]);
                moved = true;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                moved |= stream.poll_ready(cx, Interest::Read).is_ready();
            }
            Err(_) => self.ended = true,
        }
        moved
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How often a waker was woken.
#[derive(Default)]
pub(crate) struct Count(pub(crate) AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn counter() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (count.clone(), Waker::from(count))
}

/// One connection through the proxy, and the origins behind it.
struct World {
    session: Option<Pin<Box<dyn Future<Output = ()>>>>,
    is_tls: bool,
    client: Peer,
    origins: Vec<Peer>,
    /// What was spawned beside the session.
    tasks: Vec<BoxedTask>,
    flag: Arc<Flag>,
}

impl World {
    /// With faults everywhere, or events as sockets have them, and sometimes TLS.
    fn new(seed: u64) -> Self {
        let has_edges = seed % 8 >= 6;
        let faults = |seed| if has_edges { Faults::edges() } else { Faults::unsteady(seed) };
        set_dial_faults(faults(seed ^ 0xabcd));
        let core = if seed % 4 == 3 { worker_over_tls() } else { worker() };
        Self::on(&core, faults(seed ^ 0x1234))
    }

    /// A new connection to this worker.
    fn on(core: &Rc<Core<TestStream>>, faults: Faults) -> Self {
        let mut world = Self::beneath(core, faults);
        if world.is_tls {
            let client = world.client.stream.take().unwrap();
            world.client.stream = Some(client.start_tls(&tls::tests::both().1).unwrap());
        }
        world
    }

    /// The same, with a client that sends and receives what is beneath TLS.
    fn beneath(core: &Rc<Core<TestStream>>, faults: Faults) -> Self {
        let (near, far) = pair(faults);
        let session = Box::new(session_over(core, near));
        let is_tls = core.local.borrow().tls_config(0).is_some();
        Self {
            session: Some(if is_tls { Box::pin(run_secured(session)) } else { Box::pin(session.run()) }),
            is_tls,
            client: Peer::new(Transport::Plain(far)),
            origins: Vec::new(),
            tasks: Vec::new(),
            flag: Arc::new(Flag(AtomicBool::new(true))),
        }
    }

    /// Runs until nothing moves any more. `act` is called between turns and says whether it did something.
    fn run(&mut self, act: &mut dyn FnMut(&mut Peer, &mut Vec<Peer>) -> bool) {
        let waker = Waker::from(self.flag.clone());
        let mut cx = Context::from_waker(&waker);
        // A bound on turns: without progress for so long the world is stuck in a loop.
        for _ in 0..3_000_000 {
            clock::start_turn();
            let woken = self.flag.0.swap(false, Ordering::Relaxed);
            if woken
                && let Some(session) = &mut self.session
                && session.as_mut().poll(&mut cx) == Poll::Ready(())
            {
                self.session = None;
            }
            if woken {
                self.tasks.append(&mut TASKS.take());
                self.tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
            }
            let mut moved = self.client.step(&mut cx);
            while let Some(stream) = take_dialled() {
                let mut stream = Transport::Plain(stream);
                if self.is_tls {
                    stream = stream.accept_tls(&tls::tests::both().0.config).unwrap();
                }
                self.origins.push(Peer::new(stream));
                moved = true;
            }
            for origin in &mut self.origins {
                moved |= origin.step(&mut cx);
            }
            moved |= act(&mut self.client, &mut self.origins);
            if !moved && !self.flag.0.load(Ordering::Relaxed) {
                return;
            }
        }
        panic!("the world never comes to rest");
    }
}

#[test]
fn every_byte_arrives_however_the_streams_behave() {
    for number in 0..300 {
        exchange_all(number);
    }
}

/// A few requests on one connection, partly pipelined, with random bodies both ways.
fn exchange_all(number: u64) {
    let mut seed = Seed::new(number);
    let count = 1 + seed.below(5);
    let pipelined = seed.once_in(2);
    let requests: Vec<Message> = (0..count)
        .map(|index| Message::random(&mut seed, &format!("POST /{index} HTTP/1.1\r\nHost: h")))
        .collect();
    let interim = seed.once_in(3);
    let responses: Vec<Message> = (0..count)
        .map(|index| Message::random(&mut seed, &format!("HTTP/1.1 200 OK\r\nX-Number: {index}")))
        .collect();
    let mut world = World::new(number);
    let mut next_request = 0;
    let mut answered = Vec::new();
    let answers = Cell::new(0);
    let mut origin_got = Vec::new();
    world.run(&mut |client, origins| {
        let mut acted = false;
        while next_request < count && (pipelined || next_request == answered.len()) {
            client.to_send.extend(requests[next_request].wire(&mut seed));
            next_request += 1;
            acted = true;
        }
        for origin in origins.iter_mut() {
            if let Some(got) = take_message(&mut origin.received) {
                origin_got.push(got);
                if interim {
                    origin.to_send.extend(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
                }
                origin.to_send.extend(responses[answers.get()].wire(&mut seed));
                answers.set(answers.get() + 1);
                acted = true;
            }
        }
        while let Some(answer) = take_message(&mut client.received) {
            if !answer.0.starts_with("HTTP/1.1 103") {
                answered.push(answer);
            }
            acted = true;
        }
        acted
    });
    assert_eq!(origin_got.len(), count, "seed {number}: every request arrives once");
    for (index, (head, body)) in origin_got.iter().enumerate() {
        assert!(head.starts_with(&format!("POST /{index} HTTP/1.1\r\n")), "seed {number}: in order");
        assert!(*body == requests[index].body, "seed {number}: request {index}");
    }
    assert_eq!(answered.len(), count, "seed {number}: every response arrives once");
    for (index, (head, body)) in answered.iter().enumerate() {
        assert!(head.contains(&format!("X-Number: {index}\r\n")), "seed {number}: in order");
        assert!(*body == responses[index].body, "seed {number}: response {index}");
    }
    assert!(world.session.is_some() && world.client.received.is_empty(), "seed {number}: kept alive");
    assert_eq!(world.origins.len(), 1, "seed {number}: one upstream connection serves all");
}

#[test]
fn a_response_cut_anywhere_never_looks_complete() {
    for number in 0..400 {
        cut_response(number);
    }
}

/// The origin ends or resets its connection at a random byte of its response.
fn cut_response(number: u64) {
    let mut seed = Seed::new(number);
    let response = Message::random(&mut seed, "HTTP/1.1 200 OK");
    let wire = response.wire(&mut seed);
    let cut = seed.below(wire.len());
    let reset = seed.once_in(2);
    // POST: nothing may be sent twice.
    let request = Message::random(&mut seed, "POST / HTTP/1.1\r\nHost: h");
    let mut world = World::new(number);
    world.client.to_send.extend(request.wire(&mut seed));
    let mut requests = 0;
    world.run(&mut |_, origins| {
        for origin in origins.iter_mut() {
            if origin.stream.is_some() && take_message(&mut origin.received).is_some() {
                requests += 1;
                origin.to_send.extend(&wire[..cut]);
                return true;
            }
            if requests > 0 && origin.to_send.is_empty() && origin.stream.is_some() {
                let mut stream = origin.stream.take().unwrap();
                if reset {
                    stream.abort();
                }
                return true;
            }
        }
        false
    });
    assert_eq!(requests, 1, "seed {number}: a POST is sent once");
    let mut received = world.client.received.clone();
    match take_message(&mut received) {
        Some((head, _)) => assert!(
            head.starts_with("HTTP/1.1 502 "),
            "seed {number}: cut at {cut} of {}, reset {reset}: looks complete:\n{head}",
            wire.len()
        ),
        None => assert!(world.client.ended, "seed {number}: a truncated response ends the connection"),
    }
}

#[test]
fn a_client_that_leaves_anywhere_leaves_nothing_behind() {
    for number in 0..300 {
        let mut seed = Seed::new(number);
        let wire = Message::random(&mut seed, "POST / HTTP/1.1\r\nHost: h").wire(&mut seed);
        let cut = seed.below(wire.len() + 1);
        let mut world = World::new(number);
        world.client.to_send.extend(&wire[..cut]);
        let mut left = false;
        world.run(&mut |client, _| {
            if !left && client.to_send.is_empty() {
                left = true;
                client.stream = None;
                return true;
            }
            false
        });
        assert!(world.session.is_none(), "seed {number}: the session ends");
        let open = world.origins.iter().filter(|origin| !origin.ended).count();
        assert_eq!(open, 0, "seed {number}: the request is abandoned");
    }
}
