//! What connections are made of: plain streams, and TLS over them.

use std::io;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;

use super::{Alert, ClientTls, Policy, Secured, TlsFailure, TlsStream};
use crate::io::{ByteStream, Check, Dial, IdleState, Interest, Pipe, Work};
use crate::snapshot::Address;

/// Asks whether this turn of the worker has room for a step of a handshake.
pub(crate) type PollTurn<'a> = dyn FnMut(&mut Context<'_>, Work) -> Poll<()> + 'a;

/// A stream that may have TLS in it. What is said here is what one that cannot says.
pub(crate) trait Secure: ByteStream + Sized {
    /// Begins the server's side of TLS.
    fn accept_tls(self, _config: &Arc<ServerConfig>) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Begins the client's side of TLS.
    fn start_tls(self, _tls: &ClientTls) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Drives the handshake, if there is one.
    fn poll_handshake(
        &mut self,
        _cx: &mut Context<'_>,
        _policy: Option<&dyn Policy>,
        _poll_turn: &mut PollTurn<'_>,
    ) -> Poll<Result<(), TlsFailure>> {
        Poll::Ready(Ok(()))
    }

    /// Sends bytes as they are, to a peer that does not speak TLS.
    fn answer_plainly(&mut self, _answer: &[u8]) {}

    /// Closes the sending side of a connection that TLS has failed on, and drops what comes until its end.
    fn poll_drain(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// What the handshake has settled; asked for once.
    fn take_secured(&mut self) -> Option<Secured> {
        None
    }

    /// The name that a client asks for, while its handshake is in progress.
    fn asked_name(&self) -> Option<&str> {
        None
    }

    /// Why TLS failed, and by which alert of the peer's.
    fn tls_failure(&self) -> Option<(TlsFailure, Option<Alert>)> {
        None
    }
}

/// See the module.
pub(crate) enum Transport<S: ByteStream> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
}

/// Calls the same method of whichever it is.
macro_rules! each {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Plain($stream) => $call,
            Transport::Tls($stream) => $call,
        }
    };
}

impl<S: ByteStream> ByteStream for Transport<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_ready(cx, interest))
    }

    fn rearm(&mut self) {
        each!(self, stream => stream.rearm());
    }

    fn is_open(&self) -> bool {
        each!(self, stream => stream.is_open())
    }

    fn is_watched(&self) -> bool {
        each!(self, stream => stream.is_watched())
    }

    fn watch_soon(&mut self, cx: &mut Context<'_>) {
        each!(self, stream => stream.watch_soon(cx));
    }

    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_recv(buffer))
    }

    fn try_send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, stream => stream.try_send(slices))
    }

    fn try_send_last(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, stream => stream.try_send_last(slices))
    }

    fn splices(&self) -> bool {
        each!(self, stream => stream.splices())
    }

    fn try_fill(&mut self, pipe: &mut Pipe, bytes_max: usize) -> io::Result<usize> {
        each!(self, stream => stream.try_fill(pipe, bytes_max))
    }

    fn try_drain(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        each!(self, stream => stream.try_drain(pipe))
    }

    #[inline]
    fn holds_back(&self) -> bool {
        each!(self, stream => stream.holds_back())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn unacknowledged(&self) -> usize {
        each!(self, stream => stream.unacknowledged())
    }

    fn shutdown_write(&mut self) {
        each!(self, stream => stream.shutdown_write());
    }

    fn abort(&mut self) {
        each!(self, stream => stream.abort());
    }

    #[inline]
    fn look(&mut self, check: Check) -> IdleState {
        each!(self, stream => stream.look(check))
    }
}

impl<S: ByteStream> Secure for Transport<S> {
    fn accept_tls(self, config: &Arc<ServerConfig>) -> io::Result<Self> {
        match self {
            Self::Plain(stream) => Ok(Self::Tls(Box::new(TlsStream::server(config, stream)?))),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn start_tls(self, tls: &ClientTls) -> io::Result<Self> {
        match self {
            Self::Plain(stream) => Ok(Self::Tls(Box::new(TlsStream::client(tls, stream)?))),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
        policy: Option<&dyn Policy>,
        poll_turn: &mut PollTurn<'_>,
    ) -> Poll<Result<(), TlsFailure>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_handshake(cx, policy, poll_turn),
        }
    }

    fn answer_plainly(&mut self, answer: &[u8]) {
        if let Self::Tls(stream) = self {
            stream.answer_plainly(answer);
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(_) => Poll::Ready(()),
            Self::Tls(stream) => stream.poll_drain(cx),
        }
    }

    fn take_secured(&mut self) -> Option<Secured> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.take_secured(),
        }
    }

    fn asked_name(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.asked_name(),
        }
    }

    fn tls_failure(&self) -> Option<(TlsFailure, Option<Alert>)> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.failure(),
        }
    }
}

impl<S: Dial> Dial for Transport<S> {
    fn dial(address: &Address) -> io::Result<Self> {
        S::dial(address).map(Self::Plain)
    }

    fn take_error(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.take_error(),
            Self::Tls(_) => Ok(()),
        }
    }

    fn closed() -> Self {
        Self::Plain(S::closed())
    }
}
