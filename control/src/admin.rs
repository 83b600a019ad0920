//! The admin server: /healthz, /readyz, /metrics, /status and /explain, on the control thread.
//!
//! Tells and changes nothing. It goes on answering while the process drains.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use corelane_engine::snapshot::Address;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, spawn_local, yield_now};

use crate::explain::page::{self as explain_page, Refusal};
use crate::listen::{self, ListenError, SocketFile};
use crate::metrics;
use crate::state::{Sampler, page as status_page};
use crate::status::{Phase, Status};

/// A bound admin address.
#[derive(Debug)]
pub(crate) struct AdminListener {
    address: Address,
    socket: AdminSocket,
}

#[derive(Debug)]
enum AdminSocket {
    Tcp(TcpListener),
    /// The file goes when this is dropped.
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

impl AdminListener {
    /// Listens; connections wait until [`AdminServer::start`].
    pub(crate) fn bind(address: &Address) -> Result<Self, ListenError> {
        let refused = |source| ListenError::Refused { address: address.clone(), source };
        let socket = match address {
            Address::Tcp(tcp) => AdminSocket::Tcp(bind_tcp(*tcp).map_err(refused)?),
            Address::Unix(path) => {
                listen::remove_stale_file(path, address)?;
                let (socket, file) = listen::bind_unix(path).map_err(refused)?;
                socket.listen(BACKLOG).map_err(refused)?;
                let listener = UnixListener::from_std(socket.into()).map_err(refused)?;
                AdminSocket::Unix { listener, _file: file }
            }
        };
        Ok(Self { address: address.clone(), socket })
    }

    /// The real address, for an address with port 0.
    pub(crate) fn bound(&self) -> Address {
        match &self.socket {
            AdminSocket::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| self.address.clone(), Address::Tcp)
            }
            AdminSocket::Unix { .. } => self.address.clone(),
        }
    }
}

