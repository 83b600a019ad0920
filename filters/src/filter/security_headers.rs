//! `security_headers`: what browsers are told to be careful about.
//!
//! One line turns on defaults that break no page. A field that the upstream sends itself stays, unless `replace`.

use std::time::Duration;

use super::{Filter, Flow};
use crate::context::ResponseContext;
use crate::edits::Edits;
use crate::field_name::FieldName;
use crate::filters::Build;
use crate::settings::{Key, Kind, Read};
use crate::variable::Variable;

/// The fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Strict-Transport-Security (RFC 6797), sent over TLS only (§7.2); `None` for none.
    pub hsts: Option<Hsts>,
    /// `X-Content-Type-Options: nosniff`.
    pub nosniff: bool,
    /// X-Frame-Options (RFC 7034): `DENY` or `SAMEORIGIN`.
    pub frame_options: Option<String>,
    /// Referrer-Policy.
    pub referrer_policy: Option<String>,
    /// Content-Security-Policy. None by default: what a page needs only its author knows.
    pub content_security_policy: Option<String>,
    /// Permissions-Policy. None by default.
    pub permissions_policy: Option<String>,
    /// Whether the upstream's own fields go.
    pub replace: bool,
}

/// Strict-Transport-Security.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// How long a browser remembers. 0 makes it forget.
    pub max_age: Duration,
    /// Whether it holds for the hosts below, too.
    pub include_subdomains: bool,
    /// Whether browsers may ship with it. Hard to take back.
    pub preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(365 * 24 * 60 * 60), include_subdomains: false, preload: false }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hsts: Some(Hsts::default()),
            nosniff: true,
            frame_options: Some("SAMEORIGIN".to_owned()),
            referrer_policy: Some("strict-origin-when-cross-origin".to_owned()),
            content_security_policy: None,
            permissions_policy: None,
            replace: false,
        }
    }
}

const HSTS: &[Key] = &[
    Key::or("enabled", Kind::Flag, "true").says("Whether it is sent at all.", "true or false", "false"),
    Key::or("max_age", Kind::Duration, "\"8760h\"").says(
        "How long a browser remembers; \"0s\" makes it forget.",
        "a duration",
        "\"8760h\"",
    ),
    Key::or("include_subdomains", Kind::Flag, "false").says(
        "Whether it holds for the hosts below, too.",
        "true or false",
        "true",
    ),
    Key::or("preload", Kind::Flag, "false").says(
        "Whether browsers may ship with it; hard to take back.",
        "true or false",
        "true",
    ),
];

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::optional("hsts", Kind::Table(HSTS), "a year, for this host alone").says(
        "Strict-Transport-Security, sent over TLS only (RFC 6797 §7.2).",
        "a table",
        "{ max_age = \"8760h\", include_subdomains = true }",
    ),
    Key::or("nosniff", Kind::Flag, "true").says("X-Content-Type-Options: nosniff.", "true or false", "false"),
    Key::or("frame_options", Kind::Text, "\"SAMEORIGIN\"").says(
        "X-Frame-Options (RFC 7034).",
        "\"DENY\", \"SAMEORIGIN\" or \"\" for none",
        "\"DENY\"",
    ),
    Key::or("referrer_policy", Kind::Text, "\"strict-origin-when-cross-origin\"").says(
        "Referrer-Policy.",
        "a policy, or \"\" for none",
        "\"no-referrer\"",
    ),
    Key::optional("content_security_policy", Kind::Text, "none: what a page needs only its author knows")
        .says("Content-Security-Policy.", "a policy", "\"default-src 'self'\""),
    Key::optional("permissions_policy", Kind::Text, "none").says(
        "Permissions-Policy.",
        "a policy",
        "\"camera=()\"",
    ),
    Key::or("replace", Kind::Flag, "false").says(
        "Whether the upstream's own fields of these names go.",
        "true or false",
        "true",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let given = |key| table.text(key).filter(|text| !text.is_empty());
        let mut hsts = Self::default().hsts;
        table.table("hsts", &mut |table| {
            let max_age = table.duration("max_age").unwrap_or_default();
            let (include_subdomains, preload) = (table.flag("include_subdomains"), table.flag("preload"));
            hsts = table.flag("enabled").unwrap_or_default().then(|| Hsts {
                max_age,
                include_subdomains: include_subdomains.unwrap_or_default(),
                preload: preload.unwrap_or_default(),
            });
        });
        let (nosniff, replace) = (table.flag("nosniff"), table.flag("replace"));
        let read = Self {
            hsts,
            nosniff: false,
            frame_options: given("frame_options"),
            referrer_policy: given("referrer_policy"),
            content_security_policy: given("content_security_policy"),
            permissions_policy: given("permissions_policy"),
            replace: false,
        };
        Some(Self { nosniff: nosniff?, replace: replace?, ..read })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    fields: Box<[Line]>,
    replace: bool,
}

