//! `tls` of a listener, and of an upstream.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corelane_engine::protocol::UpstreamProtocol;
use corelane_engine::tls::rustls::{CipherSuite, NamedGroup};

use super::{affinity, health};
use crate::config::reader::{ItemFault, Reader};
use crate::config::reference::Section;
use crate::config::report::{Report, Reported};
use crate::config::tree::{Spanned, Value};
use crate::config::types::{
    CertificateFiles, ClientAuth, ClientAuthMode, HTTP2, ListenerTls, Places, Tickets, TlsVersion,
    UnknownNames, UpstreamTls, UpstreamTrust,
};
use crate::config::value::{self, Parsed};
use crate::config::{duration, show};

const UNKNOWN_NAMES: [(&str, UnknownNames); 2] =
    [("default", UnknownNames::Default), ("refuse", UnknownNames::Refuse)];

const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];

const MODES: [(&str, ClientAuthMode); 2] =
    [("required", ClientAuthMode::Required), ("optional", ClientAuthMode::Optional)];

/// By the names of the registry of IANA.
const SUITES: [(&str, CipherSuite); 9] = [
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Suites of TLS 1.3 come first; the rest is of TLS 1.2.
const SUITES_OF_1_3: usize = 3;

const GROUPS: [(&str, NamedGroup); 4] = [
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
    ("X25519", NamedGroup::X25519),
    ("secp256r1", NamedGroup::secp256r1),
    ("secp384r1", NamedGroup::secp384r1),
];

/// What other proxies call them, by the names of OpenSSL and of NIST.
const OTHER_NAMES: [(&str, &str); 9] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("prime256v1", "secp256r1"),
    ("P-256", "secp256r1"),
    ("P-384", "secp384r1"),
];

/// What can be spoken with clients once it is agreed on.
const PROTOCOLS: [(&str, &str); 2] = [("h2", "h2"), ("http/1.1", "http/1.1")];

/// The same with endpoints.
const UPSTREAM_PROTOCOLS: [(&str, &str); 1] = [("http/1.1", "http/1.1")];

/// `http2`: what the key says.
pub(super) fn decode(section: &Reader<'_>, http2: Option<bool>) -> Result<Option<ListenerTls>, Reported> {
    let Some(table) = section.table("tls", Section::ListenerTls)? else { return Ok(None) };
    let files = Files::new(section);
    let certificates = certificates(&table, &files);
    let directory = files.optional(&table, "directory");
    let unknown_names = table.or_default("unknown_names", |value| value::choice(value, &UNKNOWN_NAMES));
    let min_version = table.or_default("min_version", |value| value::choice(value, &VERSIONS));
    let cipher_suites = suites(&table, &min_version);
    let groups = groups(&table);
    let alpn = alpn(&table, &PROTOCOLS).and_then(|alpn| with_http2(section, &table, alpn, http2));
    let handshake_timeout =
        table.or_default("handshake_timeout", |value| value::duration(value, Duration::ZERO));
    let handshakes_max =
        table.or_default("handshakes_max", |value| value::integer(value, 0..=HANDSHAKES_MAX));
    let client_handshakes_max =
        table.or_default("client_handshakes_max", |value| value::integer(value, 0..=HANDSHAKES_MAX));
    let tickets = tickets(&table);
    let client_auth = client_auth(&table, &files);
    let (certificates, directory) = (certificates?, directory?);
    if certificates.is_empty() && directory.is_none() {
        return Err(table.lacks("certificates"));
    }
    Ok(Some(ListenerTls {
        certificates,
        directory,
        unknown_names: unknown_names?,
        min_version: min_version?,
        cipher_suites: cipher_suites?,
        groups: groups?,
        alpn: alpn?,
        handshake_timeout: handshake_timeout?,
        handshakes_max: handshakes_max? as usize,
        client_handshakes_max: client_handshakes_max? as usize,
        tickets: tickets?,
        client_auth: client_auth?,
        places: files.places.into_inner(),
    }))
}

