//! `breaker` of an upstream.

use std::time::Duration;

use corelane_balancer::health::{FailureShare, OutlierRules};
use corelane_balancer::{BreakerRules, PROBES_MAX};

use super::health;
use crate::config::reader::Reader;
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::types::Breaker;
use crate::config::value;

pub(super) fn decode(section: &Reader<'_>) -> Result<Option<Breaker>, Reported> {
    let Some(table) = section.table("breaker", Section::Breaker)? else { return Ok(None) };
    let opens = outlier_rules(&table);
    let statuses = health::any_statuses(&table, 400);
    let open_time = table.or_default("open_time", |value| value::duration(value, TIME_MIN));
    let probes_max = table.or_default("probes_max", |value| value::integer(value, 1..=PROBES_MAX));
    let successes = table.or_default("successes", |value| value::integer(value, 1..=PROBES_MAX));
    let opens = opens?;
    if opens.consecutive_failures.is_none() && opens.failure_share.is_none() {
        let message =
            "breaker never opens: consecutive_failures is 0 and failure_share \"0%\"; set one of them";
        return Err(section.report().wrong(section.at("breaker"), message.to_owned()));
    }
    let rules = BreakerRules { opens, open_time: open_time?, probes_max: probes_max?, successes: successes? };
    Ok(Some(Breaker { rules, statuses: statuses? }))
}

/// When so much fails that something follows.
fn outlier_rules(table: &Reader<'_>) -> Result<OutlierRules, Reported> {
    let consecutive = table.or_default("consecutive_failures", |value| value::integer(value, 0..=1_000_000));
    let percent = table.or_default("failure_share", |value| value::share(value, 0));
    let attempts_min = table.or_default("requests_min", |value| value::integer(value, 1..=1_000_000));
    let window = table.or_default("window", |value| value::duration(value, Duration::from_secs(1)));
    let (consecutive, percent) = (consecutive?, percent?);
    let share = FailureShare { percent, attempts_min: attempts_min?, window: window? };
    Ok(OutlierRules {
        consecutive_failures: (consecutive > 0).then_some(consecutive),
        failure_share: (percent > 0).then_some(share),
    })
}

/// The clock that it is measured by is read every few milliseconds.
const TIME_MIN: Duration = Duration::from_millis(100);
