//! What the machine is like at the moment: how fast the proxies' core works, and how far it is from the load's core.
//!
//! A virtual machine's cores move about on the host. When the two share a cache, a cache line goes from one to the other in
//! some tens of nanoseconds, otherwise in hundreds; every message between load and proxy is tens of such lines. That is no
//! property of a proxy, and is told apart.

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::net;

/// Of each measurement several are made and the least counts: what else runs there only adds.
const ATTEMPTS: usize = 6;
/// Messages there and back in one attempt, about a quarter of a millisecond.
const TURNS: usize = 100;
/// Cache lines there and back in one attempt.
const BOUNCES: u32 = 400;
/// What the other thread reads as its end.
const END: u32 = u32::MAX;

/// The line that goes to and fro: odd is the other core's turn.
static LINE: AtomicU32 = AtomicU32::new(0);

/// Answers each line on stdin with two numbers, in nanoseconds: a message there and back on this core, and a cache line to
/// the other core and back.
///
/// # Errors
/// Those of the sockets; an option that is missing.
pub(crate) fn run(arguments: &mut Arguments) -> io::Result<()> {
    let (own, other): (usize, usize) = (arguments.value("core")?, arguments.value("other-core")?);
    net::pin(own)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    for line in io::stdin().lock().lines() {
        line?;
        let (mut turn, mut bounce) = (u128::MAX, u128::MAX);
        for _ in 0..ATTEMPTS {
            let start = Instant::now();
            turns(&mut here, &mut there)?;
            turn = turn.min(start.elapsed().as_nanos() / TURNS as u128);
        }
        let returner = thread::spawn(move || net::pin(other).map(|()| return_the_line()));
        for _ in 0..ATTEMPTS {
            let start = Instant::now();
            (0..BOUNCES).for_each(|_| send_the_line());
            bounce = bounce.min(start.elapsed().as_nanos() / u128::from(BOUNCES));
        }
        LINE.store(END, Ordering::Release);
        returner.join().map_err(|_| io::Error::other("the other core's thread panicked"))??;
        LINE.store(0, Ordering::Release);
        println!("{turn} {bounce}");
    }
    Ok(())
}

fn turns(here: &mut TcpStream, there: &mut TcpStream) -> io::Result<()> {
    let mut message = [b'x'; 1024];
    for _ in 0..TURNS {
        here.write_all(&message[..128])?;
        there.read_exact(&mut message[..128])?;
        there.write_all(&message)?;
        here.read_exact(&mut message)?;
    }
    Ok(())
}

/// Gives the line to the other core and waits until it is back.
fn send_the_line() {
    LINE.store(1, Ordering::Release);
    while LINE.load(Ordering::Acquire) == 1 {
        std::hint::spin_loop();
    }
}

fn return_the_line() {
    loop {
        match LINE.load(Ordering::Acquire) {
            END => return,
            1 => LINE.store(0, Ordering::Release),
            _ => std::hint::spin_loop(),
        }
    }
}
