//! Connections of checks, and what is said of those that fail.

use std::io::{self, ErrorKind};

use corelane_engine::snapshot::Address;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::subject::Subject;
use super::tls::Tls;

/// How a check ended; what is wrong, in words for the log.
pub(super) type Outcome = Result<(), String>;

/// A byte stream of whatever kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects, and shakes hands where TLS is spoken.
pub(super) async fn dial(subject: &Subject, tls: Option<&Tls>) -> Result<Box<dyn Stream>, String> {
    let stream: Box<dyn Stream> = match subject.place() {
        Address::Tcp(address) => Box::new(TcpStream::connect(address).await.map_err(|error| told(&error))?),
        Address::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(|error| told(&error))?),
    };
    match tls {
        None => Ok(stream),
        Some(tls) => tls.shake_hands(subject, stream).await.map_err(|error| format!("TLS: {}", told(&error))),
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
