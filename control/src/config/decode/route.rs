//! `[[routes]]`

use crate::config::tree::{Spanned, Value};
use corelane_engine::action::Action;
use corelane_engine::snapshot::HostPolicy;
use corelane_routing::{Conflict, HostPattern, PathPattern, PatternError, Router, Rule};

use super::filter::Filters;
use super::listener::Listeners;
use super::upstream::Upstreams;
use super::{action, conditions};
use crate::config::names::{self, Names};
use crate::config::reader::{ItemFault, Reader};
use crate::config::reference::Section;
use crate::config::report::{Report, Reported};
use crate::config::types::Route;
use crate::config::value::Parsed;
use crate::config::{address, show, token, value};

/// What routes refer to.
pub(super) struct Others<'o> {
    pub(super) listeners: &'o Listeners<'o>,
    pub(super) upstreams: &'o Upstreams<'o>,
    pub(super) filters: &'o Filters<'o>,
}

/// What a mistake of a route's filters is told with.
pub(super) struct Filtered<'a> {
    /// Where the route lists its filters, or opens.
    pub(super) at: usize,
    /// The table of the answer that it gives itself.
    pub(super) answer: Option<&'a Spanned<Value>>,
}

/// The routes, and where their filters are.
pub(super) fn decode<'a>(
    sections: Result<Vec<Reader<'a>>, Reported>,
    others: &Others<'_>,
    report: &Report<'_>,
) -> (Result<Vec<Route>, Reported>, Vec<Filtered<'a>>) {
    match sections {
        Ok(sections) => {
            let filtered = sections.iter().map(|section| Filtered {
                at: section.at("filters"),
                answer: action::given(section).find_map(|kind| section.value(kind)),
            });
            let filtered = filtered.collect();
            (routes(&sections, others, report), filtered)
        }
        Err(reported) => (Err(reported), Vec::new()),
    }
}

fn routes<'a>(
    sections: &[Reader<'a>],
    others: &Others<'_>,
    report: &Report<'_>,
) -> Result<Vec<Route>, Reported> {
    let mut names = Names::new();
    let mut all = Vec::with_capacity(sections.len());
    let mut rules = Vec::with_capacity(sections.len());
    let mut starts = Vec::with_capacity(sections.len());
    for (index, section) in sections.iter().enumerate() {
        let name = name(section, index, &mut names);
        let rule = rule(section, others.listeners);
        all.push(route(section, name, &rule, others));
        if let Ok(rule) = rule {
            rules.push(rule);
            starts.push(section.start());
        }
    }
    let distinct = refuse_conflicts(&rules, &starts, others.listeners, report);
    let all = super::all(all);
    distinct.and(all)
}

fn route(
    section: &Reader<'_>,
    name: Result<&str, Reported>,
    rule: &Result<Rule, Reported>,
    others: &Others<'_>,
) -> Result<Route, Reported> {
    let action = action::action(section, others.upstreams);
    let mirror = action::mirror(section, others.upstreams);
    let filters = others.filters.listed(section);
    let timeouts = action::timeouts(section);
    let host = section.or_default("host", host);
    let body_bytes_max = section.or_default("body_bytes_max", |value| value::size(value, 0..=BODY_BYTES_MAX));
    let upgrades = section.short_list("upgrades", "upgrade", protocol);
    let grpc_web = section.or_default("grpc_web", value::boolean);
    let access_log = section.or_default("access_log", value::boolean);
    let (action, answer) = action?;
    let grpc_web = grpc_web.and_then(|is_wanted| refuse_http1(section, is_wanted, &action, others.upstreams));
    let Rule { listeners, hosts, path, conditions, priority } =
        rule.as_ref().map_err(|reported| *reported)?;
    Ok(Route {
        name: name?.into(),
        listeners: listeners.clone(),
        hosts: hosts.clone(),
        path: path.clone(),
        conditions: conditions.clone(),
        priority: *priority,
        action,
        answer,
        mirror: mirror?,
        filters: filters?,
        timeouts: timeouts?,
        host: host?,
        body_bytes_max: body_bytes_max? as u64,
        upgrades: upgrades?.into_iter().map(String::into_boxed_str).collect(),
        grpc_web: grpc_web?,
        access_log: access_log?,
    })
}

/// gRPC is spoken over HTTP/2.
fn refuse_http1(
    section: &Reader<'_>,
    is_wanted: bool,
    action: &Action,
    upstreams: &Upstreams<'_>,
) -> Result<bool, Reported> {
    // Where an upstream is wrong that is told.
    let known = |index| upstreams.all.as_ref().ok().and_then(|all| all.get(index));
    let mut known = action.upstreams().filter_map(known);
    match known.find(|upstream| is_wanted && !upstream.protocol.may_be_http2()) {
        None => Ok(is_wanted),
        Some(upstream) => {
            let shown = show::quoted(&upstream.name);
            let text = format!(
                "gRPC-Web is translated to gRPC, which is spoken over HTTP/2; the protocol of the upstream {shown} has to be \
                 \"h2\", \"h2c\" or \"auto\""
            );
            Err(section.report().wrong(section.at("grpc_web"), text))
        }
    }
}

/// The name; without one, the upstream's.
fn name<'a>(section: &Reader<'a>, index: usize, names: &mut Names<'a>) -> Result<&'a str, Reported> {
    let report = section.report();
    let named = section.optional("name", |value| names::checked(value::string(value)?))?;
    if let Some(name) = named {
        let at = section.at("name");
        let first = names.add(name, index, at);
        return first.map(|()| name).map_err(|first| names::twice(report, at, "name", name, first));
    }
    if let Some(action) = action::given(section).find(|_| !section.has("upstream")) {
        let message = format!("this route needs a name: {action} has none to give it");
        return Err(report.missing(section.start(), message));
    }
    let name = section.text("upstream").ok_or(Reported)?;
    names.add(name, index, section.at("upstream")).map(|()| name).map_err(|first| {
        let (shown, line) = (show::quoted(name), report.line(first));
        let message = format!(
            "this route needs a name of its own: without one it is called {shown} like its upstream, \
             which is the name of the route in line {line}"
        );
        report.missing(section.start(), message)
    })
}

