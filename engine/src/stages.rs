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
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;

use crate::core::due;
use crate::io::{Accepted, Dial, Socket, clock};
use crate::session::Session;
use crate::tls::{Alert, Secure, TlsFailure, TlsPeer, TlsReport, Transport};

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
    if !Box::pin(secure(&mut session)).await {
        return;
    }
    if session.client.secured().is_some_and(|secured| secured.is_http2) {
        return Box::pin(session.run_http2()).await;
    }
    session.run().await;
}

/// The handshake: whether there is a connection to serve.
async fn secure<S: Dial>(session: &mut Session<S>) -> bool {
    let (core, admission) = (session.core.clone(), session.admission());
    let (local, index) = session.slot.local(&core);
    // A reload has taken TLS from the listener since the accept.
    let Some(tls) = &local.snapshot().listeners[index].tls else { return false };
    let Some(place) = admission.handshake_place(tls, session.client.ip()) else {
        note_failure(session, TlsFailure::HandshakesExcess, None);
        session.down.stream().abort();
        return false;
    };
    let due_ms = due(clock::coarse_ms(), tls.handshake_timeout);
    let (down, timer) = (&mut session.down, &mut session.timer);
    let shaken = poll_fn(|cx| {
        let poll_turn = &mut |cx: &mut Context<'_>, work| core.handshake_turns.poll_turn(cx, work);
        match down.stream().poll_handshake(cx, Some(&*tls.policy), poll_turn) {
            Poll::Ready(shaken) => Poll::Ready(Some(shaken)),
            Poll::Pending => timer.poll_until(cx, due_ms).map(|()| None),
        }
    })
    .await;
    drop(place);
    match shaken {
        Some(Ok(())) => {
            if let Some(secured) = session.down.stream().take_secured() {
                let counters = admission.counters();
                let resumed = secured.is_resumed;
                let counter = if resumed { &counters.tls_resumed } else { &counters.tls_handshakes };
                counter.increment();
                session.start_secured(secured);
            }
            return true;
        }
        Some(Err(failure)) => {
            let (_, alert) = session.down.stream().tls_failure().unwrap_or((failure, None));
            note_failure(session, failure, alert);
            let (down, timer) = (&mut session.down, &mut session.timer);
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
        None => note_failure(session, TlsFailure::HandshakeTimeout, None),
    }
    false
}

/// Counts why TLS with a client failed, and has the log told of it.
pub(crate) fn note_failure<S: Dial>(session: &mut Session<S>, failure: TlsFailure, alert: Option<Alert>) {
    let admission = session.admission();
    let counters = admission.counters();
    counters.tls_failures.add(failure);
    if let Some(alert) = alert {
        counters.tls_alerts.add(alert);
    }
    // Whoever only looks whether somebody listens does this; there is nothing to learn from it.
    if failure == TlsFailure::PeerGone {
        return;
    }
    let (local, index) = session.slot.local(&session.core);
    let server_name = match session.client.secured() {
        Some(secured) => secured.server_name.as_deref(),
        None => session.down.stream().asked_name(),
    };
    let peer = TlsPeer::Client {
        listener: local.snapshot().listeners[index].name.clone(),
        address: session.client.ip(),
        server_name: server_name.map(Into::into),
    };
    session.core.report_tls(TlsReport { peer, failure, alert });
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
