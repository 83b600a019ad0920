//! What templates can name, and how each is read.

use crate::context::{Context, ResponseContext};
use crate::edits::Edits;
use crate::field_name::{FieldName, is_token_byte};
use crate::filters::Build;
use crate::text::write_display;

/// Where a template is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before the request goes to an upstream.
    Request,
    /// When a response has come.
    Response,
}

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    ClientIp,
    PeerIp,
    Host,
    Path,
    /// A group of the route's path.
    Capture(usize),
    Query,
    QueryParameter(Box<[u8]>),
    Header(FieldName),
    Cookie(Box<[u8]>),
    Method,
    Scheme,
    RequestId,
    Listener,
    Route,
    Upstream,
    TlsVersion,
    TlsCipherSuite,
    TlsServerName,
    TlsClientSubject,
    TlsClientFingerprint,
    /// A group of the filter's own pattern.
    Match(usize),
    /// What the filter noted for its part in the response.
    Note,
    /// Who `basic_auth` let in.
    User,
    /// Whose key `api_key` found.
    ApiKey,
    Endpoint,
    Status,
    DurationMs,
    /// What the request had, kept for its response.
    Carried(usize),
}

/// What a name stands for.
pub(crate) enum Named {
    Variable(Variable),
    /// Known when the configuration is loaded.
    Text(String),
}

/// The names without a part of their own to choose.
const PLAIN: [(&str, Variable); 21] = [
    ("client.ip", Variable::ClientIp),
    ("peer.ip", Variable::PeerIp),
    ("host", Variable::Host),
    ("path", Variable::Path),
    ("query", Variable::Query),
    ("method", Variable::Method),
    ("scheme", Variable::Scheme),
    ("request_id", Variable::RequestId),
    ("listener", Variable::Listener),
    ("route", Variable::Route),
    ("upstream", Variable::Upstream),
    ("tls.version", Variable::TlsVersion),
    ("tls.cipher", Variable::TlsCipherSuite),
    ("tls.server_name", Variable::TlsServerName),
    ("tls.client_subject", Variable::TlsClientSubject),
    ("tls.client_fingerprint", Variable::TlsClientFingerprint),
    ("auth.user", Variable::User),
    ("auth.key", Variable::ApiKey),
    ("endpoint", Variable::Endpoint),
    ("status", Variable::Status),
    ("duration_ms", Variable::DurationMs),
];

impl Variable {
    /// What a name stands for in a phase.
    pub(crate) fn parse(name: &str, phase: Phase, build: &mut Build<'_>) -> Result<Named, String> {
        let variable = match PLAIN.iter().find(|(plain, _)| *plain == name) {
            Some((_, variable)) => variable.clone(),
            None => match name.split_once('.') {
                Some(("env", name)) => return Self::environment(name, build).map(Named::Text),
                Some((kind, name)) => Self::parse_chosen(kind, name, build)?,
                None => return Err(unknown(name)),
            },
        };
        match (phase, variable.is_of_response()) {
            (Phase::Request, true) => Err(format!("{{{name}}} is known only when a response has come")),
            (Phase::Response, false) => Ok(Named::Variable(Self::Carried(build.carry(variable)))),
            _ => Ok(Named::Variable(variable)),
        }
    }

    fn parse_chosen(kind: &str, name: &str, build: &mut Build<'_>) -> Result<Self, String> {
        if name.is_empty() {
            return Err(format!("{{{kind}.}} has no name behind the dot"));
        }
        Ok(match kind {
            "path" => Self::Capture(build.capture(name)?),
            "match" => {
                let pattern =
                    build.matches.as_ref().ok_or("{match.…} stands only in the text for a regex")?;
                let group = pattern.group(name);
                Self::Match(group.ok_or_else(|| format!("{{match.{name}}}: the regex has no such group"))?)
            }
            "query" => Self::QueryParameter(name.as_bytes().into()),
            "header" => {
                Self::Header(FieldName::parse(name).map_err(|why| format!("{{header.{name}}}: {why}"))?)
            }
            "cookie" if name.bytes().all(is_token_byte) => Self::Cookie(name.as_bytes().into()),
            "cookie" => return Err(format!("{{cookie.{name}}} is not the name of a cookie")),
            _ => return Err(unknown(&format!("{kind}.{name}"))),
        })
    }

