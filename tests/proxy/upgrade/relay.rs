//! What goes through a tunnel: every byte, both ways, and how each side's end reaches the other.

use std::time::{Duration, Instant};

use super::{SWITCH, UPGRADE, assert_echo, echoing, granting, open};
use crate::support::process::rss_bytes;
use crate::support::wire::End;
use crate::support::{Origin, Setup, eventually, settles_at};

#[test]
fn relays_both_ways_whoever_speaks_first() {
    let origin = granting(|connection| {
        connection.send("welcome").unwrap();
        assert_eq!(connection.exactly(5).unwrap(), b"hello");
        connection.send("bye").unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = open(&proxy);
    assert_eq!(client.exactly(7).unwrap(), b"welcome");
    client.send("hello").unwrap();
    assert_eq!(client.exactly(3).unwrap(), b"bye");
}

#[test]
fn delivers_what_came_with_the_101() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        // One write, one segment.
        connection.send(SWITCH.to_owned() + "first frame").unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = open(&proxy);
    assert_eq!(client.exactly(11).unwrap(), b"first frame");
}

#[test]
fn delivers_what_came_with_the_101_and_the_end() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send(SWITCH.to_owned() + "first and last").unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = open(&proxy);
    assert_eq!(client.until_end().unwrap(), b"first and last");
}

