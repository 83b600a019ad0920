//! `rewrite`: another path or host for the upstream.
//!
//! What is matched is the canonical path (`corelane_semantics::Paths`), and what comes out is what the upstream gets. A path
//! that is made from parts of the request cannot lead elsewhere: one with a dot segment is refused, a second slash at its
//! start goes (RFC 3986 §3.3 and §4.2).

use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::filters::Build;
use crate::pattern::Pattern;
use crate::reason::Reason;
use crate::settings::{Key, Kind, Read};
use crate::template::Template;
use crate::text::{is_path_byte, write_encoded};
use crate::variable::Phase;
use corelane_semantics::is_authority;

/// What changes. Nothing is not allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The path.
    pub path: Option<PathChange>,
    /// The host that the upstream gets, with variables.
    pub host: Option<String>,
}

/// How the path changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// Whole segments at its start that go; other paths stay.
    StripPrefix(String),
    /// Whole segments at its start that become others; other paths stay.
    ReplacePrefix {
        /// The old ones.
        prefix: String,
        /// The new ones.
        with: String,
    },
    /// The first part that a regular expression matches becomes a text with variables; other paths stay.
    Regex {
        /// The expression.
        pattern: String,
        /// The text, which may have groups too: `{match.1}`, `{match.NAME}`.
        with: String,
    },
    /// The whole path, with variables.
    Set(String),
}

const REPLACE_PREFIX: &[Key] = &[
    Key::required("prefix", Kind::Text).says(
        "The old segments.",
        "a canonical path that begins with /",
        "\"/v1\"",
    ),
    Key::required("with", Kind::Text).says("The new ones.", "a canonical path that begins with /", "\"/v2\""),
];

const REGEX: &[Key] = &[
    Key::required("pattern", Kind::Text).says(
        "The expression.",
        "a regular expression",
        "\"^/user/([0-9]+)$\"",
    ),
    Key::required("with", Kind::Text).says(
        "The text; its groups are `{match.1}`, `{match.NAME}`.",
        "a path with variables",
        "\"/u/{match.1}\"",
    ),
];

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::optional("strip_prefix", Kind::Text, "the path keeps its start").says(
        "Whole segments at the start of the path that go; other paths stay.",
        "a canonical path that begins with /",
        "\"/api\"",
    ),
    Key::optional("replace_prefix", Kind::Table(REPLACE_PREFIX), "the path keeps its start").says(
        "Whole segments at the start of the path that become others.",
        "a table",
        "{ prefix = \"/v1\", with = \"/v2\" }",
    ),
    Key::optional("regex", Kind::Table(REGEX), "no regex is used").says(
        "The first part of the path that a regular expression matches becomes a text.",
        "a table",
        "{ pattern = \"^/user/([0-9]+)$\", with = \"/u/{match.1}\" }",
    ),
    Key::optional("path", Kind::Text, "the path stays").says(
        "The whole path.",
        "a path with variables",
        "\"/render{path}\"",
    ),
    Key::optional("host", Kind::Text, "the route's host").says(
        "The host that the upstream gets.",
        "a host with variables, with or without a port",
        "\"{header.X-Tenant}.internal\"",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        let strip = table.text("strip_prefix").map(PathChange::StripPrefix);
        let set = table.text("path").map(PathChange::Set);
        let (mut replace, mut regex) = (None, None);
        table.table("replace_prefix", &mut |table| {
            replace = table.text("prefix").zip(table.text("with"));
        });
        table.table("regex", &mut |table| regex = table.text("pattern").zip(table.text("with")));
        let replace = replace.map(|(prefix, with)| PathChange::ReplacePrefix { prefix, with });
        let regex = regex.map(|(pattern, with)| PathChange::Regex { pattern, with });
        let changes = [("strip_prefix", strip), ("replace_prefix", replace), ("regex", regex), ("path", set)];
        let mut path = None;
        for (key, change) in changes {
            if change.is_some() && path.is_some() {
                table.wrong(key, "one change of the path too many; give one of strip_prefix, replace_prefix, regex and path".to_owned());
            }
            path = path.or(change);
        }
        Some(Self { path, host: table.text("host") })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    path: Option<Path>,
    host: Option<Template>,
}

