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
             [upstreams.api]\nendpoints = [\"127.0.0.1:2\"]\ntls = {{ verify = false }}\nhealth = {{ kind = \"http\" }}\n",
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
    assert_eq!(warnings.len(), 4, "{warnings:#?}");
    assert_eq!(warnings[0], "warning: edge.toml:4:34: listener \"web\": app.pem: no route is for other.test");
    assert_eq!(
        warnings[1],
        "warning: edge.toml:11:7: upstream \"api\": tls.verify is false: anybody can be it"
    );
    assert_eq!(
        warnings[2],
        "warning: edge.toml:11:7: upstream \"api\": its checks do not speak TLS, and its endpoints do"
    );
    let old = "warning: edge.toml:4:73: listener \"web\": old.pem: the certificate expires at ";
    assert!(warnings[3].starts_with(old), "{warnings:#?}");

    let (code, _, errors) = check(&["swapped", "missing", "app"]);
    assert_eq!(code, Some(1));
    let expected = [
        "edge.toml:4:55: listener \"web\": swapped.key: the key is not that of the certificate in swapped.pem",
        "edge.toml:4:81: listener \"web\": missing.pem: No such file or directory (os error 2)",
    ];
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn every_file_is_told_of_where_it_is_named() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    issuer.issue_client("me");
    issuer.issue_with("old", Key::Ecdsa, "3", "extendedKeyUsage=clientAuth");
    fs::write(issuer.file("broken.pem"), "nothing").unwrap();
    fs::create_dir(issuer.file("conf.d")).unwrap();
    let included = "[upstreams.first.tls]\nca = \"../broken.pem\"\n\
                    [upstreams.first]\nendpoints = [\"127.0.0.1:2\"]\n";
    fs::write(issuer.file("conf.d/first.toml"), included).unwrap();
    let text = "include = [\"conf.d/*.toml\"]\n\
                [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n\
                [listeners.tls]\ndirectory = \"@certs@\"\n\
                client_auth = { ca = \"ca.pem\", crl = [\"broken.pem\"] }\n\
                [[listeners]]\nname = \"other\"\naddress = \"127.0.0.1:3\"\n\
                [listeners.tls]\ncertificates = [{ cert = \"app.pem\", key = \"app.key\", ocsp = \"me.key\" }]\n\
                [[routes]]\nupstream = \"second\"\n\
                [upstreams.second]\nendpoints = [\"https://127.0.0.1:2\"]\n\
                tls = { cert = \"old.pem\", key = \"old.key\", verify = false }\n";
    let check = |certs: &str| {
        fs::write(issuer.file("edge.toml"), text.replace("@certs@", certs)).unwrap();
        let output = output(Command::new(binary()).arg("check").arg("edge.toml").current_dir(issuer.dir()));
        (output.status.code(), stderr(&output))
    };
    let (code, told) = check(".");
    assert_eq!(code, Some(1));
    let expected = [
        "conf.d/first.toml:2:6: upstream \"first\": conf.d/../broken.pem has no certificate",
        "edge.toml:12:61: listener \"other\": me.key is no OCSP response in DER",
        "edge.toml:6:13: listener \"web\": ./broken.pem has no certificate",
        "edge.toml:7:39: listener \"web\": broken.pem has no list of revoked certificates",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    let (_, told) = check("conf.d");
    let says = [
        "edge.toml:5:1: listener \"web\": no certificate can be used",
        "edge.toml:6:13: listener \"web\": conf.d has no file *.pem",
    ];
    assert_eq!(told.lines().skip(2).collect::<Vec<_>>(), says, "{told}");
    fs::remove_file(issuer.file("conf.d/first.toml")).unwrap();
    let (code, told) = check(".");
    assert_eq!((code, told.lines().count()), (Some(1), 3), "{told}");
}
