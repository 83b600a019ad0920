//! `retry` of an upstream.

use std::time::Duration;

use corelane_balancer::{Backoff, BudgetRules};
use corelane_engine::retry::{Causes, Retry};
use corelane_semantics::MethodSet;

use super::rules;
use crate::config::reader::Reader;
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::value::Parsed;
use crate::config::{show, suggest, value};

pub(super) fn decode(section: &Reader<'_>) -> Result<Retry, Reported> {
    let table = section.table("retry", Section::Retry)?;
    let table = table.unwrap_or_else(|| Reader::absent(Section::Retry, section.report()));
    let on = table.short_list("on", "cause", cause);
    let methods = table
        .items("methods", "method", String::clone, |item| Ok(rules::method(value::string(item.get_ref())?)?));
    let percent = table.or_default("budget", |value| value::percent(value, 1..=1000));
    let duration = |key| table.or_default(key, |value| value::duration(value, Duration::ZERO));
    let (first, max) = (duration("backoff"), duration("backoff_max"));
    let per_try_timeout = duration("per_try_timeout");
    let hedge_after = duration("hedge_after");
    let attempt_header = table.or_default("attempt_header", value::boolean);
    let (on, methods) = (on?, methods?);
    let has = |cause: &str| on.iter().any(|it| it == cause);
    Ok(Retry {
        causes: Causes { connect: has("connect"), reset: has("reset"), timeout: has("timeout") },
        statuses: on.iter().filter_map(|it| it.parse().ok()).collect(),
        methods: methods.map(|methods| MethodSet::new(methods.iter().map(String::as_bytes))),
        per_try_timeout: per_try_timeout?,
        hedge_after: hedge_after?,
        backoff: Backoff { first: first?, max: max? },
        budget: BudgetRules { percent: percent?, ..BudgetRules::default() },
        attempt_header: attempt_header?,
    })
}

const CAUSES: [&str; 3] = ["connect", "reset", "timeout"];

fn cause(text: &str) -> Parsed<String> {
    let is_status = text.len() == 3 && text.parse().is_ok_and(|status| (400..=599).contains(&status));
    if is_status || CAUSES.contains(&text) {
        return Ok(text.to_owned());
    }
    let meant = suggest::did_you_mean(text, CAUSES);
    let (shown, causes) = (show::quoted(text), CAUSES.join(", "));
    Err(format!("{shown} is not one of the causes{meant} (allowed: {causes}, 400 to 599)"))
}
