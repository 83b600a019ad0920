//! OpenSSL at the other end: as the client (`s_client`), and as the server of an upstream (`s_server`).

use super::Site;
use super::talk::Talk;
use crate::certificates::issuer::{Issuer, Key};
use crate::certificates::s_client;
use crate::support::{Proxy, Setup, eventually, free_port, ok};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

#[test]
fn every_version_suite_and_group_that_we_have_works() {
    let site = Site::start("");
    let issuer = Issuer::new();
    issuer.issue("rsa", &["app.test"], Key::Rsa);
    let rsa = crate::certificates::speaking(
        Setup::origin(&site.origin),
        &format!("certificates = [{}]", issuer.pair("rsa")),
    );
    let mut table: Vec<(&Proxy, String, String)> = Vec::new();
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        for proxy in [&site.proxy, &rsa] {
            table.push((
                proxy,
                format!("-tls1_3 -ciphersuites {suite}"),
                format!("New, TLSv1.3, Cipher is {suite}"),
            ));
        }
    }
    for suite in ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"] {
        for (proxy, kind) in [(&site.proxy, "ECDSA"), (&rsa, "RSA")] {
            let suite = format!("ECDHE-{kind}-{suite}");
            table.push((
                proxy,
                format!("-tls1_2 -cipher {suite}"),
                format!("New, TLSv1.2, Cipher is {suite}"),
            ));
        }
    }
    for (group, name) in [("X25519", "X25519"), ("P-256", "ECDH, prime256v1"), ("P-384", "ECDH, secp384r1")] {
        for version in ["-tls1_2", "-tls1_3"] {
            // In TLS 1.2 they are those of the client's signatures, too (RFC 8422 §5.1): not with an ECDSA certificate.
            table.push((&rsa, format!("{version} -groups {group}"), format!("Server Temp Key: {name}")));
        }
    }
    for (proxy, arguments, expected) in &table {
        let told = s_client(proxy, arguments);
        assert!(told.contains(expected) && told.contains("hello"), "{arguments}: {told}");
    }
    assert_eq!(table.len(), 18);
    // @SECLEVEL=0: openssl itself refuses them otherwise.
    for arguments in [
        "-tls1_1 -cipher ALL:@SECLEVEL=0",
        "-tls1 -cipher ALL:@SECLEVEL=0",
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0",
        "-tls1_2 -cipher AES128-GCM-SHA256:@SECLEVEL=0",
    ] {
        let told = s_client(&rsa, arguments);
        assert!(told.contains("SSL alert number") && !told.contains("hello"), "{arguments}: {told}");
    }
}

/// openssl with a connection to the proxy that it is told what to do with.
fn interactive(proxy: &Proxy, arguments: &str) -> Talk {
    let address = proxy.address("web");
    Talk::start(&format!(
        "stdbuf -o0 openssl s_client -msg -connect {address} -servername app.test {arguments}"
    ))
}

#[test]
fn keys_are_renewed_when_a_client_asks_for_it() {
    let site = Site::start("");
    let mut client = interactive(&site.proxy, "-tls1_3");
    for _ in 0..3 {
        client.say(REQUEST);
        client.until("hello");
        // Its own keys only, then ours too.
        for letter in ["k\n", "K\n"] {
            client.say(letter);
            client.until("KEYUPDATE");
            client.until(">>> TLS 1.3, Handshake [length 0005], KeyUpdate");
        }
        client.say(REQUEST);
        client.until("<<< TLS 1.3, Handshake [length 0005], KeyUpdate");
        client.until("hello");
    }
    assert_eq!(site.proxy.listener("connections_total"), 1);
}

#[test]
fn renegotiation_is_refused() {
    let site = Site::start("");
    let mut client = interactive(&site.proxy, "-tls1_2");
    client.say(REQUEST);
    client.until("hello");
    client.say("R\n");
    client.until("RENEGOTIATING");
    // RFC 5246 §7.2.2: a warning; openssl gives up then.
    client.until("no_renegotiation");
    eventually("the end", || site.proxy.listener("connections") == 0);
    assert_eq!(site.proxy.listener("requests_total"), 1);
}

