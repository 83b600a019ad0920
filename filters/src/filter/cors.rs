//! `cors`: which pages of other origins may use the answers (Fetch standard §3.2, "HTTP CORS protocol").
//!
//! Preflight requests are answered here. What the upstream says about CORS is replaced. Whether the page may have the answer
//! is the browser's decision: requests of other origins are not refused.

use std::time::Duration;

use super::{Filter, Flow};
use crate::context::{Context, ResponseContext};
use crate::edits::Edits;
use crate::field_edits::FieldEdits;
use crate::field_name::{FieldName, is_token_byte};
use crate::filters::Build;
use crate::pattern::Pattern;
use crate::reason::Reason;
use crate::settings::{Item, Key, Kind, Read};
use crate::variable::Variable;
use corelane_semantics::{Fields, Method};

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The origins.
    pub origins: Vec<Origin>,
    /// Methods beside GET, HEAD and POST, which need no leave.
    pub methods: Vec<String>,
    /// Request fields that scripts may set.
    pub headers: Vec<String>,
    /// Response fields that scripts may read.
    pub expose: Vec<String>,
    /// Whether requests may have cookies and other credentials.
    pub credentials: bool,
    /// How long a browser may remember a preflight's answer; browsers take at most some hours.
    pub max_age: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            methods: Vec::new(),
            headers: Vec::new(),
            expose: Vec::new(),
            credentials: false,
            max_age: Some(Duration::from_secs(600)),
        }
    }
}

/// Some origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Every one; not together with credentials.
    Any,
    /// One, as `https://a.example`.
    Exact(String),
    /// Those that the expression matches as a whole.
    Regex(String),
}

const ORIGIN: &[Key] = &[Key::required("regex", Kind::Text).says(
    "Origins that the expression matches as a whole.",
    "a regular expression",
    "\"https://[a-z]+\\\\.example\\\\.org\"",
)];

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::required("origins", Kind::Items(ORIGIN)).says(
        "The origins whose pages may ask.",
        "\"*\", origins, and { regex = \"...\" }",
        "[\"https://app.example.com\", { regex = \"https://[a-z]+\\\\.example\\\\.org\" }]",
    ),
    Key::optional("methods", Kind::Texts, "GET, HEAD and POST").says(
        "Further methods.",
        "methods",
        "[\"PUT\", \"DELETE\"]",
    ),
    Key::optional("headers", Kind::Texts, "none").says(
        "Request fields that scripts may set.",
        "names of fields",
        "[\"Content-Type\", \"Authorization\"]",
    ),
    Key::optional("expose", Kind::Texts, "none").says(
        "Response fields that scripts may read.",
        "names of fields",
        "[\"X-Request-Id\"]",
    ),
    Key::or("credentials", Kind::Flag, "false").says(
        "Whether requests may have cookies and other credentials.",
        "true or false; not with \"*\"",
        "true",
    ),
    Key::optional("max_age", Kind::Duration, "the browser's default").says(
        "How long a browser may remember a preflight's answer.",
        "a duration",
        "\"1h\"",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let mut origins = Vec::new();
        table.items("origins", &mut |item| match item {
            Item::Text(origin) if origin == "*" => origins.push(Origin::Any),
            Item::Text(origin) => origins.push(Origin::Exact(origin)),
            Item::Table(table) => origins.extend(table.text("regex").map(Origin::Regex)),
        });
        let (credentials, max_age) = (table.flag("credentials"), table.duration("max_age"));
        Some(Self {
            origins,
            methods: table.texts("methods").unwrap_or_default(),
            headers: table.texts("headers").unwrap_or_default(),
            expose: table.texts("expose").unwrap_or_default(),
            credentials: credentials?,
            max_age,
        })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    any: bool,
    exact: Box<[Box<[u8]>]>,
    patterns: Option<Pattern>,
    methods: Box<[u8]>,
    headers: Box<[u8]>,
    expose: Box<[u8]>,
    credentials: bool,
    max_age: Option<Box<[u8]>>,
    names: Names,
}

