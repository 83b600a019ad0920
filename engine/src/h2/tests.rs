//! Connections over streams in memory, with the client of the `h2` crate or with bytes by hand at the other end.

mod client;
mod floods;
mod heads;
mod protocol;
mod streams;
mod tunnels;
mod turns;
mod wire;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use corelane_http1::HeadLimits;
use corelane_semantics::{BodyFraming, RequestHead};

use super::client::{ClientConnection, ClientLimits, Driver};
use super::connection::{Connection, End, Limits};
use super::io::{Io, Wire};
use super::stream::H2Downstream;
use super::upstream::H2Upstream;
use crate::core::Core;
use crate::exchange_tests::{Count, TestStream, counter, worker};
use crate::io::ByteStream as _;
use crate::io::memory::{Faults, pair};
use crate::message::{BodyBatch, BodyStep, Downstream, ReceiveError};
use crate::protocol::Http2Limits;
use crate::tls::{self, Secure as _, Transport};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What serves the requests of a test.
type Serve = dyn Fn(Rc<Core<TestStream>>, H2Downstream) -> Task;

fn limits() -> Limits {
    Limits {
        of_http2: Http2Limits::default(),
        head_bytes_max: 16 * 1024,
        fields_max: 100,
        requests_max: 0,
        head_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        send_timeout: Duration::from_secs(30),
    }
}

/// A server's connection, and the tasks that it begins.
struct Server {
    core: Rc<Core<TestStream>>,
    connection: Connection<TestStream>,
    serve: Box<Serve>,
    tasks: Vec<Task>,
    end: Option<End>,
    now_ms: u64,
    count: Arc<Count>,
    waker: Waker,
}

impl Server {
    fn new(core: &Rc<Core<TestStream>>, stream: TestStream, limits: Limits, serve: Box<Serve>) -> Self {
        let (count, waker) = counter();
        Self {
            core: core.clone(),
            connection: Connection::new(core, stream, Vec::new(), limits, 0),
            serve,
            tasks: Vec::new(),
            end: None,
            now_ms: 0,
            count,
            waker,
        }
    }

    /// Takes a turn: whether it was woken for one.
    fn turn(&mut self) -> bool {
        let woken = self.count.0.swap(0, Ordering::Relaxed) > 0;
        let mut cx = Context::from_waker(&self.waker);
        while self.end.is_none() {
            match self.connection.poll_request(&mut cx, self.now_ms) {
                Poll::Ready(Ok(stream)) => self.tasks.push((self.serve)(self.core.clone(), *stream)),
                Poll::Ready(Err(end)) => self.end = Some(end),
                Poll::Pending => break,
            }
        }
        self.tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
        woken
    }
}

/// A server and a client of the `h2` crate's.
struct World {
    server: Server,
    /// What the client does.
    client: Vec<Task>,
}

impl World {
    fn new(limits: Limits, serve: Box<Serve>) -> (Self, Sender) {
        Self::over(false, Faults::none(), limits, serve)
    }

    /// With faults at the server's end.
    fn over(is_tls: bool, faults: Faults, limits: Limits, serve: Box<Serve>) -> (Self, Sender) {
        Self::with_client(h2::client::Builder::new(), is_tls, faults, limits, serve)
    }

    /// With settings of the client's own.
    fn with_client(
        builder: h2::client::Builder,
        is_tls: bool,
        faults: Faults,
        limits: Limits,
        serve: Box<Serve>,
    ) -> (Self, Sender) {
        let core = worker();
        let (near, far) = pair(faults);
        let (mut near, mut far) = (Transport::Plain(near), Transport::Plain(far));
        if is_tls {
            (near, far) = shake_hands(near, far);
        }
        let wire = Rc::new(RefCell::new(Wire::of_client(&core, far)));
        let sender = Sender::default();
        let client = run_client(builder, wire, sender.clone());
        (Self { server: Server::new(&core, near, limits, serve), client: vec![client] }, sender)
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.client.push(Box::pin(task));
    }

    /// Runs until nothing happens any more.
    fn run(&mut self) {
        let (count, waker) = counter();
        let mut cx = Context::from_waker(&waker);
        let mut quiet_turns = 0;
        for _ in 0..1_000_000 {
            let mut woken = self.server.turn();
            self.client.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
            woken |= count.0.swap(0, Ordering::Relaxed) > 0;
            quiet_turns = if woken { 0 } else { quiet_turns + 1 };
            if quiet_turns > 1 {
                return;
            }
        }
        panic!("the connection never comes to rest");
    }
}

/// TLS on both ends.
fn shake_hands(near: TestStream, far: TestStream) -> (TestStream, TestStream) {
    let (server, client) = tls::tests::both();
    let (mut near, mut far) = (near.accept_tls(&server.config).unwrap(), far.start_tls(&client).unwrap());
    let (_count, waker) = counter();
    let mut cx = Context::from_waker(&waker);
    loop {
        let shaken = [&mut near, &mut far].map(|stream| {
            let shaken =
                stream.poll_handshake(&mut cx, None, &mut |_, _| Poll::Ready(())).map(Result::unwrap);
            // The last flight may be kept.
            if stream.poll_flush(&mut cx).is_ready() { shaken } else { Poll::Pending }
        });
        if shaken == [Poll::Ready(()); 2] {
            return (near, far);
        }
    }
}

