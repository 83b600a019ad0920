//! Asking a running proxy at its admin address.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::page::{OUTCOME, TAKEN};
use super::{Question, Told, query};

/// Where a running proxy can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admin {
    /// `http://host:port`
    Tcp(String),
    /// `unix:/path`
    Unix(PathBuf),
}

impl Admin {
    /// `None`: it is no address of a proxy.
    pub(super) fn named(place: &str) -> Option<Result<Self, String>> {
        if let Some(path) = place.strip_prefix("unix:") {
            return Some(Ok(Self::Unix(path.into())));
        }
        let (scheme, rest) = place.split_once("://")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        Some(if !scheme.eq_ignore_ascii_case("http") {
            Err(format!("{place}: an admin address is http://host:port or unix:/path"))
        } else if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
            Err(format!("{place}: an admin address is http://host:port, without a path"))
        } else if has_port(authority) {
            Ok(Self::Tcp(authority.to_owned()))
        } else {
            Ok(Self::Tcp(format!("{authority}:80")))
        })
    }
}

/// Whether digits follow the last colon, which is not one of an IPv6 address.
fn has_port(authority: &str) -> bool {
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Asks, and waits for [`TIME_MAX`] at most.
pub(super) fn ask(admin: &Admin, question: &Question, json: bool) -> Result<Told, String> {
    let (name, host) = match admin {
        Admin::Tcp(authority) => (format!("http://{authority}"), &**authority),
        Admin::Unix(path) => (format!("unix:{}", path.display()), "localhost"),
    };
    let failed = |why: &dyn std::fmt::Display| format!("cannot ask {name}: {why}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let target = format!("/explain?{}", query::written(question, json));
    let answered = runtime.block_on(async {
        let answer = async {
            match admin {
                Admin::Tcp(authority) => {
                    exchange(TcpStream::connect(&**authority).await?, host, &target).await
                }
                Admin::Unix(path) => exchange(UnixStream::connect(path).await?, host, &target).await,
            }
        };
        tokio::time::timeout(TIME_MAX, answer).await
    });
    let late = format!("no answer in {} s", TIME_MAX.as_secs());
    let answer = answered.map_err(|_| failed(&late))?.map_err(|error| failed(&error))?;
    match (answer.status, answer.is_taken) {
        (StatusCode::OK, Some(is_taken)) => Ok(Told { text: answer.text, is_taken }),
        (StatusCode::BAD_REQUEST, _) => Err(answer.text.trim_end().to_owned()),
        (StatusCode::OK | StatusCode::NOT_FOUND, _) => {
            Err(failed(&"it has no /explain; is it the admin address?"))
        }
        (StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, _) => {
            Err(failed(&"the question is too long"))
        }
        (status, _) => Err(failed(&format!("{status}: {}", answer.text.trim_end()))),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What whoever was asked has answered.
struct Answer {
    status: StatusCode,
    /// Absent if it is no explanation.
    is_taken: Option<bool>,
    text: String,
}

async fn exchange<S>(stream: S, host: &str, target: &str) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the runtime.
    tokio::spawn(connection);
    let request = Request::get(target).header(HOST, host).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let is_taken = response.headers().get(OUTCOME).map(|outcome| outcome == TAKEN);
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok(Answer { status, is_taken, text: String::from_utf8(body.into())? })
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