#[derive(Debug)]
struct Names {
    origin: FieldName,
    request_method: FieldName,
    vary: FieldName,
    /// What the upstream may have said.
    answers: [FieldName; 6],
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        let (mut any, mut exact, mut texts) = (false, Vec::new(), Vec::new());
        for (index, origin) in settings.origins.iter().enumerate() {
            match origin {
                Origin::Any => any = true,
                Origin::Exact(origin) if is_origin(origin) => exact.push(origin.as_bytes().into()),
                Origin::Exact(origin) => build.problem(
                    format!("origins[{index}]"),
                    format!("{origin:?} is not an origin: scheme://host or scheme://host:port in lower case"),
                ),
                Origin::Regex(text) => texts.push(format!("^(?:{text})$")),
            }
        }
        if settings.origins.is_empty() {
            build.problem("origins", "names nobody");
        }
        if any && settings.credentials {
            build.problem("credentials", "would let every page act as its reader; name the origins");
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let patterns = if texts.is_empty() { None } else { build.pattern("origins", &texts) };
        let name = |name: &str| FieldName::parse(name).ok();
        Some(Self {
            any,
            exact: exact.into(),
            patterns,
            methods: list("methods", &settings.methods, build),
            headers: list("headers", &settings.headers, build),
            expose: list("expose", &settings.expose, build),
            credentials: settings.credentials,
            max_age: settings.max_age.map(|age| age.as_secs().to_string().into_bytes().into()),
            names: Names {
                origin: build_origin(build)?,
                request_method: name("Access-Control-Request-Method")?,
                vary: name("Vary")?,
                answers: [
                    name(ALLOW_ORIGIN)?,
                    name(ALLOW_CREDENTIALS)?,
                    name(EXPOSE_HEADERS)?,
                    name(ALLOW_METHODS)?,
                    name(ALLOW_HEADERS)?,
                    name(MAX_AGE)?,
                ],
            },
        })
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        if context.head.method != Method::Options
            || edits.field(&self.names.request_method, context).is_none()
        {
            return Flow::Passed;
        }
        let is_allowed = edits.with_caches(|edits, caches| {
            edits.field(&self.names.origin, context).map(|origin| self.allows(origin, caches))
        });
        let Some(is_allowed) = is_allowed else { return Flow::Passed };
        // The fields that name the origin are added with those of any response.
        if is_allowed {
            let fields = &mut edits.response;
            if !self.methods.is_empty() {
                fields.add(ALLOW_METHODS.as_bytes(), &self.methods);
            }
            if !self.headers.is_empty() {
                fields.add(ALLOW_HEADERS.as_bytes(), &self.headers);
            }
            if let Some(age) = &self.max_age {
                fields.add(MAX_AGE.as_bytes(), age);
            }
        }
        edits.answer_empty(204, Reason::CorsPreflight);
        Flow::Answered
    }

    fn response(&self, context: &ResponseContext<'_>, base: usize, edits: &mut Edits) -> Flow {
        let origin = context.carry.text(base);
        let (fields, bytes) = (&context.head.fields, context.bytes);
        // Only the preflight's own answer, which has no head, keeps its three fields.
        let from_upstream = if fields.lines().is_empty() { 3 } else { self.names.answers.len() };
        for name in &self.names.answers[..from_upstream] {
            edits.response.remove(name, fields, bytes);
        }
        if !self.any {
            // Another origin gets another answer, so that a cache must not mix them (Fetch §3.2.5).
            add_vary(&mut edits.response, &self.names.vary, fields, bytes);
        }
        if origin.is_empty() || !self.allows(origin, &mut edits.caches) {
            return Flow::Acted;
        }
        edits.response.add(ALLOW_ORIGIN.as_bytes(), if self.any { b"*" } else { origin });
        if self.credentials {
            edits.response.add(ALLOW_CREDENTIALS.as_bytes(), b"true");
        }
        if !self.expose.is_empty() {
            edits.response.add(EXPOSE_HEADERS.as_bytes(), &self.expose);
        }
        Flow::Acted
    }
}

impl Step {
    fn allows(&self, origin: &[u8], caches: &mut crate::pattern::Caches) -> bool {
        self.any
            || self.exact.iter().any(|exact| **exact == *origin)
            || self.patterns.as_ref().is_some_and(|patterns| patterns.is_match(origin, caches))
    }
}

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const EXPOSE_HEADERS: &str = "Access-Control-Expose-Headers";
const ALLOW_METHODS: &str = "Access-Control-Allow-Methods";
const ALLOW_HEADERS: &str = "Access-Control-Allow-Headers";
const MAX_AGE: &str = "Access-Control-Max-Age";

/// The field's name, which the response will need too.
fn build_origin(build: &mut Build<'_>) -> Option<FieldName> {
    let origin = FieldName::parse("Origin").ok()?;
    let place = build.carry(Variable::Header(origin.clone()));
    debug_assert_eq!(place, 0, "the origin is the only text that is kept");
    Some(origin)
}

/// Adds `Origin` to Vary if it is not there.
fn add_vary(edits: &mut FieldEdits, vary: &FieldName, fields: &Fields, bytes: &[u8]) {
    let is_origin = |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(b"origin");
    let is_there = edits
        .values(vary, fields, bytes)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|member| is_origin(member.trim_ascii()));
    if !is_there {
        edits.append(vary, b"Origin", fields, bytes);
    }
}

