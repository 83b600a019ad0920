//! Certificates that change while the proxy runs.

use std::fs;

use super::issuer::{Issuer, Key};
use super::{curl, s_client, speaking, subject};
use crate::support::{Origin, Setup, Wrk, eventually, ok};

/// What openssl says of the end of the listener's certificate.
fn end(proxy: &crate::support::Proxy) -> String {
    let address = proxy.address("web");
    let line = format!(
        "openssl s_client -connect {address} -servername app.test </dev/null 2>/dev/null | openssl x509 -noout -enddate -serial"
    );
    let output = crate::support::process::output(std::process::Command::new("sh").args(["-c", &line]));
    crate::support::process::stdout(&output)
}

#[test]
fn a_renewed_certificate_serves_without_a_signal_and_a_broken_one_never_does() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let origin = Origin::answering(ok("hello"));
    let proxy =
        speaking(Setup::origin(&origin).workers(2), &format!("certificates = [{}]", issuer.pair("app")));
    let file = issuer.file("app.pem");
    let labels = [("listener", "web"), ("certificate", file.to_str().unwrap())];
    let first = end(&proxy);
    assert!(first.contains("serial="), "{first}");
    let expiry = proxy.metric("corelane_certificate_expiry_timestamp_seconds", &labels);
    assert_eq!(proxy.metric("corelane_certificate_current", &labels), 1);

    issuer.issue_with("app", Key::Ecdsa, "60", "subjectAltName=DNS:app.test");
    eventually("the new one serves", || end(&proxy) != first);
    let renewed = end(&proxy);
    let later = proxy.metric("corelane_certificate_expiry_timestamp_seconds", &labels);
    assert!((29 * 86_400..31 * 86_400).contains(&(later - expiry)), "{expiry} {later}");
    assert!(proxy.log().contains("certificate renewed"), "{}", proxy.log());

    fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
    eventually("it is told", || proxy.metric("corelane_certificate_current", &labels) == 0);
    assert_eq!(end(&proxy), renewed);
    assert_eq!(proxy.metric("corelane_certificate_load_failures_total", &labels), 1);
    assert!(proxy.log().contains("the one before it serves on"), "{}", proxy.log());
    // Nor by a reload, which goes through.
    let generation = proxy.generation();
    proxy.reload();
    assert_eq!((proxy.generation(), end(&proxy)), (generation + 1, renewed.clone()));

    issuer.issue("app", &["app.test"], Key::Ecdsa);
    eventually("the third one serves", || end(&proxy) != renewed);
    assert_eq!(proxy.metric("corelane_certificate_current", &labels), 1);
}

#[test]
fn a_directory_takes_new_hosts_and_one_broken_file_harms_nobody() {
    let (issuer, certs) = (Issuer::new(), tempfile::tempdir().unwrap());
    let bring = |name: &str, host: &str| {
        issuer.issue(name, &[host], Key::Ecdsa);
        for ending in ["key", "pem"] {
            let file = format!("{name}.{ending}");
            fs::copy(issuer.file(&file), certs.path().join(&file)).unwrap();
        }
    };
    bring("vhost.a.test", "a.test");
    fs::write(certs.path().join("broken.pem"), "nothing").unwrap();
    let origin = Origin::answering(ok("hello"));
    let proxy = speaking(Setup::origin(&origin), &format!("directory = \"{}\"", certs.path().display()));
    assert!(proxy.log().contains("broken.pem has no certificate"), "{}", proxy.log());
    assert_eq!(subject(&s_client(&proxy, "-servername b.test")), "vhost.a.test");
    bring("b", "b.test");
    eventually("b.test is served", || curl(&proxy, &issuer, "b.test", &[]).1 == "hello 200");
    fs::remove_file(certs.path().join("b.pem")).unwrap();
    eventually("b.test is gone", || subject(&s_client(&proxy, "-servername b.test")) == "vhost.a.test");
}

#[test]
fn a_listener_without_any_certificate_is_refused_and_the_old_configuration_serves() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let origin = Origin::answering(ok("hello"));
    let setup = Setup::origin(&origin);
    let with = |pair: &str| setup.clone().listener(&format!("tls = {{ certificates = [{pair}] }}")).text();
    let mut proxy = crate::support::Launch::new(&with(&issuer.pair("app"))).start();
    proxy.rewrite(&with("{ cert = \"/nowhere.pem\" }"));
    proxy.reload_in_vain();
    let says = "listener \\\"web\\\": there is no certificate that can be used: /nowhere.pem: No such file";
    let log = proxy.log();
    assert!(log.contains(says) || log.contains(&says.replace('\\', "")), "{log}");
    assert_eq!(curl(&proxy, &issuer, "app.test", &[]).1, "hello 200");
}

#[test]
fn reloads_and_renewals_cut_nothing() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let nginx = crate::support::Nginx::start("");
    nginx.add("index.html", "hello");
    let proxy =
        speaking(Setup::nginx(&nginx).workers(4), &format!("certificates = [{}]", issuer.pair("app")));
    let wrk = Wrk::start(16, &format!("https://{}/", proxy.address("web")));
    let mut serials = std::collections::HashSet::new();
    for _ in 0..20 {
        issuer.issue("app", &["app.test"], Key::Ecdsa);
        proxy.reload();
        serials.insert(end(&proxy));
    }
    wrk.assert_all_ok();
    assert_eq!(serials.len(), 20);
}
