//! A byte stream in memory with seeded faults: short transfers, attempts that would block for no reason, waits that
//! fire early or late, ends and resets. The exchanges of the tests run over it as they run over sockets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::{ByteStream, Check, Dial, IdleState, Interest, Peeked, Pipe};
use crate::snapshot::Address;
use crate::tls::Secure;

/// Bytes that a direction holds at most before its sender would block.
const DIRECTION_BYTES: usize = 48 * 1024;

thread_local! {
    /// The far ends of the connections that were dialled, for the test to take.
    static DIALLED: RefCell<VecDeque<MemoryStream>> = const { RefCell::new(VecDeque::new()) };
    static DIAL_FAULTS: RefCell<Faults> = const { RefCell::new(Faults::none()) };
}

/// A small generator (splitmix64): a failure replays from its seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// How a stream misbehaves. Faults change when and in which pieces bytes move, never which bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    seed: Seed,
    /// Transfers are cut short, and some attempts would block although they need not.
    unsteady: bool,
    /// Readiness comes once for each change, as that of sockets does; whoever waits without need waits for ever.
    edges: bool,
    piping: Piping,
}

/// What a stream does with pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piping {
    /// It fills and drains them.
    Both,
    /// It says that it cannot, as TLS will.
    Unsupported,
    /// It says that it can; the kernel says that it cannot.
    FillRefused,
    /// The same, for draining.
    DrainRefused,
}

impl Faults {
    pub(crate) const fn none() -> Self {
        Self { seed: Seed::new(0), unsteady: false, edges: false, piping: Piping::Both }
    }

    pub(crate) const fn unsteady(seed: u64) -> Self {
        Self { unsteady: true, seed: Seed::new(seed), ..Self::none() }
    }

    /// Transfers are short where there is no more only, and waits end with events only.
    pub(crate) const fn edges() -> Self {
        Self { edges: true, ..Self::none() }
    }

    /// The same with other pipes.
    pub(crate) const fn piping(self, piping: Piping) -> Self {
        Self { piping, ..self }
    }

    /// How much of `available` moves; 0 for an attempt that would block.
    fn transfer(&mut self, available: usize) -> usize {
        if !self.unsteady || available == 0 {
            return available;
        }
        match self.seed.below(8) {
            0 => 0,
            1 | 2 => 1,
            3 | 4 => 1 + self.seed.below(available.min(100)),
            5 => 1 + self.seed.below(available),
            _ => available,
        }
    }
}

/// One end of a connection.
pub(crate) struct MemoryStream {
    incoming: Rc<RefCell<Direction>>,
    outgoing: Rc<RefCell<Direction>>,
    faults: Faults,
}

/// One direction.
#[derive(Default)]
struct Direction {
    bytes: VecDeque<u8>,
    ended: bool,
    reset: bool,
    reader_gone: bool,
    /// Something has come since the reader was last told.
    has_arrived: bool,
    /// There is room again, and the writer was not yet told.
    has_room: bool,
    /// The last send found too little room.
    was_short: bool,
    wakers: Vec<Waker>,
}

