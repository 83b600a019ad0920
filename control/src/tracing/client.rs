//! One connection to a collector, over which one request is sent at a time: HTTP/1.1, or HTTP/2 for gRPC.

use std::future::Future;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, TE, USER_AGENT};
use hyper::rt::Executor;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_local};

use super::answer::{self, Answer};
use crate::config::{Collector, Tracing, TracingProtocol};

/// Keeps the connection between requests.
#[derive(Debug, Default)]
pub(super) struct Client {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    collector: Collector,
    sender: Sender,
    connection: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

#[derive(Debug)]
enum Sender {
    Http(http1::SendRequest<Full<Bytes>>),
    Grpc(http2::SendRequest<Full<Bytes>>),
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// More than any collector has to say.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

impl Client {
    /// Sends a message, and waits for the answer as long as the configuration says.
    pub(super) async fn send(&mut self, target: &Tracing, message: Bytes) -> Answer {
        let answered = tokio::time::timeout(target.timeout, self.exchange(target, message)).await;
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => {
                self.open = None;
                Answer::failed(deepest(&*failure))
            }
            Err(_) => {
                self.open = None;
                Answer::failed(format_args!("no answer within {:?}", target.timeout))
            }
        }
    }

    async fn exchange(&mut self, target: &Tracing, message: Bytes) -> Result<Answer, Failure> {
        // Out of its place while it is in use: what is given up in the middle of an exchange is not used again.
        let kept = self.open.take().filter(|open| open.collector == target.collector && !open.is_closed());
        let mut open = match kept {
            Some(open) => open,
            None => Open::new(target).await?,
        };
        let answer = open.exchange(target, message).await?;
        self.open = Some(open);
        Ok(answer)
    }
}

impl Open {
    async fn new(target: &Tracing) -> Result<Self, Failure> {
        let collector = target.collector.clone();
        let stream = TcpStream::connect((&*collector.host, collector.port)).await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        let (sender, connection) = match target.protocol {
            TracingProtocol::Http => {
                let (sender, connection) = http1::handshake(stream).await?;
                (Sender::Http(sender), spawn_local(ended(connection)).abort_handle())
            }
            TracingProtocol::Grpc => {
                let (sender, connection) = http2::handshake(OnControlThread, stream).await?;
                (Sender::Grpc(sender), spawn_local(ended(connection)).abort_handle())
            }
        };
        Ok(Self { collector, sender, connection })
    }

    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http(sender) => sender.is_closed(),
            Sender::Grpc(sender) => sender.is_closed(),
        }
    }

    async fn exchange(&mut self, target: &Tracing, message: Bytes) -> Result<Answer, Failure> {
        match &mut self.sender {
            Sender::Http(sender) => {
                let request = Request::post(&*self.collector.path)
                    .header(HOST, &*self.collector.authority)
                    .header(CONTENT_TYPE, "application/x-protobuf");
                sender.ready().await?;
                let response = sender.send_request(with_fields(request, target, message)?).await?;
                let (status, head) = (response.status(), response.headers().clone());
                let (body, _) = received(response).await?;
                Ok(answer::of_http(status, &head, &body))
            }
            Sender::Grpc(sender) => {
                let uri = format!("http://{}{}", self.collector.authority, self.collector.path);
                let request =
                    Request::post(uri).header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
                sender.ready().await?;
                let response = sender.send_request(with_fields(request, target, framed(&message))?).await?;
                let (status, head) = (response.status(), response.headers().clone());
                let (body, trailers) = received(response).await?;
                Ok(answer::of_grpc(status, trailers.as_ref().unwrap_or(&head), &body))
            }
        }
    }
}

/// gRPC's "Length-Prefixed-Message", not compressed.
fn framed(message: &[u8]) -> Bytes {
    let bytes = u32::try_from(message.len()).expect("a request has a few MiB at most");
    [&[0], &bytes.to_be_bytes()[..], message].concat().into()
}

fn with_fields(
    request: hyper::http::request::Builder,
    target: &Tracing,
    message: Bytes,
) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = request.body(Full::new(message))?;
    let agent = HeaderValue::from_static(concat!("corelane/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(USER_AGENT, agent);
    for (name, value) in &target.fields.0 {
        request.headers_mut().insert(name, value.clone());
    }
    Ok(request)
}

/// A body, and the fields behind it.
async fn received(response: Response<hyper::body::Incoming>) -> Result<(Bytes, Option<HeaderMap>), Failure> {
    let collected = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?;
    let trailers = collected.trailers().cloned();
    Ok((collected.to_bytes(), trailers))
}

/// What a connection has to say is said to whoever waits for an answer.
async fn ended<E>(connection: impl Future<Output = Result<(), E>>) {
    let _ = connection.await;
}

/// hyper's own words say little: the cause says why.
fn deepest<'e>(mut error: &'e (dyn std::error::Error + 'static)) -> &'e (dyn std::error::Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// Runs what an HTTP/2 connection needs beside itself.
#[derive(Clone, Copy, Debug)]
struct OnControlThread;

impl<F: Future + 'static> Executor<F> for OnControlThread {
    fn execute(&self, future: F) {
        spawn_local(async move {
            future.await;
        });
    }
}