#[derive(Debug)]
enum Path {
    /// Without a slash at the end.
    Prefix {
        prefix: Box<[u8]>,
        with: Box<[u8]>,
    },
    Regex {
        pattern: Pattern,
        with: Template,
    },
    Set(Template),
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        if settings == &Settings::default() {
            build.problem("", "changes nothing: give a change of the path, or host");
        }
        let path = match &settings.path {
            None => None,
            Some(PathChange::StripPrefix(prefix)) => Some(Path::Prefix {
                prefix: check_prefix("strip_prefix", prefix, build),
                with: Box::default(),
            }),
            Some(PathChange::ReplacePrefix { prefix, with }) => Some(Path::Prefix {
                prefix: check_prefix("replace_prefix.prefix", prefix, build),
                with: check_prefix("replace_prefix.with", with, build),
            }),
            Some(PathChange::Regex { pattern, with }) => {
                let pattern = build.pattern("regex.pattern", &[pattern])?;
                build.matches = Some(pattern.clone());
                let with = path_template("regex.with", with, build);
                build.matches = None;
                Some(Path::Regex { pattern, with })
            }
            Some(PathChange::Set(path)) => {
                let before = build.mistakes();
                let template = path_template("path", path, build);
                if build.mistakes() == before && !template.start().starts_with(b"/") {
                    build.problem("path", "not a path that starts with a slash");
                }
                Some(Path::Set(template))
            }
        };
        let before = build.mistakes();
        let host = settings.host.as_ref().map(|host| build.template("host", host, Phase::Request));
        let is_template = build.mistakes() == before;
        if is_template && host.as_ref().and_then(Template::fixed).is_some_and(|host| !is_authority(host)) {
            build.problem(
                "host",
                format!(
                    "{:?} is not a host, with or without a port",
                    settings.host.as_deref().unwrap_or_default()
                ),
            );
        }
        Some(Self { path, host })
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let mut flow = Flow::Passed;
        // `*` and CONNECT have no path.
        if let Some(path) = &self.path
            && !context.path.is_empty()
        {
            flow = path.change(context, edits);
        }
        if let Some(host) = &self.host
            && flow != Flow::Answered
        {
            flow = edits.with_text(|edits, text| {
                host.write(context, edits, text);
                if !is_authority(text) {
                    return refuse(edits);
                }
                edits.host.set(text);
                Flow::Acted
            });
        }
        flow
    }
}

impl Path {
    fn change(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        edits.with_texts(|edits, text, spare| {
            match self {
                Self::Prefix { prefix, with } => {
                    let Some(rest) = behind_prefix(edits.path_now(context), prefix) else {
                        return Flow::Passed;
                    };
                    // What the client wrote is kept where it means the same: parameters, say, which no rule sees.
                    let written = behind_prefix(context.forwarded_path, prefix);
                    let written = written.filter(|rest| edits.path().is_none() && !has_dots(rest));
                    text.extend_from_slice(with);
                    text.extend_from_slice(written.unwrap_or(rest));
                }
                Self::Regex { pattern, with } => {
                    let mut matches = std::mem::take(&mut edits.matches);
                    let is_match = edits.with_caches(|edits, caches| {
                        pattern.groups(edits.path_now(context), caches, &mut matches)
                    });
                    edits.matches = matches;
                    let Some(&Some(whole)) = edits.matches.first().filter(|_| is_match) else {
                        return Flow::Passed;
                    };
                    let path = edits.path_now(context);
                    text.extend_from_slice(path.get(..whole.start as usize).unwrap_or_default());
                    with.write_with(context, edits, spare, text, write_path_value);
                    text.extend_from_slice(path.get(whole.end as usize..).unwrap_or_default());
                }
                Self::Set(template) => template.write_with(context, edits, spare, text, write_path_value),
            }
            if !settle(text, 0) {
                return refuse(edits);
            }
            edits.path.set(text);
            Flow::Acted
        })
    }
}

fn refuse(edits: &mut Edits) -> Flow {
    edits.refuse(400, Reason::RewriteInvalid);
    Flow::Answered
}

pub(crate) fn write_path_value(value: &[u8], out: &mut Vec<u8>) {
    write_encoded(out, value, is_path_byte);
}

/// A template of which the fixed parts may stand in a path.
pub(crate) fn path_template(key: &str, text: &str, build: &mut Build<'_>) -> Template {
    if let Some(position) = text.bytes().position(|byte| !is_sendable(byte)) {
        let wrong = text[position..].chars().next().unwrap_or_default();
        build.problem(key, format!("{wrong:?} cannot stand in a path; percent-encode it"));
    }
    build.template(key, text, Phase::Request)
}

fn is_sendable(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'\\')
}

/// Some whole segments, without a slash at the end.
fn check_prefix(key: &str, prefix: &str, build: &mut Build<'_>) -> Box<[u8]> {
    let trimmed = prefix.trim_end_matches('/');
    if !prefix.starts_with('/')
        || !trimmed.bytes().all(is_sendable)
        || trimmed.contains("//")
        || has_dots(trimmed.as_bytes())
    {
        build.problem(key, format!("{prefix:?} is not a path in canonical form that starts with a slash"));
    }
    trimmed.as_bytes().into()
}

/// What stands behind whole segments at a path's start: nothing, or what begins with a slash.
fn behind_prefix<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    path.strip_prefix(prefix).filter(|rest| matches!(rest, [] | [b'/', ..]))
}

/// Whether a path has a dot segment in any spelling, or a backslash.
fn has_dots(path: &[u8]) -> bool {
    let is_dot = |segment: &[u8]| {
        let name = segment.split(|&byte| byte == b';').next().unwrap_or_default();
        [&b"."[..], b".."].iter().any(|dots| crate::text::is_encoded(name, dots))
    };
    path.contains(&b'\\') || path.split(|&byte| byte == b'/').any(is_dot)
}

