//! What a worker has for the TLS connection that it is busy with.

use std::cell::RefCell;

use crate::tls::records::Sealed;

thread_local! {
    pub(super) static STAGE: RefCell<Stage> = RefCell::default();
}

/// See the module. It is borrowed for one step of one connection, and no step waits.
#[derive(Default)]
pub(super) struct Stage {
    /// What was received, encrypted and then decrypted.
    pub(super) received: Vec<u8>,
    /// Small pieces of plaintext that become one record.
    pub(super) gathered: Vec<u8>,
    /// Records on their way out.
    pub(super) sealed: Sealed,
}

impl Stage {
    /// So much room for what is received.
    pub(super) fn received_room(&mut self, bytes: usize) -> &mut [u8] {
        if self.received.len() < bytes {
            self.received.resize(bytes, 0);
        }
        &mut self.received[..bytes]
    }
}
