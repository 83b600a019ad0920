//! What a record can say: the variables of templates, and of further fields of JSON records.
//!
//! Most are known when the record is written. What only a head says is kept as a word while that is at hand
//! ([`RequestWord`], and fields of the response); only a log that names one pays for it.

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// A word of the request, by its index among those that are kept.
    Request(usize),
    /// The same, which is the peer's address where nobody is believed to have named another.
    Client(usize),
    /// A field of the response, by its index among those that are kept.
    Response(usize),
    Peer,
    PeerIp,
    PeerPort,
    Listener,
    ListenerAddress,
    Route,
    Upstream,
    Endpoint,
    RequestId,
    TraceId,
    Method,
    Host,
    Target,
    Path,
    Query,
    QueryParameter(Box<[u8]>),
    Status,
    GrpcStatus,
    Reason,
    Suspicious,
    RequestBytes,
    ResponseBytes,
    BodyBytes,
    SentBytes,
    Attempts,
    Tries,
    Reused,
    Time(TimeForm),
    Duration(Unit),
    ResponseHead(Unit),
    Connect(Unit),
    UpstreamStatus,
    UpstreamHead(Unit),
    UpstreamDuration(Unit),
    ConnectionRequests,
    Tls(TlsWord),
    Worker,
    Share,
}

/// What TLS has settled with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsWord {
    Version,
    CipherSuite,
    Group,
    ServerName,
    Resumed,
    ClientSubject,
    ClientFingerprint,
}

/// How a point in time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeForm {
    /// `2026-11-21T03:02:44.770Z`
    Iso,
    /// `21/Nov/2026:03:02:44 +0000`
    Common,
    /// `1795230162.123`
    Unix,
    UnixSeconds,
    UnixMilliseconds,
}

/// How a duration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// `0.005`
    Seconds,
    Milliseconds,
    Microseconds,
}

/// What is kept of a request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestWord {
    /// The client, where a trusted proxy has named it.
    ClientIp,
    /// The first line.
    Line,
    Protocol,
    Scheme,
    /// The user name in Authorization, be it right or wrong.
    RemoteUser,
    /// Whom `basic_auth` let in.
    User,
    /// Whose key `api_key` found.
    ApiKey,
    /// The first line of a field.
    Header(Box<[u8]>),
    Cookie(Box<[u8]>),
}

/// The names without a part of their own to choose, but for those that are kept.
const PLAIN: &[(&str, Variable)] = &[
    ("peer", Variable::Peer),
    ("peer.ip", Variable::PeerIp),
    ("peer.port", Variable::PeerPort),
    ("listener", Variable::Listener),
    ("listener.address", Variable::ListenerAddress),
    ("route", Variable::Route),
    ("upstream", Variable::Upstream),
    ("endpoint", Variable::Endpoint),
    ("request_id", Variable::RequestId),
    ("trace_id", Variable::TraceId),
    ("method", Variable::Method),
    ("host", Variable::Host),
    ("target", Variable::Target),
    ("path", Variable::Path),
    ("query", Variable::Query),
    ("status", Variable::Status),
    ("grpc_status", Variable::GrpcStatus),
    ("reason", Variable::Reason),
    ("suspicious", Variable::Suspicious),
    ("request_bytes", Variable::RequestBytes),
    ("response_bytes", Variable::ResponseBytes),
    ("body_bytes", Variable::BodyBytes),
    ("sent_bytes", Variable::SentBytes),
    ("attempts", Variable::Attempts),
    ("tries", Variable::Tries),
    ("reused", Variable::Reused),
    ("time.iso", Variable::Time(TimeForm::Iso)),
    ("time.clf", Variable::Time(TimeForm::Common)),
    ("time.unix", Variable::Time(TimeForm::Unix)),
    ("time.unix_s", Variable::Time(TimeForm::UnixSeconds)),
    ("time.unix_ms", Variable::Time(TimeForm::UnixMilliseconds)),
    ("duration_s", Variable::Duration(Unit::Seconds)),
    ("duration_ms", Variable::Duration(Unit::Milliseconds)),
    ("duration_us", Variable::Duration(Unit::Microseconds)),
    ("response_head_s", Variable::ResponseHead(Unit::Seconds)),
    ("response_head_ms", Variable::ResponseHead(Unit::Milliseconds)),
    ("response_head_us", Variable::ResponseHead(Unit::Microseconds)),
    ("connect_s", Variable::Connect(Unit::Seconds)),
    ("connect_ms", Variable::Connect(Unit::Milliseconds)),
    ("connect_us", Variable::Connect(Unit::Microseconds)),
    ("upstream_status", Variable::UpstreamStatus),
    ("upstream_head_s", Variable::UpstreamHead(Unit::Seconds)),
    ("upstream_head_ms", Variable::UpstreamHead(Unit::Milliseconds)),
    ("upstream_head_us", Variable::UpstreamHead(Unit::Microseconds)),
    ("upstream_duration_s", Variable::UpstreamDuration(Unit::Seconds)),
    ("upstream_duration_ms", Variable::UpstreamDuration(Unit::Milliseconds)),
    ("upstream_duration_us", Variable::UpstreamDuration(Unit::Microseconds)),
    ("connection_requests", Variable::ConnectionRequests),
    ("tls.version", Variable::Tls(TlsWord::Version)),
    ("tls.cipher", Variable::Tls(TlsWord::CipherSuite)),
    ("tls.group", Variable::Tls(TlsWord::Group)),
    ("tls.server_name", Variable::Tls(TlsWord::ServerName)),
    ("tls.resumed", Variable::Tls(TlsWord::Resumed)),
    ("tls.client_subject", Variable::Tls(TlsWord::ClientSubject)),
    ("tls.client_fingerprint", Variable::Tls(TlsWord::ClientFingerprint)),
    ("worker", Variable::Worker),
    ("share", Variable::Share),
];

