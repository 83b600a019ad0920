//! Bodies pass slice by slice, both ways at once, in memory that stays flat.

use std::time::{Duration, Instant};

use crate::support::proxy::Proxy;
use crate::support::{Client, Load, Nginx, Origin, Setup, alone, client, eventually, ok, process};

const MIB: u64 = 1 << 20;

/// What the proxy may grow by while one large body passes.
const GROWTH_BYTES_MAX: u64 = 12 * MIB;

/// Fails if the proxy's memory has grown past the ceiling since `before`.
#[track_caller]
fn assert_flat(proxy: &Proxy, before: u64) {
    let now = process::rss_bytes(proxy.pid());
    assert!(now < before + GROWTH_BYTES_MAX, "{} MiB, {} MiB before", now / MIB, before / MIB);
}

/// A warmed-up proxy's memory.
fn settled(proxy: &Proxy) -> u64 {
    assert_eq!(proxy.get("/warm").status(), 200);
    process::rss_bytes(proxy.pid())
}

/// Sends 64 MiB of the pattern for `/body`, with Content-Length or chunked.
fn body_origin(chunked: bool) -> Origin {
    Origin::script(move |connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.target() != "/body" {
                connection.send(ok("x")).unwrap();
            } else if chunked {
                connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
                for mib in 0..64 {
                    connection.send(format!("{MIB:x}\r\n")).unwrap();
                    connection.send_pattern(mib * MIB, MIB).unwrap();
                    connection.send("\r\n").unwrap();
                }
                connection.send("0\r\n\r\n").unwrap();
            } else {
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 * MIB)).unwrap();
                connection.send_pattern(0, 64 * MIB).unwrap();
            }
        }
    })
}

#[test]
fn passes_64_mib_down_in_flat_memory() {
    let origin = body_origin(false);
    let proxy = Setup::origin(&origin).start();
    let before = settled(&proxy);
    let mut client = proxy.client();
    client.send(client::get("/body")).unwrap();
    assert_eq!(client.next_head().status(), 200);
    for mib in 0..64 {
        client.expect_pattern(mib * MIB, MIB).unwrap();
        assert_flat(&proxy, before);
    }
    assert_eq!(client.get("/after").status(), 200);
}

#[test]
fn passes_64_mib_down_in_chunks() {
    let origin = body_origin(true);
    let proxy = Setup::origin(&origin).start();
    let before = settled(&proxy);
    let mut client = proxy.client();
    client.send(client::get("/body")).unwrap();
    assert_eq!(client.next_head().status(), 200);
    let mut taken = 0;
    loop {
        let size = u64::from_str_radix(client.line().unwrap().split(';').next().unwrap(), 16).unwrap();
        client.expect_pattern(taken, size).unwrap();
        taken += size;
        assert_eq!(client.line().unwrap(), "");
        if size == 0 {
            break;
        }
    }
    assert_eq!(taken, 64 * MIB);
    assert_flat(&proxy, before);
    assert_eq!(client.get("/after").status(), 200);
}

