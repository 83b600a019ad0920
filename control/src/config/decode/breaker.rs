//! `breaker` of an upstream.

use std::time::Duration;

use corelane_balancer::{BreakerRules, PROBES_MAX};

use super::{health, outlier};
use crate::config::reader::Reader;
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::types::Breaker;
use crate::config::value;

pub(super) fn decode(section: &Reader<'_>) -> Result<Option<Breaker>, Reported> {
    let Some(table) = section.table("breaker", Section::Breaker)? else { return Ok(None) };
    let opens = outlier::rules(&table);
    let statuses = health::any_statuses(&table, 400);
    let open_time = table.or_default("open_time", |value| value::duration(value, TIME_MIN));
    let probes_max = table.or_default("probes_max", |value| value::integer(value, 1..=PROBES_MAX));
    let successes = table.or_default("successes", |value| value::integer(value, 1..=PROBES_MAX));
    let opens = opens?;
    if opens.consecutive_failures.is_none() && opens.failure_share.is_none() {
        let message =
            "breaker never opens: consecutive_failures is 0 and failure_share not set; set one of them";
        return Err(section.report().wrong(section.at("breaker"), message.to_owned()));
    }
    let rules = BreakerRules { opens, open_time: open_time?, probes_max: probes_max?, successes: successes? };
    Ok(Some(Breaker { rules, statuses: statuses? }))
}

/// The clock that it is measured by is read every few milliseconds.
const TIME_MIN: Duration = Duration::from_millis(100);
