//! Access-log records as syslog messages (RFC 5424), and the ways to a server: datagrams over UDP (RFC 5426) or a Unix
//! socket, and a stream over TCP in which each message's length stands before it (RFC 6587 §3.4.1).
//!
//! Only the log writer's thread is here: it may wait.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant, SystemTime};

use corelane_engine::calendar::write_rfc3339;

use crate::config::{Syslog, SyslogTarget};

/// A way to a server that opens itself, again after it has failed.
#[derive(Debug)]
pub(crate) struct SyslogOutput {
    syslog: Syslog,
    hostname: String,
    socket: Option<Socket>,
    /// After a failure: when to try again, and how long that is after it.
    retry: Option<(Instant, Duration)>,
    /// One message in the making.
    message: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixDatagram),
}

/// How far lines were sent.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The byte behind the last line that is done with.
    pub(crate) done: usize,
    /// Lines that no message could take.
    pub(crate) too_long: u64,
    /// Why the others wait.
    pub(crate) error: Option<io::Error>,
}

impl SyslogOutput {
    /// Opens nothing yet: a server that is down now keeps nobody from starting.
    pub(crate) fn new(syslog: Syslog, hostname: String) -> Self {
        Self { syslog, hostname, socket: None, retry: None, message: Vec::new() }
    }

    /// Sends each line as a message, until one cannot be sent now.
    pub(crate) fn send(&mut self, lines: &[u8]) -> Progress {
        let mut progress = Progress { done: 0, too_long: 0, error: None };
        if matches!(&self.socket, Some(Socket::Tcp(stream)) if has_ended(stream)) {
            self.socket = None;
        }
        let header = self.header(SystemTime::now());
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            match self.send_line(&header, line.strip_suffix(b"\n").unwrap_or(line)) {
                Ok(()) => self.retry = None,
                Err(error) if is_too_long(&error) => progress.too_long += 1,
                Err(error) => {
                    let pause = self.retry.map_or(PAUSE_MIN, |(_, pause)| (pause * 2).min(PAUSE_MAX));
                    self.retry = Some((Instant::now() + pause, pause));
                    return Progress { error: Some(error), ..progress };
                }
            }
            progress.done += line.len();
        }
        progress
    }

    /// Where it leads.
    pub(crate) fn target(&self) -> &SyslogTarget {
        &self.syslog.target
    }

    /// After a failure: when it is worth while to try again.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry.map(|(at, _)| at)
    }

    /// `<190>1 2026-11-21T14:05:00.123Z edge1 corelane 4711 - - `
    fn header(&self, now: SystemTime) -> Vec<u8> {
        // RFC 5424 §6.2.1: the facility times eight, and the severity "informational".
        let mut header = format!("<{}>1 ", u16::from(self.syslog.facility) * 8 + 6).into_bytes();
        let unix = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        write_rfc3339(&mut header, u64::try_from(unix.as_nanos()).unwrap_or_default());
        let (host, app, pid) = (&self.hostname, &self.syslog.app_name, std::process::id());
        header.extend_from_slice(format!(" {host} {app} {pid} - - ").as_bytes());
        header
    }

    /// A stream that broke is opened once more for the same line: nothing of it counts as sent.
    fn send_line(&mut self, header: &[u8], line: &[u8]) -> io::Result<()> {
        let was_open = self.socket.is_some();
        match self.try_send_line(header, line) {
            Err(_) if was_open && self.socket.is_none() => self.try_send_line(header, line),
            result => result,
        }
    }

    fn try_send_line(&mut self, header: &[u8], line: &[u8]) -> io::Result<()> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.syslog.target)?,
        };
        self.message.clear();
        if matches!(socket, Socket::Tcp(_)) {
            self.message.extend_from_slice(format!("{} ", header.len() + line.len()).as_bytes());
        }
        self.message.extend_from_slice(header);
        self.message.extend_from_slice(line);
        let sent = match &mut socket {
            Socket::Udp(socket) => socket.send(&self.message).map(|_| ()),
            Socket::Unix(socket) => socket.send(&self.message).map(|_| ()),
            Socket::Tcp(stream) => stream.write_all(&self.message),
        };
        // A message that is too long says nothing about the way. Any other error ends it: within a stream, nobody would know
        // where the next message begins.
        if sent.as_ref().err().is_none_or(is_too_long) {
            self.socket = Some(socket);
        }
        sent
    }
}

/// Whether the server has closed or reset a stream, on which nothing else comes: what is written then is lost.
fn has_ended(stream: &TcpStream) -> bool {
    let mut room = [0; 1];
    match stream.set_nonblocking(true).and_then(|()| stream.peek(&mut room)) {
        Ok(bytes) if bytes > 0 => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Ok(_) | Err(_) => return true,
    }
    stream.set_nonblocking(false).is_err()
}

fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// What this machine is called; empty where it has no name.
pub(crate) fn machine_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The same as RFC 5424 §6.2.4 allows it.
pub(crate) fn hostname() -> String {
    let name: String = machine_name().chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

fn connect(target: &SyslogTarget) -> io::Result<Socket> {
    match target {
        SyslogTarget::Udp(server) => each_address(server, |address| {
            let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            Ok(Socket::Udp(socket))
        }),
        SyslogTarget::Tcp(server) => each_address(server, |address| {
            let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            Ok(Socket::Tcp(stream))
        }),
        SyslogTarget::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(TIMEOUT))?;
            Ok(Socket::Unix(socket))
        }
    }
}

/// The first address that works. Names are resolved by the system, each time anew.
fn each_address(server: &str, open: impl Fn(SocketAddr) -> io::Result<Socket>) -> io::Result<Socket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        match open(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Between attempts: doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A server that takes nothing for so long is down. A guess: batches stand in the channel meanwhile.
const TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::TcpListener;

    fn output(target: SyslogTarget) -> SyslogOutput {
        let syslog = Syslog { target, facility: 23, app_name: "edge".to_owned() };
        SyslogOutput::new(syslog, "host1".to_owned())
    }

    #[test]
    fn a_datagram_is_a_message() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let mut output = output(SyslogTarget::Udp(server.local_addr().expect("bound").to_string()));
        let sent = output.send(b"one\ntwo\n");
        assert_eq!((sent.done, sent.error.is_none()), (8, true));
        for line in ["one", "two"] {
            let mut room = [0; 500];
            let length = server.recv(&mut room).expect("a datagram");
            let text = String::from_utf8_lossy(&room[..length]).into_owned();
            let words: Vec<&str> = text.splitn(8, ' ').collect();
            let pid = std::process::id().to_string();
            assert_eq!(words[0], "<190>1");
            assert!(words[1].ends_with('Z') && words[1].len() == 24, "{text}");
            assert_eq!(words[2..], ["host1", "edge", &pid, "-", "-", line], "{text}");
        }
    }

    #[test]
    fn a_stream_has_the_length_of_each_message_and_is_opened_again() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut output = output(SyslogTarget::Tcp(server.local_addr().expect("bound").to_string()));
        assert!(output.send(b"one\n").error.is_none());
        let (mut stream, _) = server.accept().expect("a connection");
        let mut room = [0; 500];
        let length = stream.read(&mut room).expect("a message");
        let text = String::from_utf8_lossy(&room[..length]).into_owned();
        let (bytes, message) = text.split_once(' ').expect("a length");
        assert_eq!(bytes.parse(), Ok(message.len()), "{text}");
        assert!(message.starts_with("<190>1 ") && message.ends_with(" - - one"), "{text}");
        // Unread bytes make the close a reset.
        assert!(output.send(b"lost\n").error.is_none());
        drop(stream);
        // The first message after it may still be taken by the kernel; then the stream is opened anew.
        let start = Instant::now();
        server.set_nonblocking(true).expect("a flag");
        let mut stream = loop {
            assert!(output.send(b"again\n").error.is_none());
            assert!(start.elapsed() < Duration::from_secs(30), "it is not opened again");
            if let Ok((stream, _)) = server.accept() {
                break stream;
            }
        };
        stream.set_nonblocking(false).expect("a flag");
        let length = stream.read(&mut room).expect("a message");
        assert!(String::from_utf8_lossy(&room[..length]).contains(" - - again"));
    }

    #[test]
    fn a_server_that_is_down_is_tried_again_after_longer_and_longer_pauses() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let mut output = output(SyslogTarget::Unix(path.clone()));
        assert!(output.retry_at().is_none());
        let sent = output.send(b"two\n");
        assert_eq!((sent.done, sent.error.map(|it| it.kind())), (0, Some(io::ErrorKind::NotFound)));
        assert_eq!(output.retry.expect("a pause").1, PAUSE_MIN);
        for _ in 0..10 {
            assert!(output.send(b"three\n").error.is_some());
        }
        assert_eq!(output.retry.expect("a pause").1, PAUSE_MAX);
        let _server = UnixDatagram::bind(&path).expect("a socket");
        assert!(output.send(b"four\n").error.is_none());
        assert!(output.retry_at().is_none());
    }

    #[test]
    fn a_message_that_is_too_long_is_lost_alone() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let mut output = output(SyslogTarget::Udp(server.local_addr().expect("bound").to_string()));
        let lines = [&[b'x'; 70_000][..], b"\nshort\n"].concat();
        let sent = output.send(&lines);
        assert_eq!((sent.done, sent.too_long, sent.error.is_none()), (lines.len(), 1, true));
        let mut room = [0; 500];
        let length = server.recv(&mut room).expect("a datagram");
        assert!(room[..length].ends_with(b" - - short"));
    }
}
