//! OCSP responses that go with certificates.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::issuer::{Issuer, Key};
use super::{s_client, speaking};
use crate::support::process::{output, stderr, stdout};
use crate::support::{Origin, Proxy, Setup, eventually, ok};

impl Issuer {
    /// Writes a response about a certificate of its own, `V` for good and `R` for revoked.
    fn respond(&self, name: &str, status: char, to: &Path) {
        let file = |name: &str| self.file(name).display().to_string();
        let cert = file(&format!("{name}.pem"));
        let told = output(Command::new("openssl").args(["x509", "-noout", "-serial", "-in", &cert]));
        let serial = stdout(&told).trim().replace("serial=", "");
        let since = if status == 'R' { "261101000000Z" } else { "" };
        fs::write(
            self.file("index"),
            format!("{status}\t991231235959Z\t{since}\t{serial}\tunknown\t/CN=x\n"),
        )
        .unwrap();
        let (ca, key, index) = (file("ca.pem"), file("ca.key"), file("index"));
        let new = to.with_extension("new");
        let mut command = Command::new("openssl");
        command.args(["ocsp", "-index", &index, "-CA", &ca, "-rsigner", &ca, "-rkey", &key]);
        command.args(["-issuer", &ca, "-cert", &cert, "-ndays", "2", "-respout"]).arg(&new);
        let told = output(&mut command);
        assert!(told.status.success(), "{}", stderr(&told));
        fs::rename(new, to).unwrap();
    }
}

/// What openssl says of the response that it got, which it verifies.
fn is_stapled(proxy: &Proxy, issuer: &Issuer) -> bool {
    let ca = issuer.file("ca.pem");
    let told = s_client(proxy, &format!("-status -servername app.test -CAfile {}", ca.display()));
    assert!(told.contains("hello"), "{told}");
    assert_eq!(
        told.contains("Cert Status: good"),
        told.contains("OCSP Response Status: successful"),
        "{told}"
    );
    told.contains("Cert Status: good")
}

#[test]
fn a_response_goes_with_its_certificate_and_harms_nothing() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    issuer.issue("other", &["other.test"], Key::Ecdsa);
    let file = issuer.file("app.ocsp");
    issuer.respond("app", 'V', &file);
    let origin = Origin::answering(ok("hello"));
    let pair = issuer.pair("app").replace(" }", &format!(", ocsp = \"{}\" }}", file.display()));
    let proxy = speaking(Setup::origin(&origin), &format!("certificates = [{pair}]"));
    assert!(is_stapled(&proxy, &issuer));
    let labels = [("listener", "web"), ("role", "ocsp"), ("certificate", file.to_str().unwrap())];
    let wrong = |says: &str| {
        eventually("it is told", || proxy.metric("corelane_certificate_current", &labels) == 0);
        assert!(proxy.log().contains(says), "{}", proxy.log());
        // What was there before is sent on.
        assert!(is_stapled(&proxy, &issuer));
    };
    issuer.respond("other", 'V', &file);
    wrong("is an OCSP response about another certificate");
    issuer.respond("app", 'V', &file);
    eventually("it is right again", || proxy.metric("corelane_certificate_current", &labels) == 1);
    issuer.respond("app", 'R', &file);
    wrong("says that the certificate is revoked or unknown");

    // Nothing was there before: the certificate serves alone.
    let fresh = speaking(Setup::origin(&origin), &format!("certificates = [{pair}]"));
    assert!(!is_stapled(&fresh, &issuer));
}

#[test]
fn a_directory_has_responses_beside_its_certificates() {
    let (issuer, certs) = (Issuer::new(), tempfile::tempdir().unwrap());
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    for ending in ["key", "pem"] {
        let (from, to) =
            (issuer.file(&format!("app.{ending}")), certs.path().join(format!("vhost.app.{ending}")));
        fs::copy(from, to).unwrap();
    }
    let origin = Origin::answering(ok("hello"));
    let proxy = speaking(Setup::origin(&origin), &format!("directory = \"{}\"", certs.path().display()));
    assert!(!is_stapled(&proxy, &issuer));
    issuer.respond("app", 'V', &certs.path().join("vhost.app.ocsp"));
    eventually("it is stapled", || is_stapled(&proxy, &issuer));
}