/// The names of words that are kept, without a part of their own to choose.
const KEPT: &[(&str, RequestWord)] = &[
    ("client.ip", RequestWord::ClientIp),
    ("request", RequestWord::Line),
    ("protocol", RequestWord::Protocol),
    ("scheme", RequestWord::Scheme),
    ("remote_user", RequestWord::RemoteUser),
    ("auth.user", RequestWord::User),
    ("auth.key", RequestWord::ApiKey),
];

/// The names of variables; what stands for a name in capitals may be chosen.
pub fn variable_names() -> impl Iterator<Item = &'static str> {
    let chosen =
        ["hostname", "pid", "header.NAME", "response.header.NAME", "cookie.NAME", "query.NAME", "env.NAME"];
    let plain = PLAIN.iter().map(|(name, _)| *name);
    plain.chain(KEPT.iter().map(|(name, _)| *name)).chain(chosen)
}

/// Fields that hold secrets whatever they are used for.
const SECRET_FIELDS: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "authentication-info",
    "proxy-authentication-info",
];

/// What a log keeps of heads, each word once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) request: Vec<RequestWord>,
    /// The names of fields.
    pub(crate) response: Vec<Box<[u8]>>,
}

/// Words of one head at most: room for them is on the stack.
pub(crate) const WORDS_MAX: usize = 32;

/// What variables are looked up in when the configuration is loaded.
pub struct Surroundings<'a> {
    /// The environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// What this machine is called.
    pub hostname: &'a str,
    /// The process.
    pub pid: u32,
    /// Fields with API keys.
    pub key_fields: &'a [&'a str],
}

/// What a name stands for.
pub(crate) enum Named {
    Variable(Variable),
    /// Known when the configuration is loaded.
    Text(String),
}

impl Words {
    /// What a name stands for; what it needs of a head is kept from now on.
    pub(crate) fn named(&mut self, name: &str, around: &Surroundings<'_>) -> Result<Named, String> {
        match name {
            "hostname" => return Ok(Named::Text(around.hostname.to_owned())),
            "pid" => return Ok(Named::Text(around.pid.to_string())),
            _ => {}
        }
        if let Some((_, variable)) = PLAIN.iter().find(|(plain, _)| *plain == name) {
            return Ok(Named::Variable(variable.clone()));
        }
        if let Some((_, word)) = KEPT.iter().find(|(plain, _)| *plain == name) {
            return self.keep(word.clone()).map(Named::Variable);
        }
        if let Some(field) = name.strip_prefix("response.header.") {
            let field = field_name(name, field, around)?;
            return self.keep_field(field).map(Named::Variable);
        }
        match name.split_once('.') {
            Some(("env", variable)) => environment(variable, around).map(Named::Text),
            Some(("header", field)) => {
                let field = field_name(name, field, around)?;
                self.keep(RequestWord::Header(field)).map(Named::Variable)
            }
            Some(("cookie", cookie)) if is_token(cookie) => {
                self.keep(RequestWord::Cookie(cookie.as_bytes().into())).map(Named::Variable)
            }
            Some(("query", parameter)) if !parameter.is_empty() => {
                Ok(Named::Variable(Variable::QueryParameter(parameter.as_bytes().into())))
            }
            _ => Err(format!("{{{name}}} is not a variable of the access log; for a brace write {{{{")),
        }
    }

