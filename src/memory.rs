//! The allocator, and what it gives back to the system.

/// Frees across threads are cheap and fragmentation is bounded: what a proxy that runs for months needs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps the kernel from backing the heap with pages of 2 MiB where it does so unasked (`transparent_hugepage/enabled` is
/// `always`). They cost 9 MB before the first connection, and each stays as long as one byte of it is in use; a worker's
/// hot memory is a few hundred KiB, for which they gain nothing that could be measured.
#[allow(unsafe_code, reason = "a system call")]
pub(crate) fn use_small_pages() {
    // SAFETY: takes no pointer. If the kernel refuses, the heap is larger and nothing else.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Gives the memory back that this thread has freed.
#[allow(unsafe_code, reason = "the crate of the allocator does not have it")]
pub(crate) fn trim() {
    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // SAFETY: mimalloc.h, of the allocator linked above: `void mi_collect(bool force)`, for any thread at any time.
    unsafe {
        mi_collect(true);
    }
}
