//! An explanation as people and programs read it.

use std::fmt::{self, Write as _};

use super::{Chosen, End, Explanation, Filtered, Goal, Verdict};

/// Routes for other hosts that are told one by one; more in a row are counted.
const OTHER_HOSTS_MAX: usize = 5;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.url)?;
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
        match &self.goal {
            Goal::NoRoute => writeln!(f, "\nNo route matches: the answer is 404 no_route."),
            Goal::Taken { filters, end } => {
                write_filters(f, filters)?;
                write_end(f, end)
            }
        }
    }
}

fn write_filters(f: &mut fmt::Formatter<'_>, filters: &[Filtered]) -> fmt::Result {
    if filters.is_empty() {
        return Ok(());
    }
    let width =
        |of: fn(&Filtered) -> &str| filters.iter().map(|it| of(it).chars().count()).max().unwrap_or(0);
    let (name_width, kind_width) = (width(|it| &it.name).min(30), width(|it| it.kind));
    writeln!(f, "\nFilters, in order:")?;
    for (number, it) in (1..).zip(filters) {
        let number_width = filters.len().to_string().len();
        write!(
            f,
            "  {number:>number_width$}  {:<name_width$}  {:<kind_width$}  {}",
            it.name, it.kind, it.outcome
        )?;
        let indent = 2 + number_width + 2 + name_width + 2 + kind_width + 2;
        writeln!(f)?;
        for change in &it.changes {
            writeln!(f, "{:indent$}{change}", "")?;
        }
    }
    Ok(())
}

fn write_end(f: &mut fmt::Formatter<'_>, end: &End) -> fmt::Result {
    let (split, chosen) = match end {
        End::Answer { status, reason } => return writeln!(f, "\nThe answer is {status} {reason}."),
        End::Upstreams { split, chosen } => (split, chosen),
    };
    if let Some(split) = split {
        writeln!(f, "\nOne of {} upstreams, {split}:", chosen.len())?;
    }
    for upstream in chosen {
        let width = upstream.endpoints.iter().map(|(endpoint, _)| endpoint.len()).max().unwrap_or(0);
        let share = if split.is_some() { format!(", weight {}", upstream.weight) } else { String::new() };
        writeln!(f, "\nUpstream {}{share}, policy {}:", upstream.name, upstream.policy)?;
        for (endpoint, weight) in &upstream.endpoints {
            writeln!(f, "  {endpoint:<width$}  weight {weight}")?;
        }
    }
    Ok(())
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

    /// One object on one line, for programs.
    #[must_use]
    pub fn json(&self) -> String {
        let mut out = String::from("{");
        let text = |name: &str, value: &str| format!("{}:{}", string(name), string(value));
        out += &text("method", &self.method);
        for (name, value) in [
            ("url", &self.url),
            ("listener", &self.listener),
            ("client", &self.client),
            ("host", &self.host),
            ("path", &self.path),
        ] {
            out += &format!(",{}", text(name, value));
        }
        let steps = self.steps.iter().map(|step| {
            let route = text("route", &step.route);
            match &step.verdict {
                Verdict::NotTried => format!("{{{route},\"outcome\":\"not_tried\"}}"),
                Verdict::Failed { condition, expected, seen } => format!(
                    "{{{route},\"outcome\":\"failed\",{},{},\"seen\":{}}}",
                    text("condition", condition),
                    text("expected", expected),
                    seen.as_ref().map_or_else(|| "null".to_owned(), |seen| string(seen))
                ),
                Verdict::Matched { by, captures } => {
                    let captures = captures.iter().map(|(name, value)| text(name, value));
                    let captures = captures.collect::<Vec<_>>().join(",");
                    format!(
                        "{{{route},\"outcome\":\"matched\",{},\"captures\":{{{captures}}}}}",
                        text("by", by)
                    )
                }
            }
        });
        out += &format!(",\"routes\":[{}]", steps.collect::<Vec<_>>().join(","));
        let list = |items: Vec<String>| format!("[{}]", items.join(","));
        let (filters, end) = match &self.goal {
            Goal::NoRoute => (&[][..], None),
            Goal::Taken { filters, end } => (&filters[..], Some(end)),
        };
        let filters = filters.iter().map(|it| {
            let changes = list(it.changes.iter().map(|change| string(change)).collect());
            let (name, kind) = (text("name", &it.name), text("type", it.kind));
            format!("{{{name},{kind},{},\"changes\":{changes}}}", text("outcome", it.outcome))
        });
        out += &format!(",\"filters\":{}", list(filters.collect()));
        let upstream = |it: &Chosen| {
            let endpoints = it
                .endpoints
                .iter()
                .map(|(endpoint, weight)| format!("{{{},\"weight\":{weight}}}", text("endpoint", endpoint)));
            let (name, policy, weight) = (text("name", &it.name), text("policy", it.policy), it.weight);
            format!("{{{name},\"weight\":{weight},{policy},\"endpoints\":{}}}", list(endpoints.collect()))
        };
        out += &match end {
            None => ",\"answer\":{\"status\":404,\"reason\":\"no_route\"},\"upstreams\":[]".to_owned(),
            Some(End::Answer { status, reason }) => {
                format!(",\"answer\":{{\"status\":{status},{}}},\"upstreams\":[]", text("reason", reason))
            }
            Some(End::Upstreams { split, chosen }) => {
                let split = split.as_ref().map_or_else(|| "null".to_owned(), |split| string(split));
                let chosen = list(chosen.iter().map(upstream).collect());
                format!(",\"answer\":null,\"split\":{split},\"upstreams\":{chosen}")
            }
        };
        out + "}"
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

/// A string of JSON (RFC 8259 §7).
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Beyond the first plane there is no control character.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}
