//! The relay on io_uring: multishot receives into a ring of provided buffers, sends submitted in one batch with the wait for
//! what comes next. One system call for all that is ready, and no call for a message.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::arguments::Arguments;
use crate::net;

/// Of the submission queue; the completion queue has four times as many.
const ENTRIES: u32 = 1024;
/// Buffers and their size: enough for 64 connections both ways. Fewer or smaller ones stay warmer and cost more, since
/// receives end for want of a buffer: a GET of 1 KiB 13.8 µs with 32 of 32 KiB, 12.5 with 64, 11.6 with 128 of 64 KiB (the
/// epoll relay 12.1); one of 16 MiB 5.3, 4.9 and 4.0 ms.
const BUFFERS: u16 = 128;
const BUFFER_BYTES: usize = 64 << 10;
const BUFFER_GROUP: u16 = 0;

/// What a completion is about: the pair in the upper bits, the side in bit 1, the kind in bit 0.
const RECEIVE: u64 = 0;
const SEND: u64 = 1;
/// The token of the multishot accept.
const ACCEPT: u64 = u64::MAX;

/// A connection, and what was received for it.
struct Side {
    stream: TcpStream,
    /// Buffers (number, offset, end) that are to be sent; the first of them is with the kernel.
    unsent: VecDeque<(u16, usize, usize)>,
    is_receiving: bool,
}

/// A client and the origin.
struct Pair {
    sides: [Side; 2],
    is_ending: bool,
}

struct Relay {
    ring: IoUring,
    buffers: Buffers,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    /// Sides whose receive ended because no buffer was free.
    starved: VecDeque<u64>,
    origin: u16,
}

/// Serves until it is killed.
///
/// # Errors
/// The port is taken, or the kernel refuses the ring.
pub(crate) fn run(arguments: &mut Arguments) -> io::Result<()> {
    let listener = net::listen(arguments.value("port")?)?;
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(4 * ENTRIES)
        .build(ENTRIES)?;
    let buffers = Buffers::register(&mut ring)?;
    let origin = arguments.value("origin")?;
    let mut relay =
        Relay { ring, buffers, pairs: Vec::new(), free: Vec::new(), starved: VecDeque::new(), origin };
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
    relay.push(accept.user_data(ACCEPT))?;
    let mut completions: Vec<cqueue::Entry> = Vec::new();
    loop {
        match relay.ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            done => _ = done?,
        }
        completions.extend(relay.ring.completion());
        for completion in completions.drain(..) {
            relay.complete(&completion)?;
        }
        relay.buffers.publish();
        while relay.buffers.has_returned
            && let Some(token) = relay.starved.pop_front()
        {
            relay.receive(token)?;
        }
        relay.buffers.has_returned = false;
    }
}

