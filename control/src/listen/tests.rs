//! Tests of binding and of what others already hold.

use super::*;
use std::net::TcpStream;

fn tcp(text: &str) -> Address {
    Address::Tcp(text.parse().expect("an address"))
}

fn open(listeners: &mut Listeners, wanted: &[Address]) -> Vec<Address> {
    let prepared = listeners.prepare(wanted.iter()).expect("can bind");
    let bound = prepared.opened().map(|(_, bound)| bound.clone()).collect();
    let handed = listeners.commit(prepared, wanted.iter()).expect("can listen");
    // The workers' duplicates: kept for the life of the test process.
    std::mem::forget(handed);
    bound
}

fn foreign(address: &str) -> (Socket, SocketAddr) {
    let socket = bind_tcp(address.parse().expect("an address"), ReusePort::Yes).expect("can bind");
    socket.listen(1).expect("can listen");
    let address = socket.local_addr().expect("bound").as_socket().expect("tcp");
    (socket, address)
}

#[test]
fn refuses_a_port_served_by_another_reuse_port_socket() {
    let (_socket, address) = foreign("127.0.0.1:0");
    let errors = Listeners::new(2).prepare([Address::Tcp(address)].iter()).expect_err("is taken");
    assert_eq!(
        errors[0].to_string(),
        format!("cannot listen on {address}: another process already listens on {address}")
    );
}

#[test]
fn refuses_a_port_served_by_another_on_the_wildcard() {
    let (_socket, wildcard) = foreign("0.0.0.0:0");
    let address = tcp(&format!("127.0.0.1:{}", wildcard.port()));
    let errors = Listeners::new(1).prepare([address].iter()).expect_err("is taken");
    assert!(matches!(&errors[0], ListenError::InUse { by, .. } if *by == wildcard.to_string()), "{errors:?}");
}

#[test]
fn takes_a_port_that_only_we_hold_ourselves() {
    let mut listeners = Listeners::new(2);
    let bound = open(&mut listeners, &[tcp("0.0.0.0:0")]);
    let Address::Tcp(bound) = &bound[0] else { panic!("a tcp address") };
    let narrower = tcp(&format!("127.0.0.1:{}", bound.port()));
    // Also while the workers still drain the wider one.
    open(&mut listeners, std::slice::from_ref(&narrower));
    open(&mut listeners, &[tcp(&format!("0.0.0.0:{}", bound.port()))]);

    let (_socket, _) = foreign(&format!("127.0.0.1:{}", bound.port()));
    assert!(listeners.prepare([narrower].iter()).is_err(), "somebody else is there too");
}

#[test]
fn gives_each_worker_a_socket_on_the_same_free_port() {
    let mut listeners = Listeners::new(3);
    let wanted = [tcp("127.0.0.1:0")];
    let prepared = listeners.prepare(wanted.iter()).expect("can bind");
    let Some(Address::Tcp(bound)) = prepared.opened().map(|(_, bound)| bound.clone()).next() else {
        panic!("a tcp address")
    };
    assert!(TcpStream::connect(bound).is_err(), "prepared sockets take no connections");
    let handed = listeners.commit(prepared, wanted.iter()).expect("can listen");
    assert_eq!(handed.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    TcpStream::connect(bound).expect("listens");

    assert!(listeners.prepare(wanted.iter()).expect("nothing to do").opened().next().is_none());
    assert_eq!(open(&mut listeners, &wanted), [], "an unchanged address keeps its sockets");
}

#[test]
fn abandoned_preparation_changes_nothing() {
    let (_socket, taken) = foreign("127.0.0.1:0");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let wanted = [Address::Unix(path.clone()), Address::Tcp(taken)];
    let errors = Listeners::new(1).prepare(wanted.iter()).expect_err("one is taken");
    assert_eq!(errors.len(), 1);
    assert!(!path.exists());
}

#[test]
fn knows_when_the_last_worker_has_closed() {
    let mut listeners = Listeners::new(3);
    let address = tcp("127.0.0.1:0");
    open(&mut listeners, std::slice::from_ref(&address));
    assert!(!listeners.closed_by(0, &address), "it is open");
    listeners.close_all();
    assert!(!listeners.closed_by(0, &address));
    listeners.forget_worker(1);
    assert!(listeners.closed_by(2, &address));
    assert!(!listeners.closed_by(2, &address));
}

#[test]
fn a_lost_worker_gets_no_connections() {
    let mut listeners = Listeners::new(2);
    let wanted = [tcp("127.0.0.1:0")];
    let prepared = listeners.prepare(wanted.iter()).expect("can bind");
    let mut handed = listeners.commit(prepared, wanted.iter()).expect("can listen");
    let lost = inode(&handed[0][0].fd).expect("a socket");
    handed.remove(0);
    listeners.forget_worker(0);
    let Address::Tcp(bound) = &listeners.open[0].bound else { panic!("a tcp address") };
    let listening = tcp_table::listening_on(bound.port()).expect("proc");
    assert_eq!(listening.len(), 1);
    assert_ne!(listening[0].inode, lost);
}

#[test]
fn replaces_a_socket_file_only_when_nobody_accepts_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let wanted = [Address::Unix(path.clone())];

    std::mem::forget(bind_unix(&path).expect("can bind").1);
    let mut listeners = Listeners::new(2);
    open(&mut listeners, &wanted);
    UnixStream::connect(&path).expect("listens");

    let errors = Listeners::new(1).prepare(wanted.iter()).expect_err("is served");
    assert!(matches!(errors[0], ListenError::InUse { .. }), "{errors:?}");
    listeners.close_all();
    assert!(!path.exists());

    fs::write(&path, "precious").expect("can write");
    let errors = Listeners::new(1).prepare(wanted.iter()).expect_err("is a file");
    assert!(matches!(errors[0], ListenError::NotASocket { .. }), "{errors:?}");
    assert!(path.exists());
}

#[test]
fn a_start_waits_for_a_predecessor_that_is_going() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (socket, address) = foreign("127.0.0.1:0");
        let wanted = [Address::Tcp(address)];
        let listeners = Listeners::new(1);
        let going = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(listeners.prepare(wanted.iter()).is_err());
            drop(socket);
        };
        tokio::join!(listeners.wait_until_free(wanted.iter()), going);
        listeners.prepare(wanted.iter()).expect("is free");
    });
}

#[test]
fn a_start_does_not_wait_for_ever() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (_socket, address) = foreign("127.0.0.1:0");
    let wait = async { Listeners::new(1).wait_until_free([Address::Tcp(address)].iter()).await };
    runtime.block_on(async { tokio::time::timeout(10 * PREDECESSOR_TIMEOUT, wait).await }).expect("gives up");
}
