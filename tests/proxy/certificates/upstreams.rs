//! TLS to upstreams, with nginx as the server.

use super::issuer::{Issuer, Key};
use crate::support::{Nginx, Setup, eventually, free_port};

/// nginx with TLS at the port that is returned, which tells what it sees.
fn nginx(issuer: &Issuer, keys: &str) -> (Nginx, String) {
    let port = free_port();
    let file = |name: &str| issuer.file(name).display().to_string();
    let nginx = Nginx::start(&format!(
        "listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {}; {keys}
         location / {{ return 200 \"$ssl_server_name $ssl_protocol $ssl_client_s_dn $ssl_session_reused $connection_requests\"; }}",
        file("app.pem"),
        file("app.key"),
    ));
    (nginx, format!("127.0.0.1:{port}"))
}

#[test]
fn certificates_of_endpoints_are_judged() {
    let issuer = Issuer::new();
    issuer.issue_with("app", Key::Ecdsa, "30", "subjectAltName=DNS:app.test,IP:127.0.0.1");
    let strangers = Issuer::new();
    let (_nginx, address) = nginx(&issuer, "");
    let ca = |issuer: &Issuer| format!("ca = \"{}\"", issuer.file("ca.pem").display());
    for (keys, status, sees) in [
        (format!("{}, server_name = \"app.test\"", ca(&issuer)), 200, "app.test TLSv1.3  . 1"),
        (ca(&issuer), 200, " TLSv1.3  . 1"),
        (format!("{}, server_name = \"other.test\"", ca(&issuer)), 502, "upstream_certificate"),
        (ca(&strangers), 502, "upstream_certificate"),
        ("verify = false, server_name = \"other.test\"".to_owned(), 200, "other.test TLSv1.3  . 1"),
    ] {
        let proxy = Setup::to(&[&address]).upstream(&format!("tls = {{ {keys} }}")).start();
        let answer = proxy.get("/");
        assert_eq!(answer.status(), status, "{keys}: {answer:?}");
        let body = String::from_utf8_lossy(&answer.body);
        assert!(body.contains(sees), "{keys}: {body}");
        let is_loud = proxy.log().contains("certificates of an upstream are not verified");
        assert_eq!(is_loud, keys.contains("verify = false"), "{}", proxy.log());
        if status == 200 {
            // On the same connection.
            let body = String::from_utf8(proxy.get("/").body).unwrap();
            assert!(body.ends_with(" 2"), "{body}");
        }
    }
}

#[test]
fn endpoints_say_themselves_that_they_speak_tls() {
    let issuer = Issuer::new();
    issuer.issue_with("app", Key::Ecdsa, "30", "subjectAltName=IP:127.0.0.1");
    let (nginx, address) = nginx(&issuer, "");
    let setup = Setup::to(&[&format!("https://{address}"), nginx.address()]);
    let proxy = setup.launch().system_authorities(&issuer.file("ca.pem")).start();
    let bodies = [0, 1].map(|_| String::from_utf8(proxy.get("/").body).unwrap());
    assert_eq!(bodies.map(|body| body.contains("TLSv1.3")), [true, false]);
    // Nobody else's certificate is taken.
    let proxy = setup.endpoints(&[&format!("https://{address}")]).start();
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 502, "{answer:?}");
    assert!(String::from_utf8_lossy(&answer.body).contains("upstream_certificate"), "{answer:?}");
}

#[test]
fn a_certificate_of_our_own_is_shown_and_renewed() {
    let issuer = Issuer::new();
    issuer.issue_with("app", Key::Ecdsa, "30", "subjectAltName=DNS:app.test");
    issuer.issue_client("me");
    let ca = issuer.file("ca.pem");
    let (_nginx, address) =
        nginx(&issuer, &format!("ssl_verify_client on; ssl_client_certificate {};", ca.display()));
    let keys = format!("ca = \"{}\", server_name = \"app.test\"", ca.display());
    let bare = Setup::to(&[&address]).upstream(&format!("tls = {{ {keys} }}")).start();
    // What nginx says to a client without one.
    assert_eq!(bare.get("/").status(), 400);
    let (cert, key) = (issuer.file("me.pem"), issuer.file("me.key"));
    let keys = format!("{keys}, cert = \"{}\", key = \"{}\"", cert.display(), key.display());
    let proxy = Setup::to(&[&address]).upstream(&format!("tls = {{ {keys} }}")).start();
    let body = |path: &str| String::from_utf8(proxy.get(path).body).unwrap();
    assert_eq!(body("/"), "app.test TLSv1.3 CN=me . 1");
    // The next one has another name.
    issuer.issue_client("you");
    for ending in ["key", "pem"] {
        std::fs::copy(issuer.file(&format!("you.{ending}")), issuer.file(&format!("me.{ending}"))).unwrap();
    }
    eventually("the new one is shown", || body("/").contains("CN=you"));
}

#[test]
fn checks_speak_as_requests_do() {
    let issuer = Issuer::new();
    issuer.issue_with("app", Key::Ecdsa, "30", "subjectAltName=DNS:app.test");
    issuer.issue_client("me");
    let ca = issuer.file("ca.pem");
    let (_nginx, address) =
        nginx(&issuer, &format!("ssl_verify_client on; ssl_client_certificate {};", ca.display()));
    let (file, strangers) = (issuer.file("theirs.pem"), Issuer::new());
    std::fs::copy(strangers.file("ca.pem"), &file).unwrap();
    let (cert, key) = (issuer.file("me.pem"), issuer.file("me.key"));
    let tls = format!(
        "tls = {{ ca = \"{}\", server_name = \"app.test\", cert = \"{}\", key = \"{}\" }}",
        file.display(),
        cert.display(),
        key.display()
    );
    let health = "health = { kind = \"https\", interval = \"100ms\", fall = 1, rise = 1 }";
    let proxy = Setup::to(&[&address]).upstream(&tls).upstream(health).start();
    eventually("it is down", || proxy.log().contains("TLS: invalid peer certificate: "));
    eventually("workers know it", || proxy.get("/").status() == 503);
    // With a new file of authorities, and the client certificate, the checks that are under way pass.
    std::fs::copy(&ca, &file).unwrap();
    eventually("it is up", || proxy.get("/").status() == 200);
    // Keys of their own go before.
    let health = health.replace(" }", ", server_name = \"other.test\" }");
    let proxy = Setup::to(&[&address]).upstream(&tls).upstream(&health).start();
    eventually("it is down", || {
        proxy.log().contains("TLS: invalid peer certificate: certificate not valid for name")
    });
}
