//! Paths that servers read in different ways (RFC 3986 §3.3, §5.2.4): the rules see one canonical form, and what goes on is
//! what the policy says. The route `admin` stands for an access rule.

use super::case::Case;
use super::run::Group;
use crate::support::Setup;

pub(super) const DEFAULTS: Group = Group { name: "paths", setup: with_admin, cases: defaults };
pub(super) const NORMALISED: Group = Group {
    name: "paths that are normalised",
    setup: |setup| {
        with_admin(setup).listener(
            "paths = { encoded_slash = \"normalise\", backslash = \"normalise\", parameters = \"normalise\", \
             empty_segments = \"normalise\" }",
        )
    },
    cases: normalised,
};
pub(super) const PASSED: Group = Group {
    name: "paths that pass",
    setup: |setup| {
        with_admin(setup).listener(
            "paths = { encoded_slash = \"pass\", backslash = \"pass\", encoded_control = \"pass\", \
             encoded_delimiter = \"pass\", dot_segments = \"pass\" }",
        )
    },
    cases: passed,
};
pub(super) const REJECTED: Group = Group {
    name: "paths that are rejected",
    setup: |setup| {
        with_admin(setup).listener(
            "paths = { dot_segments = \"reject\", parameters = \"reject\", empty_segments = \"reject\" }",
        )
    },
    cases: rejected,
};

