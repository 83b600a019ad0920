//! Clients that only stay: idle keep-alive connections, and readers that take little at a time.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::arguments::{Arguments, invalid};
use crate::http;
use crate::net;
use crate::tls;

/// A wait that is longer than this is an error of the proxy.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a slow reader takes at a time. A guess: a few packets.
const SLOW_READ_BYTES: usize = 4 << 10;
/// The kernel's receive buffer of a slow reader; it doubles it. Small, so that the proxy feels the slowness at once.
const SLOW_WINDOW_BYTES: i32 = 16 << 10;

/// Opens the connections, one request on each, says so, and holds them until stdin ends.
///
/// # Errors
/// A connection that is refused, or an answer that is not 200 and whole.
pub(crate) fn run(arguments: &mut Arguments) -> io::Result<()> {
    let (count, port): (usize, u16) = (arguments.value("connections")?, arguments.value("port")?);
    let request = std::fs::read(arguments.value::<String>("request")?)?;
    let config = arguments.flag("tls").then(tls::without_resumption);
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        match &config {
            None => exchange(&mut stream, &request)?,
            // Nothing is sent or received later, so that the socket is all that must be held.
            Some(config) => {
                let mut connection = tls::connection(config)?;
                exchange(&mut rustls::Stream::new(&mut connection, &mut stream), &request)?;
            }
        }
        held.push(stream);
    }
    println!("holding");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    // What the proxy closed in the meantime was not held.
    let closed = held.iter().filter(|stream| is_closed(stream)).count();
    println!("{closed} closed");
    Ok(())
}

/// One request and its whole answer.
fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<()> {
    stream.write_all(request)?;
    let mut received = [0; 16 << 10];
    let count = stream.read(&mut received)?;
    let bytes = &received[..count];
    let end = http::head_end(bytes).filter(|_| bytes.starts_with(b"HTTP/1.1 200 "));
    let end = end.ok_or_else(|| invalid("another answer than 200"))?;
    let length = http::content_length(&bytes[..end]).ok_or_else(|| invalid("an answer without length"))?;
    let left = length.saturating_sub((count - end) as u64);
    let rest = io::copy(&mut stream.take(left), &mut io::sink())?;
    if rest == left { Ok(()) } else { Err(invalid("an answer in part")) }
}

/// Whether its end has come, or what TLS says before that.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).is_err() || stream.peek(&mut [0]).is_ok()
}

/// Requests on every connection, and reads their answers at a pace, until stdin ends or half a minute is over.
///
/// # Errors
/// A connection that is refused, or one that ends while it is read.
pub(crate) fn run_slow(arguments: &mut Arguments) -> io::Result<()> {
    let (count, port): (usize, u16) = (arguments.value("connections")?, arguments.value("port")?);
    let rate: f64 = arguments.value("rate")?;
    let request = std::fs::read(arguments.value::<String>("request")?)?;
    let mut readers = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let (window, size) = (SLOW_WINDOW_BYTES, size_of::<i32>() as u32);
        // SAFETY: a value of that size, which lives until the call returns.
        net::check(unsafe {
            let value = (&raw const window).cast();
            libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, value, size)
        })?;
        (&stream).write_all(&request)?;
        stream.set_nonblocking(true)?;
        readers.push(stream);
    }
    println!("reading");
    let pause = Duration::from_secs_f64(SLOW_READ_BYTES as f64 / rate);
    let (start, mut taken) = (Instant::now(), 0);
    let mut buffer = [0; SLOW_READ_BYTES];
    while !stdin_ended_within(pause)? {
        for mut stream in &readers {
            match net::unless_blocked(stream.read(&mut buffer))? {
                Some(0) => return Err(invalid("a slow reader was cut off")),
                count => taken += count.unwrap_or(0),
            }
        }
    }
    println!("{taken} bytes in {} ms", start.elapsed().as_millis());
    Ok(())
}

/// Waits on stdin; nothing is ever written to it, so that an event is its end.
fn stdin_ended_within(pause: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives until the call returns.
    let ready = net::check(unsafe { libc::poll(&mut poll, 1, pause.as_millis() as i32) })?;
    Ok(ready > 0)
}
