//! The listening sockets of the process, which the control thread owns and lends to the workers.
//!
//! Each worker has a socket of its own for each TCP address (SO_REUSEPORT: the kernel spreads connections over them), and
//! a duplicate of the one socket of each Unix address. A change is prepared (bind), then committed (listen) or dropped,
//! in which case nothing has changed.
//!
//! A socket that is no longer wanted is closed here first, and only then by the worker, after it has accepted what waits:
//! with the last descriptor gone the kernel sends it no more connections. Were ours still open, connections would go on
//! arriving in a queue that nobody accepts from.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corelane_engine::command::ListenSocket;
use corelane_engine::snapshot::Address;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::tcp_table;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// SO_REUSEPORT would let us share it silently.
    #[error("cannot listen on {address}: another process already listens on {by}")]
    InUse { address: Address, by: String },
    /// A file that is not a socket is in the way.
    #[error("cannot listen on {address}: the file exists and is not a socket")]
    NotASocket { address: Address },
    /// The kernel refused.
    #[error("cannot listen on {address}: {source}")]
    Refused { address: Address, source: io::Error },
}

impl ListenError {
    /// Somebody has the address, or had it until a moment ago.
    fn is_taken(&self) -> bool {
        match self {
            Self::InUse { .. } => true,
            Self::Refused { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
            Self::NotASocket { .. } => false,
        }
    }
}

/// Every listening socket of the process.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// Which workers run; the others get no sockets.
    alive: Vec<bool>,
    open: Vec<Open>,
    closing: Vec<Closing>,
}

/// The sockets of one address.
#[derive(Debug)]
struct Open {
    /// As configured: the identity over reloads.
    address: Address,
    /// Differs from `address` where that has port 0.
    bound: Address,
    /// TCP: one a worker, `None` where the worker is gone. Unix: one.
    sockets: Vec<Option<Socket>>,
    /// Removes the file of a Unix socket when it is dropped.
    _file: Option<SocketFile>,
}

/// An address whose sockets only workers still have.
#[derive(Debug)]
struct Closing {
    address: Address,
    inodes: Vec<u64>,
    /// The workers that have not closed theirs yet.
    waiting: Vec<bool>,
}

/// Sockets that are bound and not yet listening.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    opened: Vec<Open>,
    handed: Vec<Vec<ListenSocket>>,
}

impl Prepared {
    /// What is to be opened: the configured and the real address.
    pub(crate) fn opened(&self) -> impl Iterator<Item = (&Address, &Address)> {
        self.opened.iter().map(|open| (&open.address, &open.bound))
    }
}

