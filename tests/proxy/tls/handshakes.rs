//! Handshakes that are slow, many or none at all.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use rustls::{AlertDescription, Connection, Error};

use super::Site;
use crate::support::{Client, Load, alone, client, eventually, process, settles_at, tls};

/// The beginning of a ClientHello that says that it has 500 bytes.
const BEGINNING: [u8; 9] = [0x16, 3, 1, 1, 0xf8, 1, 0, 1, 0xf4];

/// A connection with the first bytes of a handshake.
fn stalled(site: &Site) -> Client {
    let mut client = site.proxy.client();
    client.send(BEGINNING).unwrap();
    client
}

/// Fails unless a new connection from this address is reset.
#[track_caller]
fn assert_refused(site: &Site, source: &str) {
    Client::connect_from(source, &site.proxy.address("web")).expect_end();
}

#[test]
fn http_without_tls_gets_a_400_that_says_so() {
    let site = Site::start("");
    let mut client = site.proxy.client();
    let answer = client.get("/");
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("plain HTTP request to a TLS port"), "{answer:?}");
    client.expect_close();
    settles_at(1, || site.failures("plain_http"));
    assert_eq!(site.origin.connections(), 0);
}

#[test]
fn a_handshake_has_its_time() {
    let site = Site::start("handshake_timeout = \"1s\"");
    let (mut silent, mut begun) = (site.proxy.client(), stalled(&site));
    silent.expect_end();
    begun.expect_end();
    settles_at(2, || site.failures("handshake_timeout"));
    assert_eq!(site.handshakes_in_progress(), 0);
    // What has shaken hands has another time.
    let mut client = site.client();
    client.expect_silence(Duration::from_millis(1500));
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn handshakes_in_progress_are_limited() {
    let site = Site::start("handshakes_max = 3, client_handshakes_max = 2");
    let mut established = site.client();
    let waiting = [stalled(&site), stalled(&site)];
    settles_at(2, || site.handshakes_in_progress());
    // This client has as many as one may have; others go on.
    assert_refused(&site, "127.0.0.1");
    settles_at(1, || site.failures("handshakes_excess"));
    let mut other = Client::connect_from("127.0.0.2", &site.proxy.address("web"));
    other.send(BEGINNING).unwrap();
    settles_at(3, || site.handshakes_in_progress());
    assert_refused(&site, "127.0.0.3");
    settles_at(2, || site.failures("handshakes_excess"));
    assert_eq!(established.get("/").text(), "hello");
    drop(waiting);
    settles_at(1, || site.handshakes_in_progress());
    assert_eq!(site.client().get("/").text(), "hello");
}

#[test]
fn tickets_come_with_the_end_of_the_handshake() {
    let site = Site::start("");
    let mut client = site.client();
    // Without a request: an answer to the client's Finished that waits for one is what costs clients with Nagle 40 ms.
    let tls = client.tls();
    let received = |connection: &Connection| match connection {
        Connection::Client(client) => client.tls13_tickets_received(),
        Connection::Server(_) => 0,
    };
    while received(&tls.connection) < 2 {
        tls.connection.complete_io(&mut tls.stream).unwrap();
    }
    assert_eq!(site.proxy.listener("requests_total"), 0);
}

/// What a client gets to know that sends these bytes as a record.
fn alert_for(site: &Site, record: &[u8]) -> Option<AlertDescription> {
    let mut client = site.client();
    client.tls().write_raw(record).unwrap();
    let error = client.fill().unwrap_err();
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(Error::AlertReceived(alert)) => Some(*alert),
        other => panic!("{other:?}: {error}"),
    }
}

#[test]
fn records_that_are_too_large_are_refused() {
    let site = Site::start("");
    // RFC 8446 §5.2: at most 2^14 + 256 bytes; RFC 5246 §6.2.3 allows 2^14 + 2048.
    let header = [0x17, 3, 3, 0x48, 0x01];
    assert_eq!(alert_for(&site, &header), Some(AlertDescription::DecodeError));
    settles_at(1, || site.failures("message_invalid"));
    // One that may be so large, of nothing that belongs to this connection.
    let altered = [&[0x17, 3, 3, 0x40, 0x11][..], &[7; 0x4011]].concat();
    assert_eq!(alert_for(&site, &altered), Some(AlertDescription::BadRecordMac));
    settles_at(1, || site.failures("record_undecipherable"));
    // In place of a ClientHello.
    let mut client = site.proxy.client();
    client.send([0x16, 3, 1, 0x48, 0x01]).unwrap();
    client.expect_close();
    settles_at(1, || site.failures("handshake_too_large"));
}

