//! The system calls that the workers make themselves, each as one safe function.
#![allow(
    unsafe_code,
    reason = "system calls; every block is one call on memory that the caller lends for its length"
)]

use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// recv(2) without blocking.
pub(super) fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    receive(fd, buffer, libc::MSG_DONTWAIT)
}

/// recv(2), sendmsg(2) and send(2) go through syscall(2): the C library's wrappers are cancellation points, and turning
/// cancellation on and off around them in a process of many threads was 9 % of the user time of a request.
fn receive(fd: RawFd, buffer: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    let nowhere = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the kernel writes at most `buffer.len()` bytes to memory that we borrow mutably, and no address.
    check_size(unsafe {
        libc::syscall(libc::SYS_recvfrom, fd, buffer.as_mut_ptr(), buffer.len(), flags, nowhere, nowhere)
    })
}

/// recv(2) of bytes that stay in the socket, without blocking.
pub(super) fn peek(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    receive(fd, buffer, libc::MSG_DONTWAIT | libc::MSG_PEEK)
}

/// sendmsg(2) without blocking and without SIGPIPE.
pub(super) fn send(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    send_with(fd, slices, 0)
}

/// The same; the last segment, if it is not full, waits for more to send or for the end of the stream, which then goes out
/// in it and not in a segment of its own.
pub(super) fn send_last(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    send_with(fd, slices, libc::MSG_MORE)
}

fn send_with(fd: RawFd, slices: &[IoSlice<'_>], flags: libc::c_int) -> io::Result<usize> {
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let nowhere = std::ptr::null::<libc::c_void>();
    if let [slice] = slices {
        // SAFETY: the kernel reads `slice.len()` bytes of memory that we borrow.
        return check_size(unsafe {
            libc::syscall(libc::SYS_sendto, fd, slice.as_ptr(), slice.len(), flags, nowhere, 0)
        });
    }
    // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // IoSlice has the layout of iovec on Unix; sendmsg does not write through it.
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len();
    // SAFETY: `message` and the slices that it names live for the call.
    check_size(unsafe { libc::syscall(libc::SYS_sendmsg, fd, &raw const message, flags) })
}

/// shutdown(2); errors mean that there is nothing left to shut down.
pub(super) fn shutdown(fd: RawFd, how: libc::c_int) {
    // SAFETY: takes no memory.
    let _ = unsafe { libc::shutdown(fd, how) };
}

/// Ends a TCP connection with a reset, now: connect(2) to AF_UNSPEC disconnects, and the peer sees an error instead of
/// a clean end. A Unix socket knows no reset and is shut down.
pub(super) fn reset(fd: RawFd) {
    // SAFETY: an all-zero sockaddr is valid.
    let mut nowhere: libc::sockaddr = unsafe { MaybeUninit::zeroed().assume_init() };
    nowhere.sa_family = libc::sa_family_t::try_from(libc::AF_UNSPEC).expect("AF_UNSPEC is 0");
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).expect("16 bytes");
    // SAFETY: the kernel reads `length` bytes of `nowhere`.
    let disconnected = check(unsafe { libc::connect(fd, &raw const nowhere, length) });
    if disconnected.is_err() {
        shutdown(fd, libc::SHUT_RDWR);
    }
}

/// Sends small segments at once. Fails on Unix sockets, where nothing is held back.
pub(super) fn set_nodelay(fd: RawFd) {
    let on: libc::c_int = 1;
    let _ = set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &on);
}

fn set_option<T>(fd: RawFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("socket options are small");
    // SAFETY: the kernel reads `length` bytes of `value`.
    check(unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), length) })?;
    Ok(())
}

/// SO_ERROR: the outcome of a connect(2) that did not finish at once.
pub(super) fn take_error(fd: RawFd) -> io::Result<()> {
    let mut error: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("4 bytes");
    // SAFETY: the kernel writes at most `length` bytes to `error`.
    check(unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut length)
    })?;
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// SIOCOUTQ: how much of what was sent the peer has not acknowledged, or not read from a Unix socket. 0 if that cannot be
/// told.
pub(super) fn unacknowledged(fd: RawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int to `bytes`.
    let told = check(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) });
    if told.is_ok() { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// accept4(2): the accepted socket is non-blocking and close-on-exec. The address is `None` for a Unix socket.
pub(super) fn accept(fd: RawFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).expect("128 bytes");
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // Through syscall(2), as [`receive`] is.
    // SAFETY: the kernel writes at most `length` bytes to `storage`.
    let accepted = check_size(unsafe {
        libc::syscall(libc::SYS_accept4, fd, storage.as_mut_ptr(), &raw mut length, flags)
    })?;
    let accepted = RawFd::try_from(accepted).expect("descriptors are ints");
    // SAFETY: accept4 has just made this descriptor and nobody else has it.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    // SAFETY: zeroed before, so every byte is initialised whatever the kernel wrote.
    let storage = unsafe { storage.assume_init() };
    Ok((accepted, socket_address(&storage)))
}

fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: AF_INET means that the storage, which is larger and more aligned, holds a sockaddr_in.
            let v4 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: AF_INET6 means that the storage, which is larger and more aligned, holds a sockaddr_in6.
            let v6 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

/// A new epoll set.
pub(super) fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: takes no memory.
    let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: epoll_create1 has just made this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(epoll) })
}

/// Adds a descriptor to an epoll set, edge-triggered, for all that a stream can tell.
pub(super) fn epoll_add(epoll: RawFd, fd: RawFd, data: u64) -> io::Result<()> {
    epoll_control(epoll, libc::EPOLL_CTL_ADD, fd, data)
}

/// Makes the set look again: a descriptor that is ready gives another event.
pub(super) fn epoll_rearm(epoll: RawFd, fd: RawFd, data: u64) {
    // It was added, so it can be modified.
    let _ = epoll_control(epoll, libc::EPOLL_CTL_MOD, fd, data);
}

/// Takes a descriptor out of an epoll set.
pub(super) fn epoll_remove(epoll: RawFd, fd: RawFd) {
    let _ = epoll_control(epoll, libc::EPOLL_CTL_DEL, fd, 0);
}

fn epoll_control(epoll: RawFd, operation: libc::c_int, fd: RawFd, data: u64) -> io::Result<()> {
    let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
    let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: data };
    // SAFETY: the kernel reads `event` during the call.
    check(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) })?;
    Ok(())
}

/// Takes the events that are there, without waiting. Returns how many.
pub(super) fn epoll_take(epoll: RawFd, events: &mut [libc::epoll_event]) -> usize {
    let room = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the kernel writes at most `room` events to memory that we borrow mutably.
    let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), room, 0) };
    // The only error without waiting is a descriptor that is no epoll set.
    usize::try_from(count).unwrap_or(0)
}

/// poll(2) of one descriptor for reading: whether it is readable now, or becomes so within `timeout_ms`.
pub(super) fn is_readable(fd: RawFd, timeout_ms: libc::c_int) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the kernel reads and writes the one entry.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) > 0 }
}

/// A pipe whose ends do not block: the one to read from, and the one to write to.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the kernel writes two descriptors to `ends`.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) })?;
    // SAFETY: pipe2 has just made this descriptor and nobody else has it.
    let read = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: as the other one.
    let write = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Ok((read, write))
}

/// Makes a pipe hold so many bytes, or as it is where the kernel allows no more. Returns how many it holds.
pub(super) fn set_pipe_size(pipe: RawFd, bytes: usize) -> io::Result<usize> {
    let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: takes no memory.
    let set = check(unsafe { libc::fcntl(pipe, libc::F_SETPIPE_SZ, wanted) });
    // SAFETY: takes no memory.
    let size = set.or_else(|_| check(unsafe { libc::fcntl(pipe, libc::F_GETPIPE_SZ) }))?;
    Ok(usize::try_from(size).unwrap_or(0))
}

/// splice(2) between a non-blocking socket and a pipe. Through syscall(2), as [`receive`] is. What the kernel sends for it
/// to a socket whose peer is gone may raise SIGPIPE, which Rust's runtime ignores in every program.
pub(super) fn splice(from: RawFd, to: RawFd, bytes_max: usize) -> io::Result<usize> {
    let nowhere = std::ptr::null_mut::<libc::loff_t>();
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: takes no memory but two offsets, which are null: neither side has one.
    check_size(unsafe { libc::syscall(libc::SYS_splice, from, nowhere, to, nowhere, bytes_max, flags) })
}

/// read(2).
pub(super) fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes to memory that we borrow mutably.
    usize::try_from(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
        .map_err(|_| io::Error::last_os_error())
}

/// How many descriptors the process may have (RLIMIT_NOFILE); 0 if that cannot be told.
pub(super) fn descriptors_max() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit.
    let told = check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) });
    if told.is_ok() { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 0 }
}

/// A non-blocking eventfd.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no memory.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: eventfd has just made this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to an eventfd. A full counter means that it is readable already.
pub(super) fn eventfd_add(fd: BorrowedFd<'_>) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the kernel reads 8 bytes of `one`.
    let _ = unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Reads the 8-byte counter of an eventfd or timerfd, which makes it unreadable; 0 when it was so already.
pub(super) fn read_counter(fd: RawFd) -> u64 {
    let mut counter = [0u8; 8];
    // SAFETY: the kernel writes at most 8 bytes to `counter`.
    let read = unsafe { libc::read(fd, counter.as_mut_ptr().cast(), counter.len()) };
    if read == 8 { u64::from_ne_bytes(counter) } else { 0 }
}

/// A non-blocking, disarmed timerfd on the monotonic clock.
pub(super) fn timerfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no memory.
    let fd = check(unsafe {
        libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK)
    })?;
    // SAFETY: timerfd_create has just made this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Fires every `interval_ms` milliseconds; 0 disarms.
