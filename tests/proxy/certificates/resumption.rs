//! Sessions that go on: on another worker, after a reload, at another machine.

use super::issuer::{Issuer, Key};
use super::{s_client, speaking};
use crate::support::{Origin, Proxy, Setup, ok};

fn is_resumed(proxy: &Proxy, session: &str, version: &str) -> bool {
    let told = s_client(proxy, &format!("-servername app.test {version} -sess_in {session}"));
    assert!(told.contains("hello"), "{told}");
    told.contains("Reused, TLSv1")
}

#[test]
fn tickets_are_good_on_every_worker_and_after_a_reload() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let origin = Origin::answering(ok("hello"));
    let pair = issuer.pair("app");
    let proxy = speaking(Setup::origin(&origin).workers(4), &format!("certificates = [{pair}]"));
    let secret = "ticket_secret = \"0123456789abcdef\"";
    let machines =
        [0, 1].map(|_| speaking(Setup::origin(&origin), &format!("certificates = [{pair}], {secret}")));
    let without = speaking(Setup::origin(&origin), &format!("certificates = [{pair}], tickets = false"));
    for version in ["-tls1_2", "-tls1_3"] {
        let file = issuer.file(&format!("session{version}"));
        let session = file.to_str().unwrap();
        let get = |proxy: &Proxy| {
            s_client(proxy, &format!("-servername app.test {version} -sess_out {session}"));
        };
        get(&proxy);
        for _ in 0..12 {
            assert!(is_resumed(&proxy, session, version), "{version}");
        }
        proxy.reload();
        assert!(is_resumed(&proxy, session, version), "{version}");
        assert!(!is_resumed(&machines[0], session, version), "keys of another process");
        get(&machines[0]);
        assert!(is_resumed(&machines[1], session, version), "{version}");
        let told = s_client(&without, &format!("-servername app.test {version} -sess_out {session}"));
        assert!(told.contains("hello"), "{told}");
        assert!(!is_resumed(&without, session, version), "{version}");
    }
}

/// It can be sent again by whoever records it.
#[test]
fn early_data_is_never_taken() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let origin = Origin::answering(ok("hello"));
    let proxy = speaking(Setup::origin(&origin), &format!("certificates = [{}]", issuer.pair("app")));
    let (session, early) = (issuer.file("session"), issuer.file("early"));
    let (session, early) = (session.to_str().unwrap(), early.to_str().unwrap());
    let told = s_client(&proxy, &format!("-servername app.test -sess_out {session}"));
    assert!(told.contains("Max Early Data: 0"), "{told}");
    std::fs::write(early, "GET /early HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    let told = s_client(&proxy, &format!("-servername app.test -sess_in {session} -early_data {early}"));
    assert!(told.contains("Early data was not sent"), "{told}");
    assert!(told.contains("Reused, TLSv1.3") && told.contains("hello"), "{told}");
    assert!(origin.requests().iter().all(|it| it.head.target() != "/early"));
}
