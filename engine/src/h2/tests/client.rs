//! Connections to endpoints, with the server of the `h2` crate or with bytes by hand at the other end.

mod ends;
mod heads;
mod rules;
mod streams;

use super::*;
use crate::h2::conduct::Conduct;
use crate::message::{RelayError, Upstream};
use corelane_semantics::{Method, ResponseHead, response_framing};
use h2::server::SendResponse;
use h2::{RecvStream, server};

fn client_limits() -> ClientLimits {
    ClientLimits {
        streams_max: 1000,
        requests_max: 0,
        stream_window: 64 * 1024,
        connection_window: 1024 * 1024,
        head_bytes_max: 16 * 1024,
        fields_max: 100,
        ping_interval: Duration::ZERO,
        ping_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        send_timeout: Duration::from_secs(30),
    }
}

/// Our end of a connection.
struct Near {
    core: Rc<Core<TestStream>>,
    driver: Driver<TestStream>,
    connection: Rc<ClientConnection>,
    now_ms: u64,
    count: Arc<Count>,
    waker: Waker,
}

impl Near {
    fn new(stream: TestStream, limits: ClientLimits) -> Self {
        let core = worker();
        let driver = Driver::new(&core, stream, limits, 0);
        let connection = driver.connection();
        let (count, waker) = counter();
        Self { core, driver, connection, now_ms: 0, count, waker }
    }

    /// Takes a turn: whether it was woken for one.
    fn turn(&mut self) -> bool {
        let woken = self.count.0.swap(0, Ordering::Relaxed) > 0;
        let _ = self.driver.poll(&mut Context::from_waker(&self.waker), self.now_ms);
        woken
    }

    fn open(&self) -> H2Upstream {
        self.connection.open(false, HeadLimits::default())
    }
}

/// What an endpoint does with a request.
type Answer = dyn Fn(http::Request<RecvStream>, SendResponse<Bytes>) -> Task;

/// Our end, an endpoint of the `h2` crate's, and the tasks of both.
struct Wired {
    near: Near,
    tasks: Vec<Task>,
    /// What the endpoint has begun.
    begun: Rc<RefCell<Vec<Task>>>,
    /// The endpoint is to end after its streams.
    drains: Rc<Cell<bool>>,
}

impl Wired {
    fn new(limits: ClientLimits, answer: Box<Answer>) -> Self {
        Self::over(false, Faults::none(), limits, server::Builder::new(), answer)
    }

    /// With faults at our end.
    fn over(
        is_tls: bool,
        faults: Faults,
        limits: ClientLimits,
        builder: server::Builder,
        answer: Box<Answer>,
    ) -> Self {
        let (near, far) = pair(faults);
        let (mut near, mut far) = (Transport::Plain(near), Transport::Plain(far));
        if is_tls {
            (far, near) = shake_hands(far, near);
        }
        let near = Near::new(near, limits);
        let wire = Rc::new(RefCell::new(Wire::of_server(
            &near.core,
            far,
            Vec::new(),
            Conduct::of_client(u32::MAX, 0),
        )));
        let (begun, drains) = (Rc::default(), Rc::default());
        let endpoint = run_endpoint(wire, builder, answer, Rc::clone(&begun), Rc::clone(&drains));
        Self { near, tasks: vec![endpoint], begun, drains }
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.tasks.push(Box::pin(task));
    }

    /// Runs until nothing happens any more.
    fn run(&mut self) {
        let (count, waker) = counter();
        let mut cx = Context::from_waker(&waker);
        let mut quiet_turns = 0;
        for _ in 0..1_000_000 {
            self.tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
            let begun = self.begun.take();
            let mut woken = !begun.is_empty();
            self.tasks.extend(begun);
            woken |= self.near.turn();
            woken |= count.0.swap(0, Ordering::Relaxed) > 0;
            quiet_turns = if woken { 0 } else { quiet_turns + 1 };
            if quiet_turns > 1 {
                return;
            }
        }
        panic!("the connection never comes to rest");
    }

    /// Sends a request without a body and receives what comes.
    fn get(&mut self) -> Rc<RefCell<Option<Got>>> {
        self.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"", vec![])
    }

    fn ask(&mut self, head: &[u8], body: &[u8], trailers: Vec<u8>) -> Rc<RefCell<Option<Got>>> {
        let (core, up) = (self.near.core.clone(), self.near.open());
        let (head, body) = (head.to_vec(), body.to_vec());
        let got = Rc::new(RefCell::new(None));
        let told = got.clone();
        self.spawn(async move {
            told.replace(Some(exchange(&core, up, &head, &body, trailers).await));
        });
        got
    }
}

