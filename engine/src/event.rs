//! The channel from the workers to the control thread.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::command::Event;
use crate::io::Wake;

/// A worker's end. Never blocks: events are few (a handful per snapshot, one per endpoint and `quarantine_time`, three per
/// upstream and its breaker's `open_time`, two a second for an endpoint that fails, a thousand a minute for TLS that fails), so
/// the channel needs no bound.
#[derive(Clone, Debug)]
pub struct EventSender {
    events: Sender<Event>,
    wake: Wake,
}

/// The control thread's end: its descriptor is readable while events wait.
#[derive(Debug)]
pub struct EventReceiver {
    events: Receiver<Event>,
    wake: Wake,
}

/// A new channel.
///
/// # Errors
///
/// When the process is out of descriptors.
pub fn event_channel() -> io::Result<(EventSender, EventReceiver)> {
    let (sender, receiver) = unbounded();
    let wake = Wake::new()?;
    Ok((EventSender { events: sender, wake: wake.clone() }, EventReceiver { events: receiver, wake }))
}

impl EventSender {
    /// Sends an event and wakes the control thread. Lost when the control thread is gone: the process is ending then.
    pub fn send(&self, event: Event) {
        let _ = self.events.send(event);
        self.wake.wake();
    }
}

impl AsRawFd for EventSender {
    fn as_raw_fd(&self) -> RawFd {
        self.wake.descriptor()
    }
}

impl EventReceiver {
    /// The next event, if one waits.
    #[must_use]
    pub fn try_recv(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Clears the readiness. Call it before taking the events, so that none is missed.
    pub fn acknowledge(&self) {
        self.wake.acknowledge();
    }
}

impl AsRawFd for EventReceiver {
    fn as_raw_fd(&self) -> RawFd {
        self.wake.descriptor()
    }
}
