//! Listeners' TLS from files to handshakes, with rustls on the other side.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corelane_engine::tls::rustls::client::{ClientConfig, Resumption};
use corelane_engine::tls::rustls::pki_types::pem::PemObject as _;
use corelane_engine::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use corelane_engine::tls::rustls::{
    ClientConnection, Error, HandshakeKind, NamedGroup, RootCertStore, ServerConnection,
    SupportedProtocolVersion, version,
};
use corelane_engine::tls::{Policy as _, provider};

use super::findings::examine;
use super::names::{Names, Shown};
use super::pair::Pair;
use super::states::Role;
use super::x509::{Facts, fingerprint};
use super::{Assembled, CertificateFiles};
use crate::config::{
    ClientAuth, ClientAuthMode, Config, ListenerTls, Places, Tickets, TlsVersion, UnknownNames,
};
use crate::fixtures;

/// For app.test and localhost, signed by [`AUTHORITY`].
const CERTIFICATE: &str = include_str!("../../../tests/proxy/health/tls/server.pem");
const KEY: &str = include_str!("../../../tests/proxy/health/tls/server.key");
const AUTHORITY: &str = include_str!("../../../tests/proxy/health/tls/ca.pem");

/// An authority of clients, one of its clients, and what it says of revoked ones.
const CLIENTS: &str = include_str!("tests/clients.pem");
const CLIENT: &str = include_str!("tests/client.pem");
const CLIENT_KEY: &str = include_str!("tests/client.key");
const NONE_REVOKED: &str = include_str!("tests/none-revoked.crl");
const CLIENT_REVOKED: &str = include_str!("tests/client-revoked.crl");

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A folder with the files, and a configuration that names them.
struct Edge {
    folder: tempfile::TempDir,
    config: Config,
    in_force: Assembled,
}

impl Edge {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("a.pem", CERTIFICATE), ("a.key", KEY), ("ca.pem", CLIENTS)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut config = fixtures::config();
        config.listeners[0].tls = Some(ListenerTls {
            certificates: vec![CertificateFiles {
                cert: folder.path().join("a.pem"),
                key: folder.path().join("a.key"),
                ocsp: None,
            }],
            directory: None,
            unknown_names: UnknownNames::Default,
            min_version: TlsVersion::V1_2,
            cipher_suites: None,
            groups: vec![NamedGroup::X25519MLKEM768, NamedGroup::X25519],
            alpn: vec![b"http/1.1"[..].into()],
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 0,
            client_handshakes_max: 0,
            tickets: Some(Tickets { lifetime: Duration::from_secs(3600), secret: None }),
            client_auth: None,
            places: Places::default(),
        });
        Self { folder, config, in_force: Assembled::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&mut self) -> &mut ListenerTls {
        self.config.listeners[0].tls.as_mut().unwrap()
    }