    fn keep(&mut self, word: RequestWord) -> Result<Variable, String> {
        let is_client = word == RequestWord::ClientIp;
        let index = place(&mut self.request, word)?;
        Ok(if is_client { Variable::Client(index) } else { Variable::Request(index) })
    }

    fn keep_field(&mut self, name: Box<[u8]>) -> Result<Variable, String> {
        place(&mut self.response, name).map(Variable::Response)
    }
}

fn place<T: PartialEq>(words: &mut Vec<T>, word: T) -> Result<usize, String> {
    if let Some(index) = words.iter().position(|known| *known == word) {
        return Ok(index);
    }
    if words.len() == WORDS_MAX {
        return Err(format!("more than {WORDS_MAX} different words of one head"));
    }
    words.push(word);
    Ok(words.len() - 1)
}

/// A field's name in lower case, unless its value is a secret.
fn field_name(variable: &str, name: &str, around: &Surroundings<'_>) -> Result<Box<[u8]>, String> {
    if !is_token(name) {
        return Err(format!("{{{variable}}} is not the name of a field"));
    }
    let mut secrets = SECRET_FIELDS.iter().chain(around.key_fields);
    if secrets.any(|secret| secret.eq_ignore_ascii_case(name)) {
        return Err(format!("{{{variable}}} would write secrets to the log"));
    }
    Ok(name.to_ascii_lowercase().into_bytes().into())
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_token_byte)
}

/// Far above any name in use.
const NAME_BYTES_MAX: usize = 256;

fn environment(name: &str, around: &Surroundings<'_>) -> Result<String, String> {
    let value =
        (around.environment)(name).ok_or_else(|| format!("the environment has no variable {name}"))?;
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(format!("the environment's variable {name} has a control character"));
    }
    Ok(value)
}

impl Variable {
    /// Whether its text is a part of the request's first line or of its target: these overlap.
    pub(crate) fn is_of_line(&self, words: &Words) -> bool {
        match self {
            Self::Method | Self::Host | Self::Target | Self::Path | Self::Query | Self::QueryParameter(_) => {
                true
            }
            Self::Request(index) => {
                matches!(words.request[*index], RequestWord::Line | RequestWord::Protocol)
            }
            _ => false,
        }
    }

    /// Whether its text is of a head, and of no variable but itself.
    pub(crate) fn is_of_field(&self, words: &Words) -> bool {
        matches!(self, Self::Request(_) | Self::Response(_)) && !self.is_of_line(words)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const AROUND: Surroundings<'_> = Surroundings {
        environment: &|name| (name == "ZONE").then(|| "eu-1".to_owned()),
        hostname: "edge1",
        pid: 4711,
        key_fields: &["X-Key"],
    };

    fn named(name: &str) -> Result<String, String> {
        Words::default().named(name, &AROUND).map(|named| match named {
            Named::Variable(variable) => format!("{variable:?}"),
            Named::Text(text) => text,
        })
    }

    #[test]
    fn every_name_is_known_once() {
        let names: Vec<&str> = PLAIN.iter().map(|it| it.0).chain(KEPT.iter().map(|it| it.0)).collect();
        for (index, name) in names.iter().enumerate() {
            assert!(named(name).is_ok(), "{name}");
            assert!(!names[..index].contains(name), "{name}");
        }
        assert!(variable_names().all(|name| named(&name.replace("NAME", "ZONE")).is_ok()));
        assert_eq!(named("hostname").unwrap(), "edge1");
        assert_eq!(named("pid").unwrap(), "4711");
        assert_eq!(named("env.ZONE").unwrap(), "eu-1");
    }

    #[test]
    fn secrets_and_unknown_names_are_refused() {
        for name in [
            "header.authorization",
            "header.Proxy-Authorization",
            "header.COOKIE",
            "header.x-key",
            "response.header.Set-Cookie",
        ] {
            assert_eq!(named(name).unwrap_err(), format!("{{{name}}} would write secrets to the log"));
        }
        for name in
            ["", "x", "header", "header.", "header.a b", "cookie.a;b", "query.", "env.X", "response.x"]
        {
            assert!(named(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_word_is_kept_once_and_not_too_many() {
        let mut words = Words::default();
        for name in ["header.Referer", "header.referer", "cookie.a", "request", "response.header.a", "path"] {
            assert!(words.named(name, &AROUND).is_ok());
        }
        assert_eq!((words.request.len(), words.response.len()), (3, 1));
        for index in 3..WORDS_MAX {
            assert!(words.named(&format!("header.x-{index}"), &AROUND).is_ok());
        }
        assert!(words.named("header.x-more", &AROUND).is_err());
        assert!(words.named("header.x-7", &AROUND).is_ok());
    }
}
