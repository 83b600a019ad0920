//! `redirect`: sends the client elsewhere (RFC 9110 §15.4). A request that is there already goes on.

use corelane_semantics::{host_name, is_authority};

use super::rewrite::{path_template, settle, write_path_value};
use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::filters::Build;
use crate::reason::Reason;
use crate::settings::{Key, Kind, Read};
use crate::template::Template;
use crate::text::{is_query_value_byte, write_display, write_encoded};
use crate::variable::Phase;

/// What differs in the new address; what is not given stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// 301, 302, 303, 307 or 308. 307 and 308 keep the method and the body.
    pub status: u16,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host without its port, with variables.
    pub host: Option<String>,
    /// The port. If not given, the request's; none where scheme or host is given.
    pub port: Option<u16>,
    /// The path, with variables.
    pub path: Option<String>,
    /// The query without `?`, with variables; empty for none.
    pub query: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { status: 308, scheme: None, host: None, port: None, path: None, query: None }
    }
}

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::or("status", Kind::Integer, "308").says(
        "The status. 307 and 308 keep the method and the body.",
        "301, 302, 303, 307 or 308",
        "301",
    ),
    Key::optional("scheme", Kind::Text, "the request's").says(
        "The scheme.",
        "\"http\" or \"https\"",
        "\"https\"",
    ),
    Key::optional("host", Kind::Text, "the request's").says(
        "The host.",
        "a host without its port, with variables",
        "\"www.example.com\"",
    ),
    Key::optional(
        "port",
        Kind::Integer,
        "the request's; none where the scheme becomes another or host is given",
    )
    .says("The port.", "1 to 65535", "8443"),
    Key::optional("path", Kind::Text, "the request's").says(
        "The path.",
        "a path with variables",
        "\"/new{path}\"",
    ),
    Key::optional("query", Kind::Text, "the request's").says(
        "The query without ?; empty for none.",
        "a query with variables",
        "\"\"",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let status = table.integer("status", 100..=599);
        let read = Self {
            status: 0,
            scheme: table.text("scheme"),
            host: table.text("host"),
            port: table.integer("port", 1..=65_535).and_then(|port| u16::try_from(port).ok()),
            path: table.text("path"),
            query: table.text("query"),
        };
        Some(Self { status: u16::try_from(status?).ok()?, ..read })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    status: u16,
    scheme: Option<&'static str>,
    host: Option<Template>,
    port: Option<u16>,
    path: Option<Template>,
    query: Option<Template>,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        if !matches!(settings.status, 301 | 302 | 303 | 307 | 308) {
            build.problem("status", format!("{} is not 301, 302, 303, 307 or 308", settings.status));
        }
        if (Settings { status: 308, ..settings.clone() }) == Settings::default() {
            build.problem("", "leads nowhere: give scheme, host, port, path or query");
        }
        let scheme = match settings.scheme.as_deref() {
            None => None,
            Some("http") => Some("http"),
            Some("https") => Some("https"),
            Some(other) => {
                build.problem("scheme", format!("{other:?} is not http or https"));
                None
            }
        };
        if settings.port == Some(0) {
            build.problem("port", "0 is not a port");
        }
        let before = build.mistakes();
        let host = settings.host.as_ref().map(|host| build.template("host", host, Phase::Request));
        let is_host = |host: &[u8]| is_authority(host) && host_name(host) == host;
        let is_template = build.mistakes() == before;
        if is_template && host.as_ref().and_then(Template::fixed).is_some_and(|host| !is_host(host)) {
            build.problem(
                "host",
                format!("{:?} is not a host without a port", settings.host.as_deref().unwrap_or_default()),
            );
        }
        let before = build.mistakes();
        let path = settings.path.as_ref().map(|path| path_template("path", path, build));
        let is_template = build.mistakes() == before;
        if is_template
            && path.as_ref().is_some_and(|path| !path.start().starts_with(b"/") && path.fixed().is_some())
        {
            build.problem("path", "not a path that starts with a slash");
        }
        let query = settings.query.as_ref().map(|query| {
            if query.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
                build.problem("query", "a character that cannot stand in a query; percent-encode it");
            }
            build.template("query", query, Phase::Request)
        });
        Some(Self { status: settings.status, scheme, host, port: settings.port, path, query })
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        edits.with_texts(|edits, location, spare| {
            if !self.write_location(context, edits, location, spare) {
                edits.refuse(400, Reason::RewriteInvalid);
                return Flow::Answered;
            }
            if is_at(context, location) {
                return Flow::Passed;
            }
            edits.response.add(b"Location", location);
            edits.answer_empty(self.status, Reason::Redirected);
            Flow::Answered
        })
    }
}

