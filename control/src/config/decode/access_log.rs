//! `[access_log]`

use std::ops::RangeInclusive;
use std::time::Duration;

use corelane_engine::record::{COMBINED, COMMON, LogFormat, SamplingRule, Surroundings};
use corelane_filters::Settings;
use corelane_filters::filter::api_key;
use corelane_semantics::MethodSet;

use super::action::share;
use crate::config::reader::{ItemFault, Reader};
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::tree::{Spanned, Value};
use crate::config::types::{AccessLog, Filter, LogTarget, Route, Sampling, Syslog, SyslogTarget};
use crate::config::value::{self, Parsed};
use crate::config::{address, show, suggest, token};

/// Rules of sampling at most: each request may be compared with every one.
const RULES_MAX: usize = 100;

/// What the section refers to, where it could be read.
pub(super) struct Others<'o> {
    pub(super) routes: Option<&'o [Route]>,
    pub(super) filters: Option<&'o [Filter]>,
}

pub(super) fn decode(
    section: Option<&Reader<'_>>,
    others: &Others<'_>,
) -> Result<Option<AccessLog>, Reported> {
    let Some(section) = section else { return Ok(None) };
    let target = section.required("path", |value| target(value::string(value)?));
    let syslog = syslog(section, target.as_ref().ok());
    let (key_fields, key_parameters) = api_keys(others.filters);
    let format = format(section, &key_fields);
    let redacted = redacted(section, key_parameters);
    let sampling = sampling(section, others.routes);
    let target = match (target?, syslog?) {
        (LogTarget::Syslog(syslog), (facility, app_name)) => {
            LogTarget::Syslog(Syslog { facility, app_name, ..syslog })
        }
        (target, _) => target,
    };
    Ok(Some(AccessLog { target, format: format?, redacted: redacted?, sampling: sampling? }))
}

/// `redact_query`, and what `api_key` filters read.
pub(super) fn redacted(section: &Reader<'_>, key_parameters: Vec<String>) -> Result<Vec<String>, Reported> {
    let mut redacted = section.short_list("redact_query", "parameter", parameter)?;
    redacted.extend(key_parameters);
    Ok(redacted)
}

fn target(text: &str) -> Parsed<LogTarget> {
    let shown = show::quoted(text);
    match text {
        "stdout" => return Ok(LogTarget::Stdout),
        "stderr" => return Ok(LogTarget::Stderr),
        "" => return Err(format!("{shown} is empty; write \"stdout\", \"stderr\" or the path of a file")),
        _ => {}
    }
    if let Some(server) = text.strip_prefix("syslog:") {
        return syslog_target(server)
            .map(|target| LogTarget::Syslog(Syslog { target, facility: 0, app_name: String::new() }));
    }
    if text.ends_with('/') || text.contains('\0') {
        return Err(format!("{shown} is not the path of a file; write \"stdout\", \"stderr\" or one"));
    }
    // A file named like this is possible, but was hardly meant.
    let near = suggest::nearest(text, ["stdout", "stderr"]);
    if let Some(near) = near.filter(|_| !text.contains('/')) {
        let file = show::quoted(&format!("./{text}"));
        return Err(format!("{shown} is not known; did you mean \"{near}\"? (a file of this name: {file})"));
    }
    Ok(LogTarget::File(text.into()))
}

fn syslog_target(text: &str) -> Parsed<SyslogTarget> {
    let shown = show::quoted(&format!("syslog:{text}"));
    let forms =
        "write \"syslog:udp://127.0.0.1:514\", \"syslog:tcp://log.internal:601\" or \"syslog:unix:/dev/log\"";
    let server = |text: &str| match text.is_empty() || text.starts_with("unix:") {
        true => Err(format!("{shown} names no server; {forms}")),
        false => address::target(text).map(|_| text.to_owned()),
    };
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with('/') && !path.ends_with('/') && !path.contains('\0') {
            true => Ok(SyslogTarget::Unix(path.into())),
            false => Err(format!("{shown} has no absolute path of a socket; {forms}")),
        };
    }
    match text.split_once("://") {
        Some(("udp", text)) => server(text).map(SyslogTarget::Udp),
        Some(("tcp", text)) => server(text).map(SyslogTarget::Tcp),
        _ => Err(format!("{shown} is no way to a syslog server; {forms}")),
    }
}