impl Relay {
    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let (token, result) = (completion.user_data(), completion.result());
        if token == ACCEPT {
            return self.accepted(net::check(result)?);
        }
        let (index, number) = ((token >> 2) as usize, (token >> 1 & 1) as usize);
        let Some(pair) = &mut self.pairs[index] else { return Ok(()) };
        if token & 1 == SEND {
            let side = &mut pair.sides[number];
            if let Some((buffer, at, end)) = side.unsent.pop_front() {
                let sent = usize::try_from(result).unwrap_or(end - at);
                if at + sent < end {
                    side.unsent.push_front((buffer, at + sent, end));
                } else {
                    self.buffers.give_back(buffer);
                }
                pair.is_ending |= result < 0;
            }
            if !pair.sides[number].unsent.is_empty() {
                return self.send(index, number);
            }
            return self.end_if_over(index);
        }
        if let Some(buffer) = cqueue::buffer_select(completion.flags()) {
            let other = &mut pair.sides[1 - number];
            other.unsent.push_back((buffer, 0, result as usize));
            let is_first = other.unsent.len() == 1;
            if is_first {
                self.send(index, 1 - number)?;
            }
        }
        if cqueue::more(completion.flags()) {
            return Ok(());
        }
        if result == -libc::ENOBUFS {
            self.starved.push_back(token);
            return Ok(());
        }
        if result > 0 {
            return self.receive(token);
        }
        if let Some(pair) = &mut self.pairs[index] {
            pair.is_ending = true;
            pair.sides[number].is_receiving = false;
        }
        self.end_if_over(index)
    }

    fn accepted(&mut self, fd: RawFd) -> io::Result<()> {
        let client = net::adopt(fd)?;
        let origin = net::connect(self.origin)?;
        origin.set_nonblocking(false)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        let sides =
            [client, origin].map(|stream| Side { stream, unsent: VecDeque::new(), is_receiving: true });
        self.pairs[index] = Some(Pair { sides, is_ending: false });
        self.receive((index as u64) << 2)?;
        self.receive((index as u64) << 2 | 2)
    }

    /// Arms the receives of a side.
    fn receive(&mut self, token: u64) -> io::Result<()> {
        let (index, number) = ((token >> 2) as usize, (token >> 1 & 1) as usize);
        let Some(pair) = &self.pairs[index] else { return Ok(()) };
        let fd = Fd(pair.sides[number].stream.as_raw_fd());
        self.push(opcode::RecvMulti::new(fd, BUFFER_GROUP).build().user_data(token | RECEIVE))
    }

    /// Sends the first of the buffers of a side.
    fn send(&mut self, index: usize, number: usize) -> io::Result<()> {
        let Some(pair) = &self.pairs[index] else { return Ok(()) };
        let side = &pair.sides[number];
        let Some(&(buffer, at, end)) = side.unsent.front() else { return Ok(()) };
        let bytes = &self.buffers.bytes(buffer)[at..end];
        let send = opcode::Send::new(Fd(side.stream.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        self.push(send.user_data((index as u64) << 2 | (number as u64) << 1 | SEND))
    }

    /// Once one side has ended and all is sent, both are shut down; once the kernel holds nothing of them, they go.
    fn end_if_over(&mut self, index: usize) -> io::Result<()> {
        let Some(pair) = &self.pairs[index] else { return Ok(()) };
        if !pair.is_ending || pair.sides.iter().any(|side| !side.unsent.is_empty()) {
            return Ok(());
        }
        if pair.sides.iter().any(|side| side.is_receiving) {
            for side in &pair.sides {
                // A side that is gone already cannot be shut down.
                _ = side.stream.shutdown(std::net::Shutdown::Both);
            }
            return Ok(());
        }
        self.pairs[index] = None;
        self.free.push(index);
        Ok(())
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: what an entry points to is in `buffers`, which live as long as the process.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }
}

/// The ring of provided buffers; it lives as long as the process.
struct Buffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
    has_returned: bool,
}

impl Buffers {
    fn register(ring: &mut IoUring) -> io::Result<Self> {
        let ring_bytes = usize::from(BUFFERS) * size_of::<BufRingEntry>();
        let entries = map(ring_bytes)?.cast::<BufRingEntry>();
        let memory = map(usize::from(BUFFERS) * BUFFER_BYTES)?;
        // SAFETY: a mapping of its own for so many entries, never unmapped.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS, BUFFER_GROUP, 0)? };
        let mut buffers = Self { entries, memory, tail: 0, has_returned: false };
        (0..BUFFERS).for_each(|number| buffers.give_back(number));
        buffers.publish();
        Ok(buffers)
    }

    fn bytes(&self, number: u16) -> &[u8] {
        debug_assert!(number < BUFFERS, "a buffer that does not exist");
        // SAFETY: within the mapping, which is zeroed at first and lives as long as the process.
        unsafe {
            std::slice::from_raw_parts(self.memory.add(usize::from(number) * BUFFER_BYTES), BUFFER_BYTES)
        }
    }

    /// The kernel may fill a buffer again, once it is published.
    fn give_back(&mut self, number: u16) {
        let address = self.bytes(number).as_ptr() as u64;
        let slot = usize::from(self.tail % BUFFERS);
        // SAFETY: within the mapping of the entries; the kernel reads it only once the tail has passed it.
        let entry = unsafe { &mut *self.entries.add(slot) };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
        self.has_returned = true;
    }

    fn publish(&self) {
        // SAFETY: the tail lies in the first entry of the mapping, aligned; the kernel only reads it.
        let tail = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Zeroed pages that are never given back.
fn map(bytes: usize) -> io::Result<*mut u8> {
    let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address that the kernel chooses.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, rights, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast()) }
}