impl Listeners {
    /// None yet, for so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self { alive: vec![true; workers], open: Vec::new(), closing: Vec::new() }
    }

    /// Binds what is wanted and not open yet.
    ///
    /// # Errors
    ///
    /// One for each address that cannot be had; nothing has changed then.
    pub(crate) fn prepare<'a>(
        &self,
        wanted: impl Iterator<Item = &'a Address>,
    ) -> Result<Prepared, Vec<ListenError>> {
        let mut prepared =
            Prepared { opened: Vec::new(), handed: self.alive.iter().map(|_| Vec::new()).collect() };
        let mut errors = Vec::new();
        for address in wanted.filter(|&address| self.open.iter().all(|open| open.address != *address)) {
            let refused = |source| ListenError::Refused { address: address.clone(), source };
            match self
                .bind(address)
                .and_then(|open| open.lend(&mut prepared.handed).map(|()| open).map_err(refused))
            {
                Ok(open) => prepared.opened.push(open),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(prepared) } else { Err(errors) }
    }

    /// Waits while somebody else listens on what is wanted, but not for long. For the start of the process: a predecessor
    /// that has just exited leaves its sockets to the kernel, which closes those with a poll in an io_uring some
    /// milliseconds later. Seen: a restart right after the exit was refused by sockets that no process had any more.
    pub(crate) async fn wait_until_free<'a>(&self, wanted: impl Iterator<Item = &'a Address> + Clone) {
        let start = Instant::now();
        while let Err(errors) = self.prepare(wanted.clone()) {
            if !errors.iter().any(ListenError::is_taken) || start.elapsed() >= PREDECESSOR_TIMEOUT {
                return;
            }
            tokio::time::sleep(PREDECESSOR_TIMEOUT / 50).await;
        }
    }

    /// Listens on what was prepared and closes what is not wanted any more. Gives each worker's new sockets, which must
    /// go to it with a snapshot that names exactly the wanted addresses.
    ///
    /// # Errors
    ///
    /// When listen(2) fails; nothing has changed then.
    pub(crate) fn commit<'a>(
        &mut self,
        prepared: Prepared,
        wanted: impl Iterator<Item = &'a Address> + Clone,
    ) -> Result<Vec<Vec<ListenSocket>>, ListenError> {
        for open in &prepared.opened {
            for socket in open.sockets.iter().flatten() {
                socket
                    .listen(BACKLOG)
                    .map_err(|source| ListenError::Refused { address: open.address.clone(), source })?;
            }
        }
        self.close_unless(|address| wanted.clone().any(|wanted| wanted == address));
        self.open.extend(prepared.opened);
        Ok(prepared.handed)
    }

    /// Closes all of them here; the workers are to be told to drain next.
    pub(crate) fn close_all(&mut self) {
        self.close_unless(|_| false);
    }

    /// A worker has closed its socket of this address. True when it was the last one.
    pub(crate) fn closed_by(&mut self, worker: usize, address: &Address) -> bool {
        // Events of a worker come in order, so that this is about the oldest one that it had not closed.
        let Some(index) = self.closing.iter().position(|it| it.address == *address && it.waiting[worker])
        else {
            return false;
        };
        self.closing[index].waiting[worker] = false;
        let last = !self.closing[index].waiting.contains(&true);
        if last {
            self.closing.remove(index);
        }
        last
    }

    /// A worker is gone: its share of the connections goes to the others.
    pub(crate) fn forget_worker(&mut self, worker: usize) {
        self.alive[worker] = false;
        for open in self.open.iter_mut().filter(|open| matches!(open.address, Address::Tcp(_))) {
            open.sockets[worker] = None;
        }
        for closing in &mut self.closing {
            closing.waiting[worker] = false;
        }
        self.closing.retain(|closing| closing.waiting.contains(&true));
    }

    fn close_unless(&mut self, wanted: impl Fn(&Address) -> bool) {
        let (kept, closed) =
            std::mem::take(&mut self.open).into_iter().partition(|open| wanted(&open.address));
        self.open = kept;
        let closing = <Vec<Open>>::into_iter(closed).map(|open| Closing {
            inodes: open.inodes(),
            address: open.address,
            waiting: self.alive.clone(),
        });
        self.closing.extend(closing);
    }

    fn bind(&self, address: &Address) -> Result<Open, ListenError> {
        let refused = |source| ListenError::Refused { address: address.clone(), source };
        match address {
            Address::Tcp(tcp) => {
                self.refuse_taken(*tcp)?;
                let mut bound = *tcp;
                let mut sockets = Vec::with_capacity(self.alive.len());
                for alive in &self.alive {
                    let socket =
                        alive.then(|| bind_tcp(bound, ReusePort::Yes)).transpose().map_err(refused)?;
                    // Port 0: the kernel chooses it for the first, the others join it.
                    if let Some(real) = socket.as_ref().and_then(|it| it.local_addr().ok()?.as_socket()) {
                        bound = real;
                    }
                    sockets.push(socket);
                }
                Ok(Open { address: address.clone(), bound: Address::Tcp(bound), sockets, _file: None })
            }
            Address::Unix(path) => {
                remove_stale_file(path, address)?;
                let (socket, file) = bind_unix(path).map_err(refused)?;
                Ok(Open {
                    address: address.clone(),
                    bound: address.clone(),
                    sockets: vec![Some(socket)],
                    _file: Some(file),
                })
            }
        }
    }

    /// A socket without SO_REUSEPORT finds out whether somebody listens there. Two processes that are started in the same
    /// instant may still both pass.
    fn refuse_taken(&self, address: SocketAddr) -> Result<(), ListenError> {
        let Err(source) = bind_tcp(address, ReusePort::No) else { return Ok(()) };
        if source.kind() != io::ErrorKind::AddrInUse {
            return Err(ListenError::Refused { address: Address::Tcp(address), source });
        }
        let ours = self.inodes();
        let listening = tcp_table::listening_on(address.port()).unwrap_or_default();
        let mut others = listening.iter().filter(|it| tcp_table::overlaps(it.address, address));
        let address = Address::Tcp(address);
        match others.clone().find(|it| !ours.contains(&it.inode)) {
            Some(other) => Err(ListenError::InUse { address, by: other.address.to_string() }),
            // Ours alone: a reload from 0.0.0.0:80 to 127.0.0.1:80.
            None if others.next().is_some() => Ok(()),
            // Not a listener: a connection from that port, or a socket that is bound only.
            None => Err(ListenError::Refused { address, source }),
        }
    }

    fn inodes(&self) -> Vec<u64> {
        let open = self.open.iter().flat_map(Open::inodes);
        open.chain(self.closing.iter().flat_map(|closing| closing.inodes.iter().copied())).collect()
    }
}

