//! The descriptor table of a worker's own, and how descriptors get into it.
//!
//! Threads share one table, and so each system call on a descriptor counts a reference to its file up and down by atomic
//! instructions, and each accept4, socket and close takes the table's lock. With a table of its own a worker pays for
//! neither, and the limit of open files holds for each worker alone. The price: a descriptor of another thread means
//! nothing here. What is to cross is sent through a socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::syscall;

/// Descriptors in one message at most; the kernel takes up to 253.
pub(super) const MESSAGE_DESCRIPTORS_MAX: usize = 64;

/// Gives the calling thread a table of its own, in which only `kept` and the standard streams are open. Nothing on this
/// thread may use another descriptor from before.
///
/// # Errors
///
/// Before Linux 5.9, or where seccomp forbids it: the table stays shared, and everything works as well.
pub(crate) fn separate(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|&fd| u32::try_from(fd).ok()).chain(0..=2).collect();
    kept.sort_unstable();
    kept.dedup();
    // The copy is made, and what is above is closed.
    syscall::separate_descriptors(kept.last().map_or(0, |last| last + 1))?;
    for pair in kept.windows(2) {
        if pair[0] + 1 < pair[1] {
            syscall::close_descriptors(pair[0] + 1, pair[1] - 1);
        }
    }
    Ok(())
}

/// The sending end for one worker.
#[derive(Debug)]
pub(crate) struct DescriptorSender {
    socket: OwnedFd,
    /// Of both tables: closed in this one when the sender is gone.
    _receiver: DescriptorReceiver,
}

/// The worker's end.
#[derive(Clone, Debug)]
pub(crate) struct DescriptorReceiver(Arc<OwnedFd>);

/// A way for descriptors from one thread's table to another's.
pub(crate) fn descriptor_channel() -> io::Result<(DescriptorSender, DescriptorReceiver)> {
    let (socket, receiver) = syscall::socket_pair()?;
    let receiver = DescriptorReceiver(Arc::new(receiver));
    Ok((DescriptorSender { socket, _receiver: receiver.clone() }, receiver))
}

impl DescriptorSender {
    /// Sends descriptors, in order. The receiver gets duplicates; these are closed.
    pub(crate) fn send(&self, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        descriptors
            .chunks(MESSAGE_DESCRIPTORS_MAX)
            .try_for_each(|chunk| syscall::send_descriptors(self.socket.as_fd(), chunk))
    }
}

impl DescriptorReceiver {
    /// Takes what was sent by one [`DescriptorSender::send`] of so many. Fewer where this table is full.
    pub(crate) fn receive(&self, count: usize) -> io::Result<Vec<OwnedFd>> {
        let mut descriptors = Vec::with_capacity(count);
        for _ in 0..count.div_ceil(MESSAGE_DESCRIPTORS_MAX) {
            syscall::receive_descriptors(self.0.as_fd(), &mut descriptors)?;
        }
        Ok(descriptors)
    }
}

impl AsRawFd for DescriptorReceiver {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn is_open(fd: RawFd) -> bool {
        std::fs::read_link(format!("/proc/thread-self/fd/{fd}")).is_ok()
    }

    #[test]
    fn a_separate_table_holds_what_is_kept_and_what_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (kept, left) = (listener.try_clone().unwrap(), listener.try_clone().unwrap());
        let (kept_fd, left_fd) = (kept.as_raw_fd(), left.as_raw_fd());
        let (sender, receiver) = descriptor_channel().unwrap();
        // As with a command: what it needs is sent before it.
        sender.send(vec![listener.into()]).unwrap();
        let thread = std::thread::spawn(move || {
            separate(&[kept_fd, receiver.as_raw_fd()]).unwrap();
            assert!(is_open(0) == std::path::Path::new("/proc/self/fd/0").exists());
            assert!(is_open(kept_fd) && !is_open(left_fd));
            let received = receiver.receive(1).unwrap().pop().unwrap();
            let mut connection = TcpListener::from(received).accept().unwrap().0;
            connection.write_all(b"x").unwrap();
        });
        let mut client = TcpStream::connect(address).unwrap();
        thread.join().unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"x");
        assert!(is_open(kept_fd) && is_open(left_fd), "this thread's table is as it was");
    }

    #[test]
    fn many_descriptors_arrive_in_order() {
        let (sender, receiver) = descriptor_channel().unwrap();
        let listeners: Vec<_> = (0..150).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = listeners.iter().map(|it| it.local_addr().unwrap()).collect();
        sender.send(listeners.into_iter().map(OwnedFd::from).collect()).unwrap();
        let received = receiver.receive(150).unwrap();
        let received: Vec<_> =
            received.into_iter().map(|fd| TcpListener::from(fd).local_addr().unwrap()).collect();
        assert_eq!(received, ports);
    }
}