/// Without SO_REUSEPORT, so that a second process is refused.
fn bind_tcp(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// A server that accepts until it is dropped; requests in progress are still answered then.
#[derive(Debug)]
pub(crate) struct AdminServer {
    accepting: AbortHandle,
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl AdminServer {
    /// Starts to accept.
    pub(crate) fn start(listener: AdminListener, status: Rc<Status>) -> Self {
        Self { accepting: spawn_local(accept(listener, status)).abort_handle() }
    }
}

async fn accept(listener: AdminListener, status: Rc<Status>) {
    let sampler = Sampler::new(status.clone());
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Fails only when the semaphore is closed, which nobody does.
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let pages = Pages { status: status.clone(), sampler: sampler.clone() };
        let accepted = match &listener.socket {
            AdminSocket::Tcp(tcp) => {
                tcp.accept().await.map(|(stream, _)| spawn_local(serve_while(permit, stream, pages)))
            }
            AdminSocket::Unix { listener: unix, .. } => {
                unix.accept().await.map(|(stream, _)| spawn_local(serve_while(permit, stream, pages)))
            }
        };
        if accepted.is_err() {
            // Out of descriptors: the connection goes on waiting, so trying at once would spin.
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// What the pages are made of.
#[derive(Clone, Debug)]
struct Pages {
    status: Rc<Status>,
    sampler: Rc<Sampler>,
}

async fn serve_while<P, S>(_permit: P, stream: S, pages: Pages)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let pages = pages.clone();
        async move { Ok::<_, Infallible>(respond(&request, &pages).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong is the client's affair.
    let _ = tokio::time::timeout(CONNECTION_TIME_MAX, connection).await;
}

async fn respond<B>(request: &Request<B>, Pages { status, sampler }: &Pages) -> Response<Body> {
    let (method, path) = (request.method(), request.uri().path());
    if !PATHS.contains(&path) {
        let known = PATHS.join(", ");
        return text(StatusCode::NOT_FOUND, format!("no such page; there are {known}\n"));
    }
    // hyper leaves the body out of an answer to HEAD.
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => {
            let ready = status.phase.get() == Phase::Serving;
            let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            page(code, "application/json", readiness(status))
        }
        "/status" => status_page(),
        "/status.json" => page(StatusCode::OK, "application/json", sampler.text().await),
        "/explain" => explain(request, status),
        _ => response(StatusCode::OK, metrics::CONTENT_TYPE, Either::Right(Slices::new(status.clone()))),
    }
}

fn status_page() -> Response<Body> {
    let mut response = page(StatusCode::OK, "text/html; charset=utf-8", status_page::HTML);
    let policy = HeaderValue::try_from(status_page::policy()).expect("is visible ASCII");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn explain<B>(request: &Request<B>, status: &Status) -> Response<Body> {
    let accept = request.headers().get_all(ACCEPT).iter();
    let accepts_json =
        accept.filter_map(|value| value.to_str().ok()).any(|it| it.contains("application/json"));
    let answer = explain_page::answer(request.uri().query().unwrap_or_default(), accepts_json, status);
    let told = match answer.result {
        Ok(told) => told,
        Err(Refusal::Wrong(reason)) => return text(StatusCode::BAD_REQUEST, reason + "\n"),
        Err(Refusal::NotServing) => {
            return text(StatusCode::SERVICE_UNAVAILABLE, "no configuration is in force\n".to_owned());
        }
    };
    let content_type = if answer.json { "application/json" } else { "text/plain; charset=utf-8" };
    let mut response = page(StatusCode::OK, content_type, told.text);
    let outcome = if told.is_taken { explain_page::TAKEN } else { explain_page::NOT_TAKEN };
    let name = HeaderName::from_static(explain_page::OUTCOME);
    response.headers_mut().insert(name, HeaderValue::from_static(outcome));
    response
}

/// The body of /readyz. Nothing in it needs escaping.
fn readiness(status: &Status) -> String {
    let phase = status.phase.get();
    let word = match phase {
        Phase::Starting => "starting",
        Phase::Serving => "ready",
        Phase::Draining => "draining",
    };
    let reload = status.last_reload.get();
    format!(
        "{{\"status\":\"{word}\",\"generation\":{},\"last_reload\":{{\"result\":\"{}\",\"time\":{},\"errors\":{}}},\
         \"workers\":{},\"draining\":{},\"names\":{{\"resolved\":{},\"unresolved\":{}}}}}\n",
        status.generation.get(),
        if reload.errors == 0 { "ok" } else { "failed" },
        metrics::unix_seconds(reload.at),
        reload.errors,
        status.workers.get(),
        phase == Phase::Draining,
        status.names_resolved.get(),
        status.names_unresolved.borrow().len(),
    )
}

fn text(code: StatusCode, body: String) -> Response<Body> {
    page(code, "text/plain; charset=utf-8", body)
}

fn page(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    response(code, content_type, Either::Left(Full::new(body.into())))
}

fn response(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A page that is ready, or one that is written while it is sent.
type Body = Either<Full<Bytes>, Slices>;

/// The page of metrics. After each slice the other tasks of the control thread have their turn, and those that wait for
/// their sockets, for which it takes the runtime's own way to yield: a task that just wakes itself runs thousands of
/// times before the runtime looks at its sockets again.
struct Slices {
    page: metrics::Page,
    others: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Slices {
    fn new(status: Rc<Status>) -> Self {
        Self { page: metrics::Page::new(status), others: None }
    }
}

impl hyper::body::Body for Slices {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(others) = &mut self.others {
            ready!(others.as_mut().poll(cx));
        }
        self.others = Some(Box::pin(yield_now()));
        Poll::Ready(self.page.next_slice().map(|slice| Ok(Frame::data(Bytes::from(slice)))))
    }
}

/// The pages that there are.
const PATHS: [&str; 6] = ["/healthz", "/readyz", "/metrics", "/status", "/status.json", "/explain"];
/// Scrapers and probes are few; the next one waits.
const CONNECTIONS_MAX: usize = 64;
/// As many as may be served wait beside them.
const BACKLOG: i32 = 128;
/// A request head, or the pause before the next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A scrape that takes longer is not read by anybody.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(600);
/// What hyper asks for at least; requests have no body.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// While the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use http_body_util::BodyExt as _;
    use std::cell::Cell;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn asked(method: Method, target: &str, status: &Rc<Status>) -> Response<Body> {
        let request = Request::builder().method(method).uri(target).body(()).expect("is right");
        let pages = Pages { status: status.clone(), sampler: Sampler::new(status.clone()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, respond(&request, &pages))
    }

    fn status() -> Rc<Status> {
        Rc::new(Status::new(fixtures::registry(2), 2, Arc::default()))
    }

    #[test]
    fn is_ready_only_while_it_serves() {
        let status = status();
        let code = |status: &Rc<Status>| asked(Method::GET, "/readyz", status).status().as_u16();
        assert_eq!(code(&status), 503);
        status.phase.set(Phase::Serving);
        assert_eq!(code(&status), 200);
        status.phase.set(Phase::Draining);
        assert_eq!(code(&status), 503);
        let body = readiness(&status);
        assert!(
            body.starts_with("{\"status\":\"draining\",\"generation\":0,\"last_reload\":{\"result\":\"ok\","),
            "{body}"
        );
        assert!(
            body.ends_with("\"workers\":2,\"draining\":true,\"names\":{\"resolved\":0,\"unresolved\":0}}\n"),
            "{body}"
        );
    }

    #[test]
    fn knows_its_pages_and_methods() {
        let status = status();
        for (method, path, code) in [
            (Method::GET, "/healthz", 200),
            (Method::HEAD, "/metrics", 200),
            (Method::POST, "/metrics", 405),
            (Method::GET, "/", 404),
            (Method::POST, "/nothing", 404),
            (Method::POST, "/explain?method=GET&url=/", 405),
            (Method::GET, "/status", 200),
            (Method::GET, "/status.json", 200),
            (Method::GET, "/explain", 400),
            (Method::GET, "/explain?method=GET&url=/", 503),
        ] {
            assert_eq!(asked(method.clone(), path, &status).status().as_u16(), code, "{method} {path}");
        }
        let response = asked(Method::GET, "/metrics", &status);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    }

    #[test]
    fn sockets_are_served_between_the_slices_of_a_long_page() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let status = status();
        for route in 0..5_000 {
            status.registry.borrow_mut().routes.of(format!("route-{route}").into(), 1);
        }
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let trips = Rc::new(Cell::new(0));
            let (mut one, mut other) = tokio::net::UnixStream::pair().expect("two sockets");
            let counted = trips.clone();
            spawn_local(async move {
                let mut byte = [0];
                while one.write_all(b"x").await.is_ok() && other.read_exact(&mut byte).await.is_ok() {
                    counted.set(counted.get() + 1);
                }
            });
            // A task like that of a connection.
            let page = spawn_local(async {
                let mut page = Slices::new(status);
                let mut slices = 0;
                while page.frame().await.is_some() {
                    slices += 1;
                }
                slices
            });
            let slices = page.await.expect("has an end");
            assert!(slices > 20 && trips.get() >= slices / 2, "{} trips in {slices} slices", trips.get());
        });
    }

    #[test]
    fn answers_on_a_unix_socket_and_removes_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = AdminListener::bind(&Address::Unix(path.clone())).expect("can bind");
            let server = AdminServer::start(listener, status());
            let mut stream = tokio::net::UnixStream::connect(&path).await.expect("listens");
            let request = b"HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.expect("sends");
            let mut response = String::new();
            stream.read_to_string(&mut response).await.expect("reads");
            assert!(
                response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\n"),
                "{response}"
            );
            drop(server);
        });
        assert!(!path.exists());
    }
}