/// Makes what stands behind `start` a path that can be sent; `false` if it cannot be.
pub(crate) fn settle(out: &mut Vec<u8>, start: usize) -> bool {
    let slashes = out[start..].iter().take_while(|&&byte| byte == b'/').count();
    match slashes {
        0 => out.insert(start, b'/'),
        1 => {}
        // `//host` would be another host's path for who resolves it as a reference.
        more => drop(out.drain(start + 1..start + more)),
    }
    let path = &out[start..];
    path.len() <= PATH_BYTES_MAX && path.iter().all(|&byte| is_sendable(byte)) && !has_dots(path)
}

/// The longest path that is made: what a request line may hold by default.
const PATH_BYTES_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};
    use corelane_semantics::Span;

    fn rewritten(change: PathChange, path: &str) -> Option<String> {
        let chain = chain([Any::Rewrite(Settings { path: Some(change), host: None })]);
        let mut sent = Sent::with(path, "X-A: a b/../?%2e\r\nX-Dots: ..\r\n");
        sent.captures = vec![Some(Span::new(1, 2))];
        let seen = sent.through(&chain);
        if !seen.answer().is_empty() {
            return Some(seen.answer());
        }
        seen.edits.path().map(|path| String::from_utf8(path.to_vec()).unwrap())
    }

    #[test]
    fn prefixes_are_whole_segments() {
        let strip = |path| rewritten(PathChange::StripPrefix("/api/".into()), path);
        let replace =
            |path| rewritten(PathChange::ReplacePrefix { prefix: "/api".into(), with: "/v2/x".into() }, path);
        for (path, stripped, replaced) in [
            ("/api", Some("/"), Some("/v2/x")),
            ("/api/", Some("/"), Some("/v2/x/")),
            ("/api/a?b", Some("/a"), Some("/v2/x/a")),
            ("/apis/a", None, None),
            ("/a/api", None, None),
            ("/api//evil.example", Some("/evil.example"), Some("/v2/x//evil.example")),
        ] {
            assert_eq!(strip(path).as_deref(), stripped, "{path}");
            assert_eq!(replace(path).as_deref(), replaced, "{path}");
        }
    }

    #[test]
    fn a_regex_replaces_what_it_matches() {
        let regex = |pattern: &str, with: &str, path| {
            rewritten(PathChange::Regex { pattern: pattern.into(), with: with.into() }, path)
        };
        assert_eq!(regex("^/u/([0-9]+)$", "/users/{match.1}", "/u/42").as_deref(), Some("/users/42"));
        assert_eq!(regex("u(?<n>[0-9])", "{match.n}x", "/a/u7/b").as_deref(), Some("/a/7x/b"));
        assert_eq!(regex("^/u$", "/v", "/w"), None);
        assert_eq!(regex("^/(.*)$", "/{match.1}", "//evil.example").as_deref(), Some("/evil.example"));
        assert_eq!(regex("x", "", "/a/.x./b").as_deref(), Some("400 rewrite_invalid\n"));
    }

    #[test]
    fn values_cannot_lead_elsewhere() {
        let set = |path: &str| rewritten(PathChange::Set(path.into()), "/x?q=1%202");
        assert_eq!(set("/p/{path.id}/{query.q}").as_deref(), Some("/p/x/1%202"));
        assert_eq!(set("/p/{header.X-Dots}").as_deref(), Some("400 rewrite_invalid\n"));
        assert_eq!(set("/p/{header.X-A}").as_deref(), Some("400 rewrite_invalid\n"));
        assert_eq!(set("/{header.None}/a").as_deref(), Some("/a"));
    }

    #[test]
    fn a_host_is_an_authority_or_nothing() {
        let host = |host: &str| Any::Rewrite(Settings { path: None, host: Some(host.into()) });
        let seen = Sent::with("/", "X-H: b.example:81\r\n").through(&chain([host("{header.X-H}")]));
        assert_eq!(seen.edits.host(), Some(&b"b.example:81"[..]));
        let seen = Sent::with("/", "X-H: b/c\r\n").through(&chain([host("{header.X-H}")]));
        assert_eq!(seen.answer(), "400 rewrite_invalid\n");
        assert_eq!(problems(host("a b")), "host: \"a b\" is not a host, with or without a port\n");
    }

    #[test]
    fn wrong_settings_are_told() {
        let path = |path| problems(Any::Rewrite(Settings { path: Some(path), host: None }));
        assert!(path(PathChange::StripPrefix("api".into())).starts_with("strip_prefix: "));
        assert!(path(PathChange::StripPrefix("/a/../b".into())).starts_with("strip_prefix: "));
        assert!(path(PathChange::Set("a".into())).starts_with("path: "));
        assert!(path(PathChange::Set("/a?b".into())).starts_with("path: '?'"));
        let regex = |pattern: &str, with: &str| {
            path(PathChange::Regex { pattern: pattern.into(), with: with.into() })
        };
        assert!(regex("(", "/").starts_with("regex.pattern: not a regular expression"));
        assert_eq!(regex("a", "/{match.1}"), "regex.with: {match.1}: the regex has no such group\n");
        assert!(path(PathChange::Set("/{match.1}".into())).contains("only in the text for a regex"));
        assert!(problems(Any::Rewrite(Settings::default())).contains("changes nothing"));
    }
}
