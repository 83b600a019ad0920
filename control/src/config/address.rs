//! Addresses as they stand in the file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corelane_engine::snapshot::Address;
use ipnet::IpNet;

use super::types::Target;
use super::{show, suggest};

/// Where something listens: `127.0.0.1:80`, `[::1]:80` or `unix:/path`. Port 0 is any free one.
pub(super) fn listening(text: &str) -> Result<Address, String> {
    if let Some(path) = unix_path(text)? {
        return Ok(Address::Unix(path));
    }
    if let Ok(address) = text.parse() {
        return Ok(Address::Tcp(address));
    }
    let shown = show::quoted(text);
    let Some((host, port)) = text.rsplit_once(':').filter(|_| text.parse::<IpAddr>().is_err()) else {
        return Err(no_port(text, "8080"));
    };
    let Some(port) = port.parse::<u16>().ok().filter(|_| is_number(port)) else {
        return Err(bad_port(&shown, port, 0));
    };
    match host {
        "" => Err(format!("{shown} has no IP address; write \"0.0.0.0:{port}\" for IPv4, \"[::]:{port}\" for IPv6")),
        "*" => Err(format!("{shown} is not an address; write \"0.0.0.0:{port}\" for IPv4, \"[::]:{port}\" for IPv6")),
        "localhost" => Err(format!("{shown} is a name; did you mean \"127.0.0.1:{port}\"?")),
        _ => Err(bracketless(&shown, host, port).unwrap_or_else(|| {
            format!("{shown} is not an IP address and port; e.g. \"0.0.0.0:{port}\", \"[::]:{port}\" or \"unix:/path\"")
        })),
    }
}

/// Where an endpoint is, and whether it says that it speaks TLS: a [`target`], or `https://name:8443`, whose port is 443
/// unless it says so.
pub(super) fn endpoint(text: &str) -> Result<(Target, bool), String> {
    let Some(authority) = text.strip_prefix("https://") else { return Ok((target(text)?, false)) };
    let shown = show::quoted(text);
    if let Some((authority, _)) = authority.split_once('/') {
        let meant = show::quoted(&format!("https://{authority}"));
        return Err(format!("{shown} has a path, which is the request's; write {meant}"));
    }
    let has_port = authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    let target = if has_port { target(authority) } else { target(&format!("{authority}:443")) };
    Ok((target?, true))
}

/// Where something is: `127.0.0.1:80`, `[::1]:80`, `unix:/path` or `name:80`.
pub(super) fn target(text: &str) -> Result<Target, String> {
    if let Some(path) = unix_path(text)? {
        return Ok(Target::Address(Address::Unix(path)));
    }
    let shown = show::quoted(text);
    if let Some(rest) = text.strip_prefix("http://") {
        return Err(format!("{shown} is a URL; an endpoint is an address and a port: {}", from_url(rest)));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|_| text.parse::<IpAddr>().is_err()) else {
        return Err(no_port(text, "80"));
    };
    let Some(port) = port_number(port) else {
        return Err(bad_port(&shown, port, 1));
    };
    if let Ok(address) = text.parse() {
        return Ok(Target::Address(Address::Tcp(address)));
    }
    if let Some(message) = bracketless(&shown, host, port) {
        return Err(message);
    }
    match name_fault(host) {
        None => Ok(Target::Name { host: host.to_ascii_lowercase().into(), port }),
        Some(fault) => Err(format!("{shown} {fault}; e.g. \"127.0.0.1:{port}\" or \"app.internal:{port}\"")),
    }
}

/// A name server: an IP address, with a port other than 53 behind it.
pub(super) fn server(text: &str) -> Result<(IpAddr, u16), String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, 53));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok((address.ip(), address.port())),
        _ => Err(format!(
            "{} is not an IP address; e.g. \"192.0.2.53\", \"2001:db8::53\" or \"127.0.0.1:5353\"",
            show::quoted(text)
        )),
    }
}

/// A network, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let shown = show::quoted(text);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    match text.parse::<IpNet>() {
        // Written like this, somebody trusts a whole network where one address may have been meant.
        Ok(net) if net != net.trunc() => Err(format!(
            "{shown} is not the beginning of a network; did you mean \"{}\" or the single address \"{}\"?",
            net.trunc(),
            net.addr()
        )),
        Ok(net) => Ok(net),
        Err(_) => {
            Err(format!("{shown} is not an IP address or network; e.g. \"10.0.0.0/8\" or \"192.0.2.7\""))
        }
    }
}