impl Open {
    /// Adds a duplicate of its socket to what each worker gets.
    fn lend(&self, handed: &mut [Vec<ListenSocket>]) -> io::Result<()> {
        for (worker, handed) in handed.iter_mut().enumerate() {
            let socket = match self.address {
                Address::Tcp(_) => self.sockets.get(worker),
                Address::Unix(_) => self.sockets.first(),
            };
            if let Some(socket) = socket.and_then(Option::as_ref) {
                handed.push(ListenSocket {
                    address: self.address.clone(),
                    fd: socket.as_fd().try_clone_to_owned()?,
                });
            }
        }
        Ok(())
    }

    fn inodes(&self) -> Vec<u64> {
        self.sockets.iter().flatten().filter_map(|socket| inode(socket).ok()).collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReusePort {
    Yes,
    No,
}

fn bind_tcp(address: SocketAddr, reuse_port: ReusePort) -> io::Result<Socket> {
    // Socket::new sets CLOEXEC.
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // [::] means IPv6, 0.0.0.0 means IPv4, and both may be configured beside each other.
        socket.set_only_v6(true)?;
    }
    // Connections of a predecessor in TIME_WAIT, or still open, do not keep us from listening. Linux lets no socket with
    // this option alone take an address on which another listens.
    socket.set_reuse_address(true)?;
    if reuse_port == ReusePort::Yes {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Binds a Unix stream socket, non-blocking; the file goes when the second part is dropped.
pub(crate) fn bind_unix(path: &Path) -> io::Result<(Socket, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let inode = fs::symlink_metadata(path)?.ino();
    Ok((socket, SocketFile { path: path.to_owned(), inode }))
}

/// Removes the socket that a process left behind which ended without cleaning up.
pub(crate) fn remove_stale_file(path: &Path, address: &Address) -> Result<(), ListenError> {
    let refused = |source| ListenError::Refused { address: address.clone(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket { address: address.clone() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(refused)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // EACCES, EAGAIN: somebody's, as far as we can tell.
        Ok(_) | Err(_) => Err(ListenError::InUse { address: address.clone(), by: address.to_string() }),
    }
}

/// The file of a Unix socket, removed on drop if it is still the one that we made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(socket: &impl AsFd) -> io::Result<u64> {
    let fd: OwnedFd = socket.as_fd().try_clone_to_owned()?;
    Ok(File::from(fd).metadata()?.ino())
}

/// Connections that may wait to be accepted, per socket: Linux's own default limit (net.core.somaxconn since 5.4), so
/// that a burst within one turn of a worker is not refused. The kernel uses the smaller of the two.
const BACKLOG: i32 = 4096;

/// How long a start waits for a port. Some 20 ms were seen for an idle process; the rest is for a busy one, and a guess.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
