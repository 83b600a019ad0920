//! An explanation as programs read it.

use std::fmt::{Display, Write as _};

use super::{
    Answer, Candidate, Chosen, End, Explanation, Filtered, Goal, Mirrored, Split, Tried, Verdict, Way,
};

impl Explanation {
    /// One object on one line.
    #[must_use]
    pub fn json(&self) -> String {
        let (split, ways, mirror) = match &self.goal {
            Goal::NoRoute => (None, &[][..], None),
            Goal::Taken { split, ways, mirror } => (split.as_ref(), &ways[..], mirror.as_ref()),
        };
        object(&[
            ("generation", optional(self.generation.as_ref())),
            ("method", string(&self.method)),
            ("url", string(&self.url)),
            ("listener", string(&self.listener)),
            ("client", string(&self.client)),
            ("host", string(&self.host)),
            ("path", string(&self.path)),
            ("taken", self.is_taken().to_string()),
            ("routes", array(self.steps.iter().map(tried))),
            ("split", split.map_or_else(null, self::split)),
            ("ways", array(ways.iter().map(way))),
            ("mirror", mirror.map_or_else(null, mirrored)),
        ])
    }
}

fn tried(step: &Tried) -> String {
    let route = ("route", string(&step.route));
    match &step.verdict {
        Verdict::NotTried => object(&[route, ("outcome", string("not_tried"))]),
        Verdict::Failed { condition, expected, seen } => object(&[
            route,
            ("outcome", string("failed")),
            ("condition", string(condition)),
            ("expected", string(expected)),
            ("seen", seen.as_deref().map_or_else(null, string)),
        ]),
        Verdict::Matched { by, captures } => {
            let captures: Vec<(&str, String)> =
                captures.iter().map(|(name, value)| (&**name, string(value))).collect();
            object(&[
                route,
                ("outcome", string("matched")),
                ("by", string(by)),
                ("captures", object(&captures)),
            ])
        }
    }
}

fn split(split: &Split) -> String {
    let share =
        |(name, share): &(String, String)| object(&[("upstream", string(name)), ("share", string(share))]);
    object(&[("shares", array(split.shares.iter().map(share))), ("how", string(&split.how))])
}

fn way(way: &Way) -> String {
    let (own, upstream) = match &way.end {
        End::Answer(own) => (answer(own), null()),
        End::Upstream(upstream) => (null(), chosen(upstream)),
    };
    object(&[
        ("towards", way.towards.as_deref().map_or_else(null, string)),
        ("filters", array(way.filters.iter().map(filtered))),
        ("answer", own),
        ("upstream", upstream),
    ])
}

fn filtered(filter: &Filtered) -> String {
    object(&[
        ("name", string(&filter.name)),
        ("type", string(filter.kind)),
        ("outcome", string(filter.outcome)),
        ("status", optional(filter.reason.as_ref().map(|(status, _)| status))),
        ("reason", filter.reason.map_or_else(null, |(_, reason)| string(reason))),
        ("remark", filter.remark.as_deref().map_or_else(null, string)),
        ("changes", strings(&filter.changes)),
        ("response", strings(&filter.response)),
    ])
}

fn answer(answer: &Answer) -> String {
    let field =
        |(name, value): &(String, String)| object(&[("name", string(name)), ("value", string(value))]);
    object(&[
        ("status", answer.status.to_string()),
        ("reason", string(answer.reason)),
        ("refusal", answer.is_refusal.to_string()),
        ("fields", array(answer.fields.iter().map(field))),
        ("body", string(&answer.body)),
    ])
}

fn chosen(upstream: &Chosen) -> String {
    let seconds = |it: &(&'static str, std::time::Duration)| match it.1.is_zero() {
        true => (it.0, null()),
        false => (it.0, it.1.as_secs_f64().to_string()),
    };
    let timeouts: Vec<(&str, String)> = upstream.timeouts.iter().map(seconds).collect();
    object(&[
        ("name", string(&upstream.name)),
        ("policy", string(upstream.policy)),
        ("how", string(&upstream.how)),
        ("endpoints", array(upstream.endpoints.iter().map(endpoint))),
        ("breaker", upstream.breaker.map_or_else(null, |state| string(state.name()))),
        ("gets", string(&upstream.sends)),
        ("timeouts", object(&timeouts)),
        ("body_bytes_max", optional(Some(&upstream.body_bytes_max).filter(|most| **most > 0))),
    ])
}

fn endpoint(endpoint: &Candidate) -> String {
    let live = endpoint.live;
    object(&[
        ("endpoint", string(&endpoint.address)),
        ("weight", endpoint.weight.to_string()),
        ("requests_active", optional(live.map(|live| live.requests).as_ref())),
        ("requests_max", optional(Some(&endpoint.requests_max).filter(|most| **most > 0))),
        ("connections_max", optional(Some(&endpoint.connections_max).filter(|most| **most > 0))),
        ("healthy", optional(live.and_then(|live| live.is_up).as_ref())),
        (
            "ejected_seconds",
            optional(live.and_then(|live| live.ejected).map(|left| left.as_secs() + 1).as_ref()),
        ),
        ("connections_idle", optional(live.map(|live| live.idle).as_ref())),
    ])
}

fn mirrored(mirror: &Mirrored) -> String {
    object(&[
        ("upstream", string(&mirror.upstream)),
        ("share", string(&mirror.share)),
        ("body_bytes_max", mirror.body_bytes_max.to_string()),
    ])
}

fn object(members: &[(&str, String)]) -> String {
    let members = members.iter().map(|(name, value)| format!("{}:{value}", string(name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn strings(texts: &[String]) -> String {
    array(texts.iter().map(|text| string(text)))
}

fn optional(number: Option<&impl Display>) -> String {
    number.map_or_else(null, ToString::to_string)
}

fn null() -> String {
    "null".to_owned()
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
