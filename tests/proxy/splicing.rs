//! Large bodies through pipes of the kernel: the right bytes to the right peer, whatever becomes of the others.

use crate::support::origin::Connection;
use crate::support::{Client, DEADLINE, Origin, Proxy, Setup, client, eventually, ok};

const MIB: u64 = 1 << 20;

/// Bytes of bodies that passed through pipes.
fn spliced(proxy: &Proxy) -> u64 {
    proxy.metric("corelane_worker_spliced_bytes_total", &[])
}

fn pipes(proxy: &Proxy) -> u64 {
    proxy.metric("corelane_worker_pipes", &[])
}

/// `/down/START/LENGTH` gets that part of the pattern; `/up/START/LENGTH` must come with it.
fn pattern_origin() -> Origin {
    Origin::script(serve_pattern)
}

fn serve_pattern(connection: &mut Connection) {
    while let Ok(Some(head)) = connection.head() {
        let target = head.target().to_owned();
        let mut parts = target.split('/').skip(1);
        let way = parts.next().unwrap();
        let mut number = || parts.next().unwrap().parse::<u64>().unwrap();
        let (start, length) = (number(), number());
        if way == "up" {
            connection.expect_pattern(start, length).unwrap();
            connection.send(ok("taken")).unwrap();
            continue;
        }
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).unwrap();
        if connection.send_pattern(start, length).is_err() {
            // The client has left, and the proxy with it.
            return;
        }
    }
}

/// Asks for a part of the pattern.
#[track_caller]
fn ask(client: &mut Client, start: u64, length: u64) {
    client.send(client::get(&format!("/down/{start}/{length}"))).unwrap();
    assert_eq!(client.next_head().status(), 200);
}

#[track_caller]
fn upload(client: &mut Client, start: u64, length: u64) {
    let target = format!("/up/{start}/{length}");
    client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).unwrap();
    client.send_pattern(start, length).unwrap();
    assert_eq!(client.response().text(), "taken");
}

/// Large bodies one after another, both ways, on one connection each side.
#[track_caller]
fn assert_both_ways(proxy: &Proxy, origin: &Origin) {
    let mut client = proxy.client();
    for round in 0..4 {
        upload(&mut client, round * 1000, 8 * MIB + round);
        ask(&mut client, round * 77, 8 * MIB + round);
        client.expect_pattern(round * 77, 8 * MIB + round).unwrap();
    }
    assert_eq!(origin.connections(), 1, "a connection is good for more after a large body");
    // 0, 1, 2 and 3 bytes more, both ways. All of it, where each head comes alone.
    let (moved, spliced) = (64 * MIB + 12, spliced(proxy));
    assert!(spliced > moved / 2 && spliced <= moved, "{spliced} of {moved} bytes");
    assert!((1..=2).contains(&pipes(proxy)), "{} pipes for one client", pipes(proxy));
}

#[test]
fn large_bodies_pass_through_pipes() {
    for driver in ["io_uring", "epoll"] {
        let origin = pattern_origin();
        let proxy = Setup::origin(&origin).process(&format!("driver = \"{driver}\"")).start();
        assert_both_ways(&proxy, &origin);
    }
}

#[test]
fn large_bodies_pass_to_and_from_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::script_at_unix(&dir.path().join("o"), serve_pattern);
    let proxy = Setup::origin(&origin).start();
    assert_both_ways(&proxy, &origin);
}

#[test]
fn small_bodies_are_copied() {
    let origin = pattern_origin();
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for length in [1, 10_000, 65_535] {
        upload(&mut client, length, length);
        ask(&mut client, length, length);
        client.expect_pattern(length, length).unwrap();
    }
    assert_eq!((spliced(&proxy), pipes(&proxy)), (0, 0));
}

#[test]
fn slow_readers_each_get_their_own_bytes() {
    let origin = pattern_origin();
    let proxy = Setup::origin(&origin).start();
    let length = 6 * MIB;
    let mut clients: Vec<Client> = (0..12)
        .map(|index| {
            let mut client = proxy.client();
            client.set_receive_buffer(16 * 1024);
            // Each has another part of the pattern: another one's bytes would not fit.
            ask(&mut client, index * 12_345, length);
            client
        })
        .collect();
    eventually("most are blocked, each with a pipe", || pipes(&proxy) >= 8);
    for block in 0..length / 65_536 {
        for (index, client) in (0..).zip(&mut clients) {
            client.expect_pattern(index * 12_345 + block * 65_536, 65_536).unwrap();
        }
    }
    assert!(spliced(&proxy) > 12 * length / 2);
    let mut client = proxy.client();
    ask(&mut client, 3, MIB);
    client.expect_pattern(3, MIB).unwrap();
}

#[test]
fn a_client_that_leaves_midway_leaves_nothing_for_the_next() {
    let origin = pattern_origin();
    let proxy = Setup::origin(&origin).start();
    proxy.metrics();
    for round in 0..20 {
        let mut leaving = proxy.client();
        leaving.set_receive_buffer(16 * 1024);
        ask(&mut leaving, 7 * round, 60 * MIB);
        leaving.expect_pattern(7 * round, round * 10_000).unwrap();
        if round % 2 == 0 {
            // Until it holds the most that it can.
            eventually("it is blocked", || pipes(&proxy) >= 1);
        }
        if round % 3 == 0 {
            leaving.reset();
        } else {
            drop(leaving);
        }
        let mut next = proxy.client();
        ask(&mut next, 5 * round, MIB);
        next.expect_pattern(5 * round, MIB).unwrap();
    }
    eventually("they are gone", || proxy.listener("connections_active") == 0);
    assert!(pipes(&proxy) <= 4, "{} pipes are left", pipes(&proxy));
    assert!(!proxy.has_panicked());
}

