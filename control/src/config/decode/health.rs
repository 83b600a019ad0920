//! `health` of an upstream.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use corelane_engine::protocol::UpstreamProtocol;
use corelane_engine::snapshot::Address;
use corelane_routing::{Case, Pattern};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use super::{conditions, rules};
use crate::config::reader::{ItemFault, Reader};
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::tree::{Spanned, Value};
use crate::config::types::{
    Check, Endpoint, ExecCheck, Expected, GrpcCheck, Health, HttpCheck, Initial, ProbeCheck, ProbeProtocol,
    Target, TlsSettings, Trust,
};
use crate::config::value::Parsed;
use crate::config::{address, bytes, file, show, token, value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
    Https,
    Grpc,
    Exec,
    Probe,
}

const KINDS: [(&str, Kind); 6] = [
    ("tcp", Kind::Tcp),
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("grpc", Kind::Grpc),
    ("exec", Kind::Exec),
    ("probe", Kind::Probe),
];

/// Keys that every kind has.
const COMMON: [&str; 8] = ["kind", "interval", "timeout", "rise", "fall", "initial", "port", "address"];

const OF_HTTP: [&str; 7] = ["method", "path", "host", "headers", "statuses", "body", "body_regex"];
const OF_TLS: [&str; 3] = ["server_name", "ca", "verify"];
const OF_GRPC: [&str; 2] = ["service", "tls"];
const OF_EXEC: [&str; 2] = ["command", "expect"];
const OF_PROBE: [&str; 5] = ["protocol", "send", "expect", "expect_regex", "expect_bytes_max"];

impl Kind {
    fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| *name)
    }

    /// The keys of this kind alone.
    fn keys(self) -> impl Iterator<Item = &'static str> {
        let (own, tls): (&[&str], &[&str]) = match self {
            Self::Tcp => (&[], &[]),
            Self::Http => (&OF_HTTP, &[]),
            Self::Https => (&OF_HTTP, &OF_TLS),
            Self::Grpc => (&OF_GRPC, &OF_TLS),
            Self::Exec => (&OF_EXEC, &[]),
            Self::Probe => (&OF_PROBE, &OF_TLS),
        };
        own.iter().chain(tls).copied()
    }
}

pub(super) fn decode(
    section: &Reader<'_>,
    endpoints: Option<&[Endpoint]>,
) -> Result<Option<Health>, Reported> {
    let Some(table) = section.table("health", Section::Health)? else { return Ok(None) };
    let kind = table.required("kind", |value| value::choice(value, &KINDS));
    let interval = table.or_default("interval", |value| value::duration(value, INTERVAL_MIN));
    let timeout = table.or_default("timeout", |value| value::duration(value, Duration::from_millis(1)));
    let rise = table.or_default("rise", |value| value::integer(value, 1..=1000));
    let fall = table.or_default("fall", |value| value::integer(value, 1..=1000));
    let initials = [("healthy", Initial::Up), ("unhealthy", Initial::Down)];
    let initial = table.or_default("initial", |value| value::choice(value, &initials));
    let port = table.optional("port", |value| {
        let port = value::integer(value, 1..=65_535)?;
        u16::try_from(port).map_err(|error| error.to_string())
    });
    let address = table.optional("address", ip_address);
    let check = kind.and_then(|kind| {
        let foreign = refuse_foreign(&table, kind);
        let check = check(&table, kind);
        foreign.and(check)
    });
    let health = Health {
        check: check?,
        interval: interval?,
        timeout: timeout?,
        rise: rise?,
        fall: fall?,
        initial: initial?,
        port: port?,
        address: address?,
    };
    for endpoint in endpoints.unwrap_or_default() {
        refuse_unreachable(&table, &health, endpoint)?;
    }
    Ok(Some(health))
}

