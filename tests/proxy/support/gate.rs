//! Lets a test that measures time or CPU run without other tests beside it.
//!
//! Tests share the gate from their first process on; one that calls [`alone`] waits until the others are done and holds
//! new ones back.

use std::cell::RefCell;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static GATE: RwLock<()> = RwLock::new(());

thread_local! {
    /// This test's share of the gate; libtest gives each test a thread of its own, with which the share ends.
    static SHARE: RefCell<Share> = const { RefCell::new(Share::None) };
}

enum Share {
    None,
    /// Held for what dropping it does.
    Shared {
        _guard: RwLockReadGuard<'static, ()>,
    },
    Alone,
}

/// Exclusive use of the machine, as far as these tests are concerned.
pub(crate) struct Alone {
    _guard: RwLockWriteGuard<'static, ()>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        SHARE.set(Share::None);
    }
}

/// Waits until no other test runs and keeps the others waiting until the guard is dropped. Call it first.
pub(crate) fn alone() -> Alone {
    // With --test-threads=1 this thread may still hold the share of the test before.
    SHARE.set(Share::None);
    let guard = GATE.write().unwrap_or_else(PoisonError::into_inner);
    SHARE.set(Share::Alone);
    Alone { _guard: guard }
}

/// Takes this test's share, once.
pub(crate) fn share() {
    let none = SHARE.with_borrow(|share| matches!(share, Share::None));
    if none {
        let guard = GATE.read().unwrap_or_else(PoisonError::into_inner);
        SHARE.set(Share::Shared { _guard: guard });
    }
}
