//! No wait spins, whatever the peer does or does not do.

use std::time::Duration;

use crate::support::process::assert_quiet;
use crate::support::{Client, Origin, Setup, alone, client, eventually, ok};

/// Answers `/large` with more than any buffer holds, and `/never` not at all.
fn origin() -> Origin {
    Origin::script(|connection| {
        while let Ok(Some(head)) = connection.head() {
            match head.target() {
                "/large" => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n").unwrap();
                    let _ = connection.send_pattern(0, 500_000_000);
                    return;
                }
                "/never" => {
                    connection.wait_for_end();
                    return;
                }
                "/unread" => {
                    // Reads the head and no more.
                    std::thread::sleep(Duration::from_secs(8));
                    return;
                }
                "/closed" => {
                    connection.half_close().unwrap();
                    std::thread::sleep(Duration::from_secs(8));
                    return;
                }
                _ => connection.send(ok("x")).unwrap(),
            }
        }
    })
}

#[test]
fn idle_connections_cost_nothing() {
    let _alone = alone();
    let origin = origin();
    let proxy = Setup::origin(&origin).start();
    let mut clients: Vec<Client> = (0..200).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_quiet(proxy.pid(), 0.03, "200 idle connections");
}

#[test]
fn an_idle_proxy_costs_nothing() {
    let _alone = alone();
    let origin = origin();
    let proxy = Setup::origin(&origin).workers(4).start();
    assert_quiet(proxy.pid(), 0.02, "four workers with nothing to do");
}

#[test]
fn a_client_that_does_not_read_costs_nothing() {
    let _alone = alone();
    let origin = origin();
    let proxy = Setup::origin(&origin).listener("client_half_close = \"finish\"").start();
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.set_receive_buffer(4096);
        client.send(client::get("/large")).unwrap();
    }
    eventually("all are served", || origin.connections() == 20);
    assert_quiet(proxy.pid(), 0.05, "clients that do not read");
}

#[test]
fn a_half_closed_client_that_does_not_read_costs_nothing() {
    let _alone = alone();
    let origin = origin();
    let proxy = Setup::origin(&origin).listener("client_half_close = \"finish\"").start();
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.set_receive_buffer(4096);
        client.send(client::get("/large")).unwrap();
        client.half_close().unwrap();
    }
    eventually("all are served", || origin.connections() == 20);
    assert_quiet(proxy.pid(), 0.1, "half-closed clients that do not read");
}

#[test]
fn half_closed_clients_that_wait_cost_nothing() {
    let _alone = alone();
    let origin = origin();
    let proxy = Setup::origin(&origin).listener("client_half_close = \"finish\"").start();
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(client::get("/never")).unwrap();
        client.half_close().unwrap();
    }
    eventually("all wait", || origin.connections() == 20);
    assert_quiet(proxy.pid(), 0.05, "half-closed clients that wait");
}

#[test]
fn pipelined_requests_that_wait_cost_nothing() {
    let _alone = alone();
    let origin = origin();
    let proxy = Setup::origin(&origin).start();
    let mut clients: Vec<Client> = (0..10).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(client::get("/never")).unwrap();
        // More than is kept for later; the rest stays in the kernel, where it makes the socket readable.
        client.send(client::get("/next").repeat(4_000)).unwrap();
    }
    eventually("all wait", || origin.connections() == 10);
    assert_quiet(proxy.pid(), 0.05, "pipelined requests that wait");
}

#[test]
fn an_origin_that_does_not_read_costs_nothing() {
    let _alone = alone();
    let origin = origin();
    let proxy = Setup::origin(&origin).start();
    let senders: Vec<_> = (0..5)
        .map(|_| {
            let mut client = proxy.client();
            std::thread::spawn(move || {
                client.send("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n").unwrap();
                // Ends when the origin gives up.
                let _ = client.send_pattern(0, 50_000_000);
            })
        })
        .collect();
    eventually("all are sending", || origin.connections() == 5);
    assert_quiet(proxy.pid(), 0.05, "an origin that does not read");
    for sender in senders {
        sender.join().unwrap();
    }
}

#[test]
fn an_origin_that_half_closes_costs_nothing() {
    let _alone = alone();
    let origin = origin();
    let proxy = Setup::origin(&origin).start();
    let mut clients: Vec<Client> = (0..10).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc").unwrap();
    }
    eventually("all are there", || origin.connections() >= 10);
    assert_quiet(proxy.pid(), 0.05, "an origin that half-closes");
}

#[test]
fn slow_heads_cost_nothing() {
    let _alone = alone();
    let origin = origin();
    let proxy = Setup::origin(&origin).start();
    let mut clients: Vec<Client> = (0..50).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-").unwrap();
    }
    assert_quiet(proxy.pid(), 0.05, "heads that do not end");
}

#[test]
fn lingering_connections_cost_nothing() {
    let _alone = alone();
    let origin = origin();
    let proxy = Setup::origin(&origin).start();
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nbroken\r\n\r\n").unwrap();
        assert_eq!(client.next_head().status(), 400);
    }
    assert_quiet(proxy.pid(), 0.05, "clients that stay after a 400");
}