#[derive(Debug)]
struct Line {
    name: FieldName,
    value: Box<[u8]>,
    over_tls_only: bool,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        let place = build.carry(Variable::Scheme);
        debug_assert_eq!(place, 0, "the scheme is the only text that is kept");
        let mut fields = Vec::new();
        let mut add = |build: &mut Build<'_>, key: &str, name: &str, value: &str, over_tls_only| {
            if value.is_empty() || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                build.problem(key, "must be printable ASCII and not empty");
            }
            let value = value.as_bytes().into();
            fields.extend(build.field_name(key, name).map(|name| Line { name, value, over_tls_only }));
        };
        if let Some(hsts) = &settings.hsts {
            let subdomains = if hsts.include_subdomains { "; includeSubDomains" } else { "" };
            let preload = if hsts.preload { "; preload" } else { "" };
            if hsts.preload && !(hsts.include_subdomains && hsts.max_age >= YEAR) {
                build.problem("hsts.preload", "needs include_subdomains and a max_age of a year or more");
            }
            let value = format!("max-age={}{subdomains}{preload}", hsts.max_age.as_secs());
            add(build, "hsts", "Strict-Transport-Security", &value, true);
        }
        if settings.nosniff {
            add(build, "nosniff", "X-Content-Type-Options", "nosniff", false);
        }
        if let Some(options) = &settings.frame_options {
            if !matches!(options.as_str(), "DENY" | "SAMEORIGIN") {
                build.problem("frame_options", format!("{options:?} is not DENY or SAMEORIGIN"));
            }
            add(build, "frame_options", "X-Frame-Options", options, false);
        }
        if let Some(policy) = &settings.referrer_policy {
            if let Some(wrong) =
                policy.split(',').map(str::trim).find(|word| !REFERRER_POLICIES.contains(word))
            {
                build.problem(
                    "referrer_policy",
                    format!("{wrong:?} is none of {}", REFERRER_POLICIES.join(", ")),
                );
            }
            add(build, "referrer_policy", "Referrer-Policy", policy, false);
        }
        if let Some(policy) = &settings.content_security_policy {
            add(build, "content_security_policy", "Content-Security-Policy", policy, false);
        }
        if let Some(policy) = &settings.permissions_policy {
            add(build, "permissions_policy", "Permissions-Policy", policy, false);
        }
        if fields.is_empty() {
            build.problem("", "adds nothing");
        }
        Some(Self { fields: fields.into(), replace: settings.replace })
    }

    fn response(&self, context: &ResponseContext<'_>, base: usize, edits: &mut Edits) -> Flow {
        let (fields, bytes) = (&context.head.fields, context.bytes);
        let is_secure = context.carry.text(base) == b"https";
        let mut flow = Flow::Passed;
        for line in self.fields.iter().filter(|line| is_secure || !line.over_tls_only) {
            if !self.replace && edits.response.values(&line.name, fields, bytes).next().is_some() {
                continue;
            }
            edits.response.set(&line.name, &line.value, fields, bytes);
            flow = Flow::Acted;
        }
        flow
    }
}

const YEAR: Duration = Duration::from_secs(31_536_000);

/// Referrer Policy §3.
const REFERRER_POLICIES: [&str; 8] = [
    "no-referrer",
    "no-referrer-when-downgrade",
    "same-origin",
    "origin",
    "strict-origin",
    "origin-when-cross-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems, response_fields};

    fn answer(settings: Settings, tls: bool, upstream: &str) -> String {
        let chain = chain([Any::SecurityHeaders(settings)]);
        let sent = Sent { tls, ..Sent::get("/") };
        response_fields(&chain, &sent.through(&chain).carry, upstream)
    }

    const PLAIN: &str = "X-Content-Type-Options: nosniff\nX-Frame-Options: SAMEORIGIN\n\
                         Referrer-Policy: strict-origin-when-cross-origin\n";

    #[test]
    fn defaults_and_hsts_over_tls_only() {
        assert_eq!(answer(Settings::default(), false, ""), PLAIN);
        assert_eq!(
            answer(Settings::default(), true, ""),
            format!("Strict-Transport-Security: max-age=31536000\n{PLAIN}")
        );
    }

    #[test]
    fn the_upstreams_own_fields_stay_unless_replaced() {
        let upstream =
            "x-frame-options: DENY\r\nReferrer-Policy: origin\r\nX-Content-Type-Options: nosniff\r\n";
        let kept = "x-frame-options: DENY\nReferrer-Policy: origin\nX-Content-Type-Options: nosniff\n";
        assert_eq!(answer(Settings::default(), false, upstream), kept);
        assert_eq!(answer(Settings { replace: true, ..Settings::default() }, false, upstream), PLAIN);
    }

    #[test]
    fn wrong_settings_are_told() {
        let settings = Settings {
            hsts: Some(Hsts { preload: true, ..Hsts::default() }),
            frame_options: Some("ALLOW".into()),
            referrer_policy: Some("origin, none".into()),
            content_security_policy: Some("a\nb".into()),
            permissions_policy: Some(String::new()),
            ..Settings::default()
        };
        let text = problems(Any::SecurityHeaders(settings));
        for key in [
            "hsts.preload: ",
            "frame_options: ",
            "referrer_policy: ",
            "content_security_policy: ",
            "permissions_policy: ",
        ] {
            assert!(text.lines().any(|line| line.starts_with(key)), "{key}: {text}");
        }
        let nothing = Settings {
            hsts: None,
            nosniff: false,
            frame_options: None,
            referrer_policy: None,
            ..Settings::default()
        };
        assert_eq!(problems(Any::SecurityHeaders(nothing)), ": adds nothing\n");
    }
}
