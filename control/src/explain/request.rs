//! From a question to a request, by way of the parser that reads real ones.

use std::net::IpAddr;

use corelane_engine::forwarded_client;
use corelane_engine::snapshot::{Address, UnderscoreFields};
use corelane_filters::Tls;
use corelane_http1::{HeadLimits, parse_request};
use corelane_routing::Request;
use corelane_semantics::{BodyFraming, PathBuffers, RequestHead, request_framing};

use super::Question;
use crate::config::{ClientAuthMode, Config, Listener};

/// A request that was written and read.
pub(super) struct Asked {
    listener: usize,
    head: RequestHead,
    bytes: Vec<u8>,
    from: IpAddr,
    tls: Option<Secured>,
}

/// What its connection would tell of TLS.
struct Secured {
    server_name: String,
    client_subject: String,
}

/// A request as routes see it, and what filters and limits see beside.
pub(super) struct Seen<'a> {
    pub(super) request: Request<'a>,
    pub(super) peer: IpAddr,
    pub(super) is_trusted: bool,
    pub(super) forwarded_path: &'a [u8],
    pub(super) framing: BodyFraming,
    pub(super) tls: Option<Tls<'a>>,
}

impl Asked {
    pub(super) fn new(config: &Config, question: &Question) -> Result<Self, String> {
        let url = Url::parse(&question.url)?;
        let listener = listener(config, question.listener.as_deref(), url.port)?;
        let names_host = |field: &String| {
            field.split(':').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("host"))
        };
        let mut text = format!("{} {} HTTP/1.1\r\n", question.method, url.target);
        if !question.fields.iter().any(names_host) {
            text += &format!("Host: {}\r\n", url.authority);
        }
        for field in &question.fields {
            text += &format!("{field}\r\n");
        }
        text += "\r\n";
        let of = &config.listeners[listener];
        let tls = secured(of, &url, question.client_subject.as_deref())?;
        let limits = HeadLimits {
            head_bytes_max: of.head_bytes_max,
            request_line_bytes_max: of.limits.request_line_bytes_max,
            field_bytes_max: of.limits.field_bytes_max,
            fields_max: of.fields_max,
        };
        let bytes = text.into_bytes();
        let mut head = RequestHead::default();
        parse_request(&bytes, &limits, &mut head).map_err(|error| refused(&error))?;
        Ok(Self { listener, head, bytes, from: question.from.to_canonical(), tls })
    }

    /// Calls `with` with the request as routes and filters see it.
    pub(super) fn with<R>(&self, config: &Config, with: impl FnOnce(&Seen<'_>) -> R) -> Result<R, String> {
        let Self { listener, head, bytes, from, tls } = self;
        let of = &config.listeners[*listener];
        let host = head.host(bytes).map_err(|error| refused(&error))?;
        let token = head.method_token.bytes(bytes);
        if of.rules.methods_refused.contains(head.method, token) {
            return Err(refused(&format!("the listener refuses the method {}", token.escape_ascii())));
        }
        if of.rules.underscore_fields == UnderscoreFields::Reject && head.fields.has_underscore() {
            return Err(refused(&"a field's name has an underscore"));
        }
        let framing = request_framing(head, bytes).map_err(|error| refused(&error))?;
        let mut buffers = PathBuffers::default();
        let paths = buffers.canonicalise(head.path.bytes(bytes), &of.rules.paths);
        let paths = paths.map_err(|error| refused(&error))?;
        let (path, forwarded_path) = (paths.canonical, paths.forwarded);
        let is_trusted = of.trusted_proxies.iter().any(|network| network.contains(from));
        let client = match is_trusted {
            true => forwarded_client(*from, &of.trusted_proxies, head, bytes),
            false => *from,
        };
        let client = Some(client);
        let request = Request { listener: *listener, host, path, head, bytes, client, tls: tls.is_some() };
        let tls = tls.as_ref().map(|secured| Tls {
            server_name: &secured.server_name,
            client_subject: secured.client_subject.as_bytes(),
            ..Tls::default()
        });
        Ok(with(&Seen { request, peer: *from, is_trusted, forwarded_path, framing, tls }))
    }
}

fn refused(why: &dyn std::fmt::Display) -> String {
    format!("the request is refused before any route is looked at: {why}")
}

/// What a listener would know of the connection, if it speaks TLS or a proxy before it does.
fn secured(of: &Listener, url: &Url<'_>, client_subject: Option<&str>) -> Result<Option<Secured>, String> {
    let auth = of.tls.as_ref().map(|tls| tls.client_auth.as_ref().map(|auth| auth.mode));
    match (auth, client_subject) {
        (Some(_), _) if url.tls == Some(false) => {
            return Err(refused(&"the listener speaks TLS, and answers clear text with 400; write https://"));
        }
        (Some(Some(ClientAuthMode::Required)), None) => {
            return Err(refused(
                &"the listener needs a client's certificate; say whose with --client-subject",
            ));
        }
        (None | Some(None), Some(_)) => {
            return Err("the listener asks for no client's certificate (client_auth)".to_owned());
        }
        _ => {}
    }
    let is_secured = url.tls.unwrap_or(of.tls.is_some());
    let host = url.authority.rsplit_once(':').map_or(url.authority, |(host, _)| host);
    Ok(is_secured.then(|| Secured {
        server_name: host.to_ascii_lowercase(),
        client_subject: client_subject.unwrap_or_default().to_owned(),
    }))
}

/// The parts of a URL that a request is made from.
struct Url<'a> {
    /// `None`: it does not say.
    tls: Option<bool>,
    authority: &'a str,
    port: Option<u16>,
    target: String,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Result<Self, String> {
        let (tls, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Some(false), rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Some(true), rest),
            Some((scheme, _)) => return Err(format!("no http or https URL: {}", scheme.escape_debug())),
            None if url.starts_with('/') => (None, url),
            None => return Err("a URL begins with http://, https:// or, for a path alone, with /".to_owned()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = port.or(tls.map(|tls| if tls { 443 } else { 80 }));
        let root = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { tls, authority, port, target: format!("{root}{target}") })
    }
}

/// The listener that is named, or that has the port, or that is the only one.
fn listener(config: &Config, name: Option<&str>, port: Option<u16>) -> Result<usize, String> {
    let listeners = &config.listeners;
    let names = || listeners.iter().map(|it| &*it.name).collect::<Vec<_>>().join(", ");
    if let Some(name) = name {
        let found = listeners.iter().position(|it| *it.name == *name);
        return found.ok_or_else(|| format!("there is no listener {:?}; there are: {}", name, names()));
    }
    if listeners.len() == 1 {
        return Ok(0);
    }
    let has_port = |address: &Address| match address {
        Address::Tcp(address) => Some(address.port()) == port,
        Address::Unix(_) => false,
    };
    let mut found = (0..listeners.len()).filter(|&index| has_port(&listeners[index].address));
    match (found.next(), found.next()) {
        (Some(listener), None) => Ok(listener),
        _ => Err(format!("which listener? say it with --listener, or by the URL's port: {}", names())),
    }
}