/// The facility, and what the program is called.
fn syslog(section: &Reader<'_>, target: Option<&LogTarget>) -> Result<(u8, String), Reported> {
    let facility = section.or_default("syslog_facility", |value| value::choice(value, &FACILITIES));
    let app_name = section.or_default("syslog_app_name", app_name);
    let is_other = target.is_some_and(|target| !matches!(target, LogTarget::Syslog(_)));
    let surplus = ["syslog_facility", "syslog_app_name"].into_iter().find(|key| section.has(key));
    if let (true, Some(key)) = (is_other, surplus) {
        let message = format!("{key} is for a path that begins with \"syslog:\"");
        return Err(section.report().wrong(section.at(key), message));
    }
    Ok((facility?, app_name?))
}

/// RFC 5424 §6.2.1, without those that only a kernel or a clock writes.
const FACILITIES: [(&str, u8); 19] = [
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// RFC 5424 §6.2.5.
fn app_name(value: &Value) -> Parsed<String> {
    let text = value::string(value)?;
    match (1..=48).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{} is no name of a program; allowed: 1 to 48 visible ASCII characters",
            show::quoted(text)
        )),
    }
}

fn format(section: &Reader<'_>, key_fields: &[&str]) -> Result<LogFormat, Reported> {
    let hostname = crate::syslog::hostname();
    let around = Surroundings {
        environment: &|name| std::env::var(name).ok(),
        hostname: &hostname,
        pid: std::process::id(),
        key_fields,
    };
    let format = section.or_default("format", |value| {
        let text = value::string(value)?;
        let template = match text {
            "json" => return Ok(LogFormat::default()),
            "common" => COMMON,
            "combined" => COMBINED,
            text if !text.contains('{') => {
                let meant = suggest::did_you_mean(text, ["json", "common", "combined"]);
                return Err(format!("{} is no format and has no variable{meant}", show::quoted(text)));
            }
            text => text,
        };
        LogFormat::text(template, &around).map_err(|error| {
            let characters = text.char_indices().take_while(|(index, _)| *index < error.position);
            format!("{}: {} (at character {})", show::quoted(text), error.message, characters.count() + 1)
        })
    });
    let fields = section.value("fields");
    let mut format = format?;
    let Some(fields) = fields else { return Ok(format) };
    let report = section.report();
    if format != LogFormat::default() {
        let message = "fields are for the format \"json\"".to_owned();
        return Err(report.wrong(fields.span().start, message));
    }
    let Value::Table(table) = fields.get_ref() else {
        let expected = "a table, e.g. { user_agent = \"header.user-agent\" }";
        let message = value::wrong_kind(fields.get_ref(), expected);
        return Err(report.wrong(fields.span().start, format!("fields {message}")));
    };
    let mut failed = None;
    for (key, value) in table {
        let name = value::string(value.get_ref());
        let added = name.and_then(|name| format.add_field(key.get_ref(), name, &around));
        if let Err(text) = added {
            let message = format!("fields: {}: {text}", show::quoted(key.get_ref()));
            failed = Some(report.wrong(value.span().start, message));
        }
    }
    failed.map_or(Ok(format), Err)
}

/// Where `api_key` filters look for keys: fields, and parameters of the query.
pub(super) fn api_keys(filters: Option<&[Filter]>) -> (Vec<&str>, Vec<String>) {
    let (mut fields, mut parameters) = (Vec::new(), Vec::new());
    for filter in filters.unwrap_or_default() {
        let Settings::ApiKey(settings) = &filter.settings else { continue };
        match &settings.place {
            api_key::Place::Header(name) => fields.push(&**name),
            api_key::Place::Query(name) => parameters.push(name.clone()),
        }
    }
    (fields, parameters)
}

