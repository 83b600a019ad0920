//! Which signals the process listens to, and that only the control thread takes them.
//!
//! SIGPIPE needs nothing here: Rust's runtime ignores it before `main`.
#![allow(unsafe_code, reason = "the signal mask of a thread is set by pthread_sigmask alone")]

use std::io;
use std::mem::MaybeUninit;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that the process acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT, with its number.
    Stop(i32),
    /// SIGUSR1.
    ReopenLog,
}

/// The signals of the process, as they arrive on the control thread.
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
}

impl Signals {
    /// From here on the signals no longer end the process.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next one. Cancel-safe. Several of one kind may arrive as one.
    pub(crate) async fn next(&mut self) -> Received {
        // `recv` gives None only when the runtime is gone, and then nobody awaits this.
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Received::Stop(libc::SIGTERM),
            _ = self.interrupt.recv() => Received::Stop(libc::SIGINT),
            _ = self.hangup.recv() => Received::Reload,
            _ = self.user1.recv() => Received::ReopenLog,
        }
    }
}

/// Until it is dropped, this thread takes no signals, and neither does any thread that it starts meanwhile.
#[must_use]
pub(crate) struct Blocked {
    before: libc::sigset_t,
}

/// Blocks every signal on this thread but those that a fault of its own raises: blocked ones would be lost, or worse.
pub(crate) fn block() -> io::Result<Blocked> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset writes the whole set that it is given.
    let filled = unsafe { libc::sigfillset(set.as_mut_ptr()) };
    debug_assert_eq!(filled, 0);
    // SAFETY: sigfillset has initialised it, and fails only for an invalid address.
    let mut set = unsafe { set.assume_init() };
    for fault in
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS]
    {
        // SAFETY: the set is initialised and the number is a valid signal.
        let removed = unsafe { libc::sigdelset(&mut set, fault) };
        debug_assert_eq!(removed, 0);
    }
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets outlive the call; the kernel only writes the second.
    let status = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &set, before.as_mut_ptr()) };
    if status != 0 {
        return Err(io::Error::from_raw_os_error(status));
    }
    // SAFETY: the call succeeded, so it has written the old mask.
    Ok(Blocked { before: unsafe { before.assume_init() } })
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: `before` is a mask that the kernel gave; the old one is not asked for.
        let status = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
        debug_assert_eq!(status, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks_term() -> bool {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc is mounted");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("has a mask").trim();
        u64::from_str_radix(mask, 16).expect("hexadecimal") & (1 << (libc::SIGTERM - 1)) != 0
    }

    #[test]
    fn threads_started_while_blocked_take_no_signals() {
        let guard = block().expect("can block");
        let child = std::thread::spawn(blocks_term).join().expect("no panic");
        drop(guard);
        assert!(child);
        assert!(!std::thread::spawn(blocks_term).join().expect("no panic"));
    }
}