/// A check speaks what requests do. What answers at another port may be another program: it is asked in HTTP/1.1, or in what it
/// agrees on.
pub(super) fn set_protocol(health: &mut Health, protocol: UpstreamProtocol) {
    let is_elsewhere = health.port.is_some() || health.address.is_some();
    let Check::Http(check) = &mut health.check else { return };
    check.protocol = match (protocol, check.tls.is_some()) {
        (UpstreamProtocol::Http2, true) if !is_elsewhere => UpstreamProtocol::Http2,
        (UpstreamProtocol::Http2 | UpstreamProtocol::Negotiated, true) => UpstreamProtocol::Negotiated,
        (UpstreamProtocol::Http2ClearText, false) if !is_elsewhere => UpstreamProtocol::Http2ClearText,
        _ => UpstreamProtocol::Http1,
    };
}

fn check(table: &Reader<'_>, kind: Kind) -> Result<Check, Reported> {
    Ok(match kind {
        Kind::Tcp => Check::Tcp,
        Kind::Http => Check::Http(http(table, Ok(None))?),
        Kind::Https => Check::Http(http(table, tls(table).map(Some))?),
        Kind::Grpc => Check::Grpc(grpc(table)?),
        Kind::Exec => Check::Exec(exec(table)?),
        Kind::Probe => Check::Probe(probe(table)?),
    })
}

fn http(table: &Reader<'_>, tls: Result<Option<TlsSettings>, Reported>) -> Result<HttpCheck, Reported> {
    let method = table.or_default("method", |value| match rules::method(value::string(value)?)?.as_str() {
        "CONNECT" => Err("\"CONNECT\" makes a tunnel; write e.g. \"GET\"".to_owned()),
        method => Ok(method.into()),
    });
    let path = table.or_default("path", path);
    let host = table.optional("host", |value| {
        let host = address::host_field(value::string(value)?);
        let host = host.map_err(|text| text.replace("write \"preserve\" or a host", "write a host"))?;
        Ok(host.to_string().into())
    });
    let headers = table.optional("headers", headers);
    let statuses = match statuses(table, 100) {
        Ok(None) => table.or_default("statuses", |value| {
            value.as_array().into_iter().flatten().map(|item| status(item.get_ref(), 100)).collect()
        }),
        given => given.map(Option::unwrap_or_default),
    };
    let body = one_of(table, "body", "body_regex");
    Ok(HttpCheck {
        protocol: UpstreamProtocol::default(),
        tls: tls?,
        method: method?,
        path: path?,
        host: host?,
        headers: headers?.unwrap_or_default(),
        statuses: statuses?,
        body: body?,
    })
}

fn grpc(table: &Reader<'_>) -> Result<GrpcCheck, Reported> {
    let service = table.or_default("service", |value| {
        let text = value::string(value)?;
        match text.chars().find(|c| !c.is_ascii_graphic()) {
            Some(c) => Err(format!("{} has {c:?}, which no service has in its name", show::quoted(text))),
            None if text.len() > TEXT_BYTES_MAX => Err(too_long(text)),
            None => Ok(text.into()),
        }
    });
    let is_tls = table.or_default("tls", value::boolean);
    let tls = is_tls.and_then(|is_tls| tls_if(table, is_tls, "write tls = true"));
    Ok(GrpcCheck { tls: tls?, service: service? })
}

fn exec(table: &Reader<'_>) -> Result<ExecCheck, Reported> {
    let command = table.required("command", command);
    let expect = table.optional("expect", |value| {
        let text = value::string(value)?;
        let trimmed = text.trim_ascii();
        match trimmed.len() {
            0 => Err(format!("{} is nothing but white space", show::quoted(text))),
            1..=TEXT_BYTES_MAX => Ok(trimmed.into()),
            _ => Err(too_long(text)),
        }
    });
    Ok(ExecCheck { command: command?, expect: expect? })
}

