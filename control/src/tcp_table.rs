//! Who listens on a TCP port of this machine: `/proc/net/tcp` and `/proc/net/tcp6`.
//!
//! bind(2) says that an address is taken, never by whom; on a reload it may be ourselves.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One listening socket of the machine's (strictly: the network namespace's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListeningSocket {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The socket's inode, as fstat(2) on its descriptor gives it.
    pub(crate) inode: u64,
}

/// Every listening TCP socket on `port`.
pub(crate) fn listening_on(port: u16) -> io::Result<Vec<ListeningSocket>> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match File::open(table) {
            Ok(file) => {
                for line in BufReader::new(file).lines() {
                    found.extend(parse(&line?).filter(|socket| socket.address.port() == port));
                }
            }
            // Without IPv6 in the kernel there is no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Whether a socket on `a` takes connections that one on `b` would take too.
pub(crate) fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    if a.port() != b.port() {
        return false;
    }
    // [::] of another program may be dual-stack and then also takes IPv4; the table does not say. Ours never is.
    a.ip() == b.ip()
        || match (a.ip(), b.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a.is_unspecified() || b.is_unspecified(),
            (IpAddr::V6(a), IpAddr::V6(b)) => a.is_unspecified() || b.is_unspecified(),
            (IpAddr::V4(_), IpAddr::V6(six)) | (IpAddr::V6(six), IpAddr::V4(_)) => six.is_unspecified(),
        }
}

/// `  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0  12345 1 ...`
fn parse(line: &str) -> Option<ListeningSocket> {
    let mut columns = line.split_ascii_whitespace();
    let local = columns.nth(1)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?;
    (state == STATE_LISTEN).then_some(())?;
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(ListeningSocket { address: SocketAddr::new(parse_ip(ip)?, port), inode: inode.parse().ok()? })
}

/// Groups of four bytes in network order, each printed as one number of the machine's own order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let group = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(group(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&group(index * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// TCP_LISTEN of the kernel's include/net/tcp_states.h.
const STATE_LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn finds_a_listening_socket_and_its_inode() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let inode = File::from(std::os::fd::OwnedFd::from(listener.try_clone().expect("dup")))
            .metadata()
            .expect("fstat")
            .ino();
        assert_eq!(listening_on(address.port()).expect("proc"), [ListeningSocket { address, inode }]);
    }

    #[test]
    fn reads_ipv6_and_skips_other_states() {
        let listen = " 1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A \
                      00000000:00000000 00:00000000 00000000     0        0 77 1 0000000000000000 100 0 0 10 0";
        let address = "[::1]:80".parse().expect("address");
        assert_eq!(parse(listen), Some(ListeningSocket { address, inode: 77 }));
        assert_eq!(parse(&listen.replace(" 0A ", " 01 ")), None);
        assert_eq!(parse("  sl  local_address rem_address   st tx_queue rx_queue"), None);
    }

    #[test]
    fn wildcards_overlap_their_family() {
        let overlap = |a: &str, b: &str| overlaps(a.parse().expect("a"), b.parse().expect("b"));
        assert!(overlap("0.0.0.0:80", "127.0.0.1:80"));
        assert!(overlap("[::]:80", "[::1]:80"));
        assert!(overlap("[::]:80", "127.0.0.1:80"));
        assert!(!overlap("127.0.0.2:80", "127.0.0.1:80"));
        assert!(!overlap("[::1]:80", "127.0.0.1:80"));
        assert!(!overlap("0.0.0.0:81", "127.0.0.1:80"));
    }
}
