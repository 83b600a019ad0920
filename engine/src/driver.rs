//! Which of the runtime's drivers a worker uses, and with which ring flags.
//!
//! Flags that the kernel does not know are left out one after the other; where io_uring is refused altogether (seccomp,
//! `io_uring_disabled`, an old kernel) the epoll driver takes over.

use std::fmt;
use std::future::Future;
use std::io;

use io_uring::IoUring;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// Submission queue entries: a wake-up of one busy worker arms a few hundred polls; a full queue is submitted early.
const SUBMISSION_ENTRIES: u32 = 1024;

/// Completion queue entries: polls, cancels and closes that may complete before the worker looks, at peak. 1 MiB.
const COMPLETION_ENTRIES: u32 = 65_536;

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverRequest {
    /// io_uring, and epoll where it is refused.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// What a worker runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with these flags.
    IoUring(RingFlags),
    /// epoll.
    Epoll,
}

/// Ring flags; none changes what is done, only what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFlags {
    /// IORING_SETUP_SINGLE_ISSUER, Linux 6.0.
    single_issuer: bool,
    /// IORING_SETUP_COOP_TASKRUN, Linux 5.19.
    coop_taskrun: bool,
    /// IORING_SETUP_CQSIZE, Linux 5.5.
    large_completion_queue: bool,
}

/// A driver that works here, and what had to be given up for it.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The driver.
    pub driver: Driver,
    /// Why it is not the best one.
    pub note: Option<String>,
}

/// From the best to the least: Linux 6.0, 5.19, 5.5, anything with io_uring.
const RING_STEPS: [RingFlags; 4] = [
    RingFlags { single_issuer: true, coop_taskrun: true, large_completion_queue: true },
    RingFlags { single_issuer: false, coop_taskrun: true, large_completion_queue: true },
    RingFlags { single_issuer: false, coop_taskrun: false, large_completion_queue: true },
    RingFlags { single_issuer: false, coop_taskrun: false, large_completion_queue: false },
];

/// Finds the best driver that works here.
///
/// # Errors
///
/// When io_uring is demanded and refused; the reason is the kernel's.
pub fn probe(request: DriverRequest) -> io::Result<Probe> {
    if request == DriverRequest::Epoll {
        return Ok(Probe { driver: Driver::Epoll, note: None });
    }
    let mut refusal = None;
    for (step, flags) in RING_STEPS.into_iter().enumerate() {
        match flags.builder().build(SUBMISSION_ENTRIES).and_then(probe_poll) {
            Ok(()) => {
                let note = (step > 0).then(|| {
                    format!("the kernel refused better io_uring flags ({})", error_text(refusal.as_ref()))
                });
                return Ok(Probe { driver: Driver::IoUring(flags), note });
            }
            Err(error) => refusal = Some(error),
        }
    }
    let reason = error_text(refusal.as_ref());
    match request {
        DriverRequest::Auto => Ok(Probe {
            driver: Driver::Epoll,
            note: Some(format!("io_uring is not available ({reason}), using epoll")),
        }),
        _ => Err(io::Error::other(format!("io_uring is not available: {reason}"))),
    }
}

fn error_text(error: Option<&io::Error>) -> String {
    error.map(ToString::to_string).unwrap_or_default()
}

/// Entering the ring can be refused although setting it up was allowed.
fn probe_poll(ring: IoUring) -> io::Result<()> {
    ring.submit().map(drop)
}

impl RingFlags {
    fn builder(self) -> io_uring::Builder {
        let mut builder = IoUring::builder();
        if self.single_issuer {
            builder.setup_single_issuer();
        }
        if self.coop_taskrun {
            builder.setup_coop_taskrun();
        }
        if self.large_completion_queue {
            builder.setup_cqsize(COMPLETION_ENTRIES);
        }
        builder
    }
}

impl Driver {
    /// Its name, without the flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring(_) => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoll => f.write_str(self.name()),
            Self::IoUring(flags) => {
                f.write_str(self.name())?;
                if flags.single_issuer {
                    write!(f, " single_issuer")?;
                }
                if flags.coop_taskrun {
                    write!(f, " coop_taskrun")?;
                }
                Ok(())
            }
        }
    }
}

/// Runs a future to its end on this thread, on the given driver. The runtime is built on the thread that runs it.
pub(crate) fn block_on<F: Future>(driver: Driver, future: F) -> io::Result<F::Output> {
    match driver {
        Driver::IoUring(flags) => {
            let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
                .with_entries(SUBMISSION_ENTRIES)
                .uring_builder(flags.builder())
                .build()?;
            Ok(runtime.block_on(future))
        }
        Driver::Epoll => {
            let mut runtime =
                RuntimeBuilder::<LegacyDriver>::new().with_entries(SUBMISSION_ENTRIES).build()?;
            Ok(runtime.block_on(future))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_is_never_probed_and_auto_always_finds_a_driver() {
        assert_eq!(probe(DriverRequest::Epoll).unwrap().driver, Driver::Epoll);
        let probe = probe(DriverRequest::Auto).unwrap();
        assert_eq!(block_on(probe.driver, async { 7 }).unwrap(), 7);
        assert_eq!(block_on(Driver::Epoll, async { 7 }).unwrap(), 7);
    }
}