fn probe(table: &Reader<'_>) -> Result<ProbeCheck, Reported> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Protocol {
        Tcp,
        Tls,
        Udp,
    }
    let protocols = [("tcp", Protocol::Tcp), ("tls", Protocol::Tls), ("udp", Protocol::Udp)];
    let protocol = table.or_default("protocol", |value| value::choice(value, &protocols));
    let send = table.optional("send", bytes::parsed);
    let expect = one_of(table, "expect", "expect_regex");
    let expect_bytes_max = table.or_default("expect_bytes_max", |value| value::size(value, 1..=64 << 10));
    let tls = protocol.and_then(|it| tls_if(table, it == Protocol::Tls, "write protocol = \"tls\""));
    let (protocol, send, expect) = (protocol?, send?, expect?);
    if protocol == Protocol::Udp && (send.is_none() || expect.is_none()) {
        let text =
            "a probe over udp needs send, and expect or expect_regex; without an answer nobody is seen there";
        return Err(table.report().missing(table.start(), text.to_owned()));
    }
    let protocol = match (protocol, tls?) {
        (Protocol::Udp, _) => ProbeProtocol::Udp,
        (_, Some(tls)) => ProbeProtocol::Tls(tls),
        (_, None) => ProbeProtocol::Tcp,
    };
    let expect_bytes_max = expect_bytes_max?;
    if let Some(Expected::Bytes(bytes)) = &expect
        && bytes.len() > expect_bytes_max
    {
        let text = format!("expect has {} bytes; expect_bytes_max is {expect_bytes_max}", bytes.len());
        return Err(table.report().wrong(table.at("expect"), text));
    }
    Ok(ProbeCheck { protocol, send: send.unwrap_or_default(), expect, expect_bytes_max })
}

fn tls_if(table: &Reader<'_>, is_tls: bool, how: &str) -> Result<Option<TlsSettings>, Reported> {
    if is_tls {
        return tls(table).map(Some);
    }
    let mut without = Ok(None);
    for key in OF_TLS.into_iter().filter(|key| table.has(key)) {
        let text = format!("{key} is for TLS, which this check does not speak; {how}");
        without = Err(table.report().wrong(table.at(key), text));
    }
    without
}

fn tls(table: &Reader<'_>) -> Result<TlsSettings, Reported> {
    let server_name = table.optional("server_name", server_name);
    let folder = table.report().folder(table.at("ca"));
    let authorities = table.optional("ca", |value| authorities(value::string(value)?, folder));
    let verify = table.or_default("verify", value::boolean);
    let trust = match (authorities?, verify?) {
        (Some(_), false) => {
            let text = "ca has no meaning without verify; leave one of them out";
            return Err(table.report().wrong(table.at("ca"), text.to_owned()));
        }
        (None, false) => Some(Trust::Anybody),
        (Some(authorities), true) => Some(Trust::Authorities(authorities)),
        (None, true) => None,
    };
    Ok(TlsSettings { server_name: server_name?, trust })
}

pub(super) fn server_name(value: &Value) -> Parsed<ServerName<'static>> {
    let text = value::string(value)?;
    let name = ServerName::try_from(text.to_owned());
    name.map_err(|_| format!("{} is neither a name nor an IP address", show::quoted(text)))
}

fn authorities(text: &str, folder: &Path) -> Parsed<Vec<CertificateDer<'static>>> {
    let shown = show::quoted(text);
    let failed = |why: &dyn std::fmt::Display| format!("{shown} cannot be used: {why}");
    let pem = file::read_regular(&folder.join(text), CA_BYTES_MAX).map_err(|error| failed(&error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|_| failed(&"it is not PEM"))?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| failed(&error))?;
    }
    if certificates.is_empty() { Err(failed(&"it has no certificate")) } else { Ok(certificates) }
}

/// What is found: bytes, or a regular expression.
fn one_of(table: &Reader<'_>, plain: &str, regex: &str) -> Result<Option<Expected>, Reported> {
    let bytes = table.optional(plain, bytes::parsed);
    let pattern = table.optional(regex, |value| {
        let text = value::string(value)?;
        Pattern::new(text, Case::Sensitive).map_err(|error| conditions::refused(text, &error))
    });
    match (bytes?, pattern?) {
        (Some(_), Some(_)) => {
            let text = format!("{regex} stands beside {plain}; write one of them");
            Err(table.report().wrong(table.at(regex), text))
        }
        (bytes, pattern) => Ok(bytes.map(Expected::Bytes).or(pattern.map(Expected::Regex))),
    }
}

