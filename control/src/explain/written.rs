//! An explanation as people read it.

use std::fmt;

use corelane_balancer::BreakerState;

use super::{Answer, Candidate, Chosen, End, Explanation, Filtered, Goal, Live, Mirrored, Split, Verdict};
use crate::config::BACKUP_PRIORITY;
use crate::config::shown::{bytes, duration};

/// Routes for other hosts that are told one by one; more in a row are counted.
const OTHER_HOSTS_MAX: usize = 5;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.url)?;
        if let Some(generation) = self.generation {
            writeln!(f, "  running   configuration {generation}")?;
        }
        for (what, value) in [
            ("listener", &self.listener),
            ("client", &self.client),
            ("host", &self.host),
            ("path", &self.path),
        ] {
            let value = if value.is_empty() { "none" } else { value };
            writeln!(f, "  {what:<8}  {value}")?;
        }
        writeln!(f, "\nRoutes, in order of precedence:")?;
        self.write_steps(f)?;
        let Goal::Taken { split, ways, mirror } = &self.goal else {
            return writeln!(f, "\nNo route matches: the answer is 404 no_route.");
        };
        if let Some(split) = split {
            write_split(f, split)?;
        }
        // All ways of a split have the same filters, unless upstreams have some.
        let is_one = ways.iter().all(|way| way.filters == ways[0].filters);
        if is_one && let Some(way) = ways.first() {
            write_filters(f, &way.filters, None)?;
        }
        for way in ways {
            if !is_one {
                write_filters(f, &way.filters, way.towards.as_deref())?;
            }
            match &way.end {
                End::Answer(answer) => write_answer(f, answer)?,
                End::Upstream(chosen) => write_upstream(f, chosen, split.as_ref())?,
            }
        }
        if let Some(mirror) =
            mirror.as_ref().filter(|_| ways.iter().any(|way| matches!(way.end, End::Upstream(_))))
        {
            let Mirrored { upstream, share, body_bytes_max } = mirror;
            let bytes = bytes(*body_bytes_max);
            writeln!(
                f,
                "\nMirror {upstream}: {share} of the requests with a body of at most {bytes}; its answers are dropped"
            )?;
        }
        Ok(())
    }
}

fn write_split(f: &mut fmt::Formatter<'_>, split: &Split) -> fmt::Result {
    let shares: Vec<String> = split.shares.iter().map(|(name, share)| format!("{name} {share}")).collect();
    writeln!(f, "\nSplit: {}", shares.join(", "))?;
    writeln!(f, "  goes to   {}", split.how)
}

fn write_filters(f: &mut fmt::Formatter<'_>, filters: &[Filtered], towards: Option<&str>) -> fmt::Result {
    if filters.is_empty() {
        return Ok(());
    }
    let width =
        |of: fn(&Filtered) -> &str| filters.iter().map(|it| of(it).chars().count()).max().unwrap_or(0);
    let (name_width, kind_width) = (width(|it| &it.name).min(30), width(|it| it.kind));
    let outcome_width = width(|it| it.outcome);
    let number_width = filters.len().to_string().len();
    let indent = 2 + number_width + 2 + name_width + 2 + kind_width + 2 + outcome_width + 2;
    match towards {
        None => writeln!(f, "\nFilters, in order:")?,
        Some(towards) => writeln!(f, "\nFilters on the way to {towards}, in order:")?,
    }
    for (number, it) in (1..).zip(filters) {
        write!(f, "  {number:>number_width$}  {:<name_width$}  {:<kind_width$}  ", it.name, it.kind)?;
        let reason = it.reason.map(|(status, reason)| format!("with {status} {reason}"));
        let response = it.response.iter().map(|change| format!("response {change}"));
        let notes = reason.into_iter().chain(it.remark.clone()).chain(it.changes.iter().cloned());
        let mut notes = notes.chain(response);
        match notes.next() {
            Some(first) => writeln!(f, "{:<outcome_width$}  {first}", it.outcome)?,
            None => writeln!(f, "{}", it.outcome)?,
        }
        for note in notes {
            writeln!(f, "{:indent$}{note}", "")?;
        }
    }
    Ok(())
}

fn write_answer(f: &mut fmt::Formatter<'_>, answer: &Answer) -> fmt::Result {
    let refusal = if answer.is_refusal { ", a refusal" } else { "" };
    writeln!(f, "\nAnswer {} {}{refusal}:", answer.status, answer.reason)?;
    for (name, value) in &answer.fields {
        writeln!(f, "  field     {name}: {value}")?;
    }
    writeln!(f, "  body      {}", answer.body)
}

