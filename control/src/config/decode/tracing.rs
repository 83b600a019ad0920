//! `[tracing]`

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use corelane_engine::tracing::Parents;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::access_log::{api_keys, redacted};
use super::action::share;
use crate::config::reader::Reader;
use crate::config::report::Reported;
use crate::config::show;
use crate::config::tree::Value;
use crate::config::types::{Collector, Filter, SecretFields, Tracing, TracingProtocol};
use crate::config::value::{self, Parsed};

const PROTOCOLS: [(&str, TracingProtocol); 2] =
    [("http/protobuf", TracingProtocol::Http), ("grpc", TracingProtocol::Grpc)];

const PARENTS: [(&str, Parents); 3] =
    [("trusted", Parents::Trusted), ("all", Parents::All), ("none", Parents::None)];

/// An export that hardly waits would never succeed.
const TIMEOUT_LEAST: Duration = Duration::from_millis(100);

/// Names of services are short; collectors refuse what is beyond all measure.
const SERVICE_NAME_CHARS_MAX: usize = 255;

pub(super) fn decode(
    section: Option<&Reader<'_>>,
    filters: Option<&[Filter]>,
) -> Result<Option<Tracing>, Reported> {
    let Some(section) = section else { return Ok(None) };
    let protocol = section.or_default("protocol", |value| value::choice(value, &PROTOCOLS));
    let collector = match protocol {
        Ok(protocol) => section.required("endpoint", |value| collector(value::string(value)?, protocol)),
        Err(reported) => Err(reported),
    };
    let sample = section.or_default("sample", |value| share(value, 0));
    let service_name = section.or_default("service_name", service_name);
    let fields = fields(section);
    let parents = section.or_default("parents", |value| value::choice(value, &PARENTS));
    let redacted = redacted(section, api_keys(filters).1);
    let timeout = section.or_default("timeout", |value| value::duration(value, TIMEOUT_LEAST));
    Ok(Some(Tracing {
        collector: collector?,
        protocol: protocol?,
        share: sample?,
        service_name: service_name?,
        fields: fields?,
        parents: parents?,
        redacted: redacted?,
        timeout: timeout?,
    }))
}

/// `http://host`, with a port and a path if there is need.
fn collector(text: &str, protocol: TracingProtocol) -> Parsed<Collector> {
    let shown = show::quoted(text);
    let wrong = |why: &str| format!("{shown} {why}; write e.g. \"http://127.0.0.1:4318\"");
    if text.starts_with("https://") {
        return Err(format!(
            "{shown} asks for TLS, which exports do not have; write http:// and the address of a collector nearby"
        ));
    }
    let uri: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("does not begin with http://"));
    };
    if authority.as_str().contains('@') {
        return Err("has a name or a password in it; put credentials into headers".to_owned());
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(wrong("has more than a path behind its host"));
    }
    let (path, default_port) = match protocol {
        TracingProtocol::Http => {
            let path = uri.path().trim_end_matches('/');
            (format!("{}{HTTP_PATH}", path.strip_suffix(HTTP_PATH).unwrap_or(path)), 4318)
        }
        TracingProtocol::Grpc if uri.path() != "/" => {
            return Err(format!("{shown} has a path, which gRPC does not"));
        }
        TracingProtocol::Grpc => (GRPC_PATH.to_owned(), 4317),
    };
    let host = authority.host();
    let port = match &authority.as_str()[host.len()..] {
        "" => default_port,
        port => port[1..].parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("has no valid port"))?,
    };
    Ok(Collector {
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        authority: format!("{host}:{port}"),
        path,
    })
}

const HTTP_PATH: &str = "/v1/traces";
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn service_name(value: &Value) -> Parsed<Arc<str>> {
    let text = value::string(value)?;
    let is_allowed = !text.is_empty()
        && text.chars().count() <= SERVICE_NAME_CHARS_MAX
        && !text.chars().any(char::is_control);
    if is_allowed { Ok(text.into()) } else { Err(format!("{} is not a name", show::quoted(text))) }
}

/// Messages name the fields and never show a value.
fn fields(section: &Reader<'_>) -> Result<SecretFields, Reported> {
    let Some(value) = section.value("headers") else { return Ok(SecretFields::default()) };
    let report = section.report();
    let Value::Table(table) = value.get_ref() else {
        let example = "a table, e.g. { Authorization = \"Bearer ${TOKEN}\" }";
        let message = value::wrong_kind(value.get_ref(), example);
        return Err(report.wrong(value.span().start, format!("headers {message}")));
    };
    let (mut fields, mut names, mut failed) = (Vec::new(), HashSet::new(), None);
    for (key, value) in table {
        let name = show::quoted(key.get_ref());
        let parsed = HeaderName::try_from(&**key.get_ref());
        let message = match (parsed, value.get_ref()) {
            (Err(_), _) => format!("header {name} is not the name of a field"),
            (Ok(parsed), _) if OURS.contains(&parsed.as_str()) || parsed.as_str().starts_with("grpc-") => {
                format!("header {name} is set by Corelane itself")
            }
            (Ok(parsed), Value::String(text)) => match HeaderValue::try_from(&**text) {
                Ok(_) if !names.insert(parsed.clone()) => format!("header {name} is there twice"),
                Ok(mut value) => {
                    value.set_sensitive(true);
                    fields.push((parsed, value));
                    continue;
                }
                Err(_) => format!("header {name} has a value that no field may have"),
            },
            (Ok(_), other) => format!("header {name} is {}; expected a string", show::kind(other)),
        };
        failed = Some(report.wrong(value.span().start, message));
    }
    failed.map_or(Ok(SecretFields(fields)), Err)
}

/// What the length, the connection and the protocol rest on.
const OURS: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_http_is_added_once() {
        for (endpoint, path) in [
            ("http://a.test", "/v1/traces"),
            ("http://a.test:4318/", "/v1/traces"),
            ("http://a.test/otlp/", "/otlp/v1/traces"),
            ("http://a.test:4318/v1/traces", "/v1/traces"),
            ("http://a.test/otlp/v1/traces/", "/otlp/v1/traces"),
            ("http://a.test/my-v1/traces", "/my-v1/traces/v1/traces"),
        ] {
            let collector = collector(endpoint, TracingProtocol::Http).expect(endpoint);
            assert_eq!((&*collector.path, &*collector.authority), (path, "a.test:4318"), "{endpoint}");
        }
        let error = collector("http://a.test:4317/v1/traces", TracingProtocol::Grpc).expect_err("a path");
        assert!(error.contains("has a path, which gRPC does not"), "{error}");
    }
}
