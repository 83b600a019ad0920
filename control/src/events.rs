//! The workers' events on the control thread's runtime.
#![allow(
    unsafe_code,
    reason = "tokio takes a raw descriptor only on the promise that it stays the same and open"
)]

use std::io;

use corelane_engine::command::Event;
use corelane_engine::event::EventReceiver;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The receiving end, as the supervisor waits for it.
pub(crate) struct Events(AsyncFd<EventReceiver>);

impl Events {
    /// Must be called on the runtime.
    pub(crate) fn new(receiver: EventReceiver) -> io::Result<Self> {
        // SAFETY: an EventReceiver owns its eventfd for as long as it lives and never replaces it, and nothing takes it
        // out of the AsyncFd.
        let registered = unsafe { AsyncFd::register_with_interest(receiver, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Waits until events may wait. Cancel-safe.
    pub(crate) async fn ready(&self) {
        // Fails only when the runtime ends, and with it whoever awaits this.
        if let Ok(mut guard) = self.0.readable().await {
            guard.clear_ready();
        }
    }

    /// Every event that waits now. Acknowledged first, and after `clear_ready`: an event that comes in between makes the
    /// descriptor readable anew.
    pub(crate) fn take(&self) -> Vec<Event> {
        self.0.get_ref().acknowledge();
        std::iter::from_fn(|| self.0.get_ref().try_recv()).collect()
    }
}
