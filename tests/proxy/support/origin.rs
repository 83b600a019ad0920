//! A scripted origin: a closure speaks on each connection, and every byte that arrived is kept.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::message::Request;
use super::sys;
use super::tls::Tls;
use super::wire::{Neither, Stream, Wire};

/// A listening origin; it and its connections end when it is dropped, which fails the test if a script panicked.
#[derive(Debug)]
pub(crate) struct Origin {
    address: String,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    accepted: AtomicUsize,
    /// A handle to each open connection, to end it with the origin.
    open: Mutex<HashMap<usize, Stream>>,
    received: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    requests: Mutex<Vec<Request>>,
    failures: Mutex<Vec<String>>,
}

enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener, Arc<rustls::ServerConfig>),
    Unix(UnixListener),
}

impl Origin {
    /// Runs `script` on a thread of its own for each connection; the connection closes when it returns.
    pub(crate) fn script(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        Self::script_at("127.0.0.1:0", script)
    }

    /// [`Origin::script`] at a given TCP address.
    pub(crate) fn script_at(address: &str, script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("bind {address}: {error}"));
        let address = listener.local_addr().unwrap().to_string();
        Self::run(Listener::Tcp(listener), address, script)
    }

    /// [`Origin::script`] over TLS. A script that does not [`Tls::close`] ends with a truncation.
    pub(crate) fn script_over_tls(
        config: rustls::ServerConfig,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self::run(Listener::Tls(listener, config.into()), address, script)
    }

    /// [`Origin::script`] at a Unix socket.
    pub(crate) fn script_at_unix(
        path: &Path,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self::run(Listener::Unix(listener), format!("unix:{}", path.display()), script)
    }

    /// Answers each request, keeping connections alive unless the answer says `Connection: close`.
    pub(crate) fn http(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::script(serving(answer))
    }

    /// [`Origin::http`] with the same answer to everything.
    pub(crate) fn answering(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::http(move |_| answer.clone())
    }

    fn run(
        listener: Listener,
        address: String,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let script = Arc::new(script);
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                while let Ok(stream) = accept(&listener) {
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    shared.start(stream, Arc::clone(&script));
                }
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// As a client would connect to it: `127.0.0.1:1` or `unix:/path`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections the script has not finished.
    pub(crate) fn open_connections(&self) -> usize {
        lock(&self.shared.open).len()
    }

    /// The bytes that arrived on one connection, in the order of accepting; one `char` for each byte.
    pub(crate) fn received(&self, connection: usize) -> String {
        let received = lock(&self.shared.received);
        received
            .get(connection)
            .map_or_else(String::new, |bytes| lock(bytes).iter().map(|&byte| char::from(byte)).collect())
    }

    /// The requests that scripts read with [`Connection::request`].
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// The only request so far.
    #[track_caller]
    pub(crate) fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let failures = std::mem::take(&mut *lock(&self.shared.failures));
        self.shared.stop.store(true, Ordering::SeqCst);
        for stream in lock(&self.shared.open).values() {
            // A connection that has ended meanwhile is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the accepting thread, which then sees `stop`.
        let _ = Stream::connect(&self.address);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        if let Some(path) = self.address.strip_prefix("unix:") {
            let _ = std::fs::remove_file(path);
        }
        if !std::thread::panicking() {
            assert!(failures.is_empty(), "the origin's script failed: {failures:?}");
        }
    }
}

impl Shared {
    fn start(
        self: &Arc<Self>,
        stream: Stream,
        script: Arc<impl Fn(&mut Connection) + Send + Sync + 'static>,
    ) {
        let (Ok(handle), Ok(wire)) = (stream.try_clone(), Wire::new(stream)) else {
            return;
        };
        lock(&self.received).push(wire.record());
        let index = self.accepted.load(Ordering::SeqCst);
        lock(&self.open).insert(index, handle);
        // Last: who sees the count finds the connection among the open ones, or over.
        self.accepted.store(index + 1, Ordering::SeqCst);
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let open = Open { index, shared: Arc::clone(&shared) };
            let mut connection = Connection { index, wire, open };
            let run = std::panic::AssertUnwindSafe(|| script(&mut connection));
            if let Err(panic) = std::panic::catch_unwind(run)
                && !shared.stop.load(Ordering::SeqCst)
            {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
                lock(&shared.failures).push(text.unwrap_or_default());
            }
        });
    }
}

fn accept(listener: &Listener) -> io::Result<Stream> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
        Listener::Tls(listener, config) => {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tls(Box::new(Tls::server(stream, config))))
        }
        Listener::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
    }
}

/// One connection as its script sees it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// In the order of accepting, from 0.
    pub(crate) index: usize,
    wire: Wire,
    /// Behind `wire`, so that it is dropped after it.
    open: Open,
}

impl Deref for Connection {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

impl Connection {
    /// The next whole request; `None` when the connection ends instead.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(head) = self.wire.head()? else {
            return Ok(None);
        };
        let body = self.wire.body(head.framing(), Neither::NoBody)?;
        let request = Request { head, body: body.bytes, trailers: body.trailers };
        lock(&self.open.shared.requests).push(request.clone());
        Ok(Some(request))
    }

    /// How many TCP connections the origin has now that the other side has not closed. Never more than were open at one
    /// moment: none comes in while they are counted.
    pub(crate) fn established(&self) -> usize {
        lock(&self.open.shared.open).values().filter(|stream| sys::is_established(*stream)).count()
    }

    /// Waits until the peer closes or resets, dropping what it still sends.
    pub(crate) fn wait_for_end(&mut self) {
        self.wire.drain().expect("the peer ends the connection");
    }
}

/// A connection's place among the open ones.
#[derive(Debug)]
struct Open {
    index: usize,
    shared: Arc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // The handle is the last that keeps the socket open, and is closed under the lock: who sees that the connection is
        // no longer open knows that its end has been sent.
        let mut open = lock(&self.shared.open);
        drop(open.remove(&self.index));
    }
}

/// A script that answers requests until either side closes.
pub(crate) fn serving(
    answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static,
) -> impl Fn(&mut Connection) + Send + Sync + 'static {
    move |connection| {
        // A proxy may cut a connection at any point; what it must not do shows at the client.
        while let Ok(Some(request)) = connection.request() {
            let answer = answer(&request);
            if connection.send(&answer).is_err() || says_close(&answer) {
                return;
            }
        }
    }
}

fn says_close(answer: &[u8]) -> bool {
    let head = answer.len().min(512);
    String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase().contains("\r\nconnection: close\r\n")
}

/// `200 OK` with a body.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    with_length("200 OK", body)
}

/// A response with that status and a body of known length.
pub(crate) fn with_length(status: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
