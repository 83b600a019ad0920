//! Pooled upstream connections: reused, bounded, expired, and checked before they are used.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Client, Origin, Setup, eventually, ok, settles_at};

#[test]
fn expires_idle_connections() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).upstream("idle_timeout = \"1s\"").start();
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(origin.connections(), 1);
    eventually("the idle connection is closed", || origin.open_connections() == 0);
    eventually("the gauge follows", || proxy.endpoints("connections_idle") == 0);
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn keeps_at_most_idle_connections_max() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::http(move |_| {
        wait.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        ok("x")
    });
    let proxy = Setup::origin(&origin).upstream("idle_connections_max = 3").start();
    let mut clients: Vec<Client> = (0..10).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(crate::support::client::get("/")).unwrap();
    }
    eventually("ten at once", || origin.connections() == 10);
    for _ in 0..10 {
        go.send(()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    eventually("the surplus is closed", || origin.open_connections() == 3);
    settles_at(3, || proxy.endpoints("connections_idle"));
}

#[test]
fn pools_nothing_when_told_not_to() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).upstream("idle_connections_max = 0").start();
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(origin.connections(), 3);
    assert_eq!(proxy.endpoints("connection_reuses_total"), 0);
}

#[test]
fn replaces_a_connection_that_the_origin_closed_while_idle() {
    // Closes after each answer without saying so.
    let origin = Origin::script(|connection| {
        if connection.request().unwrap().is_some() {
            connection.send(ok("x")).unwrap();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for round in 1..=50 {
        assert_eq!(client.get("/").status(), 200);
        eventually("the origin closes", || origin.open_connections() == 0);
        assert_eq!(origin.connections(), round);
    }
}

#[test]
fn replaces_a_connection_that_the_origin_reset_while_idle() {
    let origin = Origin::script(|connection| {
        if connection.request().unwrap().is_some() {
            connection.send(ok("x")).unwrap();
            // The answer is read before the reset takes it away.
            connection.silent_for(Duration::from_millis(50)).unwrap();
            connection.reset_on_close();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status(), 200);
        eventually("the origin resets", || origin.open_connections() == 0);
    }
}

#[test]
fn sends_a_post_on_a_fresh_connection_when_the_pooled_one_is_closed() {
    let origin = Origin::script(|connection| {
        if connection.request().unwrap().is_some() {
            connection.send(ok("x")).unwrap();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for round in 1..=20 {
        let response = client.request(crate::support::client::post("/", b"body"));
        assert_eq!(response.status(), 200);
        eventually("the origin closes", || origin.open_connections() == 0);
        assert_eq!(origin.requests().len(), round, "each POST arrives once");
    }
}

#[test]
fn does_not_reuse_a_connection_with_surplus_bytes() {
    // The second response belongs to nobody; whoever reuses the connection would get it.
    let origin = Origin::script(|connection| {
        if let Ok(Some(request)) = connection.request() {
            let mut answer = ok(request.head.target());
            answer.extend(ok("POISON"));
            connection.send(answer).unwrap();
            connection.wait_for_end();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for index in 0..10 {
        let target = format!("/{index}");
        assert_eq!(client.get(&target).text(), target);
    }
    assert_eq!(origin.connections(), 10);
}

#[test]
fn does_not_reuse_a_connection_on_which_bytes_came_later() {
    let poisoned = Arc::new(AtomicUsize::new(0));
    let count = poisoned.clone();
    let origin = Origin::script(move |connection| {
        if let Ok(Some(request)) = connection.request() {
            connection.send(ok(request.head.target())).unwrap();
            // After the connection went to the pool.
            connection.silent_for(Duration::from_millis(50)).unwrap();
            connection.send(ok("POISON")).unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            connection.wait_for_end();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for index in 0..5 {
        let target = format!("/{index}");
        assert_eq!(client.get(&target).text(), target);
        eventually("the connection is poisoned", || poisoned.load(Ordering::SeqCst) == index + 1);
        client.expect_silence(Duration::from_millis(50));
    }
    assert_eq!(origin.connections(), 5);
    eventually("it is counted", || proxy.endpoints("connections_stale_total") >= 1);
}

#[test]
fn does_not_reuse_a_connection_with_bytes_after_a_bodiless_answer() {
    let origin = Origin::script(|connection| {
        if connection.request().unwrap().is_some() {
            connection.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nPOISON").unwrap();
            connection.wait_for_end();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status(), 304);
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn does_not_pool_a_connection_whose_response_was_not_read_to_its_end() {
    let origin = Origin::script(|connection| {
        if connection.request().unwrap().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").unwrap();
            let _ = connection.send(vec![b'x'; 500_000]);
            connection.wait_for_end();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(crate::support::client::get("/")).unwrap();
    client.next_head();
    drop(client);
    eventually("the connection is closed", || origin.open_connections() == 0);
    settles_at(0, || proxy.endpoints("connections_idle"));
}
