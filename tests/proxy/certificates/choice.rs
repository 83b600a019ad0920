//! Which certificate a client gets.

use std::process::Command;

use super::issuer::{Issuer, Key};
use super::{curl, s_client, speaking, subject};
use crate::support::process::{output, stderr, stdout};
use crate::support::{Origin, Setup, ok};

#[test]
fn the_name_decides_and_then_the_signatures_of_the_client() {
    let issuer = Issuer::new();
    issuer.issue("first", &["first.test"], Key::Ecdsa);
    issuer.issue("exact", &["a.wild.test"], Key::Ecdsa);
    issuer.issue("wild", &["*.wild.test"], Key::Ecdsa);
    issuer.issue("wild-rsa", &["*.wild.test"], Key::Rsa);
    let pairs = ["first", "exact", "wild-rsa", "wild"].map(|name| issuer.pair(name)).join(", ");
    let origin = Origin::answering(ok("hello"));
    let setup = Setup::origin(&origin).workers(4);
    let proxy = speaking(setup.clone(), &format!("certificates = [{pairs}]"));
    let rsa_1_3 = "-sigalgs rsa_pss_rsae_sha256:rsa_pss_pss_sha256";
    let rsa_1_2 = "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256";
    for (arguments, shown) in [
        ("-servername first.test", "first"),
        ("-servername FIRST.test", "first"),
        ("-servername a.wild.test", "exact"),
        ("-servername b.wild.test", "wild"),
        ("-servername b.b.wild.test", "first"),
        ("-servername other.test", "first"),
        ("-noservername", "first"),
        ("-tls1_2 -servername b.wild.test", "wild"),
        (&format!("{rsa_1_3} -servername b.wild.test"), "wild-rsa"),
        (&format!("{rsa_1_2} -servername b.wild.test"), "wild-rsa"),
    ] {
        let told = s_client(&proxy, arguments);
        assert_eq!(subject(&told), shown, "{arguments}: {told}");
    }
    let strict = speaking(setup, &format!("certificates = [{pairs}], unknown_names = \"refuse\""));
    assert_eq!(subject(&s_client(&strict, "-servername b.wild.test")), "wild");
    for arguments in ["-servername other.test", "-noservername"] {
        let told = s_client(&strict, arguments);
        assert!(told.contains("alert access denied"), "{arguments}: {told}");
    }
}

#[test]
fn a_host_of_another_certificate_is_asked_for_on_another_connection() {
    let issuer = Issuer::new();
    issuer.issue("both", &["a.test", "b.test"], Key::Ecdsa);
    issuer.issue("other", &["c.test"], Key::Ecdsa);
    let origin = Origin::answering(ok("hello"));
    let pairs = ["both", "other"].map(|name| issuer.pair(name)).join(", ");
    let proxy = speaking(Setup::origin(&origin), &format!("certificates = [{pairs}]"));
    for (host, status) in [("a.test", "200"), ("b.test", "200"), ("c.test", "421"), ("d.test", "421")] {
        let field = format!("Host: {host}");
        let (code, told) = curl(&proxy, &issuer, "a.test", &["-H", &field]);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.ends_with(status), "{host}: {told}");
    }
}

#[test]
fn versions_suites_and_groups_are_those_of_the_configuration() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let origin = Origin::answering(ok("hello"));
    let pair = issuer.pair("app");
    let proxy = speaking(
        Setup::origin(&origin),
        &format!(
            "certificates = [{pair}], min_version = \"1.3\", groups = [\"secp384r1\"], \
             cipher_suites = [\"TLS_CHACHA20_POLY1305_SHA256\"]"
        ),
    );
    let told = s_client(&proxy, "-servername app.test");
    for part in ["hello", "TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256", "Server Temp Key: ECDH, secp384r1"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(s_client(&proxy, "-tls1_2").contains("alert protocol version"));
    assert!(s_client(&proxy, "-groups X25519").contains("alert handshake failure"));
    assert!(s_client(&proxy, "-ciphersuites TLS_AES_128_GCM_SHA256").contains("alert handshake failure"));
}

#[test]
fn http_goes_to_https_and_browsers_remember_it() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test", "loop.test"], Key::Ecdsa);
    let origin = Origin::answering(ok("hello"));
    let proxy = Setup::origin(&origin)
        .listener(&format!("tls = {{ certificates = [{}] }}\nfilters = [\"strict\"]", issuer.pair("app")))
        .more(
            "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:@plain@\"\n\
             [[routes]]\nname = \"upgrade\"\nlisteners = [\"plain\"]\nhosts = [\"app.test\"]\n\
             redirect = { scheme = \"https\", port = @web@ }\n\
             [[routes]]\nname = \"loop\"\nhosts = [\"loop.test\"]\nredirect = { scheme = \"https\", port = @web@ }\n\
             [filters.strict]\ntype = \"security_headers\"",
        )
        .start();
    let mut client = crate::support::Client::connect(&proxy.address("plain"));
    client.send("GET /a?b HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    let answer = client.response();
    let location = format!("https://app.test:{}/a?b", proxy.port("web"));
    assert_eq!((answer.status(), answer.head.field("location")), (308, Some(&*location)));
    // A client that follows arrives, with one step.
    let mut command = Command::new("curl");
    command.args(["-sS", "-L", "-m", "15", "--connect-to", "::127.0.0.1:", "--cacert"]);
    command.arg(issuer.file("ca.pem")).args(["-w", " %{num_redirects} %{http_code}"]);
    let output = output(command.arg(format!("http://app.test:{}/a?b", proxy.port("plain"))));
    assert_eq!(stdout(&output), "hello 1 200", "{}", stderr(&output));
    let (code, told) = curl(&proxy, &issuer, "app.test", &["-i"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.to_lowercase().contains("strict-transport-security: max-age=31536000"), "{told}");
    // A route that is for both listeners does not lead to itself.
    let (_, told) =
        curl(&proxy, &issuer, "app.test", &["-H", &format!("Host: loop.test:{}", proxy.port("web"))]);
    assert!(told.ends_with(" 404"), "{told}");
}