    /// Reads the files at a time, and puts in force what is there; the errors.
    fn read_at(&mut self, seconds: u64) -> Vec<String> {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds);
        let (assembled, errors) = Assembled::new(&self.config, &self.in_force, now);
        if errors.is_empty() {
            self.in_force = assembled;
        }
        errors
    }

    fn read(&mut self) {
        assert_eq!(self.read_at(0), [""; 0]);
    }

    fn problems(&self) -> Vec<String> {
        let states = self.in_force.states().into_iter();
        states
            .filter_map(|state| state.problem)
            .map(|text| text.replace(self.folder.path().to_str().unwrap(), ""))
            .collect()
    }

    /// A client that trusts the authority, of one version.
    fn client(&self, spoken: &'static SupportedProtocolVersion, shows: bool) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(der(AUTHORITY)).unwrap();
        let builder = ClientConfig::builder_with_provider(provider().into())
            .with_protocol_versions(&[spoken])
            .unwrap()
            .with_root_certificates(roots);
        let mut client = if shows {
            let key = PrivateKeyDer::from_pem_slice(CLIENT_KEY.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![der(CLIENT)], key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        client.resumption = Resumption::in_memory_sessions(8);
        client
    }

    /// A whole handshake with the listener, up to bytes in both directions: tickets come with those.
    fn meet(&self, client: &Arc<ClientConfig>, name: &str) -> Result<Met, Error> {
        let config = self.in_force.listeners["web"].tls.config.clone();
        let mut server = ServerConnection::new(config)?;
        let mut client =
            ClientConnection::new(client.clone(), ServerName::try_from(name.to_owned()).unwrap())?;
        for _ in 0..8 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut wire = &wire[..];
            while !wire.is_empty() {
                server.read_tls(&mut wire).unwrap();
                server.process_new_packets()?;
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut wire = &wire[..];
            while !wire.is_empty() {
                client.read_tls(&mut wire).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok(Met {
            kind: server.handshake_kind().unwrap(),
            group: client.negotiated_key_exchange_group().map(|group| group.name()),
            clients: server.peer_certificates().map_or(0, <[_]>::len),
        })
    }
}

/// What came of a handshake.
#[derive(Debug)]
struct Met {
    kind: HandshakeKind,
    group: Option<NamedGroup>,
    clients: usize,
}

#[test]
fn reads_what_a_certificate_says() {
    let facts = Facts::of(&der(CERTIFICATE)).unwrap();
    assert_eq!((&*facts.subject, &*facts.issuer), ("CN=app.test", "CN=Corelane test authority"));
    assert_eq!(facts.names, ["app.test", "localhost"]);
    // Nov 21 14:42:28 2026 and Oct 28 14:42:28 2126, as openssl says.
    assert_eq!((facts.not_before, facts.not_after), (1_795_272_148, 4_948_872_148));
    let authority = Facts::of(&der(AUTHORITY)).unwrap();
    assert!(facts.is_issued_by(&authority) && !facts.is_root());
    assert!(authority.is_root() && !authority.is_issued_by(&facts));
    assert_eq!(fingerprint(&der(CERTIFICATE)).len(), 64);
    let whole = der(CERTIFICATE);
    for end in 0..whole.len() {
        assert_eq!(Facts::of(&CertificateDer::from(&whole[..end])), None, "{end} bytes");
    }
    for at in 0..whole.len() {
        let mut broken = whole.to_vec();
        broken[at] ^= 0x55;
        // Whatever it says, it is said without a panic.
        let _ = Facts::of(&broken.into());
    }
}

/// Certificates for these names, with this rank of their keys, and for each what tells it from the others.
fn names(of: &[(&[&str], u8)], unknown: UnknownNames) -> Names {
    let folder = Edge::new();
    let files = folder.config.listeners[0].tls.as_ref().unwrap().certificates[0].clone();
    let key = Pair::read(&files, &provider()).unwrap().key;
    let pair = |(names, rank): &(&[&str], u8)| {
        let facts = Facts::for_names(names);
        Shown::new(Arc::new(Pair { key: key.clone(), facts, chain: Vec::new(), rank: *rank }), None)
    };
    Names::new(of.iter().map(pair).collect(), unknown)
}

#[test]
fn the_nearest_name_decides_and_then_the_kind_of_key() {
    let all: [(&[&str], u8); 5] = [
        (&["first.test"], 2),
        (&["*.a.test", "a.test"], 2),
        (&["x.a.test"], 2),
        (&["*.a.test"], 1),
        (&["first.test"], 0),
    ];
    let lax = names(&all, UnknownNames::Default);
    for (name, found) in [
        (Some("a.test"), &[1][..]),
        (Some("x.a.test"), &[2]),
        (Some("y.a.test"), &[3, 1]),
        (Some("y.a.test."), &[3, 1]),
        (Some("z.y.a.test"), &[4, 0]),
        (Some("other.test"), &[4, 0]),
        (Some("test"), &[4, 0]),
        (None, &[4, 0]),
    ] {
        assert_eq!(lax.of(name), found, "{name:?}");
    }
    let strict = names(&all, UnknownNames::Refuse);
    assert_eq!(strict.of(Some("x.a.test")), [2]);
    assert!(strict.of(Some("other.test")).is_empty() && strict.of(None).is_empty());
}

#[test]
fn a_connection_is_for_what_its_certificate_is_for() {
    let all: [(&[&str], u8); 3] = [(&["a.test", "b.test"], 1), (&["b.test"], 1), (&["*.c.test"], 1)];
    let names = names(&all, UnknownNames::Default);
    for (name, host, is_covered) in [
        (Some("a.test"), "a.test", true),
        (Some("a.test"), "b.test", true),
        (Some("a.test"), "b.test.", true),
        (Some("a.test"), "c.test", false),
        (Some("b.test"), "c.test", false),
        (Some("b.test"), "192.0.2.1", false),
        // An HTTP/1.0 request without Host.
        (Some("b.test"), "", true),
        // The default certificate is for neither, and was taken all the same.
        (Some("d.test"), "c.test", true),
        (Some("d.test"), "a.test", true),
        (Some("d.test"), "y.c.test", false),
        (Some("a.test"), "x.c.test", false),
        (Some("x.c.test"), "y.c.test", true),
        (Some("x.c.test"), "x.y.c.test", false),
        (Some("x.c.test"), "a.test", false),
        (Some("x.c.test"), "192.0.2.1", false),
        // Whoever named nobody took what there was.
        (None, "x.c.test", true),
    ] {
        assert_eq!(names.covers(name, host), is_covered, "{name:?} {host}");
    }
}

#[test]
fn shakes_hands_and_resumes_in_both_versions() {
    let mut edge = Edge::new();
    edge.read();
    for spoken in [&version::TLS13, &version::TLS12] {
        let client = Arc::new(edge.client(spoken, false));
        let first = edge.meet(&client, "app.test").unwrap();
        assert!(
            matches!(first.kind, HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest),
            "{first:?}"
        );
        let group = if spoken == &version::TLS13 { NamedGroup::X25519MLKEM768 } else { NamedGroup::X25519 };
        assert_eq!(first.group, Some(group));
        let second = edge.meet(&client, "app.test").unwrap();
        assert_eq!(second.kind, HandshakeKind::Resumed, "{spoken:?}");
        // A reload, and a new key of tickets, one lifetime later.
        assert_eq!(edge.read_at(3600), [""; 0]);
        assert_eq!(edge.meet(&client, "app.test").unwrap().kind, HandshakeKind::Resumed);
        edge.read();
    }
    edge.settings().tickets = None;
    edge.read();
    let client = Arc::new(edge.client(&version::TLS13, false));
    for _ in 0..2 {
        assert_ne!(edge.meet(&client, "app.test").unwrap().kind, HandshakeKind::Resumed);
    }
}

#[test]
fn versions_suites_and_groups_are_what_is_configured() {
    let mut edge = Edge::new();
    edge.settings().min_version = TlsVersion::V1_3;
    edge.settings().groups = vec![NamedGroup::secp384r1];
    edge.read();
    assert!(edge.meet(&Arc::new(edge.client(&version::TLS12, false)), "app.test").is_err());
    let met = edge.meet(&Arc::new(edge.client(&version::TLS13, false)), "app.test").unwrap();
    assert_eq!(met.group, Some(NamedGroup::secp384r1));

    use corelane_engine::tls::rustls::CipherSuite;
    edge.settings().min_version = TlsVersion::V1_2;
    edge.settings().cipher_suites = Some(vec![CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]);
    edge.read();
    assert!(edge.meet(&Arc::new(edge.client(&version::TLS13, false)), "app.test").is_err());
    edge.meet(&Arc::new(edge.client(&version::TLS12, false)), "app.test").unwrap();
}

#[test]
fn clients_show_a_certificate_or_need_not() {
    let mut edge = Edge::new();
    let ca = edge.path("ca.pem");
    for spoken in [&version::TLS13, &version::TLS12] {
        for mode in [ClientAuthMode::Required, ClientAuthMode::Optional] {
            edge.settings().client_auth = Some(ClientAuth { mode, ca: ca.clone(), crls: Vec::new() });
            edge.read();
            let shows = edge.meet(&Arc::new(edge.client(spoken, true)), "app.test").unwrap();
            assert_eq!(shows.clients, 1);
            let bare = edge.meet(&Arc::new(edge.client(spoken, false)), "app.test");
            assert_eq!(bare.is_ok(), mode == ClientAuthMode::Optional, "{bare:?}");
        }
    }
}

#[test]
fn revoked_clients_are_refused_and_their_tickets_too() {
    let mut edge = Edge::new();
    let list = edge.path("clients.crl");
    let ca = edge.path("ca.pem");
    let auth = ClientAuth { mode: ClientAuthMode::Required, ca, crls: vec![list.clone()] };
    edge.settings().client_auth = Some(auth);
    for spoken in [&version::TLS13, &version::TLS12] {
        fs::write(&list, NONE_REVOKED).unwrap();
        edge.read();
        let client = Arc::new(edge.client(spoken, true));
        edge.meet(&client, "app.test").unwrap();
        assert_eq!(edge.meet(&client, "app.test").unwrap().kind, HandshakeKind::Resumed);
        fs::write(&list, CLIENT_REVOKED).unwrap();
        edge.read();
        assert!(edge.meet(&client, "app.test").is_err(), "{spoken:?}");
    }
}

#[test]
fn tells_who_a_client_is() {
    let told = names(&[(&["a.test"], 0)], UnknownNames::Default).client(&der(CLIENT));
    // As openssl x509 -nameopt RFC2253 says.
    assert_eq!(&*told.subject, "emailAddress=a@app.test,CN=client+OU=one,O=Test\\, Inc.,C=XX");
    assert_eq!(*told.fingerprint, fingerprint(&der(CLIENT)));
}

/// CVE-2025-23419: a session that began where nobody asked for a certificate must not go on where one is needed.
#[test]
fn no_ticket_leads_past_new_demands() {
    let mut edge = Edge::new();
    for spoken in [&version::TLS13, &version::TLS12] {
        edge.settings().client_auth = None;
        edge.read();
        let client = Arc::new(edge.client(spoken, false));
        edge.meet(&client, "app.test").unwrap();
        let ca = edge.path("ca.pem");
        edge.settings().client_auth =
            Some(ClientAuth { mode: ClientAuthMode::Required, ca, crls: Vec::new() });
        edge.read();
        assert!(edge.meet(&client, "app.test").is_err(), "{spoken:?}");
    }
}

#[test]
fn what_cannot_be_used_leaves_what_served() {
    let mut edge = Edge::new();
    edge.read();
    fs::write(edge.path("a.key"), "nothing").unwrap();
    edge.read();
    assert_eq!(edge.problems(), ["/a.key has no private key"]);
    edge.meet(&Arc::new(edge.client(&version::TLS13, false)), "app.test").unwrap();
    // Not read again while nothing changes.
    edge.read();
    assert_eq!(edge.in_force.states()[0].failures_total, 1);
    fs::write(edge.path("a.key"), KEY).unwrap();
    edge.read();
    assert_eq!(edge.problems(), [""; 0]);
}

#[test]
fn says_what_is_wrong_with_files() {
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let other = "-----BEGIN PRIVATE KEY-----\n\
                 MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAQEBAQEBAQEBAQEB\n\
                 AQEBAQEBAQEBAQEBAQEBAQEBAQGhRANCAARv8DuUkkHnk0lCoEg/tEdgA7pY5SGH\n\
                 5z/+eLjRrFz6HRfHM5tDrhvnQvbr3a73pcOzP1kfPYEBqXblAJJKuQJn\n\
                 -----END PRIVATE KEY-----\n";
    for (file, text, says) in [
        ("a.pem", "", "/a.pem has no certificate"),
        ("a.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "/a.pem is not PEM"),
        ("a.key", CERTIFICATE, "/a.key has no private key"),
        ("a.key", encrypted, "/a.key: the key has a password; store it without one"),
    ] {
        let mut edge = Edge::new();
        fs::write(edge.path(file), text).unwrap();
        let errors = edge.read_at(0);
        let folder = edge.folder.path().to_str().unwrap();
        let expected =
            [format!("listener \"web\": {says}"), "listener \"web\": no certificate can be used".to_owned()];
        assert_eq!(errors.iter().map(|it| it.replace(folder, "")).collect::<Vec<_>>(), expected);
    }
    let mut edge = Edge::new();
    fs::write(edge.path("a.key"), other).unwrap();
    let errors = edge.read_at(0);
    assert!(errors[0].contains("a.key: "), "{errors:?}");
    fs::remove_file(edge.path("a.pem")).unwrap();
    assert!(edge.read_at(0)[0].ends_with("a.pem: No such file or directory (os error 2)"));
}

#[test]
fn a_directory_brings_pairs_that_come_and_go() {
    let mut edge = Edge::new();
    let folder = edge.path("certs");
    fs::create_dir(&folder).unwrap();
    edge.settings().certificates.clear();
    edge.settings().directory = Some(folder.clone());
    assert!(edge.read_at(0)[0].ends_with("certs has no file *.pem"));
    fs::write(folder.join("vhost.app.test.pem"), CERTIFICATE).unwrap();
    fs::write(folder.join("vhost.app.test.key"), KEY).unwrap();
    fs::write(folder.join("both.pem"), format!("{KEY}{CERTIFICATE}")).unwrap();
    fs::write(folder.join("broken.pem"), "").unwrap();
    fs::write(folder.join(".hidden.pem"), "").unwrap();
    edge.read();
    let served = |edge: &Edge| edge.in_force.states().iter().filter(|it| it.serves.is_some()).count();
    assert_eq!((served(&edge), edge.in_force.states().len()), (2, 3));
    edge.meet(&Arc::new(edge.client(&version::TLS13, false)), "app.test").unwrap();
    fs::remove_file(folder.join("both.pem")).unwrap();
    edge.read();
    assert_eq!((served(&edge), edge.in_force.states().len()), (1, 2));
}

#[test]
fn demands_that_cannot_be_read_are_never_waived() {
    let mut edge = Edge::new();
    let ca = edge.path("ca.pem");
    edge.settings().client_auth =
        Some(ClientAuth { mode: ClientAuthMode::Required, ca: ca.clone(), crls: Vec::new() });
    fs::write(&ca, "").unwrap();
    assert!(edge.read_at(0)[0].ends_with("ca.pem has no certificate"));
    fs::write(&ca, CLIENTS).unwrap();
    edge.read();
    fs::write(&ca, "").unwrap();
    edge.read();
    assert_eq!(edge.problems(), ["/ca.pem has no certificate"]);
    let failures = edge.in_force.states().into_iter().map(|it| (it.role, it.failures_total));
    assert_eq!(failures.collect::<Vec<_>>(), [(Role::Certificate, 0), (Role::Authorities, 1)]);
    assert!(edge.meet(&Arc::new(edge.client(&version::TLS13, false)), "app.test").is_err());
    edge.meet(&Arc::new(edge.client(&version::TLS13, true)), "app.test").unwrap();
}

#[test]
fn check_tells_what_will_surprise() {
    let mut edge = Edge::new();
    let folder = edge.folder.path().to_str().unwrap().to_owned();
    let told = |edge: &Edge, now: SystemTime| {
        let found = examine(&edge.config, now);
        let bare =
            |lines: Vec<String>| lines.iter().map(|line| line.replace(&folder, "")).collect::<Vec<_>>();
        (bare(found.errors), bare(found.warnings))
    };
    let mode = |edge: &Edge, mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(edge.path("a.key"), permissions).unwrap();
    };
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    mode(&edge, 0o640);
    assert_eq!(told(&edge, now), (Vec::new(), Vec::new()));
    mode(&edge, 0o644);
    let host = |text: &str| corelane_routing::HostPattern::parse(text).unwrap();
    edge.config.routes[0].hosts = vec![host("app.test"), host("*.other.test")];
    let end = UNIX_EPOCH + Duration::from_secs(4_948_872_148);
    for (now, says) in [
        (UNIX_EPOCH, "the certificate is not good before 2026-11-21T14:42:28Z"),
        (end, "the certificate has expired at 2126-10-28T14:42:28Z"),
        (end - Duration::from_secs(86_401), "the certificate expires at 2126-10-28T14:42:28Z, in 1 day"),
    ] {
        let (errors, warnings) = told(&edge, now);
        assert_eq!(errors, [""; 0]);
        let expected = [
            "listener \"web\": /a.pem: every user can read its key /a.key (mode 644)",
            "listener \"web\": /a.pem: no route is for localhost",
            "listener \"web\": no certificate is for *.other.test, which routes are for",
            &format!("listener \"web\": /a.pem: {says}"),
        ];
        assert_eq!(warnings, expected);
    }
    fs::write(edge.path("a.pem"), format!("{AUTHORITY}{CERTIFICATE}")).unwrap();
    let (errors, _) = told(&edge, now);
    assert!(errors[0].contains("the key is not that of the certificate"), "{errors:?}");
    fs::write(edge.path("a.pem"), format!("{CERTIFICATE}{CERTIFICATE}")).unwrap();
    let (_, warnings) = told(&edge, now);
    assert!(warnings[0].contains("the chain is out of order: \"CN=app.test\" is issued by"), "{warnings:?}");
}
