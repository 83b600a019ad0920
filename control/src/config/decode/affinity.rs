//! What of a request decides its endpoint: `hash` and `sticky` of an upstream.

use std::time::Duration;

use corelane_balancer::Policy;
use corelane_engine::action::StickyCookie;
use corelane_engine::affinity::KeyPart;

use super::action::cookie_path;
use crate::config::reader::Reader;
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::tree::Value;
use crate::config::types::{Seating, Secret};
use crate::config::value::Parsed;
use crate::config::{show, suggest, token, value};

/// `hash`, which the policy of that name needs and no other has a use for.
pub(super) fn key(section: &Reader<'_>, policy: &Result<Policy, Reported>) -> Result<Vec<KeyPart>, Reported> {
    let key = match section.table("hash", Section::Hash)? {
        None => None,
        Some(table) => {
            let parts = table
                .items("on", "part", KeyPart::to_string, |item| Ok(part(value::string(item.get_ref())?)?))?;
            let parts = parts.ok_or_else(|| table.lacks("on"))?;
            if parts.len() > PARTS_MAX {
                let message = format!("on has {} items; allowed: at most {PARTS_MAX}", parts.len());
                return Err(section.report().wrong(table.at("on"), message));
            }
            Some(parts)
        }
    };
    match (policy, key) {
        (Ok(Policy::Hash), None) => Err(section.lacks("hash")),
        (Ok(policy), Some(_)) if *policy != Policy::Hash => {
            let message = format!("hash is for the policy \"hash\"; the policy is \"{}\"", policy.name());
            Err(section.report().wrong(section.at("hash"), message))
        }
        (_, key) => Ok(key.unwrap_or_default()),
    }
}

/// Each request reads every one. A guess at what is plenty.
const PARTS_MAX: usize = 16;

/// `client.ip`, `header.X-User`
fn part(text: &str) -> Result<KeyPart, String> {
    match text.split_once('.') {
        Some(("header", name)) => Ok(KeyPart::Header(token::checked(name, "field name")?.into())),
        Some(("cookie", name)) => Ok(KeyPart::Cookie(token::checked(name, "cookie name")?.into())),
        Some(("query", name)) if !name.is_empty() => Ok(KeyPart::Query(name.into())),
        _ => match text {
            "client.ip" => Ok(KeyPart::Client),
            "host" => Ok(KeyPart::Host),
            "path" => Ok(KeyPart::Path),
            _ => Err(unknown(text)),
        },
    }
}

fn unknown(text: &str) -> String {
    const PARTS: [&str; 6] = ["client.ip", "host", "path", "header.NAME", "cookie.NAME", "query.NAME"];
    let meant = suggest::did_you_mean(text, PARTS);
    format!("{} is no part of a request{meant} (allowed: {})", show::quoted(text), PARTS.join(", "))
}

/// `sticky`
pub(super) fn seating(section: &Reader<'_>) -> Result<Option<Seating>, Reported> {
    let Some(table) = section.table("sticky", Section::Seating)? else { return Ok(None) };
    let name = table.required("cookie", |value| token::checked(value::string(value)?, "cookie name"));
    let secret = table.required("secret", secret);
    let max_age = table.optional("max_age", |value| value::duration(value, Duration::from_secs(1)));
    let path = table.or_default("path", cookie_path);
    let cookie = StickyCookie { name: name?.into(), max_age: max_age?, path: path?.into() };
    Ok(Some(Seating { cookie, secret: secret? }))
}

/// One that is too short is not shown.
pub(super) fn secret(value: &Value) -> Parsed<Secret> {
    let text = value::string(value)?;
    let length = text.len();
    if (16..=1000).contains(&length) {
        return Ok(Secret(text.as_bytes().into()));
    }
    Err(format!("has {length} characters; allowed: 16 to 1000, best 32 of chance"))
}
