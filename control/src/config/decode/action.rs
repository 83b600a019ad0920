//! What a route does with its requests: `upstream` or `split`, `sticky`, `mirror` and the route's own timeouts.

use std::time::Duration;

use corelane_engine::action::{
    Action, Destination, MirrorRule, RouteTimeouts, SHARE_ALL, Split, Sticky, StickyCookie, Token,
};
use corelane_filters::Settings;

use super::filter;
use super::upstream::Upstreams;
use crate::config::reader::{ItemFault, Reader};
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::tree::{Spanned, Value};
use crate::config::value::Parsed;
use crate::config::{show, token, value};

/// Exactly one action, and the answer of one that is no upstream.
pub(super) fn action(
    section: &Reader<'_>,
    upstreams: &Upstreams<'_>,
) -> Result<(Action, Option<Settings>), Reported> {
    let given: Vec<&str> = given(section).collect();
    if let [first, second, ..] = given[..] {
        let one = ACTIONS.join(", ");
        let message = format!("{second} stands beside {first}; a route has exactly one of {one}");
        return Err(section.report().wrong(section.at(second), message));
    }
    match given[..] {
        [kind @ ("redirect" | "respond" | "maintenance")] => {
            let Some(value) = section.value(kind) else { return Err(Reported) };
            let settings = filter::settings_of(kind, section, value)?;
            Ok((Action::Answer, Some(settings)))
        }
        _ => Ok((upstream_or_split(section, upstreams)?, None)),
    }
}

/// The actions that a route names: one, if it is right.
pub(super) fn given<'r>(section: &'r Reader<'_>) -> impl Iterator<Item = &'static str> + 'r {
    ACTIONS.into_iter().filter(|key| section.has(key))
}

/// The keys of which a route has one.
const ACTIONS: [&str; 5] = ["upstream", "split", "redirect", "respond", "maintenance"];

fn upstream_or_split(section: &Reader<'_>, upstreams: &Upstreams<'_>) -> Result<Action, Reported> {
    let sticky = sticky(section);
    let split = split(section, upstreams);
    let upstream = section.optional("upstream", value::string)?;
    let upstream = match upstream {
        None => Ok(None),
        Some(name) => upstream_named(section, "upstream", name, upstreams).map(Some),
    };
    match (upstream?, split?) {
        (Some(upstream), None) => match sticky? {
            None => Ok(Action::Upstream(upstream)),
            Some(_) => {
                let message = "sticky is for a split: one upstream takes every request anyway";
                Err(section.report().wrong(section.at("sticky"), message.to_owned()))
            }
        },
        (None, Some(destinations)) => Ok(Action::Split(Split { destinations, sticky: sticky? })),
        _ => Err(section.lacks("upstream")),
    }
}

fn upstream_named(
    section: &Reader<'_>,
    key: &str,
    name: &str,
    upstreams: &Upstreams<'_>,
) -> Result<usize, Reported> {
    upstreams.names.find(name).map_err(|fault| section.tell(section.at(key), "upstream", fault))
}

fn split(section: &Reader<'_>, upstreams: &Upstreams<'_>) -> Result<Option<Vec<Destination>>, Reported> {
    let shown = |it: &Destination| upstreams.names.of(it.upstream).unwrap_or_default().to_owned();
    let items = section.items("split", "upstream", shown, |item| destination(section, item, upstreams))?;
    let Some(destinations) = items else { return Ok(None) };
    let wrong = |message: String| Err(section.report().wrong(section.at("split"), message));
    if destinations.len() > DESTINATIONS_MAX {
        return wrong(format!("split has {} items; allowed: at most {DESTINATIONS_MAX}", destinations.len()));
    }
    if destinations.iter().all(|it| it.weight == 0) {
        return wrong("split gives every upstream the weight 0; at least one must have more".to_owned());
    }
    Ok(Some(destinations))
}

fn destination<'a>(
    section: &Reader<'a>,
    item: &'a Spanned<Value>,
    upstreams: &Upstreams<'_>,
) -> Result<Destination, ItemFault> {
    let Value::Table(table) = item.get_ref() else {
        let expected = "a table, e.g. { upstream = \"api\", weight = 90 }";
        return Err(ItemFault::Wrong(value::wrong_kind(item.get_ref(), expected)));
    };
    let table = Reader::new(Section::Split, table, item.span().start, section.report());
    let name = table.required("upstream", value::string);
    let weight = table.or_default("weight", |value| value::integer(value, 0..=65_535));
    let destination = || {
        let name = name?;
        let upstream = upstream_named(&table, "upstream", name, upstreams)?;
        Ok(Destination { upstream, weight: weight?, token: Token::of(name) })
    };
    destination().map_err(ItemFault::Reported)
}

/// Each request looks at every one. A guess at what is plenty.
const DESTINATIONS_MAX: usize = 100;