/// Reads paths, and keeps where they stand.
struct Files<'a> {
    report: &'a Report<'a>,
    places: RefCell<Places>,
}

impl<'a> Files<'a> {
    /// `section` is the one that has `tls`.
    fn new(section: &Reader<'a>) -> Self {
        let report = section.report();
        Self { report, places: RefCell::new(Places::new(report.place(section.at("tls")))) }
    }

    fn required(&self, table: &Reader<'_>, key: &str) -> Result<PathBuf, Reported> {
        table.required(key, |value| self.path(value, table.at(key)))
    }

    fn optional(&self, table: &Reader<'_>, key: &str) -> Result<Option<PathBuf>, Reported> {
        table.optional(key, |value| self.path(value, table.at(key)))
    }

    fn path(&self, value: &Value, at: usize) -> Parsed<PathBuf> {
        let path = path(value, self.report.folder(at))?;
        self.places.borrow_mut().add(path.clone(), self.report.place(at));
        Ok(path)
    }
}

/// As many as connections.
const HANDSHAKES_MAX: u32 = 10_000_000;

fn certificates(table: &Reader<'_>, files: &Files<'_>) -> Result<Vec<CertificateFiles>, Reported> {
    let shown = |files: &CertificateFiles| files.cert.display().to_string();
    let items = table.items("certificates", "certificate", shown, |item| {
        let Value::Table(inner) = item.get_ref() else {
            let example = "a table, e.g. { cert = \"edge.pem\", key = \"edge.key\" }";
            return Err(ItemFault::Wrong(value::wrong_kind(item.get_ref(), example)));
        };
        let inner = Reader::new(Section::Certificate, inner, item.span().start, table.report());
        pair(&inner, files).map_err(ItemFault::Reported)
    });
    items.map(Option::unwrap_or_default)
}

fn pair(table: &Reader<'_>, files: &Files<'_>) -> Result<CertificateFiles, Reported> {
    let cert = files.required(table, "cert");
    let key = files.optional(table, "key");
    let ocsp = files.optional(table, "ocsp");
    let cert = cert?;
    Ok(CertificateFiles { key: key?.unwrap_or_else(|| cert.clone()), cert, ocsp: ocsp? })
}

fn path(value: &Value, folder: &Path) -> Parsed<PathBuf> {
    match value::string(value)? {
        "" => Err("is empty; write a path".to_owned()),
        text if text.contains(char::is_control) => {
            Err(format!("{} has a control character, which no path has here", show::quoted(text)))
        }
        text => Ok(folder.join(text)),
    }
}

/// Names of a list, each with what it stands for; `None` without the key.
fn chosen<T: Copy>(
    table: &Reader<'_>,
    key: &str,
    noun: &str,
    choices: &[(&str, T)],
) -> Result<Option<Vec<T>>, Reported> {
    let one = |item: &Spanned<Value>| {
        let text = item.get_ref().as_str().unwrap_or_default();
        if let Some((_, name)) = OTHER_NAMES.iter().find(|(other, _)| *other == text) {
            return Err(ItemFault::Wrong(format!(
                "{} is called {} here",
                show::quoted(text),
                show::quoted(name)
            )));
        }
        let choice = value::choice(item.get_ref(), choices)?;
        // Told apart by their names.
        Ok((value::string(item.get_ref())?.to_owned(), choice))
    };
    let items = table.items(key, noun, |(name, _): &(String, T)| name.clone(), one)?;
    Ok(items.map(|items| items.into_iter().map(|(_, choice)| choice).collect()))
}