/// With a second route for `/admin`.
fn with_admin(setup: Setup) -> Setup {
    setup.more("[[routes]]\nname = \"admin\"\nupstream = \"origin\"\npath = { prefix = \"/admin\" }")
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Refused for this reason.
fn refused(name: &'static str, target: &str, reason: &'static str) -> Case {
    Case::new(name, get(target)).refused(400, reason)
}

/// Goes on as it came.
fn passes(name: &'static str, target: &str, route: &'static str) -> Case {
    Case::new(name, get(target)).by(route)
}

/// Goes on in another form.
fn becomes(name: &'static str, target: &str, canonical: &str, route: &'static str) -> Case {
    Case::new(name, get(target)).arrives(get(canonical)).by(route)
}

fn defaults() -> Vec<Case> {
    vec![
        refused("%2F", "/a%2Fb", "path_encoded_slash"),
        refused("%2f", "/a%2fb", "path_encoded_slash"),
        refused("%2F before admin", "/%2fadmin", "path_encoded_slash"),
        refused("%2F with dots", "/x/..%2fadmin", "path_encoded_slash"),
        refused("a backslash", "/a\\b", "path_backslash"),
        refused("%5C", "/a%5Cb", "path_backslash"),
        refused("%5c with dots", "/x/..%5cadmin", "path_backslash"),
        refused("%00", "/a%00", "path_encoded_control"),
        refused("%00 behind admin", "/admin%00.css", "path_encoded_control"),
        refused("%0D%0A", "/a%0d%0aX-A:%201", "path_encoded_control"),
        refused("%09", "/a%09b", "path_encoded_control"),
        refused("%7F", "/a%7Fb", "path_encoded_control"),
        refused("%23", "/a%23b", "path_encoded_delimiter"),
        refused("%3F", "/admin%3Fx", "path_encoded_delimiter"),
        refused("half an escape", "/a%2", "path_escape_invalid"),
        refused("an escape without digits", "/a%", "path_escape_invalid"),
        refused("an escape of letters", "/a%zz", "path_escape_invalid"),
        refused("an escape of UTF-16", "/a%u002f", "path_escape_invalid"),
        refused("above the root", "/..", "path_above_root"),
        refused("above the root and down again", "/../admin", "path_above_root"),
        refused("above the root in the end", "/a/../../b", "path_above_root"),
        refused("above the root in escapes", "/%2e%2e/admin", "path_above_root"),
        refused("dots with a parameter", "/a/..;/admin", "path_dot_ambiguous"),
        refused("dots with a parameter's value", "/a/..;x=y/admin", "path_dot_ambiguous"),
        refused("a dot with a parameter", "/.;/admin", "path_dot_ambiguous"),
        refused("encoded dots with a parameter", "/a/%2e%2e;/admin", "path_dot_ambiguous"),
        refused("dots behind an empty segment", "/a//../admin", "path_dot_ambiguous"),
        becomes("dot segments are resolved", "/a/./b/../c", "/a/c", "all"),
        becomes("the rules see them resolved", "/x/../admin", "/admin", "admin"),
        becomes("in escapes, too", "/x/%2e%2E/admin/y", "/admin/y", "admin"),
        becomes("half in escapes, too", "/x/.%2e/admin", "/admin", "admin"),
        becomes("out of admin", "/admin/../x", "/x", "all"),
        becomes("a dot at the end", "/admin/.", "/admin/", "admin"),
        becomes("two dots at the end", "/admin/x/..", "/admin/", "admin"),
        becomes("a query stays behind them", "/x/../admin?y=/../z", "/admin?y=/../z", "admin"),
        Case::new("an absolute target, too", "GET http://a/x/../admin HTTP/1.1\r\nHost: a\r\n\r\n")
            .arrives(get("/admin"))
            .by("admin"),
        passes("three dots are a name", "/.../admin", "all"),
        passes("dots in a name are a name", "/x..y/.z", "all"),
        passes("a parameter passes, and the rules do not see it", "/admin;x=y", "admin"),
        passes("a parameter of a segment in between", "/admin;x/y", "admin"),
        passes("a parameter and nothing else", "/;x", "all"),
        passes("empty segments pass, and the rules do not see them", "//admin", "admin"),
        passes("many empty segments", "///admin//x", "admin"),
        passes("an escape that is no delimiter passes, and the rules see its byte", "/%61dmin", "admin"),
        passes("a percent that is escaped twice is no slash", "/a%252fb", "all"),
        passes("admin in another case is another path", "/Admin", "all"),
        passes("UTF-8 in escapes", "/%c3%a9", "all"),
        passes("an overlong slash is no slash", "/x%c0%afadmin", "all"),
    ]
}

fn normalised() -> Vec<Case> {
    vec![
        becomes("normalised: %2F", "/a%2Fb", "/a/b", "all"),
        becomes("normalised: %2F before admin", "/%2fadmin", "/admin", "admin"),
        becomes("normalised: a backslash", "/admin\\x", "/admin/x", "admin"),
        becomes("normalised: %5C", "/admin%5Cx", "/admin/x", "admin"),
        becomes("normalised: a parameter", "/admin;x=y/z;w", "/admin/z", "admin"),
        becomes("normalised: empty segments", "//admin///x", "/admin/x", "admin"),
        refused("normalised: dots beside %2F", "/x/..%2fadmin", "path_dot_ambiguous"),
        refused("normalised: dots beside %5C", "/x%5c../admin", "path_dot_ambiguous"),
        refused("normalised: dots with a parameter", "/x/..;/admin", "path_dot_ambiguous"),
        refused("normalised: %00", "/a%00", "path_encoded_control"),
    ]
}

fn passed() -> Vec<Case> {
    vec![
        passes("passed: %2F, and the rules see a slash", "/admin%2Fx", "admin"),
        passes("passed: a backslash, and the rules see a slash", "/admin\\x", "admin"),
        passes("passed: %5C, and the rules see a slash", "/admin%5cx", "admin"),
        passes("passed: %00", "/a%00b", "all"),
        passes("passed: %0D%0A", "/a%0d%0ab", "all"),
        passes("passed: %23", "/a%23b", "all"),
        passes("passed: %3F", "/a%3fb", "all"),
        passes("passed: dot segments, and the rules see them resolved", "/x/../admin", "admin"),
        passes("passed: dot segments in escapes", "/x/%2e%2e/admin", "admin"),
        refused("passed: above the root", "/../admin", "path_above_root"),
        refused("passed: half an escape", "/a%2", "path_escape_invalid"),
        refused("passed: dots beside %2F", "/x/..%2fadmin", "path_dot_ambiguous"),
    ]
}

fn rejected() -> Vec<Case> {
    vec![
        refused("rejected: dot segments", "/a/../b", "path_dot_segment"),
        refused("rejected: a dot", "/a/./b", "path_dot_segment"),
        refused("rejected: dot segments in escapes", "/a/%2e%2e/b", "path_dot_segment"),
        refused("rejected: a parameter", "/a;b", "path_parameter"),
        refused("rejected: an empty segment", "//a", "path_empty_segment"),
        refused("rejected: an empty segment at the end", "/a//", "path_empty_segment"),
        passes("rejected: a slash at the end is none", "/a/", "all"),
        passes("rejected: the query is not looked at", "/a?b;c//../d", "all"),
        Case::new("rejected: an asterisk has no path", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ]
}