/// The client's way to open streams, when its connection stands.
#[derive(Clone, Default)]
struct Sender(Rc<RefCell<Option<h2::client::SendRequest<Bytes>>>>);

impl Sender {
    async fn ready(&self) -> Result<h2::client::SendRequest<Bytes>, h2::Error> {
        let send = poll_fn(|cx| match &*self.0.borrow() {
            Some(send) => Poll::Ready(send.clone()),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        });
        send.await.ready().await
    }

    /// Sends a request without a body.
    async fn get(&self, request: http::Request<()>) -> Result<http::Response<h2::RecvStream>, h2::Error> {
        self.ready().await?.send_request(request, true)?.0.await
    }
}

/// Drives the client's connection as that of a server is driven.
fn run_client(builder: h2::client::Builder, wire: Rc<RefCell<Wire<TestStream>>>, sender: Sender) -> Task {
    Box::pin(async move {
        let mut handshake = Box::pin(builder.handshake(Io::new(&wire)));
        let mut connection = None;
        poll_fn(|cx| {
            loop {
                let polled = match &mut connection {
                    None => handshake.as_mut().poll(cx).map(|made| {
                        let (send, made) = made.unwrap();
                        sender.0.replace(Some(send));
                        connection = Some(made);
                        false
                    }),
                    Some(connection) => Pin::new(connection).poll(cx).map(|_| true),
                };
                let mut wire = wire.borrow_mut();
                let was_blocked = wire.poll_send(cx).is_pending();
                match polled {
                    Poll::Ready(true) => return Poll::Ready(()),
                    Poll::Ready(false) => {}
                    Poll::Pending if wire.take_was_full() && !was_blocked => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    })
}

/// Reads the head of a request as an exchange does.
fn head_of(core: &Core<TestStream>, stream: &mut H2Downstream) -> Result<String, ReceiveError> {
    let mut text = String::new();
    let (limits, mut head) = (HeadLimits::default(), RequestHead::default());
    let mut cx = Context::from_waker(Waker::noop());
    let read = stream.poll_request_head(&mut cx, core.lent(), &limits, &mut head, &mut |_, bytes| {
        text = String::from_utf8_lossy(bytes).into_owned();
    });
    match read {
        Poll::Ready(read) => read?,
        Poll::Pending => panic!("a stream begins with a whole head"),
    }
    Ok(text)
}

/// Receives the rest of a request: its body and trailers.
async fn receive(core: &Core<TestStream>, stream: &mut H2Downstream) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    while !stream.is_request_complete() {
        let step = poll_fn(|cx| {
            stream.poll_request_body(cx, core.lent(), &mut |batch| {
                batch.slices().for_each(|slice| body.extend_from_slice(slice));
                trailers.extend_from_slice(&batch.trailers);
                Ok(())
            })
        });
        if step.await.ok()? == BodyStep::End {
            break;
        }
    }
    Some((body, trailers))
}

/// Sends a response in batches, each when the one before has gone.
async fn respond(
    core: &Core<TestStream>,
    stream: &mut H2Downstream,
    head: &[u8],
    body: &[u8],
    trailers: Vec<u8>,
) -> std::io::Result<()> {
    let has_body = !(body.is_empty() && trailers.is_empty());
    stream.start_response(if has_body { BodyFraming::Chunked } else { BodyFraming::None }, false);
    let mut batches = body.chunks(20_000).peekable();
    let first = batches.next().unwrap_or_default();
    let batch =
        |slice, is_last| BodyBatch::of(slice, is_last, if is_last { trailers.clone() } else { vec![] });
    stream.send_response(&mut head.to_vec(), &batch(first, batches.peek().is_none()), core.lent())?;
    while let Some(slice) = batches.next() {
        poll_fn(|cx| stream.poll_flush(cx, core.lent())).await?;
        stream.send_response(&mut vec![], &batch(slice, batches.peek().is_none()), core.lent())?;
    }
    poll_fn(|cx| stream.poll_flush(cx, core.lent())).await
}

/// Answers with a head that ends the stream.
fn answers(head: &'static str) -> Box<Serve> {
    Box::new(move |core, mut stream| {
        Box::pin(async move {
            let _ = respond(&core, &mut stream, head.as_bytes(), b"", vec![]).await;
        })
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n";

fn get(uri: &str) -> http::Request<()> {
    http::Request::get(uri).body(()).unwrap()
}

/// A cell that a task writes and the test reads.
fn shared<T: Default>() -> (Rc<Cell<T>>, Rc<Cell<T>>) {
    let cell = Rc::new(Cell::default());
    (cell.clone(), cell)
}

/// Lets the others have so many turns.
async fn turns(count: u32) {
    let mut left = count;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