fn refuse_foreign(table: &Reader<'_>, kind: Kind) -> Result<(), Reported> {
    let mut failed = Ok(());
    let keys = Section::Health.keys().map(|key| key.name).filter(|key| !COMMON.contains(key));
    for key in keys.filter(|key| table.has(key) && !kind.keys().any(|own| own == *key)) {
        let of_it: Vec<_> = COMMON.into_iter().chain(kind.keys()).collect();
        let of_it = of_it.join(", ");
        let text = format!("{key} is no key of a check of the kind \"{}\" (keys: {of_it})", kind.name());
        failed = Err(table.report().wrong(table.at(key), text));
    }
    failed
}

/// A Unix socket has no port that could be another, and takes no datagrams of UDP.
fn refuse_unreachable(table: &Reader<'_>, health: &Health, endpoint: &Endpoint) -> Result<(), Reported> {
    let Target::Address(Address::Unix(path)) = &endpoint.target else { return Ok(()) };
    let shown = show::quoted(&format!("unix:{}", path.display()));
    let (key, text) = match (health.address, health.port, &health.check) {
        (Some(_), Some(_), _) => return Ok(()),
        (Some(_), None, _) => ("address", format!("the endpoint {shown} has no port; write port, too")),
        (None, Some(_), _) => ("port", format!("the endpoint {shown} has no IP address; write address, too")),
        (None, None, Check::Probe(ProbeCheck { protocol: ProbeProtocol::Udp, .. })) => {
            ("protocol", format!("the endpoint {shown} takes no UDP; write address and port"))
        }
        (None, None, _) => return Ok(()),
    };
    Err(table.report().wrong(table.at(key), text))
}

fn ip_address(value: &Value) -> Parsed<IpAddr> {
    let text = value::string(value)?;
    text.parse().map_err(|_| format!("{} is not an IP address; e.g. \"127.0.0.1\"", show::quoted(text)))
}

fn path(value: &Value) -> Parsed<Box<str>> {
    let text = value::string(value)?;
    let shown = show::quoted(text);
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        Some(c) => Err(format!("{shown} has {c:?}, which no path has; write it as %XX")),
        None if !text.starts_with('/') => Err(format!("{shown} does not begin with /")),
        None if text.len() > TEXT_BYTES_MAX => Err(too_long(text)),
        None => Ok(text.into()),
    }
}

fn headers(value: &Value) -> Parsed<Vec<(Box<str>, Box<str>)>> {
    let Value::Table(table) = value else {
        return Err(value::wrong_kind(value, "a table, e.g. { X-Check = \"corelane\" }"));
    };
    let header = |(name, value): &(Spanned<String>, Spanned<Value>)| {
        let name = token::checked(name.get_ref(), "field name")?;
        if OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Err(format!("has {}, which a check sets itself", show::quoted(name)));
        }
        let text =
            value::string(value.get_ref()).map_err(|fault| format!("{}: {fault}", show::quoted(name)))?;
        conditions::header_value(text)?;
        Ok((Box::from(name), Box::from(text)))
    };
    let headers = table.iter().map(header).collect::<Parsed<Vec<_>>>()?;
    match headers.len() {
        0..=HEADERS_MAX => Ok(headers),
        many => Err(format!("has {many} fields; allowed: at most {HEADERS_MAX}")),
    }
}

/// Ranges of statuses, one at least; `min` is the lowest that is allowed, and has a class of its own.
pub(super) fn statuses(table: &Reader<'_>, min: u16) -> Result<Option<Vec<(u16, u16)>>, Reported> {
    table.items("statuses", "status", shown_range, |item| listed_status(item, min))
}