#[test]
fn frames_nothing_and_reads_nothing_into_it() {
    let origin = echoing();
    let proxy = Setup::origin(&origin).start();
    let mut client = open(&proxy);
    for text in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "\0\r\n\u{ff}",
        "\r\n\r\n",
    ] {
        assert_echo(&mut client, text);
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn carries_megabytes_both_ways_at_once() {
    const SIZE: u64 = 64 << 20;
    let origin = granting(|connection| {
        let mut writer = crate::support::wire::Wire::new(connection.stream().try_clone().unwrap()).unwrap();
        let sending = std::thread::spawn(move || writer.send_pattern(0, SIZE).unwrap());
        connection.expect_pattern(7, SIZE).unwrap();
        sending.join().unwrap();
        connection.half_close().unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let before = rss_bytes(proxy.pid());
    let mut client = open(&proxy);
    let mut writer = crate::support::wire::Wire::new(client.stream().try_clone().unwrap()).unwrap();
    let sending = std::thread::spawn(move || writer.send_pattern(7, SIZE).unwrap());
    client.expect_pattern(0, SIZE).unwrap();
    sending.join().unwrap();
    client.half_close().unwrap();
    client.expect_close();
    let grown = rss_bytes(proxy.pid()).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more for {SIZE} each way");
    let record = proxy.record();
    assert_eq!((&record["request_bytes"], &record["response_bytes"]), (&SIZE.into(), &SIZE.into()));
}

#[test]
fn waits_for_a_side_that_does_not_read() {
    let origin = granting(|connection| {
        // More than every buffer in between.
        connection.send_pattern(0, 64 << 20).unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let before = rss_bytes(proxy.pid());
    let mut client = open(&proxy);
    std::thread::sleep(Duration::from_millis(700));
    let grown = rss_bytes(proxy.pid()).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes are kept for a client that does not read");
    client.expect_pattern(0, 64 << 20).unwrap();
}

#[test]
fn a_clients_end_reaches_the_origin_which_can_still_speak() {
    // Whatever becomes of half-closes outside of tunnels.
    for policy in ["abort", "finish"] {
        let origin = granting(|connection| {
            assert_eq!(connection.until_end().unwrap(), b"bye");
            connection.send_pattern(0, 1_000_000).unwrap();
        });
        let proxy = Setup::origin(&origin).listener(&format!("client_half_close = \"{policy}\"")).start();
        let mut client = open(&proxy);
        client.send("bye").unwrap();
        client.half_close().unwrap();
        client.expect_pattern(0, 1_000_000).unwrap();
        client.expect_close();
        settles_at(0, || proxy.listener("tunnels"));
        assert!(proxy.record()["reason"].is_null(), "{}", proxy.record());
    }
}

#[test]
fn an_origins_end_reaches_the_client_which_can_still_speak() {
    let (done, seen) = std::sync::mpsc::channel();
    let done = std::sync::Mutex::new(done);
    let origin = granting(move |connection| {
        connection.send("bye").unwrap();
        connection.half_close().unwrap();
        connection.expect_pattern(0, 1_000_000).unwrap();
        let end = connection.end().unwrap();
        done.lock().unwrap().send(end).unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = open(&proxy);
    assert_eq!(client.until_end().unwrap(), b"bye");
    client.send_pattern(0, 1_000_000).unwrap();
    settles_at(1, || proxy.listener("tunnels"));
    client.half_close().unwrap();
    assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Ok(End::Closed));
    settles_at(0, || proxy.listener("tunnels"));
    assert!(proxy.record()["reason"].is_null(), "{}", proxy.record());
}

#[test]
fn a_client_that_ends_before_the_101_comes_is_not_cut_short() {
    // Early bytes and the end of bytes, all before the switch: a client that is quick, not one that has left.
    let origin = granting(|connection| {
        assert_eq!(connection.until_end().unwrap(), b"all I have");
        connection.send("thanks").unwrap();
    });
    let proxy = Setup::origin(&origin).listener("client_half_close = \"finish\"").start();
    let mut client = proxy.client();
    client.send(UPGRADE.to_owned() + "all I have").unwrap();
    client.half_close().unwrap();
    assert_eq!(client.next_head().status(), 101);
    assert_eq!(client.until_end().unwrap(), b"thanks");
}

#[test]
fn a_clients_reset_reaches_the_origin() {
    let (done, seen) = std::sync::mpsc::channel();
    let done = std::sync::Mutex::new(done);
    let origin = granting(move |connection| {
        assert_eq!(connection.exactly(2).unwrap(), b"hi");
        done.lock().unwrap().send(connection.end()).unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = open(&proxy);
    client.send("hi").unwrap();
    eventually("it is relayed", || origin.received(0).ends_with("hi"));
    client.reset();
    assert_eq!(seen.recv_timeout(Duration::from_secs(10)).unwrap().unwrap(), End::Reset);
    settles_at(0, || proxy.listener("tunnels"));
    assert_eq!(proxy.record()["reason"], "client_gone");
}

#[test]
fn an_origins_reset_reaches_the_client() {
    let origin = granting(|connection| {
        assert_eq!(connection.exactly(2).unwrap(), b"hi");
        connection.reset_on_close();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = open(&proxy);
    client.send("hi").unwrap();
    assert_eq!(client.end().unwrap(), End::Reset);
    settles_at(0, || proxy.listener("tunnels"));
    let record = proxy.record();
    assert_eq!((&record["status"], &record["reason"]), (&101.into(), &"upstream_closed".into()));
}

#[test]
fn an_idle_tunnel_is_closed_on_both_sides() {
    let (done, seen) = std::sync::mpsc::channel();
    let done = std::sync::Mutex::new(done);
    let origin = granting(move |connection| {
        let end = connection.end();
        done.lock().unwrap().send(end.is_ok()).unwrap();
    });
    let proxy = Setup::origin(&origin).upstream("tunnel_idle_timeout = \"600ms\"").start();
    let start = Instant::now();
    let mut client = open(&proxy);
    client.expect_end();
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Ok(true));
    let record = proxy.record();
    assert_eq!((&record["status"], &record["reason"]), (&101.into(), &"tunnel_idle_timeout".into()));
    settles_at(1, || proxy.metric("corelane_listener_failures_total", &[("reason", "tunnel_idle_timeout")]));
}

#[test]
fn bytes_in_either_direction_keep_a_tunnel() {
    let origin = granting(|connection| {
        // One way, then the other.
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(400));
            connection.send("x").unwrap();
        }
        connection.exactly(6).unwrap();
        connection.send("done").unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).upstream("tunnel_idle_timeout = \"2s\"").start();
    let mut client = open(&proxy);
    assert_eq!(client.exactly(6).unwrap(), b"xxxxxx");
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(400));
        client.send("y").unwrap();
    }
    assert_eq!(client.exactly(4).unwrap(), b"done");
}

#[test]
fn the_other_timeouts_do_not_hold_in_a_tunnel() {
    let origin = echoing();
    let proxy = Setup::origin(&origin)
        .listener("head_timeout = \"1s\"")
        .listener("keepalive_timeout = \"1s\"")
        .listener("body_idle_timeout = \"1s\"")
        .listener("send_timeout = \"1s\"")
        .upstream("response_head_timeout = \"1s\"")
        .upstream("body_idle_timeout = \"1s\"")
        .upstream("request_timeout = \"1s\"")
        .upstream("idle_timeout = \"1s\"")
        .start();
    let mut client = open(&proxy);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(1_600));
        assert_echo(&mut client, "still here");
    }
}
