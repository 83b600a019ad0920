//! What `corelane check` says of certificates.

use std::fs;
use std::process::Command;

use super::issuer::{Issuer, Key};
use crate::support::process::{output, stderr, stdout};
use crate::support::proxy::binary;

#[test]
fn check_looks_at_the_files() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test", "other.test"], Key::Ecdsa);
    issuer.issue("rsa", &["rsa.test"], Key::Rsa);
    issuer.issue_with("old", Key::Ecdsa, "3", "subjectAltName=DNS:app.test");
    fs::copy(issuer.file("rsa.key"), issuer.file("swapped.key")).unwrap();
    fs::copy(issuer.file("app.pem"), issuer.file("swapped.pem")).unwrap();
    let check = |pairs: &[&str]| {
        let pairs: Vec<_> =
            pairs.iter().map(|name| format!("{{ cert = \"{name}.pem\", key = \"{name}.key\" }}")).collect();
        let file = issuer.file("edge.toml");
        let text = format!(
            "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n\
             tls = {{ certificates = [{}] }}\n\
             [[routes]]\nname = \"all\"\nhosts = [\"app.test\"]\nupstream = \"api\"\n\
             [upstreams.api]\nendpoints = [\"127.0.0.1:2\"]\ntls = {{ verify = false }}\n",
            pairs.join(", ")
        );
        fs::write(&file, text).unwrap();
        let output = output(Command::new(binary()).arg("check").arg("edge.toml").current_dir(issuer.dir()));
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let (code, told, warnings) = check(&["app", "old"]);
    assert_eq!(code, Some(0), "{warnings}");
    assert!(told.starts_with("OK: "), "{told}");
    let warnings: Vec<_> = warnings.lines().collect();
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert_eq!(warnings[0], "warning: listener \"web\": app.pem: no route is for other.test");
    assert!(warnings[1].starts_with("warning: listener \"web\": old.pem: it expires at "), "{warnings:#?}");
    assert_eq!(warnings[2], "warning: upstream \"api\": tls.verify is false: anybody can be it");

    let (code, _, errors) = check(&["swapped", "missing", "app"]);
    assert_eq!(code, Some(1));
    let expected = [
        "listener \"web\": missing.pem: No such file or directory (os error 2)",
        "listener \"web\": swapped.key: the key is not that of the certificate in swapped.pem",
    ];
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}
