//! Room in the kernel's table of descriptors, made before there are threads.
//!
//! The table doubles when it is full. In a process of several threads the kernel then waits until no processor looks at
//! the old one any more (`synchronize_rcu`), and so does every thread that wants a descriptor meanwhile: 8 to 20 ms were
//! seen at 256, 512, 1024, 2048 and 4096 of them. A table never shrinks, and one that a single thread makes larger waits
//! for nobody.
#![allow(unsafe_code, reason = "fcntl and getrlimit have no safe form in the standard library")]

use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};

use crate::config::Config;

/// Makes room for all connections that the configuration allows, or for as many as there may be descriptors. To be called
/// while the process has one thread. Without the room everything works, with those pauses.
pub(crate) fn make_room(config: &Config, any: &impl AsRawFd) {
    let connections: usize = config.listeners.iter().map(|listener| listener.limits.connections_max).sum();
    let wanted = connections.saturating_mul(DESCRIPTORS_A_CONNECTION).min(ROOM_MAX).min(limit());
    let Some(last) = wanted.checked_sub(1).and_then(|last| libc::c_int::try_from(last).ok()) else { return };
    // The lowest free number from `last` on: the table must reach so far.
    // SAFETY: takes no memory.
    let fd = unsafe { libc::fcntl(any.as_raw_fd(), libc::F_DUPFD_CLOEXEC, last) };
    if fd >= 0 {
        // SAFETY: fcntl has just made this descriptor and nobody else has it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

/// How many descriptors the process may have (RLIMIT_NOFILE).
fn limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit.
    let _ = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// A client's connection and one to an endpoint.
const DESCRIPTORS_A_CONNECTION: usize = 2;

/// 8 MiB of the kernel's memory. Half a million connections at once: a process that grows beyond has its pauses there.
const ROOM_MAX: usize = 1 << 20;