impl Direction {
    fn wake(&mut self) {
        if self.was_short && self.bytes.len() < DIRECTION_BYTES {
            (self.was_short, self.has_room) = (false, true);
        }
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// The two ends of a new connection; the first one has the faults.
pub(crate) fn pair(faults: Faults) -> (MemoryStream, MemoryStream) {
    // That a new connection can be sent to is an event, too.
    let direction = || Rc::new(RefCell::new(Direction { has_room: true, ..Direction::default() }));
    let (one, other) = (direction(), direction());
    (
        MemoryStream { incoming: one.clone(), outgoing: other.clone(), faults },
        MemoryStream { incoming: other, outgoing: one, faults: Faults::none() },
    )
}

/// What the next connections that are dialled are like.
pub(crate) fn set_dial_faults(faults: Faults) {
    DIAL_FAULTS.set(faults);
    DIALLED.with_borrow_mut(VecDeque::clear);
}

/// The far end of the connection that was dialled first and not yet taken.
pub(crate) fn take_dialled() -> Option<MemoryStream> {
    DIALLED.with_borrow_mut(VecDeque::pop_front)
}

// Never inlined is what does work of its own: `benches/instructions` finds it by name and does not count it.
impl ByteStream for MemoryStream {
    #[inline(never)]
    fn poll_ready(&mut self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        let mut incoming = self.incoming.borrow_mut();
        let mut outgoing = self.outgoing.borrow_mut();
        let broken = incoming.reset || outgoing.reset;
        if self.faults.edges {
            let ready = match interest {
                Interest::Read => std::mem::take(&mut incoming.has_arrived) || broken || incoming.ended,
                Interest::Write => {
                    std::mem::take(&mut outgoing.has_room)
                        || broken
                        || (incoming.ended && outgoing.reader_gone)
                }
                Interest::HangUp => broken || incoming.ended,
                Interest::Gone => broken || (incoming.ended && outgoing.reader_gone),
            };
            if ready {
                return Poll::Ready(Ok(()));
            }
            incoming.wakers.push(cx.waker().clone());
            outgoing.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        let ready = match interest {
            Interest::Read => broken || incoming.ended || !incoming.bytes.is_empty(),
            Interest::Write => broken || outgoing.reader_gone || outgoing.bytes.len() < DIRECTION_BYTES,
            Interest::HangUp => broken || incoming.ended,
            Interest::Gone => broken || (incoming.ended && outgoing.reader_gone),
        };
        if ready {
            // Sometimes late: the wake-up has been sent and arrives in the next turn.
            if self.faults.unsteady && self.faults.seed.once_in(3) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Ok(()));
        }
        incoming.wakers.push(cx.waker().clone());
        outgoing.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    fn rearm(&mut self) {
        let mut incoming = self.incoming.borrow_mut();
        incoming.has_arrived = !incoming.bytes.is_empty();
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.has_room = outgoing.bytes.len() < DIRECTION_BYTES;
    }

    #[inline(never)]
    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let available = incoming.bytes.len().min(buffer.len());
        if available == 0 {
            return if incoming.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let moved = self.faults.transfer(available);
        if moved == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (slot, byte) in buffer.iter_mut().zip(incoming.bytes.drain(..moved)) {
            *slot = byte;
        }
        incoming.wake();
        Ok(moved)
    }

    #[inline(never)]
    fn try_send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if outgoing.reader_gone || outgoing.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        let room = DIRECTION_BYTES.saturating_sub(outgoing.bytes.len());
        let moved = self.faults.transfer(wanted.min(room));
        outgoing.was_short = moved < wanted;
        if moved == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        outgoing.has_arrived = true;
        let bytes = slices.iter().flat_map(|slice| slice.iter()).take(moved);
        outgoing.bytes.extend(bytes);
        outgoing.wake();
        Ok(moved)
    }

    fn splices(&self) -> bool {
        self.faults.piping != Piping::Unsupported
    }

    fn try_fill(&mut self, pipe: &mut Pipe, bytes_max: usize) -> io::Result<usize> {
        if self.faults.piping == Piping::FillRefused {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut buffer = vec![0; bytes_max.min(DIRECTION_BYTES)];
        let moved = self.try_recv(&mut buffer)?;
        pipe.put(&buffer[..moved]);
        Ok(moved)
    }

    fn try_drain(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        if self.faults.piping == Piping::DrainRefused {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if outgoing.reader_gone || outgoing.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = DIRECTION_BYTES.saturating_sub(outgoing.bytes.len());
        let moved = self.faults.transfer(pipe.held().min(room));
        outgoing.was_short = moved < pipe.held();
        outgoing.has_arrived |= moved > 0;
        if moved == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut buffer = vec![0; moved];
        pipe.take_out(&mut buffer);
        outgoing.bytes.extend(buffer);
        outgoing.wake();
        Ok(moved)
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn unacknowledged(&self) -> usize {
        self.outgoing.borrow().bytes.len()
    }

    fn shutdown_write(&mut self) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.ended = true;
        outgoing.wake();
    }

    fn abort(&mut self) {
        for pipe in [&self.incoming, &self.outgoing] {
            let mut pipe = pipe.borrow_mut();
            pipe.reset = true;
            pipe.wake();
        }
    }

    fn look(&mut self, _check: Check) -> IdleState {
        let incoming = self.incoming.borrow();
        if !incoming.bytes.is_empty() && !incoming.reset {
            let peeked = Peeked::with(|buffer| {
                let pairs = buffer.iter_mut().zip(&incoming.bytes);
                Ok::<_, io::Error>(pairs.map(|(slot, byte)| *slot = *byte).count())
            });
            return peeked.map_or(IdleState::Closed, IdleState::Surplus);
        }
        if incoming.ended || incoming.reset { IdleState::Closed } else { IdleState::Silent }
    }
}

impl Secure for MemoryStream {}

impl Dial for MemoryStream {
    fn dial(_address: &Address) -> io::Result<Self> {
        let faults = DIAL_FAULTS.with_borrow_mut(|faults| {
            faults.seed.next();
            *faults
        });
        let (near, far) = pair(faults);
        DIALLED.with_borrow_mut(|dialled| dialled.push_back(far));
        Ok(near)
    }

    fn take_error(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn closed() -> Self {
        pair(Faults::none()).0
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        {
            let mut outgoing = self.outgoing.borrow_mut();
            outgoing.ended = true;
            outgoing.wake();
        }
        let mut incoming = self.incoming.borrow_mut();
        incoming.reader_gone = true;
        incoming.wake();
    }
}