/// Drives an endpoint's connection.
fn run_endpoint(
    wire: Rc<RefCell<Wire<TestStream>>>,
    builder: server::Builder,
    answer: Box<Answer>,
    begun: Rc<RefCell<Vec<Task>>>,
    drains: Rc<Cell<bool>>,
) -> Task {
    let mut handshake = Box::pin(builder.handshake(Io::new(&wire)));
    let mut connection: Option<server::Connection<Io<TestStream>, Bytes>> = None;
    Box::pin(poll_fn(move |cx| {
        loop {
            let polled = match &mut connection {
                None => match handshake.as_mut().poll(cx) {
                    Poll::Ready(Ok(made)) => {
                        connection = Some(made);
                        continue;
                    }
                    Poll::Ready(Err(_)) => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                },
                Some(connection) => {
                    if drains.take() {
                        connection.graceful_shutdown();
                    }
                    connection.poll_accept(cx)
                }
            };
            let mut wire = wire.borrow_mut();
            let was_blocked = wire.poll_send(cx).is_pending();
            match polled {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    begun.borrow_mut().push(answer(request, respond))
                }
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
                Poll::Pending if wire.take_was_full() && !was_blocked => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }))
}

/// What an exchange has got.
#[derive(Debug, Default)]
struct Got {
    heads: Vec<String>,
    body: Vec<u8>,
    trailers: String,
    /// How it has failed.
    error: Option<String>,
    was_not_processed: bool,
    accepted: u64,
}

impl Got {
    fn is_whole(&self) -> bool {
        self.error.is_none() && !self.heads.is_empty()
    }
}

/// Sends a request in batches, each when the one before has gone, and receives the response meanwhile.
async fn exchange(
    core: &Core<TestStream>,
    mut up: H2Upstream,
    head: &[u8],
    body: &[u8],
    trailers: Vec<u8>,
) -> Got {
    let mut got = Got::default();
    let mut batches = body.chunks(20_000).peekable();
    let (mut head, mut head_in, mut is_sent, mut is_head) = (head, ResponseHead::default(), false, true);
    let method = if head.starts_with(b"HEAD") { Method::Head } else { Method::Get };
    let received = poll_fn(|cx| {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            if up.is_blocked() {
                match up.poll_flush(cx, core.lent()) {
                    Poll::Ready(Err(_)) => is_sent = true,
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Pending => {}
                }
            }
            if !up.is_blocked() && !is_sent {
                let slice = batches.next().unwrap_or_default();
                is_sent = batches.peek().is_none();
                let trailers = if is_sent { trailers.clone() } else { vec![] };
                is_sent |=
                    up.send_request(head, &BodyBatch::of(slice, is_sent, trailers), core.lent()).is_err();
                (head, moved) = (b"", true);
            }
            if is_head {
                let mut framing = Ok(BodyFraming::None);
                let read = up.poll_response_head(cx, core.lent(), &mut head_in, &mut |head, bytes| {
                    got.heads.push(String::from_utf8_lossy(bytes).into_owned());
                    is_head = matches!(head.status, 100..=199);
                    framing = response_framing(head, bytes, method);
                });
                match read {
                    Poll::Ready(Ok(())) if is_head => moved = true,
                    Poll::Ready(Ok(())) => match framing {
                        Ok(framing) => {
                            up.start_body(framing);
                            moved = true;
                        }
                        Err(error) => return Poll::Ready(Err(error.into())),
                    },
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
                continue;
            }
            let step = up.poll_response_body(cx, core.lent(), &mut |batch| {
                batch.slices().for_each(|slice| got.body.extend_from_slice(slice));
                got.trailers += &String::from_utf8_lossy(&batch.trailers);
                Ok(())
            });
            match step {
                Poll::Ready(Ok(BodyStep::End)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(BodyStep::More)) => moved = true,
                Poll::Ready(Err(RelayError::Receive(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(Err(RelayError::Send)) => unreachable!("all is taken"),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    });
    got.error = received.await.err().map(|error| error.to_string());
    assert!(up.is_response_complete() || got.error.is_some());
    assert!(up.has_received() || got.heads.is_empty());
    (got.was_not_processed, got.accepted) = (up.was_not_processed(), up.accepted());
    got
}

/// Sends back what it gets, trailers too.
fn sends_back() -> Box<Answer> {
    Box::new(|request, mut respond| {
        Box::pin(async move {
            let mut body = request.into_body();
            let Ok(mut response) = respond.send_response(http::Response::new(()), false) else { return };
            while let Some(piece) = body.data().await {
                let Ok(piece) = piece else { return };
                let _ = body.flow_control().release_capacity(piece.len());
                if response.send_data(piece, false).is_err() {
                    return;
                }
            }
            // An error means that nobody wants it any more.
            let _ = match body.trailers().await {
                Ok(Some(trailers)) => response.send_trailers(trailers),
                Ok(None) => response.send_data(Bytes::new(), true),
                Err(error) => Err(error),
            };
        })
    })
}

/// Answers with a head that ends the stream.
fn says(response: impl Fn() -> http::Response<()> + 'static) -> Box<Answer> {
    Box::new(move |_request, mut respond| {
        let response = response();
        Box::pin(async move { drop(respond.send_response(response, true).unwrap()) })
    })
}

/// Takes requests, and never answers.
fn ignores() -> Box<Answer> {
    Box::new(|request, respond| {
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop((request, respond));
        })
    })
}