fn sticky(section: &Reader<'_>) -> Result<Option<Sticky>, Reported> {
    let Some(table) = section.table("sticky", Section::Sticky)? else { return Ok(None) };
    let by = table.optional("by", |value| value::choice(value, &[("client", ())]));
    let cookie = table.optional("cookie", |value| token::checked(value::string(value)?, "cookie name"));
    let max_age = table.optional("max_age", |value| value::duration(value, Duration::from_secs(1)));
    let path = table.or_default("path", cookie_path);
    let report = section.report();
    let one = "; write { cookie = \"NAME\" } or { by = \"client\" }";
    match (by?, cookie?) {
        (Some(()), Some(_)) => {
            Err(report.wrong(table.start(), format!("sticky has both cookie and by{one}")))
        }
        (None, None) => Err(report.missing(table.start(), format!("sticky has neither cookie nor by{one}"))),
        (Some(()), None) => match ["max_age", "path"].into_iter().find(|key| table.has(key)) {
            None => Ok(Some(Sticky::Client)),
            Some(key) => Err(report.wrong(table.at(key), format!("{key} is for a cookie; there is none"))),
        },
        (None, Some(name)) => Ok(Some(Sticky::Cookie(StickyCookie {
            name: name.into(),
            max_age: max_age?,
            path: path?.into(),
        }))),
    }
}

/// A path as it may stand in `Set-Cookie` (RFC 6265 §4.1.1).
pub(super) fn cookie_path(value: &Value) -> Parsed<String> {
    let path = value::string(value)?;
    let shown = show::quoted(path);
    match path.chars().find(|&c| !c.is_ascii_graphic() || c == ';') {
        Some(c) => Err(format!("{shown} has {c:?}, which no path of a cookie may have")),
        None if !path.starts_with('/') => Err(format!("{shown} does not begin with /")),
        None if path.len() > COOKIE_PATH_BYTES_MAX => {
            Err(format!("{shown} is too long; allowed: 1 to {COOKIE_PATH_BYTES_MAX} characters"))
        }
        None => Ok(path.to_owned()),
    }
}

/// Beyond what anyone needs: it is sent with each new client's first response.
const COOKIE_PATH_BYTES_MAX: usize = 1000;

pub(super) fn mirror(
    section: &Reader<'_>,
    upstreams: &Upstreams<'_>,
) -> Result<Option<MirrorRule>, Reported> {
    let Some(table) = section.table("mirror", Section::Mirror)? else { return Ok(None) };
    let name = table.required("upstream", value::string);
    let upstream = name.and_then(|name| upstream_named(&table, "upstream", name, upstreams));
    let upstream = upstream.and_then(|upstream| refuse_http2(&table, upstream, upstreams));
    let share = table.or_default("share", |value| share(value, 1));
    let body_bytes_max = table.or_default("body_bytes_max", |value| value::size(value, 0..=1 << 30));
    let mirrors_max = table.or_default("mirrors_max", |value| value::integer(value, 1..=65_535));
    Ok(Some(MirrorRule {
        upstream: upstream?,
        share: share?,
        body_bytes_max: body_bytes_max?,
        mirrors_max: mirrors_max? as usize,
    }))
}

/// Copies of requests are sent in HTTP/1.1.
fn refuse_http2(table: &Reader<'_>, index: usize, upstreams: &Upstreams<'_>) -> Result<usize, Reported> {
    // Where an upstream is wrong that is told.
    let known = upstreams.all.as_ref().ok().and_then(|all| all.get(index));
    match known.filter(|upstream| upstream.protocol.may_be_http2()) {
        None => Ok(index),
        Some(upstream) => {
            let shown = show::quoted(&upstream.name);
            let text = format!(
                "a mirror is sent in HTTP/1.1; the protocol of the upstream {shown} has to be \"h1\""
            );
            Err(table.report().wrong(table.at("upstream"), text))
        }
    }
}

/// `"10%"`, `"0.5%"`; at least so much.
pub(super) fn share(value: &Value, least: u32) -> Parsed<u32> {
    let text = value::string(value)?;
    let first = if least == 0 { "0%" } else { "0.0001%" };
    let allowed = format!("allowed: \"{first}\" to \"100%\", with at most four decimals");
    let fault = || format!("{} is not a share; {allowed}", show::quoted(text));
    let number = text.strip_suffix('%').ok_or_else(fault)?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str, most: usize| {
        (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole, 3) || !is_number(decimals, 4) {
        return Err(fault());
    }
    // Of a million: four digits behind the percent.
    let share = format!("{whole}{decimals:0<4}").parse().map_err(|_| fault())?;
    if (least..=SHARE_ALL).contains(&share) { Ok(share) } else { Err(fault()) }
}

/// Absent ones are the upstream's.
pub(super) fn timeouts(section: &Reader<'_>) -> Result<RouteTimeouts, Reported> {
    let timeout = |key| section.optional(key, |value| value::duration(value, Duration::ZERO));
    let request = timeout("request_timeout");
    let response_head = timeout("response_head_timeout");
    let body_idle = timeout("body_idle_timeout");
    Ok(RouteTimeouts { request: request?, response_head: response_head?, body_idle: body_idle? })
}
