//! How connections end: with close_notify, or without one, which anybody on the way can make.

use std::io::ErrorKind;

use super::Site;
use crate::certificates::issuer::{Issuer, Key};
use crate::support::{Origin, Setup, client, ok, settles_at, tls};

/// An origin over TLS whose responses end with the connection: with close_notify, except for `/cut`.
fn origin(issuer: &Issuer) -> Origin {
    let config = tls::showing(&issuer.file("app.pem"), &issuer.file("app.key"));
    Origin::script_over_tls(config, |connection| {
        let Ok(Some(request)) = connection.request() else { return };
        connection.send("HTTP/1.1 200 OK\r\n\r\nhalf").unwrap();
        if request.head.target() != "/cut" {
            connection.tls().close().unwrap();
        }
    })
}

#[test]
fn a_response_that_was_cut_is_never_whole_for_the_client() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let origin = origin(&issuer);
    let ca = issuer.file("ca.pem");
    let upstream = format!("tls = {{ ca = \"{}\", server_name = \"app.test\" }}", ca.display());
    let plain = Setup::origin(&origin).upstream(&upstream).start();
    let whole = plain.get("/");
    assert_eq!((whole.status(), &*whole.text()), (200, "half"));
    let mut client = plain.client();
    client.send(client::get("/cut")).unwrap();
    // The last chunk is missing.
    assert_eq!(client.try_response(true).unwrap_err().kind(), ErrorKind::UnexpectedEof);

    let secured = crate::certificates::speaking(
        Setup::origin(&origin).upstream(&upstream),
        &format!("certificates = [{}]", issuer.pair("app")),
    );
    let config = tls::trusting(&ca).into();
    for (target, is_whole) in [("/", true), ("/cut", false)] {
        let mut client = tls::connect(&secured.address("web"), &config, "app.test").unwrap();
        // HTTP/1.0 knows the end of a body by the end of the connection only.
        client.send(format!("GET {target} HTTP/1.0\r\nHost: app.test\r\n\r\n")).unwrap();
        assert_eq!(client.next_head().status(), 200);
        let body = client.until_end();
        match body {
            Ok(body) => assert!(is_whole && body == b"half", "{target}: {body:?}"),
            Err(error) => assert!(!is_whole, "{target}: {error}"),
        }
    }
}

#[test]
fn a_request_that_was_cut_reaches_nobody_as_a_whole() {
    let origin = Origin::answering(ok("hello"));
    let site = Site::with(origin, |setup| setup, "");
    let mut client = site.client();
    client.send(&client::post("/", &[7; 100])[..100]).unwrap();
    client.half_close().unwrap();
    drop(client);
    settles_at(1, || site.proxy.listener("client_aborts_total"));
    assert!(site.origin.requests().is_empty());
}

#[test]
fn a_client_that_has_said_everything_gets_its_answer() {
    let site = Site::with(
        Origin::answering(ok("hello")),
        |setup| setup.listener("client_half_close = \"finish\""),
        "",
    );
    let mut client = site.client();
    client.send(client::get("/")).unwrap();
    client.tls().close().unwrap();
    client.half_close().unwrap();
    assert_eq!(client.response().text(), "hello");
    // And close_notify.
    assert_eq!(client.until_end().unwrap(), b"");
}
