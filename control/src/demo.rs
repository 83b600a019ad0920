//! `corelane demo`: two small origins on loopback and the proxy in front of them.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::options::{Build, ConfigSource, ExitReason, RunOptions, SupervisorError};
use crate::signals;

/// Serves on 127.0.0.1 and `port` until a signal comes. `trim` and `build` are those of [`RunOptions`].
///
/// # Errors
///
/// When a port is taken; the text says what to do about it.
pub fn run(port: u16, trim: fn(), build: Build) -> Result<ExitReason, SupervisorError> {
    let origins = [start_origin("one")?, start_origin("two")?];
    let admin = admin_address()?;
    let text = config_text(port, admin, origins);
    let shown = text.clone();
    let options = RunOptions {
        source: ConfigSource::Text { name: "demo".to_owned(), text },
        on_ready: Some(Box::new(move || eprintln!("{}", what_to_try(port, admin, &shown)))),
        trim,
        build,
    };
    crate::run(options).map_err(|error| match error {
        SupervisorError::Refused(mut lines) => {
            lines.push("another port can be chosen with --port".to_owned());
            SupervisorError::Refused(lines)
        }
        other => other,
    })
}

fn config_text(port: u16, admin: SocketAddr, [one, two]: [SocketAddr; 2]) -> String {
    format!(
        r#"[admin]
address = "{admin}"

[[listeners]]
name = "web"
address = "127.0.0.1:{port}"

[[routes]]
name = "everything"
path = {{ prefix = "/" }}
upstream = "origins"

[upstreams.origins]
endpoints = ["{one}", "{two}"]
"#
    )
}

fn what_to_try(port: u16, admin: SocketAddr, config: &str) -> String {
    let config = config.trim_end().replace('\n', "\n    ").replace("    \n", "\n");
    format!(
        "
Corelane is in front of two origins that answer in turn. Its configuration:

    {config}

Try:

    curl -i http://127.0.0.1:{port}/hello
    curl -o /dev/null http://127.0.0.1:{port}/bytes/1000000000
    wrk -t2 -c64 -d5s http://127.0.0.1:{port}/bytes/1024
    corelane top --admin {admin}
    xdg-open http://{admin}/status
    curl http://{admin}/metrics
    curl http://{admin}/readyz

Ctrl-C ends it, after the requests in progress.
"
    )
}

/// The usual port, or a free one: a demo should not fail because another one runs.
fn admin_address() -> io::Result<SocketAddr> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    TcpListener::bind(usual).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?.local_addr()
}

/// Starts an origin on a thread of its own, which ends with the process.
fn start_origin(name: &'static str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let blocked = signals::block()?;
    std::thread::Builder::new()
        .name(format!("origin-{name}"))
        .spawn(move || runtime.block_on(serve_origin(name, listener)))?;
    drop(blocked);
    Ok(address)
}

async fn serve_origin(name: &'static str, listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        // What goes wrong with a connection is no news in a demo.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, &request)) });
        // The proxy keeps idle connections longer than hyper's default limit for a head would allow.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

fn answer(origin: &str, request: &Request<Incoming>) -> Response<Reply> {
    let path = request.uri().path();
    let (content_type, reply) = match path.strip_prefix("/bytes/").and_then(|count| count.parse().ok()) {
        Some(count) => ("application/octet-stream", Reply::Zeros(count)),
        None => ("text/plain; charset=utf-8", Reply::Text(Some(echo(origin, request).into()))),
    };
    let mut response = Response::new(reply);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What the origin got, as it got it.
fn echo(origin: &str, request: &Request<Incoming>) -> String {
    let mut text =
        format!("This is origin {origin}. It received:\n\n{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    text
}

/// The body of an answer.
enum Reply {
    Text(Option<Bytes>),
    /// So many bytes, made as they are asked for.
    Zeros(u64),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut *self {
            Self::Text(text) => text.take(),
            Self::Zeros(0) => None,
            Self::Zeros(left) => {
                let length = usize::try_from(*left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
                *left -= length as u64;
                Some(Bytes::from_static(&ZEROS[..length]))
            }
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Text(text) => text.as_ref().map_or(0, |text| text.len() as u64),
            Self::Zeros(left) => *left,
        })
    }
}

/// Of the README's configuration.
const ADMIN_PORT: u16 = 9900;

static ZEROS: [u8; 64 * 1024] = [b'0'; 64 * 1024];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_configuration_is_right() {
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = config_text(8080, address(9900), [address(1), address(2)]);
        let config = crate::config::parse("demo", &text).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.upstreams[0].endpoints.len(), 2);
    }
}
