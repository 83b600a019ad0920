//! The kind `probe`: bytes sent, and what is answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use corelane_engine::snapshot::Address;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;

use super::dial::{Outcome, dial};
use super::found::is_expected;
use super::subject::Subject;
use super::tls::Tls;
use crate::config::{ProbeCheck, ProbeProtocol};

pub(super) async fn run(check: &ProbeCheck, tls: Option<&Tls>, subject: &Subject) -> Outcome {
    match check.protocol {
        ProbeProtocol::Tcp | ProbeProtocol::Tls(_) => over_stream(check, tls, subject).await,
        ProbeProtocol::Udp => over_udp(check, subject).await,
    }
}

async fn over_stream(check: &ProbeCheck, tls: Option<&Tls>, subject: &Subject) -> Outcome {
    let mut stream = dial(subject, tls).await?;
    stream.write_all(&check.send).await?;
    stream.flush().await?;
    let Some(expected) = &check.expect else { return Ok(()) };
    let mut answer = vec![0; check.expect_bytes_max];
    let mut length = 0;
    loop {
        let received = stream.read(&mut answer[length..]).await?;
        length += received;
        let is_whole = received == 0 || length == answer.len();
        match is_expected(expected, &answer[..length], is_whole) {
            Some(true) => return Ok(()),
            Some(false) if length == 0 => return Err("connection closed without an answer".into()),
            Some(false) => return Err(MISMATCH.into()),
            None => {}
        }
    }
}

/// One datagram each way, through a socket of its own, so that a late answer to an earlier check cannot be taken for one
/// to this.
async fn over_udp(check: &ProbeCheck, subject: &Subject) -> Outcome {
    let Address::Tcp(place) = subject.place() else {
        return Err("a Unix socket takes no UDP".into());
    };
    let any: IpAddr =
        if place.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let exchange = async {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
        // So that only its answers are received, and a port without a server is an error.
        socket.connect(place).await?;
        socket.send(&check.send).await?;
        let mut answer = vec![0; check.expect_bytes_max];
        let length = socket.recv(&mut answer).await?;
        answer.truncate(length);
        Ok::<_, std::io::Error>(answer)
    };
    let answer = exchange.await?;
    let is_right =
        check.expect.as_ref().is_none_or(|expected| is_expected(expected, &answer, true) == Some(true));
    if is_right { Ok(()) } else { Err(MISMATCH.into()) }
}

const MISMATCH: &str = "answer does not match";