#[test]
fn a_thousand_slow_handshakes_hold_little_and_nobody_waits_for_them() {
    const COUNT: u64 = 1000;
    let _alone = alone();
    let site = Site::start("handshake_timeout = \"2m\"");
    // What the proxy allocates once is not theirs.
    assert_eq!(site.client().get("/").text(), "hello");
    let before = process::rss_bytes(site.proxy.pid());
    let mut slow: Vec<_> = (0..COUNT).map(|_| stalled(&site)).collect();
    settles_at(COUNT, || site.handshakes_in_progress());
    let (config, address) = (site.config.clone(), site.proxy.address("web"));
    // Old connections, and new ones after each tenth request.
    let load = Load::start_with(move || tls::connect(&address, &config, "app.test"), 10, 4, "/");
    for _ in 0..20 {
        for client in &mut slow {
            client.send([7]).unwrap();
        }
    }
    let answered = load.answered();
    eventually("others are served", || load.answered() > answered + 100);
    load.finish().assert_all_ok();
    settles_at(COUNT, || site.handshakes_in_progress());
    let each = (process::rss_bytes(site.proxy.pid()) - before) / COUNT;
    assert!(each < 16 * 1024, "{each} bytes each");
    // Nor do those who leave stay.
    drop(slow);
    settles_at(0, || site.handshakes_in_progress());
    settles_at(COUNT, || site.failures("peer_gone"));
}

/// A ClientHello: what it costs a client is a packet, what it costs the server a signature.
fn hello(site: &Site) -> Vec<u8> {
    let stream = TcpStream::connect(site.proxy.address("web")).unwrap();
    let mut hello = Vec::new();
    tls::Tls::client(stream, &site.config, "app.test").connection.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn what_is_ready_at_once_is_done_in_many_turns() {
    const COUNT: u64 = 200;
    const A_TURN: u64 = 4;
    let site = Site::start("");
    let hello = hello(&site);
    let mut clients: Vec<Client> = (0..COUNT).map(|_| site.proxy.client()).collect();
    settles_at(COUNT, || site.handshakes_in_progress());
    let turns = || site.proxy.metric("corelane_worker_turns_total", &[]);
    let before = turns();
    // They are all there when it goes on.
    site.proxy.signal(libc::SIGSTOP);
    clients.iter_mut().for_each(|client| client.send(&hello).unwrap());
    site.proxy.signal(libc::SIGCONT);
    for client in &mut clients {
        client.fill().unwrap();
    }
    let turns = turns() - before;
    assert!(turns >= COUNT / A_TURN, "{turns} turns");
}

#[test]
fn a_flood_of_handshakes_does_not_starve_the_others() {
    let _alone = alone();
    let site = Site::start("");
    // The same one again and again.
    let flood = super::Flood::start(4, {
        let (address, hello) = (site.proxy.address("web"), hello(&site));
        move || {
            let Ok(mut client) = Client::try_connect(&address) else { return };
            // Until the server's answer has come.
            if client.send(&hello).is_ok() && client.fill().is_ok() {
                client.reset();
            }
        }
    });
    eventually("the flood runs", || site.failures("peer_gone") > 200);
    let (config, address) = (site.config.clone(), site.proxy.address("web"));
    let load = Load::start_with(move || tls::connect(&address, &config, "app.test"), u64::MAX, 4, "/");
    eventually("answers", || load.answered() > 500);
    let tally = load.finish();
    tally.assert_all_ok();
    assert!(flood.stop() > 200, "the flood went on");
    let p99 = tally.quantile(0.99);
    assert!(p99 < Duration::from_secs(2), "p99 {p99:?}");
}

#[test]
fn bytes_that_are_neither_are_refused() {
    let site = Site::start("");
    let mut client = site.proxy.client();
    client.send([0, 1, 2, 3]).unwrap();
    client.expect_close();
    settles_at(1, || site.failures("not_tls"));
    // The client of another version than ours, which rustls does not speak.
    let mut client = site.proxy.client();
    client.send(client::get("/").to_lowercase()).unwrap();
    client.expect_close();
    settles_at(2, || site.failures("not_tls"));
    let mut client = site.proxy.client();
    client.half_close().unwrap();
    let end = client.fill();
    assert!(
        end.as_ref().is_ok_and(|count| *count == 0)
            || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    );
    settles_at(1, || site.failures("peer_gone"));
}