#[test]
fn passes_64_mib_up_in_flat_memory() {
    let origin = Origin::script(|connection| {
        while let Ok(Some(head)) = connection.head() {
            if head.target() == "/up" {
                connection.expect_pattern(0, 64 * MIB).unwrap();
            }
            connection.send(ok("taken")).unwrap();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let before = settled(&proxy);
    let mut client = proxy.client();
    client.send(format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 64 * MIB)).unwrap();
    for mib in 0..64 {
        client.send_pattern(mib * MIB, MIB).unwrap();
        assert_flat(&proxy, before);
    }
    assert_eq!(client.response().text(), "taken");
    assert_eq!(client.get("/after").status(), 200);
}

#[test]
fn streams_both_ways_at_once() {
    let total = 32 * MIB;
    let origin = Origin::script(move |connection| {
        let head = connection.head().unwrap().unwrap();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n")).unwrap();
        assert_eq!(head.field("content-length"), Some(total.to_string().as_str()));
        for block in 0..total / 65_536 {
            connection.expect_pattern(block * 65_536, 65_536).unwrap();
            connection.send_pattern(block * 65_536, 65_536).unwrap();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {total}\r\n\r\n")).unwrap();
    assert_eq!(client.next_head().status(), 200, "before the body is sent");
    // One block ahead of what came back: no side may wait for the other's end.
    for block in 0..total / 65_536 {
        client.send_pattern(block * 65_536, 65_536).unwrap();
        client.expect_pattern(block * 65_536, 65_536).unwrap();
    }
}

#[test]
fn a_slow_reader_holds_the_origin_back() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 200 * MIB)).unwrap();
        connection.send_pattern(0, 200 * MIB).unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.set_receive_buffer(64 * 1024);
    let before = process::rss_bytes(proxy.pid());
    client.send(client::get("/")).unwrap();
    assert_eq!(client.next_head().status(), 200);
    // Reads nothing for two seconds, far longer than 200 MiB take.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_flat(&proxy, before);
        std::thread::sleep(Duration::from_millis(50));
    }
    let received = proxy.endpoints("received_bytes_total");
    // The kernel's own buffers on both connections hold some megabytes.
    assert!(received < 40 * MIB, "{} MiB were taken from the origin", received / MIB);
    client.expect_pattern(0, 200 * MIB).unwrap();
    assert_flat(&proxy, before);
}

#[test]
fn a_slow_origin_holds_the_client_back() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::script(move |connection| {
        connection.head().unwrap().unwrap();
        wait.lock().unwrap().recv_timeout(Duration::from_secs(20)).unwrap();
        connection.expect_pattern(0, 200 * MIB).unwrap();
        connection.send(ok("taken")).unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let before = process::rss_bytes(proxy.pid());
    let mut client = proxy.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 200 * MIB)).unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            client.send_pattern(0, 200 * MIB).unwrap();
            client.response()
        });
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            assert_flat(&proxy, before);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(proxy.listener("received_bytes_total") < 40 * MIB);
        go.send(()).unwrap();
        assert_eq!(sending.join().unwrap().text(), "taken");
    });
    assert_flat(&proxy, before);
}

#[test]
fn slow_readers_do_not_stop_the_others() {
    // A shared pool of buffers that 40 clients hold would.
    let origin = Origin::script(|connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.target() == "/small" {
                connection.send(ok("x")).unwrap();
                continue;
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").unwrap();
            let _ = connection.send_pattern(0, 100_000_000);
            return;
        }
    });
    let proxy = Setup::origin(&origin).start();
    let stuck: Vec<Client> = (0..60)
        .map(|_| {
            let mut client = proxy.client();
            client.set_receive_buffer(4096);
            client.send(client::get("/large")).unwrap();
            client
        })
        .collect();
    eventually("all are stuck", || origin.connections() == 60);
    let mut client = proxy.client();
    for _ in 0..200 {
        assert_eq!(client.get("/small").status(), 200);
    }
    drop(stuck);
}

#[test]
fn passes_a_response_on_as_it_comes() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::script(move |connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for _ in 0..5 {
            connection.send("4\r\ntick\r\n").unwrap();
            wait.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        }
        connection.send("0\r\n\r\n").unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    assert_eq!(client.next_head().status(), 200);
    for _ in 0..5 {
        assert_eq!(client.line().unwrap(), "4");
        assert_eq!(client.line().unwrap(), "tick");
        go.send(()).unwrap();
    }
    assert_eq!(client.line().unwrap(), "0");
}

#[test]
fn passes_a_request_on_as_it_comes() {
    let origin = Origin::http(|_| ok("done"));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for index in 0..5 {
        client.send(format!("5\r\ntick{index}\r\n")).unwrap();
        eventually("the chunk reaches the origin", || origin.received(0).contains(&format!("tick{index}")));
    }
    client.send("0\r\n\r\n").unwrap();
    assert_eq!(client.response().text(), "done");
}

#[test]
fn passes_files_of_nginx_under_load() {
    let _alone = alone();
    let nginx = Nginx::start("");
    nginx.add("1k", vec![b'k'; 1024]);
    nginx.add("300k", crate::support::message::pattern(0, 300_000));
    let proxy = Setup::nginx(&nginx).workers(2).start();
    let small = Load::start(&proxy.address("web"), 16, "/1k");
    let large = Load::start(&proxy.address("web"), 8, "/300k");
    eventually("2000 answers", || small.answered() > 2_000 && large.answered() > 200);
    small.finish().assert_all_ok();
    large.finish().assert_all_ok();
    let response = proxy.get("/300k");
    assert!(response.body == crate::support::message::pattern(0, 300_000));
}