fn write_upstream(f: &mut fmt::Formatter<'_>, upstream: &Chosen, split: Option<&Split>) -> fmt::Result {
    let Chosen { name, policy, how, endpoints, sends, timeouts, body_bytes_max, .. } = upstream;
    let share = split.and_then(|split| split.shares.iter().find(|(other, _)| other == name));
    let share = share.map_or_else(String::new, |(_, share)| format!(", {share}"));
    writeln!(f, "\nUpstream {name}{share}, policy {policy}: {how}")?;
    let width = endpoints.iter().map(|it| it.address.chars().count()).max().unwrap_or(0);
    for (index, it) in endpoints.iter().enumerate() {
        let what = if index == 0 { "endpoint" } else { "" };
        match it.live {
            None => writeln!(f, "  {what:<8}  {:<width$}  {}", it.address, weight(it))?,
            Some(Live { requests, idle, is_up, ejected }) => {
                let weights = endpoints.iter().map(|it| weight(it).len()).max().unwrap_or(0);
                let (address, weight) = (&it.address, weight(it));
                let down = match (is_up, ejected) {
                    (_, Some(left)) => format!(", ejected for {} s more", left.as_secs() + 1),
                    (Some(false), None) => ", down".to_owned(),
                    _ => String::new(),
                };
                let connections = if idle == 1 { "connection" } else { "connections" };
                writeln!(
                    f,
                    "  {what:<8}  {address:<width$}  {weight:<weights$}  {requests} in progress, {idle} idle {connections}{down}"
                )?;
            }
        }
    }
    match upstream.breaker {
        None | Some(BreakerState::Closed) => {}
        Some(BreakerState::Open) => {
            writeln!(f, "  breaker   open, nothing is sent: the answer is 503 breaker_open")?;
        }
        Some(BreakerState::HalfOpen) => writeln!(f, "  breaker   half open, only probes are sent")?,
    }
    writeln!(f, "  gets      {sends}")?;
    let timeouts = timeouts.iter().map(|(what, timeout)| match timeout.is_zero() {
        true => format!("{what} none"),
        false => format!("{what} {}", duration(*timeout)),
    });
    writeln!(f, "  timeouts  {}", timeouts.collect::<Vec<_>>().join(", "))?;
    match body_bytes_max {
        0 => writeln!(f, "  body      of any size"),
        most => writeln!(f, "  body      at most {}", bytes(*most)),
    }
}

/// `weight 3, priority 1, at most 100 requests`
fn weight(it: &Candidate) -> String {
    let priority = match it.priority {
        0 => String::new(),
        BACKUP_PRIORITY => ", backup".to_owned(),
        priority => format!(", priority {priority}"),
    };
    let limit = |most: u32, what: &str| match most {
        0 => String::new(),
        1 => format!(", at most 1 {what}"),
        most => format!(", at most {most} {what}s"),
    };
    let (requests, connections) =
        (limit(it.requests_max, "request"), limit(it.connections_max, "connection"));
    format!("weight {}{priority}{requests}{connections}", it.weight)
}

impl Explanation {
    fn write_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name_width = self.steps.iter().map(|step| step.route.chars().count()).max().unwrap_or(0).min(30);
        let conditions = self.steps.iter().filter_map(|step| match &step.verdict {
            Verdict::Failed { condition, .. } => Some(condition.chars().count()),
            Verdict::Matched { .. } | Verdict::NotTried => None,
        });
        let width = conditions.max().unwrap_or(0).min(30);
        let number_width = self.steps.len().to_string().len();
        let mut next = 0;
        while let Some(step) = self.steps.get(next) {
            let run = self.steps[next..].iter().take_while(|step| step.verdict.is_passed_over(self)).count();
            if run > OTHER_HOSTS_MAX {
                let last = next + run;
                writeln!(
                    f,
                    "  {:>number_width$}  {run} routes, to number {last}: {}",
                    next + 1,
                    step.verdict.why_many()
                )?;
                next = last;
                continue;
            }
            next += 1;
            write!(f, "  {next:>number_width$}  {:<name_width$}  ", step.route)?;
            match &step.verdict {
                Verdict::NotTried => writeln!(f, "-")?,
                Verdict::Failed { condition, expected, seen } => {
                    let seen = seen.as_deref().unwrap_or("nothing");
                    writeln!(f, "no     {condition:<width$}  wants {expected}, got {seen}")?;
                }
                Verdict::Matched { by, captures } => {
                    writeln!(f, "takes  {by}")?;
                    let indent = 2 + number_width + 2 + name_width + 2 + "takes  ".len();
                    for (name, value) in captures {
                        writeln!(f, "{:indent$}{name} = {value}", "")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Verdict {
    /// Whether many such in a row say no more than a few.
    fn is_passed_over(&self, of: &Explanation) -> bool {
        match self {
            Self::NotTried => of.steps.len() > 2 * OTHER_HOSTS_MAX,
            Self::Failed { condition, .. } => condition == "host",
            Self::Matched { .. } => false,
        }
    }

    fn why_many(&self) -> &'static str {
        match self {
            Self::NotTried => "not tried",
            Self::Failed { .. } | Self::Matched { .. } => "other hosts",
        }
    }
}
