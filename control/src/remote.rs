//! Asking a running proxy at its admin address.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Where a running proxy can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admin {
    /// `http://host:port`
    Tcp(String),
    /// `unix:/path`
    Unix(PathBuf),
}

impl Admin {
    /// `None`: it is no address of a proxy.
    pub(crate) fn named(place: &str) -> Option<Result<Self, String>> {
        if let Some(path) = place.strip_prefix("unix:") {
            return Some(Ok(Self::Unix(path.into())));
        }
        let (scheme, rest) = place.split_once("://")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        Some(if !scheme.eq_ignore_ascii_case("http") {
            Err(format!("{place}: an admin address is http://host:port or unix:/path"))
        } else if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
            Err(format!("{place}: an admin address is http://host:port, without a path"))
        } else if Self::has_port(authority) {
            Ok(Self::Tcp(authority.to_owned()))
        } else {
            Ok(Self::Tcp(format!("{authority}:80")))
        })
    }

    /// Whether digits follow the last colon, which is not one of an IPv6 address.
    pub(crate) fn has_port(authority: &str) -> bool {
        let port = authority.rsplit_once(':').map(|(_, port)| port);
        port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// Gets `target`, and waits for [`TIME_MAX`] at most. The error is a sentence.
    pub(crate) fn get(&self, target: &str) -> Result<Answer, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.failed(&error))?;
        let answered = runtime.block_on(async {
            let answer = async {
                match self {
                    Self::Tcp(authority) => {
                        exchange(TcpStream::connect(&**authority).await?, authority, target).await
                    }
                    Self::Unix(path) => exchange(UnixStream::connect(path).await?, "localhost", target).await,
                }
            };
            tokio::time::timeout(TIME_MAX, answer).await
        });
        let late = format!("no answer in {} s", TIME_MAX.as_secs());
        answered.map_err(|_| self.failed(&late))?.map_err(|error| self.failed(&error))
    }

    /// A sentence that says why it cannot be asked.
    pub(crate) fn failed(&self, why: &dyn Display) -> String {
        format!("cannot ask {self}: {why}")
    }
}

impl Display for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What whoever was asked has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    pub(crate) text: String,
}

async fn exchange<S>(stream: S, host: &str, target: &str) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the runtime.
    tokio::spawn(connection);
    let request = Request::get(target).header(HOST, host).body(Empty::<Bytes>::new())?;
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok(Answer { status: parts.status, fields: parts.headers, text: String::from_utf8(body.into())? })
}

/// For all of it.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Ten thousand routes, each with a long line.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_is_told_from_a_file() {
        let tcp = |authority: &str| Some(Ok(Admin::Tcp(authority.to_owned())));
        for (place, admin) in [
            ("edge.toml", None),
            ("conf.d/http.toml", None),
            ("http://127.0.0.1:9900", tcp("127.0.0.1:9900")),
            ("HTTP://[::1]:9900/", tcp("[::1]:9900")),
            ("http://admin.internal", tcp("admin.internal:80")),
            ("http://[::1]", tcp("[::1]:80")),
            ("unix:/run/admin.sock", Some(Ok(Admin::Unix("/run/admin.sock".into())))),
        ] {
            assert_eq!(Admin::named(place), admin, "{place}");
        }
        for place in ["https://a:1", "http://", "http://a:1/metrics", "http://u@a:1"] {
            assert!(matches!(Admin::named(place), Some(Err(_))), "{place}");
        }
    }
}
