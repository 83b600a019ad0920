//! `[upstreams.*]`

use std::time::Duration;

use crate::config::tree::{Spanned, Value};
use corelane_balancer::Policy;
use corelane_engine::limits::QueueRules;
use corelane_engine::retry::ATTEMPTS_MAX;
use corelane_engine::snapshot::Quarantine;

use super::affinity;
use super::breaker;
use super::filter::Filters;
use super::health;
use super::listener::{HEAD_BYTES, Listeners};
use super::outlier;
use super::retry;
use super::root::Root;
use super::tls;
use super::upstream_http2;
use crate::config::names::{self, Names};
use crate::config::reader::{ItemFault, Reader};
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::types::{BACKUP_PRIORITY, Endpoint, Target, Upstream, UpstreamLimits};
use crate::config::{address, show, value};

/// The upstreams. Also one that is wrong can be referred to.
#[derive(Debug)]
pub(super) struct Upstreams<'a> {
    /// In the order of the file.
    pub(super) all: Result<Vec<Upstream>, Reported>,
    /// Their names.
    pub(super) names: Names<'a>,
}

pub(super) fn decode<'a>(root: &Root<'a>, listeners: &Listeners<'_>, filters: &Filters<'_>) -> Upstreams<'a> {
    let mut names = Names::new();
    let entries = match root.named(Section::Upstream) {
        Ok(entries) => entries,
        Err(reported) => {
            names.set_incomplete(reported);
            return Upstreams { all: Err(reported), names };
        }
    };
    let mut all = Vec::with_capacity(entries.len());
    for (index, (key, value)) in entries.into_iter().enumerate() {
        let at = key.span().start;
        let name: &str = key.get_ref();
        let Value::Table(table) = value.get_ref() else {
            let reported = root.report().wrong(at, misplaced(name, value.get_ref()));
            names.set_incomplete(reported);
            all.push(Err(reported));
            continue;
        };
        // The tree has each name once: TOML refuses a second section of the same name.
        let _ = names.add(name, index, at);
        let checked = names::checked(name).map(str::to_owned);
        let checked = checked.map_err(|text| root.report().wrong(at, format!("upstream {text}")));
        let section = Reader::named(Section::Upstream, name, (table, value.span().start), root.report());
        all.push(upstream(&section, checked, listeners, filters));
    }
    Upstreams { all: super::all(all), names }
}

fn upstream(
    section: &Reader<'_>,
    name: Result<String, Reported>,
    listeners: &Listeners<'_>,
    filters: &Filters<'_>,
) -> Result<Upstream, Reported> {
    let timeout = |key| section.or_default(key, |value| value::duration(value, Duration::ZERO));
    let policies = Policy::ALL.map(|policy| (policy.name(), policy));
    let policy = section.or_default("policy", |value| value::choice(value, &policies));
    let key = affinity::key(section, &policy);
    let sticky = affinity::seating(section);
    let slow_start = timeout("slow_start");
    let endpoints = endpoints(section, listeners);
    let connect_timeout = timeout("connect_timeout");
    let response_head_timeout = timeout("response_head_timeout");
    let body_idle_timeout = timeout("body_idle_timeout");
    let idle_timeout = timeout("idle_timeout");
    let request_timeout = timeout("request_timeout");
    let idle_connections_max =
        section.or_default("idle_connections_max", |value| value::integer(value, 0..=65_535));
    let attempts_max = section.or_default("attempts_max", |value| value::integer(value, 1..=ATTEMPTS_MAX));
    let retry = retry::decode(section);
    let head_bytes_max = section.or_default("head_bytes_max", |value| value::size(value, HEAD_BYTES));
    let tunnel_idle_timeout = timeout("tunnel_idle_timeout");
    let quarantine = quarantine(section);
    let mut health = health::decode(section, endpoints.as_deref().ok());
    let panic_percent = section.or_default("panic_threshold", |value| value::share(value, 0));
    let outlier = outlier::decode(section, &retry);
    let most = |key| section.or_default(key, |value| value::integer(value, 0..=1_000_000));
    let (requests_max, retries_max) = (most("requests_max"), most("retries_max"));
    let breaker = breaker::decode(section);
    let is_unlimited = requests_max.as_ref().is_ok_and(|max| *max == 0);
    let queue = queue(section, endpoints.as_deref().ok().filter(|_| is_unlimited));
    let filters = filters.listed(section);
    let is_told = |endpoints: &Vec<Endpoint>| endpoints.iter().any(|it| it.tls);
    let protocol = upstream_http2::protocol(section);
    let tls = tls::of_upstream(section, endpoints.as_ref().is_ok_and(is_told), protocol.as_ref().ok());
    let http2 = upstream_http2::rules(section);
    let mut endpoints = endpoints?;
    if section.has("tls") {
        endpoints.iter_mut().for_each(|it| it.tls = true);
    }
    let protocol = protocol?;
    upstream_http2::check(section, protocol, &endpoints, retry.as_ref().ok())?;
    if let Ok(Some(health)) = &mut health {
        health::set_protocol(health, protocol);
    }
    Ok(Upstream {
        name: name?.into(),
        policy: policy?,
        key: key?,
        sticky: sticky?,
        slow_start: slow_start?,
        endpoints,
        connect_timeout: connect_timeout?,
        response_head_timeout: response_head_timeout?,
        body_idle_timeout: body_idle_timeout?,
        idle_timeout: idle_timeout?,
        request_timeout: request_timeout?,
        idle_connections_max: idle_connections_max? as usize,
        attempts_max: attempts_max?,
        retry: retry?,
        head_bytes_max: head_bytes_max?,
        tunnel_idle_timeout: tunnel_idle_timeout?,
        quarantine: quarantine?,
        health: health?,
        panic_percent: panic_percent?,
        outlier: outlier?,
        limits: UpstreamLimits { requests_max: requests_max?, retries_max: retries_max? },
        breaker: breaker?,
        queue: queue?,
        filters: filters?,
        protocol,
        http2: http2?,
        tls: tls?,
    })
}