impl Step {
    /// Writes the new address; `false` if the request has no host to make one from, or values that cannot stand in it.
    fn write_location(
        &self,
        context: &Context<'_>,
        edits: &mut Edits,
        out: &mut Vec<u8>,
        spare: &mut Vec<u8>,
    ) -> bool {
        out.extend_from_slice(self.scheme.unwrap_or(context.scheme()).as_bytes());
        out.extend_from_slice(b"://");
        let start = out.len();
        match &self.host {
            Some(host) => host.write(context, edits, out),
            None if self.port.is_some() || self.scheme.is_some_and(|scheme| scheme != context.scheme()) => {
                out.extend_from_slice(host_name(edits.host_now(context)));
            }
            None => out.extend_from_slice(edits.host_now(context)),
        }
        if let Some(port) = self.port {
            out.push(b':');
            write_display(out, port);
        }
        if !is_authority(&out[start..]) {
            return false;
        }
        let start = out.len();
        let is_settled = match &self.path {
            Some(template) => {
                template.write_with(context, edits, spare, out, write_path_value);
                settle(out, start)
            }
            None => {
                let path = edits.path().unwrap_or(context.forwarded_path);
                out.extend_from_slice(path);
                // It need not be one that we would make.
                path.starts_with(b"/") || settle(out, start)
            }
        };
        let start = out.len();
        out.push(b'?');
        match &self.query {
            Some(template) => template.write_with(context, edits, spare, out, |value, out| {
                // A whole query is a value too.
                write_encoded(out, value, |byte| is_query_value_byte(byte) || matches!(byte, b'&' | b'+'));
            }),
            None => out.extend_from_slice(edits.query_now(context).unwrap_or_default()),
        }
        if out.len() == start + 1 {
            out.pop();
        }
        is_settled
    }
}

/// Whether a request came to this address. The default port makes no difference (RFC 9110 §4.2.3).
fn is_at(context: &Context<'_>, location: &[u8]) -> bool {
    let scheme = context.scheme();
    let rest = location.strip_prefix(scheme.as_bytes()).and_then(|rest| rest.strip_prefix(b"://"));
    let Some(rest) = rest else { return false };
    let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let default_port: &[u8] = if scheme == "https" { b":443" } else { b":80" };
    let plain = |authority: &'_ [u8]| -> usize {
        authority.strip_suffix(default_port).map_or(authority.len(), <[u8]>::len)
    };
    let (here, there) = (&context.host[..plain(context.host)], &authority[..plain(authority)]);
    let query = context.head.query.map(|query| query.bytes(context.bytes));
    let (path, rest) = target.split_at(target.iter().position(|&byte| byte == b'?').unwrap_or(target.len()));
    here.eq_ignore_ascii_case(there)
        && path == context.forwarded_path
        && rest.strip_prefix(b"?").unwrap_or_default() == query.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    fn location(settings: Settings, sent: &Sent) -> String {
        let answer = sent.through(&chain([Any::Redirect(settings)])).answer();
        answer.trim_end().replace("\nLocation:", "")
    }

    #[test]
    fn to_https_and_not_again() {
        let https = Settings { scheme: Some("https".into()), ..Settings::default() };
        let mut sent = Sent::new("GET /a;b/%41?c=d HTTP/1.1\r\nHost: A.example:80\r\n\r\n");
        assert_eq!(location(https.clone(), &sent), "308 redirected https://A.example/a;b/%41?c=d");
        sent.tls = true;
        assert_eq!(location(https.clone(), &Sent { tls: true, ..Sent::get("/?") }), "");
        let mut behind = Sent::with("/", "X-Forwarded-Proto: https\r\n");
        assert_eq!(location(https.clone(), &behind), "308 redirected https://a.example/");
        behind.trusted = true;
        assert_eq!(location(https, &behind), "");
    }

    #[test]
    fn each_part_may_differ() {
        let settings = Settings {
            status: 302,
            host: Some("{query.h}.example".into()),
            port: Some(8443),
            path: Some("/n{path}".into()),
            query: Some("from={host}&{query}".into()),
            ..Settings::default()
        };
        assert_eq!(
            location(settings.clone(), &Sent::get("/p?h=b&x")),
            "302 redirected http://b.example:8443/n/p?from=a.example&h=b&x"
        );
        assert_eq!(location(settings, &Sent::get("/p?h=b/c")), "400 rewrite_invalid");
        let none = Settings { query: Some(String::new()), ..Settings::default() };
        assert_eq!(location(none.clone(), &Sent::get("/p?h")), "308 redirected http://a.example/p");
        assert_eq!(location(none, &Sent::get("/p")), "", "it is there already");
    }

    #[test]
    fn a_path_of_the_client_cannot_name_a_host() {
        let settings =
            Settings { path: Some("{path}".into()), scheme: Some("https".into()), ..Settings::default() };
        assert_eq!(
            location(settings, &Sent::get("//evil.example/")),
            "308 redirected https://a.example/evil.example/"
        );
        let port = Settings { port: Some(81), ..Settings::default() };
        assert_eq!(location(port, &Sent::new("GET / HTTP/1.0\r\n\r\n")), "400 rewrite_invalid");
    }

    #[test]
    fn wrong_settings_are_told() {
        let settings = Settings {
            status: 304,
            scheme: Some("ftp".into()),
            host: Some("a:1".into()),
            port: Some(0),
            path: Some("a b".into()),
            query: Some("#".into()),
        };
        let text = problems(Any::Redirect(settings));
        for key in ["status: ", "scheme: ", "host: ", "port: ", "path: ", "query: "] {
            assert!(text.lines().any(|line| line.starts_with(key)), "{key}: {text}");
        }
        assert!(problems(Any::Redirect(Settings::default())).contains("leads nowhere"));
    }
}