#[test]
fn an_uploading_client_that_leaves_cuts_the_request() {
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        // What came of 50 MiB, and then the end.
        let taken = connection.drain().unwrap();
        assert!(taken < 50 << 20, "{taken} bytes");
    });
    let proxy = Setup::origin(&origin).start();
    for _ in 0..5 {
        let mut leaving = proxy.client();
        leaving.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 52428800\r\n\r\n").unwrap();
        leaving.send_pattern(0, 5 * MIB).unwrap();
        leaving.reset();
    }
    eventually("they are gone", || proxy.listener("client_aborts_total") == 5);
    eventually("the origin is told", || origin.open_connections() == 0);
}

#[test]
fn a_body_cut_midway_is_seen_to_be_cut() {
    for sent in [100_000, MIB, 3 * MIB + 1] {
        let origin = Origin::script(move |connection| {
            while let Ok(Some(request)) = connection.request() {
                if request.head.target() == "/cut" {
                    connection
                        .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 4 * MIB))
                        .unwrap();
                    connection.send_pattern(0, sent).unwrap();
                    return;
                }
                connection.send(ok("whole")).unwrap();
            }
        });
        let proxy = Setup::origin(&origin).start();
        let mut client = proxy.client();
        client.send(client::get("/cut")).unwrap();
        assert_eq!(client.next_head().status(), 200);
        client.expect_pattern(0, sent).unwrap();
        client.expect_end();
        assert_eq!(proxy.record()["reason"], "response_truncated");
        assert_eq!(proxy.get("/").text(), "whole");
    }
}

#[test]
fn surplus_behind_a_large_body_is_noticed() {
    let origin = Origin::script(|connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.target() == "/surplus" {
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MIB}\r\n\r\n")).unwrap();
                connection.send_pattern(0, MIB - 10).unwrap();
                // Together with the end, so that it is there when the end is.
                let mut end = crate::support::message::pattern(MIB - 10, 10);
                end.extend_from_slice(&ok("poison"));
                connection.send(end).unwrap();
                continue;
            }
            connection.send(ok("right")).unwrap();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::get("/surplus")).unwrap();
    assert_eq!(client.next_head().status(), 200);
    client.expect_pattern(0, MIB).unwrap();
    assert_eq!(client.get("/").text(), "right");
    assert_eq!(origin.connections(), 2, "the first one is not used again");
    assert!(spliced(&proxy) > MIB / 2);
    let surplus = [("reason", "surplus_bytes")];
    assert_eq!(proxy.metric("corelane_endpoint_suspicious_total", &surplus), 1);
}

#[test]
fn few_descriptors_leave_few_pipes() {
    let origin = pattern_origin();
    let proxy = Setup::origin(&origin).launch().files(120).start();
    let mut clients: Vec<Client> = (0..20)
        .map(|index| {
            let mut client = proxy.client();
            client.set_receive_buffer(16 * 1024);
            ask(&mut client, index * 999, 12 * MIB);
            client
        })
        .collect();
    eventually("all there may be are in use", || pipes(&proxy) == 120 / 8 / 2);
    for (index, client) in (0..).zip(&mut clients) {
        client.expect_pattern(index * 999, 12 * MIB).unwrap();
    }
    assert!(spliced(&proxy) > 0);
}

#[test]
fn requests_pipelined_behind_a_large_body_are_served() {
    let origin = pattern_origin();
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.set_deadline(DEADLINE).unwrap();
    client.send(format!("POST /up/0/{MIB} HTTP/1.1\r\nHost: a\r\nContent-Length: {MIB}\r\n\r\n")).unwrap();
    client.send_pattern(0, MIB - 10).unwrap();
    let mut end = crate::support::message::pattern(MIB - 10, 10);
    end.extend_from_slice(client::get("/down/5/100").as_bytes());
    client.send(end).unwrap();
    assert_eq!(client.response().text(), "taken");
    assert_eq!(client.next_head().status(), 200);
    client.expect_pattern(5, 100).unwrap();
}

#[test]
fn an_early_answer_to_a_large_upload_arrives() {
    let origin = Origin::script(move |connection| {
        connection.head().unwrap().unwrap();
        connection.expect_pattern(0, 2 * MIB).unwrap();
        connection
            .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            .unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 100 * MIB)).unwrap();
    client.send_pattern(0, 3 * MIB).unwrap();
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (403, "no".to_owned()));
}

#[test]
fn a_tunnel_in_bulk_goes_through_pipes() {
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            .unwrap();
        connection.expect_pattern(0, 20 * MIB).unwrap();
        connection.send_pattern(1, 20 * MIB).unwrap();
        connection.send("end").unwrap();
    });
    let proxy = Setup::origin(&origin).route("upgrades = [\"websocket\"]").start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    assert_eq!(client.next_head().status(), 101);
    client.send_pattern(0, 20 * MIB).unwrap();
    client.expect_pattern(1, 20 * MIB).unwrap();
    assert_eq!(client.exactly(3).unwrap(), b"end");
    client.expect_end();
    assert!(spliced(&proxy) > 0);
}