/// A version that no suite is left for would never be spoken, and nobody would know why.
fn suites(
    table: &Reader<'_>,
    min_version: &Result<TlsVersion, Reported>,
) -> Result<Option<Vec<CipherSuite>>, Reported> {
    let Some(suites) = chosen(table, "cipher_suites", "cipher suite", &SUITES)? else { return Ok(None) };
    let is_of_1_3 = |suite: &CipherSuite| SUITES[..SUITES_OF_1_3].iter().any(|(_, it)| it == suite);
    let of_1_3 = suites.iter().filter(|suite| is_of_1_3(suite)).count();
    let text = match min_version {
        Ok(TlsVersion::V1_3) if of_1_3 == 0 => {
            "cipher_suites has none of TLS 1.3, and min_version is \"1.3\"; add e.g. \"TLS_AES_128_GCM_SHA256\""
        }
        Ok(TlsVersion::V1_3) if of_1_3 < suites.len() => {
            "cipher_suites has suites of TLS 1.2 (TLS_ECDHE_...), and min_version is \"1.3\"; leave them out"
        }
        _ => return Ok(Some(suites)),
    };
    Err(table.report().wrong(table.at("cipher_suites"), text.to_owned()))
}

fn groups(table: &Reader<'_>) -> Result<Vec<NamedGroup>, Reported> {
    match chosen(table, "groups", "group", &GROUPS)? {
        Some(groups) => Ok(groups),
        None => table.or_default("groups", |value| choices(value, &GROUPS)),
    }
}

/// The list may be empty: nothing is agreed on then.
fn alpn(table: &Reader<'_>, protocols: &[(&str, &'static str)]) -> Result<Vec<Box<[u8]>>, Reported> {
    if !table.has("alpn") {
        return table.or_default("alpn", |value| Ok(bytes(choices(value, protocols)?)));
    }
    let shown = |name: &&str| (*name).to_owned();
    let one = |item: &Spanned<Value>| Ok(value::choice(item.get_ref(), protocols)?);
    table.any_items("alpn", "protocol", shown, one).map(bytes)
}

/// Makes `alpn` what `http2` says, if that is written.
fn with_http2(
    section: &Reader<'_>,
    table: &Reader<'_>,
    mut alpn: Vec<Box<[u8]>>,
    http2: Option<bool>,
) -> Result<Vec<Box<[u8]>>, Reported> {
    let is_named = alpn.iter().any(|protocol| **protocol == *HTTP2);
    let text = match http2 {
        Some(true) if alpn.is_empty() => "http2 is agreed on by ALPN, and alpn is []; leave one of them out",
        Some(false) if is_named && table.has("alpn") => {
            "http2 is false, and alpn has \"h2\"; leave one of them out"
        }
        Some(true) if !is_named => {
            alpn.insert(0, HTTP2.into());
            return Ok(alpn);
        }
        Some(false) => {
            alpn.retain(|protocol| **protocol != *HTTP2);
            return Ok(alpn);
        }
        _ => return Ok(alpn),
    };
    Err(section.report().wrong(section.at("http2"), text.to_owned()))
}

/// What an upstream is offered.
fn alpn_for(table: &Reader<'_>, protocol: UpstreamProtocol) -> Result<Vec<Box<[u8]>>, Reported> {
    match protocol {
        UpstreamProtocol::Http1 | UpstreamProtocol::Http2ClearText => alpn(table, &UPSTREAM_PROTOCOLS),
        UpstreamProtocol::Http2 if table.has("alpn") => {
            let text = "alpn has no meaning with the protocol \"h2\", which offers h2; leave it out";
            Err(table.report().wrong(table.at("alpn"), text.to_owned()))
        }
        UpstreamProtocol::Http2 => Ok(vec![HTTP2.into()]),
        UpstreamProtocol::Negotiated => match alpn(table, &UPSTREAM_PROTOCOLS)? {
            offered if offered.is_empty() => {
                let text =
                    "alpn offers nothing, and the protocol \"auto\" is what is agreed on; leave it out";
                Err(table.report().wrong(table.at("alpn"), text.to_owned()))
            }
            mut offered => {
                offered.insert(0, HTTP2.into());
                Ok(offered)
            }
        },
    }
}

fn bytes(names: Vec<&str>) -> Vec<Box<[u8]>> {
    names.into_iter().map(|name| name.as_bytes().into()).collect()
}

/// The items of a default.
fn choices<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Parsed<Vec<T>> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| value::choice(item.get_ref(), choices)).collect()
}

