//! How fast this core is at the moment: the time of a fixed piece of work of the kind that a proxy does.

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

/// Messages there and back, about a millisecond in all.
const TURNS: usize = 120;

/// Answers each line on stdin with the nanoseconds of one turn of messages over loopback.
///
/// # Errors
/// Those of the sockets.
pub(crate) fn run() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    for line in io::stdin().lock().lines() {
        line?;
        // The caches belonged to somebody else.
        turns(&mut here, &mut there, TURNS / 4)?;
        let start = Instant::now();
        turns(&mut here, &mut there, TURNS)?;
        println!("{}", start.elapsed().as_nanos() / TURNS as u128);
    }
    Ok(())
}

fn turns(here: &mut TcpStream, there: &mut TcpStream, count: usize) -> io::Result<()> {
    let mut message = [b'x'; 1024];
    for _ in 0..count {
        here.write_all(&message[..128])?;
        there.read_exact(&mut message[..128])?;
        there.write_all(&message)?;
        here.read_exact(&mut message)?;
    }
    Ok(())
}
