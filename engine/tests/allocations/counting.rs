//! An allocator that counts what the worker's thread allocates: every other thread excludes itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// What was allocated and not freed.
static HELD_BYTES: AtomicI64 = AtomicI64::new(0);

thread_local! {
    pub(crate) static IS_EXCLUDED: Cell<bool> = const { Cell::new(false) };
}

/// `allocated` and `freed` are sizes.
fn count(allocated: usize, freed: usize) {
    if !IS_EXCLUDED.get() {
        ALLOCATIONS.fetch_add(u64::from(allocated > 0), Ordering::Relaxed);
        HELD_BYTES.fetch_add(allocated.cast_signed() as i64 - freed.cast_signed() as i64, Ordering::Relaxed);
    }
}

#[allow(unsafe_code, reason = "counting is done in an allocator")]
// SAFETY: every call goes on to the system's allocator as it came, and counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

pub(crate) fn spawn_excluded(run: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        IS_EXCLUDED.set(true);
        run();
    });
}

/// What the worker allocated while `run` ran.
pub(crate) fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    run();
    ALLOCATIONS.load(Ordering::SeqCst) - before
}

/// What the worker has allocated and not freed since it began.
pub(crate) fn held_bytes() -> i64 {
    HELD_BYTES.load(Ordering::SeqCst)
}
