//! An explanation as people and programs read it.

use std::fmt::{self, Write as _};

use super::{Chosen, Explanation, Taken, Verdict};

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
        let Some(Taken { upstreams, sticky, mirror }) = &self.action else {
            return writeln!(f, "\nNo route matches: the answer is 404 no_route.");
        };
        let weights = upstreams.iter().filter_map(|it| it.weight).sum::<u32>();
        for upstream in upstreams {
            match upstream.weight {
                None => write!(f, "\nUpstream {}", upstream.name)?,
                Some(weight) => write!(f, "\nUpstream {}, {weight} of {weights} requests", upstream.name)?,
            }
            upstream.write_endpoints(f)?;
        }
        if let Some(sticky) = sticky {
            writeln!(f, "\nA client stays where it was, by {sticky}.")?;
        }
        if let Some((upstream, share)) = mirror {
            write!(f, "\nMirror {}, {share} of the requests", upstream.name)?;
            upstream.write_endpoints(f)?;
        }
        Ok(())
    }
}

impl Chosen {
    fn write_endpoints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.endpoints.iter().map(|(endpoint, _)| endpoint.len()).max().unwrap_or(0);
        writeln!(f, ", policy {}:", self.policy)?;
        for (endpoint, weight) in &self.endpoints {
            writeln!(f, "  {endpoint:<width$}  weight {weight}")?;
        }
        Ok(())
    }

    /// An object, with these members in front.
    fn json(&self, members: &str) -> String {
        let text = |name: &str, value: &str| format!("{}:{}", string(name), string(value));
        let endpoints = self.endpoints.iter();
        let endpoints = endpoints
            .map(|(endpoint, weight)| format!("{{{},\"weight\":{weight}}}", text("endpoint", endpoint)));
        let endpoints = endpoints.collect::<Vec<_>>().join(",");
        let (name, policy) = (text("name", &self.name), text("policy", self.policy));
        format!("{{{members}{name},{policy},\"endpoints\":[{endpoints}]}}")
    }
}

impl Taken {
    /// `"upstream":{...}`, or `"split":[...],"sticky":...` beside an upstream that is null; and `"mirror":{...}`.
    fn json(&self) -> String {
        let mut out = match &self.upstreams[..] {
            [Chosen { weight: Some(_), .. }, ..] | [] => "null".to_owned(),
            [upstream, ..] => upstream.json(""),
        };
        let shares =
            self.upstreams.iter().filter_map(|it| Some(it.json(&format!("\"share\":{},", it.weight?))));
        let shares = shares.collect::<Vec<_>>().join(",");
        if !shares.is_empty() {
            let sticky = self.sticky.as_ref().map_or_else(|| "null".to_owned(), |sticky| string(sticky));
            out += &format!(",\"split\":[{shares}],\"sticky\":{sticky}");
        }
        if let Some((upstream, share)) = &self.mirror {
            out += &format!(",\"mirror\":{}", upstream.json(&format!("\"share\":{},", string(share))));
        }
        out
    }
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
        out += &format!(",\"routes\":[{}],\"upstream\":", steps.collect::<Vec<_>>().join(","));
        out += &self.action.as_ref().map_or_else(|| "null".to_owned(), Taken::json);
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