/// A Host field's value: a name or address, with or without a port.
pub(super) fn host_field(text: &str) -> Result<Arc<str>, String> {
    let shown = show::quoted(text);
    // A host named like this is possible, but was hardly meant.
    if suggest::changes(text, "preserve") <= 1 {
        let host = show::quoted(&format!("{text}:80"));
        return Err(format!(
            "{shown} is not known; did you mean \"preserve\"? (a host of this name: {host})"
        ));
    }
    let colon = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
    let (host, port) = text.split_at(colon.unwrap_or(text.len()));
    if !port.is_empty() && port_number(&port[1..]).is_none() {
        return Err(bad_port(&shown, &port[1..], 1));
    }
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fault = match address {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => None,
        Some(_) => Some("has no IPv6 address between its brackets".to_owned()),
        None if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) => {
            Some("is an IPv6 address, which stands in brackets".to_owned())
        }
        None => name_fault(host),
    };
    match fault {
        None => Ok(text.into()),
        Some(fault) => Err(format!("{shown} {fault}; write \"preserve\" or a host, e.g. \"app.internal\"")),
    }
}

/// The path behind `unix:`, if that is what it is.
fn unix_path(text: &str) -> Result<Option<PathBuf>, String> {
    let Some(path) = text.strip_prefix("unix:") else { return Ok(None) };
    let shown = show::quoted(text);
    if !Path::new(path).is_absolute() {
        return Err(format!("{shown} is not an absolute path; write e.g. \"unix:/run/corelane.sock\""));
    }
    if path.ends_with('/') || path.contains('\0') {
        return Err(format!("{shown} is not the path of a socket; write e.g. \"unix:/run/corelane.sock\""));
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(format!("{shown} is too long; a socket's path has at most {UNIX_PATH_BYTES_MAX} bytes"));
    }
    Ok(Some(path.into()))
}

/// unix(7): `sun_path` has 108 bytes, the last of which is zero.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// What is wrong with a host name, if anything.
fn name_fault(host: &str) -> Option<String> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Some("has no host".to_owned());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(c) = host.chars().find(|c| !allowed(*c)) {
        return Some(format!("has {c:?} in its host name"));
    }
    // RFC 1035 §2.3.4.
    if host.len() > 253 || host.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Some("has an empty or too long part in its host name".to_owned());
    }
    // RFC 1123 §2.1: the last label of a name is never a number, so this was meant to be an address.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    (numeric && host.parse::<Ipv4Addr>().is_err()).then(|| "is not a valid IPv4 address".to_owned())
}

/// `::1:80` where `[::1]:80` was meant.
fn bracketless(shown: &str, host: &str, port: u16) -> Option<String> {
    let v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    v6.then(|| format!("{shown} lacks brackets; did you mean \"[{host}]:{port}\"?"))
}

fn no_port(text: &str, port: &str) -> String {
    let shown = show::quoted(text);
    if text.is_empty() {
        return format!("{shown} is empty; e.g. \"127.0.0.1:{port}\", \"[::1]:{port}\" or \"unix:/path\"");
    }
    if text.starts_with('/') {
        return format!("{shown} is a path; did you mean {}?", show::quoted(&format!("unix:{text}")));
    }
    if let Some(port) = port_number(text) {
        return format!("{shown} has no host; did you mean \"127.0.0.1:{port}\"?");
    }
    // `::1:8080` is an address, but was hardly meant to be one.
    let meant = text.rsplit_once(':').filter(|(_, port)| port.len() > 1);
    let meant = meant.and_then(|(host, port)| bracketless(&shown, host, port_number(port)?));
    if let Some(message) = meant {
        return message;
    }
    match text.parse() {
        Ok(IpAddr::V6(address)) => format!("{shown} has no port; write e.g. \"[{address}]:{port}\""),
        _ => format!("{shown} has no port; write e.g. {}", show::quoted(&format!("{text}:{port}"))),
    }
}

fn bad_port(shown: &str, port: &str, first: u16) -> String {
    if port.is_empty() || port.contains(']') {
        return format!("{shown} has no port; allowed: {first} to 65535");
    }
    format!("{shown} has the invalid port {}; allowed: {first} to 65535", show::quoted(port))
}

/// 1 to 65535, digits only.
fn port_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| is_number(text) && *port > 0)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn from_url(rest: &str) -> String {
    let authority = rest.split('/').next().unwrap_or_default();
    show::quoted(&if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") })
}