pub(super) fn timerfd_set(fd: RawFd, interval_ms: u32) {
    let period = libc::timespec {
        tv_sec: libc::time_t::from(interval_ms / 1000),
        tv_nsec: libc::c_long::from(interval_ms % 1000) * 1_000_000,
    };
    let timer = libc::itimerspec { it_interval: period, it_value: period };
    // SAFETY: the kernel reads `timer` and is given no place to write the old one.
    let _ = unsafe { libc::timerfd_settime(fd, 0, &raw const timer, std::ptr::null_mut()) };
}

/// Fires once, at this time of the monotonic clock.
pub(super) fn timerfd_set_at(fd: RawFd, at_ns: u64) {
    let (seconds, nanoseconds) = (at_ns / 1_000_000_000, at_ns % 1_000_000_000);
    // Times that a clock tells, and some hours more, have room.
    let it_value = libc::timespec { tv_sec: seconds.cast_signed(), tv_nsec: nanoseconds.cast_signed() };
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let timer = libc::itimerspec { it_interval: never, it_value };
    // SAFETY: the kernel reads `timer` and is given no place to write the old one.
    let _ =
        unsafe { libc::timerfd_settime(fd, libc::TFD_TIMER_ABSTIME, &raw const timer, std::ptr::null_mut()) };
}

/// clock_gettime(2) in nanoseconds, through the vDSO.
pub(super) fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    let _ = unsafe { libc::clock_gettime(clock, &raw mut now) };
    // None of them is negative after 1970.
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// gettid(2).
pub(super) fn thread_id() -> libc::pid_t {
    // SAFETY: takes no memory.
    unsafe { libc::gettid() }
}

/// close_range(2) from `first` up, in a descriptor table that is this thread's own from now on. The caller sees to it that
/// nothing on this thread owns one of them.
pub(super) fn separate_descriptors(first: u32) -> io::Result<()> {
    // SAFETY: takes no memory. What it closes is open in the table that the thread leaves, for those who own it.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_UNSHARE) };
    check_size(done).map(drop)
}

/// close_range(2) in a table that [`separate_descriptors`] made.
pub(super) fn close_descriptors(first: u32, last: u32) {
    // SAFETY: takes no memory; as above.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// Two connected Unix sockets that keep messages apart.
pub(super) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two descriptors to `pair`.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) })?;
    // SAFETY: socketpair has just made these descriptors and nobody else has them.
    Ok(unsafe { (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])) })
}

/// Room for the control message of SCM_RIGHTS, aligned as its header wants it.
#[repr(C, align(8))]
struct Rights([u8; 512]);

/// A message of one byte, of which descriptors can be a part; the kernel wants a byte with them.
struct RightsMessage {
    rights: Rights,
    byte: [u8; 1],
}

impl RightsMessage {
    fn new() -> Self {
        Self { rights: Rights([0; 512]), byte: [0] }
    }

    /// Lends the message, with room for so many descriptors, to one system call.
    fn with<R>(&mut self, descriptors: usize, call: impl FnOnce(&mut libc::msghdr) -> R) -> R {
        let bytes = u32::try_from(descriptors * size_of::<RawFd>()).expect("a few descriptors");
        // SAFETY: computes a size.
        let length = unsafe { libc::CMSG_SPACE(bytes) } as usize;
        assert!(length <= self.rights.0.len(), "too many descriptors for one message");
        let mut slice = libc::iovec { iov_base: self.byte.as_mut_ptr().cast(), iov_len: self.byte.len() };
        // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        message.msg_control = self.rights.0.as_mut_ptr().cast();
        message.msg_controllen = length;
        call(&mut message)
    }
}

/// sendmsg(2) with SCM_RIGHTS: at most 64.
pub(super) fn send_descriptors(socket: BorrowedFd<'_>, descriptors: &[OwnedFd]) -> io::Result<()> {
    let bytes = u32::try_from(size_of_val(descriptors)).expect("a few descriptors");
    RightsMessage::new().with(descriptors.len(), |message| {
        // SAFETY: `with` made room for a header and so many descriptors, aligned and zeroed.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(bytes) as usize;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for (index, descriptor) in descriptors.iter().enumerate() {
                data.add(index).write_unaligned(descriptor.as_raw_fd());
            }
        }
        // SAFETY: what `message` names lives for the call.
        check_size(unsafe { libc::sendmsg(socket.as_raw_fd(), message, libc::MSG_NOSIGNAL) as libc::c_long })
            .map(drop)
    })
}

/// recvmsg(2) of what [`send_descriptors`] sent, without blocking.
pub(super) fn receive_descriptors(socket: BorrowedFd<'_>, out: &mut Vec<OwnedFd>) -> io::Result<()> {
    RightsMessage::new().with(super::descriptors::MESSAGE_DESCRIPTORS_MAX, |message| {
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        // SAFETY: the kernel writes to what `message` names, which lives for the call.
        check_size(unsafe { libc::recvmsg(socket.as_raw_fd(), message, flags) as libc::c_long })?;
        // SAFETY: the kernel has set the length of what it wrote, and each header in it is whole.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
                return Ok(());
            }
            let bytes = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for index in 0..bytes / size_of::<RawFd>() {
                // The kernel has just made it for us.
                out.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
            }
        }
        Ok(())
    })
}