fn quarantine(section: &Reader<'_>) -> Result<Quarantine, Reported> {
    let strikes_max = section.or_default("quarantine_after", |value| value::integer(value, 0..=65_535));
    let time = section.or_default("quarantine_time", |value| value::duration(value, Duration::from_secs(1)));
    Ok(Quarantine { strikes_max: strikes_max?, time: time? })
}

fn queue(section: &Reader<'_>, endpoints: Option<&[Endpoint]>) -> Result<Option<QueueRules>, Reported> {
    let Some(table) = section.table("queue", Section::Queue)? else { return Ok(None) };
    let requests_max = table.required("requests_max", |value| value::integer(value, 1..=1_000_000));
    let timeout = table.or_default("timeout", |value| value::duration(value, Duration::from_millis(100)));
    let rules = QueueRules { requests_max: requests_max?, timeout: timeout? };
    let is_unlimited = |it: &Endpoint| it.requests_max == 0 && it.connections_max == 0;
    if endpoints.is_some_and(|endpoints| endpoints.iter().all(is_unlimited)) {
        let message = "queue needs requests_max, or connections_max of an endpoint; none is set".to_owned();
        return Err(section.report().wrong(section.at("queue"), message));
    }
    Ok(Some(rules))
}

fn endpoints(section: &Reader<'_>, listeners: &Listeners<'_>) -> Result<Vec<Endpoint>, Reported> {
    let items = section.items("endpoints", "endpoint", shown, |item| endpoint(section, item, listeners))?;
    items.ok_or_else(|| section.lacks("endpoints"))
}

fn endpoint<'a>(
    section: &Reader<'a>,
    item: &'a Spanned<Value>,
    listeners: &Listeners<'_>,
) -> Result<Endpoint, ItemFault> {
    let target = |value: &Value| {
        let (target, tls) = address::endpoint(value::string(value)?)?;
        refuse_loop(section, &target, listeners).map(|()| (target, tls))
    };
    let Value::Table(table) = item.get_ref() else {
        let (target, tls) = target(item.get_ref())?;
        return Ok(Endpoint { tls, ..Endpoint::new(target) });
    };
    let table = Reader::new(Section::Endpoint, table, item.span().start, section.report());
    let target = table.required("address", target);
    let weight = table.or_default("weight", |value| value::integer(value, 0..=65_535));
    let priority = priority(&table);
    let limit = |key| table.or_default(key, |value| value::integer(value, 0..=1_000_000));
    let (requests_max, connections_max) = (limit("requests_max"), limit("connections_max"));
    let endpoint = || {
        let (target, tls) = target?;
        Ok(Endpoint {
            target,
            tls,
            weight: weight?,
            priority: priority?,
            requests_max: requests_max?,
            connections_max: connections_max?,
        })
    };
    endpoint().map_err(ItemFault::Reported)
}

fn priority(table: &Reader<'_>) -> Result<u32, Reported> {
    let priority = table.or_default("priority", |value| value::integer(value, 0..=BACKUP_PRIORITY - 1));
    let is_backup = table.or_default("backup", value::boolean)?;
    if is_backup && table.has("priority") {
        let message = "backup stands beside priority; a backup comes after every other endpoint".to_owned();
        return Err(table.report().wrong(table.at("backup"), message));
    }
    if is_backup { Ok(BACKUP_PRIORITY) } else { priority }
}

/// A proxy that is its own upstream answers nothing until it runs out of sockets.
fn refuse_loop(section: &Reader<'_>, target: &Target, listeners: &Listeners<'_>) -> Result<(), String> {
    let Target::Address(address) = target else { return Ok(()) };
    match listeners.at(address) {
        None => Ok(()),
        Some(at) => {
            let line = section.report().line(at);
            let shown = show::quoted(&address.to_string());
            Err(format!("{shown} is the listener in line {line}; the proxy would send requests to itself"))
        }
    }
}

fn misplaced(name: &str, value: &Value) -> String {
    if Section::Upstream.keys().any(|key| key.name == name) {
        return format!("key \"{name}\" stands in [upstreams]; write it below [upstreams.NAME]");
    }
    if value.as_array().is_some_and(|items| items.iter().all(|item| item.get_ref().is_table())) {
        return format!("upstream {} is a list of tables; write [upstreams.NAME]", show::quoted(name));
    }
    let (shown, kind) = (show::quoted(name), show::kind(value));
    format!("upstream {shown} is {kind}; expected a section, [upstreams.NAME]")
}

fn shown(endpoint: &Endpoint) -> String {
    endpoint.target.to_string()
}
