//! How a connection is set up before its protocol begins.
//!
//! ```text
//! accept → [PROXY protocol] → [TLS] → session
//! ```
//!
//! Each stage takes an [`Established`] connection and gives one: the stream as the next stage sees it, and who is at the
//! other end. A handshake takes time, so it runs in the task of the session.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ServerConfig;

use crate::core::due;
use crate::counters::ListenerCounters;
use crate::io::{Accepted, Dial, Socket, clock};
use crate::session::Session;
use crate::tls::{Secure, TlsFailure, Transport};

/// How long a connection whose handshake failed is read on, so that the client gets to know why.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// What a client gets that speaks HTTP where TLS is expected.
const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 52\r\n\
    Connection: close\r\n\r\n\
    400 plain HTTP request to a TLS port, use https://\r\n";

/// A connection between two stages.
pub(crate) struct Established<S> {
    /// The stream, as the next stage sees it.
    pub(crate) stream: S,
    /// Who is at the other end; `None` over a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
}

/// The first stage.
pub(crate) fn accepted(accepted: Accepted) -> Established<Transport<Socket>> {
    Established { stream: Transport::Plain(accepted.socket), peer: accepted.peer }
}

/// Puts TLS into it; the handshake is still to come ([`secure`]).
pub(crate) fn with_tls<S: Secure>(
    established: Established<S>,
    config: &Arc<ServerConfig>,
) -> io::Result<Established<S>> {
    Ok(Established { stream: established.stream.accept_tls(config)?, ..established })
}

/// Serves a connection that begins with a handshake.
pub(crate) async fn run_secured<S: Dial>(mut session: Box<Session<S>>) {
    // Boxed, so that the task of an idle connection stays small.
    if Box::pin(secure(&mut session)).await {
        session.run().await;
    }
}

/// The handshake: whether there is a connection to serve.
async fn secure<S: Dial>(session: &mut Session<S>) -> bool {
    let (core, admission) = (session.core.clone(), session.admission());
    let counters = admission.counters();
    let (local, index) = session.slot.local(&core);
    // A reload has taken TLS from the listener since the accept.
    let Some(tls) = &local.snapshot().listeners[index].tls else { return false };
    let client = session.client.ip();
    let Some(place) = core.handshakes.place(tls.handshakes_max, client, tls.client_handshakes_max) else {
        counters.tls_failures.add(TlsFailure::HandshakesExcess);
        session.down.stream().abort();
        return false;
    };
    let due_ms = due(clock::coarse_ms(), tls.handshake_timeout);
    counters.tls_handshaking.increment();
    let (down, timer) = (&mut session.down, &mut session.timer);
    let shaken = poll_fn(|cx| {
        let poll_turn = &mut |cx: &mut std::task::Context<'_>| core.handshakes.poll_turn(cx);
        match down.stream().poll_handshake(cx, Some(&*tls.policy), poll_turn) {
            Poll::Ready(shaken) => Poll::Ready(Some(shaken)),
            Poll::Pending => timer.poll_until(cx, due_ms).map(|()| None),
        }
    })
    .await;
    counters.tls_handshaking.decrement();
    drop(place);
    match shaken {
        Some(Ok(())) => {
            if let Some(secured) = down.stream().take_secured() {
                let resumed = secured.is_resumed;
                let counter = if resumed { &counters.tls_resumed } else { &counters.tls_handshakes };
                counter.increment();
                session.client.secure(secured);
            }
            return true;
        }
        Some(Err(failure)) => {
            count_failure(counters, down.stream());
            if failure == TlsFailure::PlainHttp {
                down.stream().answer_plainly(PLAIN_HTTP_ANSWER);
            }
            let due_ms = due(clock::coarse_ms(), LINGER_TIMEOUT);
            poll_fn(|cx| match down.stream().poll_drain(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => timer.poll_until(cx, due_ms),
            })
            .await;
        }
        None if core.cutting.get() => {}
        None => counters.tls_failures.add(TlsFailure::HandshakeTimeout),
    }
    false
}

/// Counts why TLS failed, if it did.
pub(crate) fn count_failure<S: Secure>(counters: &ListenerCounters, stream: &S) {
    if let Some((failure, alert)) = stream.tls_failure() {
        counters.tls_failures.add(failure);
        if let Some(alert) = alert {
            counters.tls_alerts.add(alert);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_answer_has_the_length_that_it_says() {
        let text = std::str::from_utf8(PLAIN_HTTP_ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
