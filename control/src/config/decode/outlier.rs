//! `outlier` of an upstream.

use std::time::Duration;

use corelane_balancer::health::{EjectionRules, FailureShare, OutlierRules};
use corelane_engine::outlier::OutlierDetection;
use corelane_engine::retry::Retry;

use super::health;
use crate::config::reader::Reader;
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::types::Outlier;
use crate::config::value;

/// `retry` is the upstream's: what is retried for its status is a failure, unless `statuses` says otherwise.
pub(super) fn decode(section: &Reader<'_>, retry: &Result<Retry, Reported>) -> Result<Outlier, Reported> {
    let of_retry = || match retry {
        Ok(retry) => retry.statuses.iter().map(|&status| (status, status)).collect(),
        Err(_) => Box::default(),
    };
    let Some(table) = section.table("outlier", Section::Outlier)? else {
        let detection = OutlierDetection { statuses: of_retry(), ..OutlierDetection::default() };
        return Ok(Outlier { detection, ejection: EjectionRules::default() });
    };
    let rules = rules(&table);
    let statuses = health::statuses(&table, 400);
    let ejection = ejection(&table);
    let rules = rules?;
    let statuses = statuses?.map_or_else(of_retry, Into::into);
    Ok(Outlier { detection: OutlierDetection { rules, statuses }, ejection: ejection? })
}

/// When so much fails that something follows, here and for a breaker.
pub(super) fn rules(table: &Reader<'_>) -> Result<OutlierRules, Reported> {
    let consecutive = table.or_default("consecutive_failures", |value| value::integer(value, 0..=1_000_000));
    let failure_share = failure_share(table);
    let consecutive_failures = Some(consecutive?).filter(|max| *max > 0);
    Ok(OutlierRules { consecutive_failures, failure_share: failure_share? })
}

fn ejection(table: &Reader<'_>) -> Result<EjectionRules, Reported> {
    let second = Duration::from_secs(1);
    let time = table.or_default("ejection_time", |value| value::duration(value, second));
    let time_max = table.or_default("ejection_time_max", |value| value::duration(value, second));
    let ejected_percent_max = table.or_default("ejected_max", |value| value::share(value, 1));
    let (time, time_max, ejected_percent_max) = (time?, time_max?, ejected_percent_max?);
    if time_max < time && table.has("ejection_time_max") {
        let text = "ejection_time_max is shorter than ejection_time".to_owned();
        return Err(table.report().wrong(table.at("ejection_time_max"), text));
    }
    Ok(EjectionRules { time, time_max: time_max.max(time), ejected_percent_max })
}

fn failure_share(table: &Reader<'_>) -> Result<Option<FailureShare>, Reported> {
    let percent = table.optional("failure_share", |value| value::share(value, 1));
    let attempts_min = table.or_default("requests_min", |value| value::integer(value, 1..=1_000_000));
    let window = table.or_default("window", |value| value::duration(value, Duration::from_secs(1)));
    let (percent, attempts_min, window) = (percent?, attempts_min?, window?);
    if percent.is_none()
        && let Some(key) = ["requests_min", "window"].into_iter().find(|key| table.has(key))
    {
        let text = format!("{key} is for failure_share, which is not set");
        return Err(table.report().wrong(table.at(key), text));
    }
    Ok(percent.map(|percent| FailureShare { percent, attempts_min, window }))
}
