//! Connections of checks, and what is said of those that fail.

use std::io::{self, ErrorKind};

use corelane_engine::snapshot::Address;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::subject::Subject;
use super::tls::Tls;

/// How a check ended.
pub(super) type Outcome = Result<(), Fault>;

/// Why a check has not passed, in words for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has failed.
    Endpoint(String),
    /// Descriptors, ports or memory have run out here, which says nothing of the endpoint.
    Ours(String),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Endpoint(reason)
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        Self::Endpoint(reason.to_owned())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let is_ours = error.raw_os_error().is_some_and(|errno| OURS.contains(&errno));
        if is_ours { Self::Ours(told(&error)) } else { Self::Endpoint(told(&error)) }
    }
}

/// What the system says when something has run out.
const OURS: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL];

/// A byte stream of whatever kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects, and shakes hands where TLS is spoken.
pub(super) async fn dial(subject: &Subject, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Fault> {
    dial_asking(subject, tls).await.map(|(stream, _)| stream)
}

/// The same with whether HTTP/2 was agreed on.
pub(super) async fn dial_asking(
    subject: &Subject,
    tls: Option<&Tls>,
) -> Result<(Box<dyn Stream>, bool), Fault> {
    let stream: Box<dyn Stream> = match subject.place() {
        Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
    };
    match tls {
        None => Ok((stream, false)),
        Some(tls) => {
            tls.shake_hands(subject, stream).await.map_err(|error| format!("TLS: {}", told(&error)).into())
        }
    }
}

/// An error in words; the number behind some of them says nothing more.
pub(super) fn told(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::BrokenPipe
        | ErrorKind::TimedOut => error.kind().to_string(),
        ErrorKind::UnexpectedEof => "connection closed".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_run_out_here_is_no_fault_of_the_endpoint() {
        let fault = |errno| Fault::from(io::Error::from_raw_os_error(errno));
        assert!(matches!(fault(libc::EMFILE), Fault::Ours(_)));
        assert_eq!(fault(libc::ECONNREFUSED), Fault::Endpoint("connection refused".to_owned()));
    }

    #[test]
    fn errors_have_words_and_no_numbers() {
        for (errno, words) in [
            (libc::ECONNREFUSED, "connection refused"),
            (libc::EHOSTUNREACH, "host unreachable"),
            (libc::ENOENT, "No such file or directory"),
        ] {
            assert_eq!(told(&io::Error::from_raw_os_error(errno)), words);
        }
    }
}