    fn environment(name: &str, build: &Build<'_>) -> Result<String, String> {
        let value =
            build.environment(name).ok_or_else(|| format!("the environment has no variable {name}"))?;
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(format!("the environment's variable {name} has a control character"));
        }
        Ok(value)
    }

    fn is_of_response(&self) -> bool {
        matches!(self, Self::Endpoint | Self::Status | Self::DurationMs)
    }

    /// Appends what it is for a request, with the changes so far; nothing where the request has none.
    pub(crate) fn write(&self, context: &Context<'_>, edits: &Edits, out: &mut Vec<u8>) {
        let text = match self {
            Self::ClientIp => return write_address(context.client, out),
            Self::PeerIp => return write_address(context.peer, out),
            Self::Host => edits.host_now(context),
            Self::Path => edits.path_now(context),
            Self::Capture(index) => match context.captures.get(*index) {
                Some(Some(span)) => span.bytes(context.path),
                _ => &[],
            },
            Self::Query => edits.query_now(context).unwrap_or_default(),
            Self::QueryParameter(name) => edits.query_parameter(name, context).unwrap_or_default(),
            Self::Match(index) => match edits.matches.get(*index) {
                Some(Some(span)) => span.bytes(edits.path_now(context)),
                _ => &[],
            },
            Self::Note => edits.noted(),
            Self::Header(name) => edits.field(name, context).unwrap_or_default(),
            Self::Cookie(name) => edits.cookie(name, context).unwrap_or_default(),
            Self::Method => context.head.method_token.bytes(context.bytes),
            Self::Scheme => context.scheme().as_bytes(),
            Self::RequestId => edits.request_id_now(context),
            Self::Listener => context.listener.as_bytes(),
            Self::Route => context.route.as_bytes(),
            Self::Upstream => context.upstream.as_bytes(),
            Self::TlsVersion => context.tls.map_or("", |tls| tls.version).as_bytes(),
            Self::TlsCipherSuite => context.tls.map_or("", |tls| tls.cipher_suite).as_bytes(),
            Self::TlsServerName => context.tls.map_or("", |tls| tls.server_name).as_bytes(),
            Self::TlsClientFingerprint => context.tls.map_or("", |tls| tls.client_fingerprint).as_bytes(),
            Self::TlsClientSubject => context.tls.map_or(&[][..], |tls| tls.client_subject),
            Self::User => edits.user(),
            Self::ApiKey => edits.api_key(),
            Self::Endpoint | Self::Status | Self::DurationMs | Self::Carried(_) => &[],
        };
        out.extend_from_slice(text);
    }

    /// Appends what it is for a response; `base` is where the filter's carried texts begin.
    pub(crate) fn write_response(&self, context: &ResponseContext<'_>, base: usize, out: &mut Vec<u8>) {
        match self {
            Self::Carried(index) => out.extend_from_slice(context.carry.text(base + index)),
            Self::Endpoint => out.extend_from_slice(context.endpoint.as_bytes()),
            Self::Status => write_display(out, context.head.status),
            Self::DurationMs => write_display(out, context.duration.as_millis()),
            // Compiled for a response, every other one is carried.
            _ => {}
        }
    }
}

fn unknown(name: &str) -> String {
    format!("{{{name}}} is not a variable; for a brace write {{{{")
}

fn write_address(address: Option<std::net::IpAddr>, out: &mut Vec<u8>) {
    match address {
        Some(address) => write_display(out, address.to_canonical()),
        None => out.extend_from_slice(b"unix:"),
    }
}
