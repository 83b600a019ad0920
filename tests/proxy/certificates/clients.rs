//! Client certificates.

use super::issuer::{Issuer, Key};
use super::{curl, speaking};
use crate::support::{Origin, Setup, ok};

fn setup(origin: &Origin) -> Setup {
    let who =
        "[filters.who]\ntype = \"request_fields\"\nset = { X-Client-Subject = \"{tls.client_subject}\" }";
    Setup::origin(origin).listener("filters = [\"who\"]").more(who)
}

#[test]
fn a_route_may_need_a_certificate_where_others_need_none() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test", "other.test"], Key::Ecdsa);
    issuer.issue_client("me");
    issuer.issue_client("you");
    let origin = Origin::answering(ok("hello"));
    let auth =
        format!("client_auth = {{ ca = \"{}\", mode = \"optional\" }}", issuer.file("ca.pem").display());
    let route = "[filters.mine]\ntype = \"client_certificate\"\nallow = [\"CN=me\"]\n\
                 [[routes]]\nname = \"mine\"\nhosts = [\"app.test\"]\nfilters = [\"mine\"]\nupstream = \"origin\"";
    let setup = Setup::origin(&origin).more(route);
    let proxy = speaking(setup, &format!("certificates = [{}], {auth}", issuer.pair("app")));
    let ask = |name: Option<&str>, host: &str| {
        let files = name
            .map(|name| ["pem", "key"].map(|it| issuer.file(&format!("{name}.{it}")).display().to_string()));
        let shown = files.iter().flat_map(|[cert, key]| ["--cert", cert, "--key", key]);
        let field = format!("Host: {host}");
        let arguments: Vec<&str> = shown.chain(["-H", &field]).collect();
        let (code, told) = curl(&proxy, &issuer, "app.test", &arguments);
        assert_eq!(code, Some(0), "{told}");
        told.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!([None, Some("you"), Some("me")].map(|name| ask(name, "app.test")), ["403", "403", "200"]);
    assert_eq!(ask(None, "other.test"), "200");
}

#[test]
fn clients_need_a_certificate_and_upstreams_learn_whose() {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    issuer.issue_client("me");
    issuer.issue_with("server", Key::Ecdsa, "30", "extendedKeyUsage=serverAuth");
    let strangers = Issuer::new();
    strangers.issue_client("stranger");
    let origin = Origin::answering(ok("hello"));
    let shows = |issuer: &Issuer, name: &str| {
        let file = |ending: &str| issuer.file(&format!("{name}.{ending}")).display().to_string();
        ["--cert".to_owned(), file("pem"), "--key".to_owned(), file("key")]
    };
    let forged = ["-H", "X-Client-Subject: CN=root"];
    let pair = issuer.pair("app");
    let ca = issuer.file("ca.pem");
    for mode in ["required", "optional"] {
        let auth = format!("client_auth = {{ ca = \"{}\", mode = \"{mode}\" }}", ca.display());
        let proxy = speaking(setup(&origin), &format!("certificates = [{pair}], {auth}"));
        for version in [&["--tls-max", "1.2"][..], &[]] {
            let ask = |shown: &[String]| {
                let arguments: Vec<&str> =
                    shown.iter().map(String::as_str).chain(forged).chain(version.iter().copied()).collect();
                curl(&proxy, &issuer, "app.test", &arguments)
            };
            let before = origin.requests().len();
            assert_eq!(ask(&shows(&issuer, "me")), (Some(0), "hello 200".to_owned()));
            let (code, told) = ask(&shows(&strangers, "stranger"));
            assert_ne!(code, Some(0), "{told}");
            // One for servers is not one for clients.
            let (code, told) = ask(&shows(&issuer, "server"));
            assert_ne!(code, Some(0), "{told}");
            let (code, told) = ask(&[]);
            assert_eq!(code == Some(0), mode == "optional", "{told}");
            let seen: Vec<_> = origin.requests()[before..]
                .iter()
                .map(|it| it.head.field("x-client-subject").map(str::to_owned))
                .collect();
            // Whoever shows none has an empty one, whatever it says of itself.
            let expected = [Some("CN=me".to_owned()), Some(String::new())];
            assert_eq!(seen, expected[..if mode == "optional" { 2 } else { 1 }]);
        }
    }
}