/// openssl as the server of an upstream: it answers with a page about the connection.
fn s_server(issuer: &Issuer, arguments: &str) -> (Talk, String) {
    let port = free_port();
    let file = |name: &str| issuer.file(name).display().to_string();
    let mut server = Talk::start(&format!(
        "stdbuf -o0 openssl s_server -accept 127.0.0.1:{port} -cert {} -key {} -CAfile {} {arguments}",
        file("app.pem"),
        file("app.key"),
        file("ca.pem"),
    ));
    server.until("ACCEPT");
    (server, format!("127.0.0.1:{port}"))
}

#[test]
fn upstreams_by_openssl_are_spoken_to() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    issuer.issue_client("me");
    let file = |name: &str| issuer.file(name).display().to_string();
    let ours = format!("cert = \"{}\", key = \"{}\"", file("me.pem"), file("me.key"));
    for (arguments, keys, expected) in [
        (
            "-tls1_3",
            "",
            ["New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384", "no client certificate available"],
        ),
        (
            "-tls1_2",
            "",
            ["New, TLSv1.2, Cipher is ECDHE-ECDSA-AES256-GCM-SHA384", "no client certificate available"],
        ),
        ("-tls1_3 -groups P-384", "", ["New, TLSv1.3", "no client certificate available"]),
        ("-tls1_2 -groups P-256", "", ["New, TLSv1.2", "no client certificate available"]),
        (
            "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
            "",
            ["TLS_CHACHA20_POLY1305_SHA256", "no client certificate available"],
        ),
        ("-tls1_3 -Verify 1 -verify_return_error", &*ours, ["TLSv1.3", "Subject: CN=me"]),
        ("-tls1_2 -Verify 1 -verify_return_error", &*ours, ["TLSv1.2", "Subject: CN=me"]),
    ] {
        let (_server, address) = s_server(&issuer, &format!("-www {arguments}"));
        let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
        let tls = format!("tls = {{ ca = \"{}\", server_name = \"app.test\"{keys} }}", file("ca.pem"));
        let proxy = Setup::to(&[&address]).upstream(&tls).start();
        for round in ["New", "Reused"] {
            let page = proxy.get("/").text();
            for expected in expected {
                // A page is a connection, and the second one continues the session of the first.
                let expected = expected.replace("New", round);
                assert!(page.contains(&expected), "{arguments}: {expected}: {page}");
            }
        }
    }
}

#[test]
fn an_upstream_renews_its_keys_and_ours() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let (mut server, address) = s_server(&issuer, "-tls1_3 -msg -crlf");
    let tls = format!("tls = {{ ca = \"{}\", server_name = \"app.test\" }}", issuer.file("ca.pem").display());
    let proxy = Setup::to(&[&address]).upstream(&tls).start();
    let mut client = proxy.client();
    for letter in ["k\n", "K\n"] {
        client.send(REQUEST).unwrap();
        server.until("Host: app.test");
        server.say("HTTP/1.1 200 OK\nContent-Length: 10\n\n1234\n");
        // The head and the first line have come with the old keys, the rest comes with the new ones.
        assert_eq!(client.next_head().status(), 200);
        assert_eq!(client.exactly(6).unwrap(), b"1234\r\n");
        server.say(letter);
        server.until(">>> TLS 1.3, Handshake [length 0005], KeyUpdate");
        server.say("56\n");
        assert_eq!(client.exactly(4).unwrap(), b"56\r\n");
    }
    // With our new keys.
    client.send(REQUEST).unwrap();
    server.until("<<< TLS 1.3, Handshake [length 0005], KeyUpdate");
    server.until("Host: app.test");
    server.say(&String::from_utf8(ok("hello\n")).unwrap().replace("\r\n", "\n").replace(": 6", ": 7"));
    assert_eq!(client.response().text(), "hello\r\n");
    assert_eq!(proxy.endpoints("connects_total"), 1);
}