fn rule(section: &Reader<'_>, listeners: &Listeners<'_>) -> Result<Rule, Reported> {
    let on = listeners.listed(section).map(|on| on.unwrap_or_else(|| (0..listeners.count).collect()));
    let hosts = hosts(section);
    let path = path(section);
    let conditions = conditions::decode(section);
    let priority = conditions::priority(section);
    Ok(Rule { listeners: on?, hosts: hosts?, path: path?, conditions: conditions?, priority: priority? })
}

fn hosts(section: &Reader<'_>) -> Result<Vec<HostPattern>, Reported> {
    let hosts = section.items("hosts", "host", HostPattern::to_string, |item| match item.get_ref() {
        Value::Table(table) => {
            let table = Reader::new(Section::RouteHost, table, item.span().start, section.report());
            let regex = table.required("regex", |value| pattern(value, HostPattern::regex));
            regex.map_err(ItemFault::Reported)
        }
        text => Ok(pattern(text, HostPattern::parse)?),
    })?;
    Ok(hosts.unwrap_or_default())
}

fn path(section: &Reader<'_>) -> Result<PathPattern, Reported> {
    let root = || PathPattern::prefix("/").map_err(|_| Reported);
    let Some(table) = section.table("path", Section::Path)? else { return root() };
    let prefix = table.optional("prefix", |value| pattern(value, PathPattern::prefix));
    let exact = table.optional("exact", |value| pattern(value, PathPattern::exact));
    let regex = table.optional("regex", |value| pattern(value, PathPattern::regex));
    let one = "write { prefix = \"/...\" }, { exact = \"/...\" } or { regex = \"^/...\" }";
    let mut given = [prefix?, exact?, regex?].into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(pattern), None) => Ok(pattern),
        (None, _) if ["prefix", "exact", "regex"].iter().any(|key| table.is_misspelt(key)) => Err(Reported),
        (None, _) => Err(section.report().missing(table.start(), format!("path is empty; {one}"))),
        (Some(_), Some(_)) => {
            Err(section.report().wrong(table.start(), format!("path is matched in one way; {one}")))
        }
    }
}

fn pattern<T>(value: &Value, make: fn(&str) -> Result<T, PatternError>) -> Parsed<T> {
    let text = value::string(value)?;
    make(text).map_err(|error| conditions::refused(text, &error))
}

fn host(value: &Value) -> Parsed<HostPolicy> {
    match value::string(value)? {
        "preserve" => Ok(HostPolicy::Preserve),
        text => address::host_field(text).map(HostPolicy::Set),
    }
}

/// 1 PiB: more than any connection brings in a year.
const BODY_BYTES_MAX: usize = 1 << 50;

/// `protocol-name ["/" protocol-version]` (RFC 9110 §7.8), in lower case, as names are compared without it.
fn protocol(text: &str) -> Parsed<String> {
    let (name, version) = text.split_once('/').map_or((text, None), |(name, version)| (name, Some(version)));
    let shown = show::quoted(text);
    if !token::is_token(name) || version.is_some_and(|version| !token::is_token(version)) {
        return Err(format!("{shown} is not a protocol; write e.g. \"websocket\" or \"spdy/3.1\""));
    }
    // Requests in it would pass unseen by every rule.
    if matches!(&*name.to_ascii_lowercase(), "h2c" | "h2") {
        return Err(format!(
            "{shown} is never forwarded: HTTP/2 in clear text would carry requests past every rule"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// Routes that match the same requests: which of them answers would be anyone's guess.
fn refuse_conflicts(
    rules: &[Rule],
    starts: &[usize],
    listeners: &Listeners<'_>,
    report: &Report<'_>,
) -> Result<(), Reported> {
    let Err(mut conflicts) = Router::build(rules, listeners.count) else { return Ok(()) };
    // Two routes may meet on many listeners: one is enough to say.
    conflicts.dedup_by_key(|conflict| (conflict.first, conflict.second));
    let mut failed = Ok(());
    for conflict in conflicts {
        let line = report.line(starts[conflict.first]);
        let what = meeting(rules, &conflict);
        let on = listeners
            .names
            .of(conflict.listener)
            .map_or_else(String::new, |name| format!(" on listener {}", show::quoted(name)));
        let message = format!("this route matches the same requests as the route in line {line}: {what}{on}");
        failed = Err(report.missing(starts[conflict.second], message));
    }
    failed
}

/// `host "a.example" and path prefix "/"`
fn meeting(rules: &[Rule], conflict: &Conflict) -> String {
    let (first, second) = (&rules[conflict.first], &rules[conflict.second]);
    let host = match second.hosts.iter().find(|host| first.hosts.contains(host)) {
        Some(host) => format!("host {}", show::quoted(&host.to_string())),
        None => "any host".to_owned(),
    };
    let kind = match second.path {
        PathPattern::Exact(_) => "exact",
        PathPattern::Prefix(_) => "prefix",
        PathPattern::Regex(_) => "regex",
    };
    let path = show::quoted(&second.path.to_string());
    match second.conditions.is_empty() {
        true => format!("{host} and path {kind} {path}"),
        false => format!("{host}, path {kind} {path} and the same conditions"),
    }
}