fn parameter(text: &str) -> Parsed<String> {
    match (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!("{} is no name; allowed: 1 to 64 visible ASCII characters", show::quoted(text))),
    }
}

fn sampling(section: &Reader<'_>, routes: Option<&[Route]>) -> Result<Vec<Sampling>, Reported> {
    let place = |(at, _): &(usize, Sampling)| at.to_string();
    let rules = section.any_items("sampling", "rule", place, |item| {
        let rule = rule(section, item, routes)?;
        Ok((item.span().start, rule))
    })?;
    if rules.len() > RULES_MAX {
        let message = format!("sampling has {} items; allowed: at most {RULES_MAX}", rules.len());
        return Err(section.report().wrong(section.at("sampling"), message));
    }
    Ok(rules.into_iter().map(|(_, rule)| rule).collect())
}

fn rule<'a>(
    section: &Reader<'a>,
    item: &'a Spanned<Value>,
    routes: Option<&[Route]>,
) -> Result<Sampling, ItemFault> {
    let Value::Table(table) = item.get_ref() else {
        let expected = "a table, e.g. { statuses = [\"2xx\"], share = \"1%\" }";
        return Err(ItemFault::Wrong(value::wrong_kind(item.get_ref(), expected)));
    };
    let table = Reader::new(Section::Sampling, table, item.span().start, section.report());
    let share = table.required("share", |value| share(value, 0));
    let named = table.items(
        "routes",
        "route",
        |(_, name): &(usize, String)| name.clone(),
        |item| {
            let name = value::string(item.get_ref())?;
            let Some(routes) = routes else { return Err(ItemFault::Reported(Reported)) };
            match routes.iter().position(|route| *route.name == *name) {
                Some(index) => Ok((index, name.to_owned())),
                None => {
                    let meant = suggest::did_you_mean(name, routes.iter().map(|route| &*route.name));
                    Err(ItemFault::Missing(format!("{} is not defined{meant}", show::quoted(name))))
                }
            }
        },
    );
    let statuses = table.items("statuses", "status", |it| format!("{it:?}"), |item| Ok(status(item)?));
    let methods = table.items("methods", "method", String::clone, |item| {
        let name = value::string(item.get_ref())?;
        Ok(token::checked(name, "method")?.to_owned())
    });
    let duration_min = table.or_default("duration_min", |value| value::duration(value, Duration::ZERO));
    let failed = table.optional("failed", value::boolean);
    let rule = || {
        let named = named?;
        let methods = methods?.map(|methods| MethodSet::new(methods.iter().map(String::as_bytes)));
        Ok(Sampling {
            routes: named.map(|named| {
                let mut routes: Vec<usize> = named.into_iter().map(|(index, _)| index).collect();
                routes.sort_unstable();
                routes
            }),
            rule: SamplingRule {
                statuses: statuses?.unwrap_or_default(),
                methods,
                duration_min_ns: u64::try_from(duration_min?.as_nanos()).unwrap_or(u64::MAX),
                failed: failed?,
                share: share?,
            },
        })
    };
    rule().map_err(ItemFault::Reported)
}

/// A status, or a class of them.
fn status(item: &Spanned<Value>) -> Parsed<RangeInclusive<u16>> {
    let allowed = "allowed: 100 to 599, \"1xx\" to \"5xx\"";
    let wrong = |shown: String| format!("{shown} is not a status; {allowed}");
    match item.get_ref() {
        Value::String(text) => match text.as_bytes() {
            [class @ b'1'..=b'5', b'x', b'x'] => {
                let first = u16::from(class - b'0') * 100;
                Ok(first..=first + 99)
            }
            _ => Err(wrong(show::quoted(text))),
        },
        value => {
            let number = value::integer(value, 100..=599).map_err(|_| wrong(show::value(value)))?;
            let number = u16::try_from(number).map_err(|error| error.to_string())?;
            Ok(number..=number)
        }
    }
}