/// Names behind commas.
fn list(key: &str, names: &[String], build: &mut Build<'_>) -> Box<[u8]> {
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            build.problem(format!("{key}[{index}]"), format!("{name:?} is not a token"));
        }
    }
    names.join(", ").into_bytes().into()
}

/// Whether a text is an origin as browsers write it (RFC 6454 §6.2); `null` is none: it stands for all pages without one.
fn is_origin(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, authority)| authority);
    authority.is_some_and(|authority| corelane_semantics::is_authority(authority.as_bytes()))
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems, response_fields};

    fn settings() -> Settings {
        Settings {
            origins: vec![
                Origin::Exact("https://a.example".into()),
                Origin::Regex("https://[a-z]+\\.b\\.example".into()),
            ],
            methods: vec!["PUT".into(), "DELETE".into()],
            headers: vec!["X-A".into()],
            expose: vec!["X-B".into(), "X-C".into()],
            credentials: true,
            max_age: Some(Duration::from_secs(60)),
        }
    }

    fn answer(settings: Settings, origin: &str, upstream: &str) -> String {
        let chain = chain([Any::Cors(settings)]);
        let lines = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        response_fields(&chain, &Sent::with("/", &lines).through(&chain).carry, upstream)
    }

    #[test]
    fn allowed_origins_are_named_and_the_upstreams_words_go() {
        let granted = |origin: &str| {
            format!(
                "Vary: Origin\nAccess-Control-Allow-Origin: {origin}\nAccess-Control-Allow-Credentials: true\n\
                 Access-Control-Expose-Headers: X-B, X-C\n"
            )
        };
        let upstream = "Access-Control-Allow-Origin: *\r\naccess-control-allow-methods: *\r\n";
        for origin in ["https://a.example", "https://x.b.example"] {
            assert_eq!(answer(settings(), origin, upstream), granted(origin));
        }
        for origin in ["", "null", "https://a.example.evil", "https://x.b.example.evil", "http://a.example"] {
            assert_eq!(answer(settings(), origin, upstream), "Vary: Origin\n", "{origin}");
        }
        assert!(answer(settings(), "null", "Vary: Accept, ORIGIN\r\n").starts_with("Vary: Accept, ORIGIN\n"));
        assert!(answer(settings(), "null", "Vary: Accept\r\n").starts_with("Vary: Accept, Origin\n"));
        let any = Settings { origins: vec![Origin::Any], ..Settings::default() };
        assert_eq!(answer(any, "null", "A: b\r\n"), "A: b\nAccess-Control-Allow-Origin: *\n");
    }

    #[test]
    fn preflight_requests_are_answered() {
        let chain = chain([Any::Cors(settings())]);
        let preflight = |origin: &str| {
            Sent::new(&format!(
                "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\r\n"
            ))
        };
        assert_eq!(
            preflight("https://a.example").through(&chain).answer(),
            "204 cors_preflight\nAccess-Control-Allow-Methods: PUT, DELETE\nAccess-Control-Allow-Headers: X-A\n\
             Access-Control-Max-Age: 60\n"
        );
        let mut seen = preflight("https://a.example").through(&chain);
        let head = corelane_semantics::ResponseHead { status: 204, ..Default::default() };
        let context = ResponseContext {
            head: &head,
            bytes: b"",
            carry: &seen.carry,
            endpoint: "",
            duration: Duration::ZERO,
        };
        chain.own_response(&context, &mut seen.edits);
        assert!(seen.answer().contains("Allow-Methods: PUT"), "{}", seen.answer());
        assert!(seen.answer().contains("Allow-Origin: https://a.example\n"), "{}", seen.answer());
        assert_eq!(preflight("https://evil.example").through(&chain).answer(), "204 cors_preflight\n");
        let plain = Sent::new("OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n");
        assert_eq!(plain.through(&chain).answer(), "");
    }

    #[test]
    fn wrong_settings_are_told() {
        assert_eq!(problems(Any::Cors(Settings::default())), "origins: names nobody\n");
        let wrong = Settings {
            origins: vec![Origin::Any, Origin::Exact("a.example".into()), Origin::Regex("(".into())],
            headers: vec!["a b".into()],
            ..settings()
        };
        let text = problems(Any::Cors(wrong));
        for key in ["origins[1]: ", "credentials: ", "origins: not a regular", "headers[0]: "] {
            assert!(text.lines().any(|line| line.starts_with(key)), "{key}: {text}");
        }
    }
}