/// The same, or none at all; those of the reference where there is no list.
pub(super) fn any_statuses(table: &Reader<'_>, min: u16) -> Result<Vec<(u16, u16)>, Reported> {
    if !table.has("statuses") {
        return table.or_default("statuses", |value| {
            value.as_array().into_iter().flatten().map(|item| status(item.get_ref(), min)).collect()
        });
    }
    table.any_items("statuses", "status", shown_range, |item| listed_status(item, min))
}

fn shown_range((first, last): &(u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn listed_status(item: &Spanned<Value>, min: u16) -> Result<(u16, u16), ItemFault> {
    status(item.get_ref(), min).map_err(ItemFault::Wrong)
}

/// 204, "2xx" or "200-399".
fn status(value: &Value, min: u16) -> Parsed<(u16, u16)> {
    let examples = match min {
        100 => "\"2xx\" and the like, \"200-399\" and the like",
        _ => "\"5xx\" and the like, \"500-504\" and the like",
    };
    let numbers = format!("allowed: {min} to 599");
    let allowed = || format!("{numbers}, {examples}");
    let one = |text: &str| {
        let number = text.parse::<u16>().ok().filter(|_| text.len() == 3);
        number.filter(|number| (min..=599).contains(number))
    };
    match value {
        Value::String(text) => {
            let text: &str = text;
            let class = text.strip_suffix("xx").and_then(|digit| one(&format!("{digit}00")));
            let range = text.split_once('-').and_then(|(first, last)| Some((one(first)?, one(last)?)));
            let found = class.map(|first| (first, first + 99)).or(range).or(one(text).map(|it| (it, it)));
            let found = found.filter(|(first, last)| first <= last);
            found.ok_or_else(|| format!("{} is not a status; {}", show::quoted(text), allowed()))
        }
        other => {
            let number = value::integer(other, min.into()..=599);
            let number = number.map_err(|text| text.replace(&numbers, &allowed()))?;
            let number = u16::try_from(number).map_err(|error| error.to_string())?;
            Ok((number, number))
        }
    }
}

fn command(value: &Value) -> Parsed<Vec<Box<str>>> {
    let Value::Array(items) = value else {
        return Err(value::wrong_kind(value, "a list, e.g. [\"/usr/bin/true\", \"--quick\"]"));
    };
    let word = |item: &Spanned<Value>| {
        let text = value::string(item.get_ref())?;
        if text.contains('\0') {
            return Err(format!("{} has a NUL, which no program can be given", show::quoted(text)));
        }
        if text.len() > TEXT_BYTES_MAX { Err(too_long(text)) } else { Ok(Box::from(text)) }
    };
    let words = items.iter().map(word).collect::<Parsed<Vec<Box<str>>>>()?;
    let Some(program) = words.first() else {
        return Err("is an empty list; write the program's path".to_owned());
    };
    if words.len() > HEADERS_MAX {
        return Err(format!("has {} items; allowed: at most {HEADERS_MAX}", words.len()));
    }
    let shown = show::quoted(program);
    if !Path::new(&**program).is_absolute() {
        return Err(format!("{shown} is not an absolute path; no shell looks for it"));
    }
    match std::fs::metadata(&**program) {
        Err(error) => Err(format!("{shown} cannot be run: {error}")),
        Ok(it) if !it.is_file() || it.permissions().mode() & 0o111 == 0 => {
            Err(format!("{shown} cannot be run: it is not a program"))
        }
        Ok(_) => Ok(words),
    }
}

fn too_long(text: &str) -> String {
    format!("{} is too long; allowed: at most {TEXT_BYTES_MAX} bytes", show::quoted(text))
}

/// Ten checks a second of one endpoint: more says no more, and is load.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Of a path, an argument or a text that is compared. A guess at what is plenty.
const TEXT_BYTES_MAX: usize = 4096;

/// Fields of a request, and words of a command. A guess at what is plenty.
const HEADERS_MAX: usize = 100;

/// The authorities of a system are some 230 KiB.
const CA_BYTES_MAX: usize = 1 << 20;

/// Fields that would change what the request is, or that have a key of their own.
const OWN_FIELDS: [&str; 7] =
    ["host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "expect"];
