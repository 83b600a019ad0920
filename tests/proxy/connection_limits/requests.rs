//! What one connection may ask: `requests_max`, and how much it may pipeline.

use super::*;

#[test]
fn closes_after_requests_max() {
    let origin = Origin::http(|request| ok(request.head.target()));
    let proxy = Setup::origin(&origin).listener("requests_max = 3").start();
    let mut client = proxy.client();
    for index in 1..=3 {
        let response = client.get(&format!("/{index}"));
        assert_eq!(response.text(), format!("/{index}"));
        assert_eq!(response.head.connection_has("close"), index == 3);
    }
    client.expect_close();
    settles_at(1, || proxy.listener("requests_max_reached_total"));

    // HTTP/1.0 is told by the missing keep-alive.
    let mut client = proxy.client();
    for index in 1..=3 {
        let response = client.request("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(response.head.connection_has("keep-alive"), index < 3);
    }
    client.expect_close();
    // One that closes by itself has not met the limit.
    let mut client = proxy.client();
    client.get("/");
    client.get("/");
    client.request("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.expect_close();
    settles_at(2, || proxy.listener("requests_max_reached_total"));
}

#[test]
fn serves_no_pipelined_request_beyond_requests_max() {
    let origin = Origin::http(|request| ok(request.head.target()));
    let proxy = Setup::origin(&origin).listener("requests_max = 3").start();
    // The rest together with the first, and after the answers have begun.
    for late in [false, true] {
        let mut client = proxy.client();
        let requests: Vec<String> = (1..=1_000).map(|index| client::get(&format!("/{index}"))).collect();
        client.send(if late { requests[..3].concat() } else { requests.concat() }).unwrap();
        if late {
            // It may be reset for what comes after the end.
            let _ = client.send(requests[3..].concat());
        }
        for index in 1..=3 {
            assert_eq!(client.response().text(), format!("/{index}"));
        }
        client.expect_end();
    }
    assert_eq!(origin.requests().len(), 6);
    settles_at(6, || proxy.listener("requests_total"));
}

#[test]
fn errors_count_towards_requests_max() {
    let origin = Origin::answering(ok("x"));
    let proxy =
        Setup::origin(&origin).route("path = { prefix = \"/known\" }").listener("requests_max = 2").start();
    let mut client = proxy.client();
    assert_eq!(client.get("/unknown").status(), 404);
    let response = client.get("/unknown");
    assert_eq!((response.status(), response.head.connection_has("close")), (404, true));
    client.expect_close();
}

#[test]
fn a_pipelining_flood_is_held_within_the_limit() {
    let _alone = alone();
    const CLIENTS: usize = 60;
    const REQUESTS: usize = 3_000;
    // Behind a request that is answered late, in the same write and after it.
    for late in [false, true] {
        let (origin, go) = holding_origin();
        let limits = "pipeline_bytes_max = \"8KiB\"\nhead_bytes_max = \"4KiB\"";
        let proxy = Setup::origin(&origin).workers(2).listener(limits).start();
        let flood = client::get("/").repeat(REQUESTS);
        // What the first of them touches stays: code, scratch buffers, the free list.
        (0..8).for_each(|_| drop(proxy.client().request(&flood)));
        settles_at(0, || proxy.listener("connections"));
        let held = || origin.requests().iter().filter(|request| request.head.target() == "/held").count();
        let full = proxy.listener("pipeline_full_total");
        let received_before = proxy.listener("received_bytes_total");
        let before = process::rss_bytes(proxy.pid());
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| proxy.client()).collect();
        for client in &mut clients {
            let first = client::get("/held");
            if late {
                client.send(first).unwrap();
            } else {
                client.send(first + &flood).unwrap();
            }
        }
        eventually("all are in flight", || held() == CLIENTS);
        if late {
            clients.iter_mut().for_each(|client| client.send(&flood).unwrap());
        }
        let mut received = received_before;
        eventually("nothing more is received", || {
            thread::sleep(Duration::from_millis(200));
            let before = std::mem::replace(&mut received, proxy.listener("received_bytes_total"));
            before == received
        });
        let sent = CLIENTS * (flood.len() + client::get("/held").len());
        let per_client = usize::try_from(received - received_before).unwrap() / CLIENTS;
        // A head, the pipeline, and one receive of 80 KiB.
        let bytes_max = if late { 8 * 1024 + 100 } else { 80 * 1024 };
        assert!(per_client <= bytes_max, "{per_client} of {} bytes received", sent / CLIENTS);
        let grown = process::rss_bytes(proxy.pid()).saturating_sub(before) / CLIENTS as u64;
        assert!(grown <= (4 + 8 + 80 + 16) * 1024, "{grown} bytes of memory for each client");
        (0..CLIENTS).for_each(|_| go.send(()).unwrap());
        for client in clients.iter_mut().take(3) {
            assert_eq!(client.response().text(), "/held");
            (0..REQUESTS).for_each(|_| assert_eq!(client.response().text(), "/"));
        }
        assert!(proxy.listener("pipeline_full_total") >= full + CLIENTS as u64);
    }
}

#[test]
fn a_client_that_pipelines_and_does_not_read_stops_being_read() {
    let origin = Origin::answering(ok("x".repeat(1_000)));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.set_receive_buffer(4_096);
    let before = process::rss_bytes(proxy.pid());
    // In the end neither side takes anything more: what is on the way fills the buffers of both sockets.
    let flood = client::get("/").repeat(1_000);
    let stalled = thread::spawn(move || {
        let mut sent = 0;
        while client.send_within(Duration::from_secs(2), &flood) {
            sent += flood.len();
            assert!(sent < 100_000_000, "the proxy goes on reading");
        }
        client
    });
    let mut client = stalled.join().unwrap();
    let grown = process::rss_bytes(proxy.pid()).saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more for one client");
    eventually("the pipeline is full", || proxy.listener("pipeline_full_total") >= 1);
    assert_eq!(client.response().status(), 200);
    client.reset();
    settles_at(0, || proxy.listener("connections"));
}
