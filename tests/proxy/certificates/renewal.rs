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
    let log = proxy.log();
    for says in [
        "corelane.toml:14:34: listener \"web\": /nowhere.pem: No such file or directory (os error 2)",
        "corelane.toml:14:7: listener \"web\": no certificate can be used",
    ] {
        assert!(log.contains(says), "{says}: {log}");
    }
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

#[test]
fn one_broken_certificate_never_stops_the_others() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    issuer.issue("late", &["late.test"], Key::Ecdsa);
    let late = fs::read(issuer.file("late.key")).unwrap();
    fs::write(issuer.file("late.key"), "nothing").unwrap();
    let origin = Origin::answering(ok("hello"));
    let setup = Setup::origin(&origin);
    let with = |names: &[&str]| {
        let pairs: Vec<_> = names.iter().map(|name| issuer.pair(name)).collect();
        setup.clone().listener(&format!("tls = {{ certificates = [{}] }}", pairs.join(", "))).text()
    };
    // At the start it is left out, though it is the first.
    let mut proxy = crate::support::Launch::new(&with(&["late", "app"])).start();
    assert_eq!(curl(&proxy, &issuer, "app.test", &[]).1, "hello 200");
    assert!(proxy.log().contains("a certificate cannot be used, it is left out"), "{}", proxy.log());
    assert!(proxy.log().contains("late.key has no private key"), "{}", proxy.log());
    // A reload brings one that is good, and one more that is not.
    issuer.issue("new", &["new.test"], Key::Ecdsa);
    proxy.rewrite(&with(&["late", "app", "missing", "new"]));
    proxy.reload();
    assert_eq!(curl(&proxy, &issuer, "new.test", &[]).1, "hello 200");
    assert_eq!(curl(&proxy, &issuer, "app.test", &[]).1, "hello 200");
    fs::write(issuer.file("late.key"), late).unwrap();
    eventually("it serves at last", || curl(&proxy, &issuer, "late.test", &[]).1 == "hello 200");
}

#[test]
fn what_others_are_judged_by_is_watched_like_certificates() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    issuer.issue_client("me");
    let file = |name: &str| issuer.file(name).display().to_string();
    for name in ["clients.pem", "theirs.pem"] {
        fs::copy(issuer.file("ca.pem"), issuer.file(name)).unwrap();
    }
    let origin = Origin::answering(ok("hello"));
    let (ca, theirs, me, key) = (file("clients.pem"), file("theirs.pem"), file("me.pem"), file("me.key"));
    let setup = Setup::origin(&origin).more(&format!(
        "[upstreams.far]\nendpoints = [\"127.0.0.1:1\"]\ntls = {{ ca = \"{theirs}\", cert = \"{me}\", key = \"{key}\" }}"
    ));
    let auth = format!("client_auth = {{ ca = \"{ca}\", mode = \"optional\" }}");
    let proxy = speaking(setup, &format!("certificates = [{}], {auth}", issuer.pair("app")));
    let current = |labels: &[(&str, &str)]| proxy.metric("corelane_certificate_current", labels);
    let of_listener = [("listener", "web"), ("role", "ca"), ("certificate", &*ca)];
    let of_upstream = [("upstream", "far"), ("role", "ca"), ("certificate", &*theirs)];
    let of_ours = [("upstream", "far"), ("role", "cert"), ("certificate", &*me)];
    for labels in [&of_listener, &of_upstream, &of_ours] {
        assert_eq!(current(labels), 1);
        let expiry = proxy.metric("corelane_certificate_expiry_timestamp_seconds", labels);
        let start = proxy.metric("corelane_certificate_start_timestamp_seconds", labels);
        assert_eq!(expiry - start, 30 * 86_400);
    }
    assert_eq!(proxy.metric("corelane_certificate_info", &[("subject", "CN=me"), ("key", "ECDSA")]), 1);
    for name in ["clients.pem", "theirs.pem"] {
        fs::write(issuer.file(name), "nothing").unwrap();
    }
    eventually("both are told", || current(&of_listener) + current(&of_upstream) == 0);
    assert_eq!(current(&of_ours), 1);
    assert_eq!(proxy.metric("corelane_certificate_load_failures_total", &of_listener), 1);
    fs::write(issuer.file("me.key"), "nothing").unwrap();
    eventually("the third is told", || current(&of_ours) == 0);
    let log = proxy.log();
    for says in
        ["client_auth cannot be renewed, what it was holds on", "tls of an upstream cannot be renewed"]
    {
        assert!(log.contains(says), "{log}");
    }
    assert!(log.contains("corelane.toml:"), "{log}");
    // What was demanded still is, after a reload, too.
    proxy.reload();
    let shown = |of: &Issuer| {
        let file = |ending: &str| of.file(&format!("you.{ending}")).display().to_string();
        curl(&proxy, &issuer, "app.test", &["--cert", &file("pem"), "--key", &file("key")]).0
    };
    let strangers = Issuer::new();
    for of in [&issuer, &strangers] {
        of.issue_client("you");
    }
    assert_eq!(shown(&issuer), Some(0));
    assert_ne!(shown(&strangers), Some(0));
    let says = "it cannot be used, the one before it serves";
    eventually("it is a problem", || {
        let state = proxy.admin_get("/status.json").unwrap().text();
        state.contains(&format!("authorities {ca}: {says}"))
            && state.contains(&format!("certificate {me}: {says}"))
    });
}