fn tickets(table: &Reader<'_>) -> Result<Option<Tickets>, Reported> {
    let is_on = table.or_default("tickets", value::boolean);
    let lifetime = table.or_default("ticket_lifetime", ticket_lifetime);
    let secret = table.optional("ticket_secret", affinity::secret);
    let (is_on, lifetime, secret) = (is_on?, lifetime?, secret?);
    if is_on {
        return Ok(Some(Tickets { lifetime, secret }));
    }
    let mut off = Ok(None);
    for key in ["ticket_lifetime", "ticket_secret"].into_iter().filter(|key| table.has(key)) {
        let text = format!("{key} has no meaning where tickets is false; leave one of them out");
        off = Err(table.report().wrong(table.at(key), text));
    }
    off
}

/// RFC 8446 §4.6.1: no ticket lives longer than seven days, and a key opens them for twice its time.
fn ticket_lifetime(value: &Value) -> Parsed<Duration> {
    let lifetime = value::duration(value, Duration::from_secs(60))?;
    match lifetime <= TICKET_LIFETIME_MAX {
        true => Ok(lifetime),
        false => {
            let (least, most) =
                (duration::shown(Duration::from_secs(60)), duration::shown(TICKET_LIFETIME_MAX));
            Err(format!("{} is too long; allowed: \"{least}\" to \"{most}\"", show::value(value)))
        }
    }
}

const TICKET_LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// `is_told`: some endpoint says by itself that it speaks TLS. `protocol`: what is spoken inside, if that can be told.
pub(super) fn of_upstream(
    section: &Reader<'_>,
    is_told: bool,
    protocol: Option<&UpstreamProtocol>,
) -> Result<Option<UpstreamTls>, Reported> {
    let table = match section.table("tls", Section::UpstreamTls)? {
        Some(table) => table,
        None if is_told => Reader::absent(Section::UpstreamTls, section.report()),
        None => return Ok(None),
    };
    let server_name = table.optional("server_name", health::server_name);
    let files = Files::new(section);
    let ca = files.optional(&table, "ca");
    let verify = table.or_default("verify", value::boolean);
    let cert = files.optional(&table, "cert");
    let key = files.optional(&table, "key");
    let min_version = table.or_default("min_version", |value| value::choice(value, &VERSIONS));
    let alpn = alpn_for(&table, protocol.copied().unwrap_or_default());
    let trust = match (ca?, verify?) {
        (Some(_), false) => {
            let text = "ca has no meaning without verify; leave one of them out";
            return Err(table.report().wrong(table.at("ca"), text.to_owned()));
        }
        (None, false) => UpstreamTrust::Anybody,
        (Some(path), true) => UpstreamTrust::Authorities(path),
        (None, true) => UpstreamTrust::System,
    };
    let certificate = match (cert?, key?) {
        (None, Some(_)) => {
            let text = "key is for a certificate; write cert, too";
            return Err(table.report().missing(table.at("key"), text.to_owned()));
        }
        (None, None) => None,
        (Some(cert), key) => {
            Some(CertificateFiles { key: key.unwrap_or_else(|| cert.clone()), cert, ocsp: None })
        }
    };
    Ok(Some(UpstreamTls {
        server_name: server_name?,
        trust,
        certificate,
        min_version: min_version?,
        alpn: alpn?,
        places: files.places.into_inner(),
    }))
}

fn client_auth(table: &Reader<'_>, files: &Files<'_>) -> Result<Option<ClientAuth>, Reported> {
    let Some(table) = table.table("client_auth", Section::ClientAuth)? else { return Ok(None) };
    let mode = table.or_default("mode", |value| value::choice(value, &MODES));
    let ca = files.required(&table, "ca");
    let crls = table.items(
        "crl",
        "list",
        |path: &PathBuf| path.display().to_string(),
        |item| Ok(files.path(item.get_ref(), item.span().start)?),
    );
    Ok(Some(ClientAuth { mode: mode?, ca: ca?, crls: crls?.unwrap_or_default() }))
}
