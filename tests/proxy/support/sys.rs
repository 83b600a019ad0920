//! The few system calls that std does not offer.
#![allow(
    unsafe_code,
    reason = "system calls that std does not offer: kill, getsockopt, setsockopt, listen, prctl, setrlimit"
)]

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).unwrap();
    // SAFETY: kill takes two integers.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "kill({pid}, {signal}): {}", io::Error::last_os_error());
}

/// Makes the close of this socket a reset (SO_LINGER of zero).
pub(crate) fn reset_on_close(socket: &impl AsRawFd) {
    set_option(socket, libc::SO_LINGER, libc::linger { l_onoff: 1, l_linger: 0 });
}

/// Sets a small receive buffer, so that a peer that does not read is felt soon.
pub(crate) fn set_receive_buffer(socket: &impl AsRawFd, bytes: i32) {
    set_option(socket, libc::SO_RCVBUF, bytes);
}

fn set_option<T>(socket: &impl AsRawFd, option: i32, value: T) {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap();
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), length)
    };
    assert_eq!(result, 0, "setsockopt: {}", io::Error::last_os_error());
}

/// Whether both sides of a TCP connection still are open.
pub(crate) fn is_established(socket: &impl AsRawFd) -> bool {
    const TCP_ESTABLISHED: u8 = 1;
    let mut state = 0_u8;
    let mut length = 1;
    // SAFETY: the pointers and the length describe `state` and `length`, which outlive the call. The state is the first
    // byte of what the option tells, which is cut to the length.
    let result = unsafe {
        let (state, length) = ((&raw mut state).cast(), &raw mut length);
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, state, length)
    };
    assert_eq!(result, 0, "getsockopt: {}", io::Error::last_os_error());
    state == TCP_ESTABLISHED
}

/// Changes the length of a listener's accept queue.
pub(crate) fn set_backlog(listener: &TcpListener, backlog: i32) {
    // SAFETY: listen takes two integers.
    let result = unsafe { libc::listen(listener.as_raw_fd(), backlog) };
    assert_eq!(result, 0, "listen: {}", io::Error::last_os_error());
}

/// Listens on 127.0.0.1 with SO_REUSEPORT set, as a second proxy would.
pub(crate) fn listen_with_reuseport(port: u16) -> TcpListener {
    // SAFETY: socket takes three integers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "socket: {}", io::Error::last_os_error());
    // SAFETY: the descriptor was just made and has no other owner.
    let listener = unsafe { TcpListener::from_raw_fd(fd) };
    set_option(&listener, libc::SO_REUSEADDR, 1i32);
    set_option(&listener, libc::SO_REUSEPORT, 1i32);
    bind(fd, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    set_backlog(&listener, 16);
    listener
}

/// Connects from an address of this machine that the kernel would not choose. A connection that is reset before the call
/// returns is one all the same, as it would be a moment later.
pub(crate) fn connect_from(source: Ipv4Addr, to: SocketAddrV4) -> TcpStream {
    // SAFETY: socket takes three integers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "socket: {}", io::Error::last_os_error());
    // SAFETY: the descriptor was just made and has no other owner.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    bind(fd, SocketAddrV4::new(source, 0));
    let (address, length) = socket_address(to);
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result = unsafe { libc::connect(fd, (&raw const address).cast(), length) };
    let error = io::Error::last_os_error();
    assert!(result == 0 || error.kind() == io::ErrorKind::ConnectionReset, "connect: {error}");
    stream
}

fn bind(fd: RawFd, to: SocketAddrV4) {
    let (address, length) = socket_address(to);
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result = unsafe { libc::bind(fd, (&raw const address).cast(), length) };
    assert_eq!(result, 0, "bind: {}", io::Error::last_os_error());
}

fn socket_address(address: SocketAddrV4) -> (libc::sockaddr_in, libc::socklen_t) {
    let address = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
        sin_zero: [0; 8],
    };
    (address, libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).unwrap())
}

/// Kills the child when the thread that started it ends, whatever happens to this process.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe; nothing is allocated between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// Limits the child's open files, hard and soft.
pub(crate) fn limit_files(command: &mut Command, files: u64) {
    let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
    // SAFETY: setrlimit is async-signal-safe and reads a value that the closure owns.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// Has io_uring_setup(2) fail with `errno` in the child, as a container's seccomp filter does.
pub(crate) fn refuse_io_uring(command: &mut Command, errno: i32) {
    let errno = u32::try_from(errno).unwrap();
    let nr_io_uring_setup = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let load = u16::try_from(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS).unwrap();
    let jump_if_equal = u16::try_from(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K).unwrap();
    let ret = u16::try_from(libc::BPF_RET | libc::BPF_K).unwrap();
    let mut filter = [
        // The number of the system call is the first word of seccomp_data.
        libc::sock_filter { code: load, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: jump_if_equal, jt: 0, jf: 1, k: nr_io_uring_setup },
        libc::sock_filter { code: ret, jt: 0, jf: 0, k: libc::SECCOMP_RET_ERRNO | errno },
        libc::sock_filter { code: ret, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    // SAFETY: prctl is async-signal-safe; the program that it reads lives in the closure.
    unsafe {
        command.pre_exec(move || {
            let length = u16::try_from(filter.len()).unwrap_or(0);
            let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

/// How many of the ticks in /proc/PID/stat make a second.
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: sysconf takes an integer.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap()
}
