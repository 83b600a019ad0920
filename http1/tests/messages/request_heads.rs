//! Request heads: raw bytes, and what they are taken for (see `describe`) or why they are refused. Those whose fields say
//! how long the body is are in `request_framing.rs`.

use HostError as H;
use PathError as P;
use Verdict::{More, Taken};
use corelane_http1::{HeadError as E, HeadLimits, HeadScanner, parse_request};
use corelane_semantics::{
    BodyFraming, FramingError as F, HostError, PathBuffers, PathError, PathPolicies, RequestHead, Span,
    TargetForm, Version, request_framing,
};

use crate::feed::{all_ways, scan};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken(String),
    More,
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Head(E),
    Host(HostError),
    Framing(F),
    Path(PathError),
}

/// Judges a request as a listener with default settings does.
fn judge(bytes: &[u8], limits: &HeadLimits, ends: &[usize]) -> Result<Option<String>, Refusal> {
    let Some((start, end)) = scan(HeadScanner::new(), bytes, limits, ends)? else { return Ok(None) };
    let bytes_of_head = &bytes[start..end];
    let mut head = RequestHead::default();
    parse_request(bytes_of_head, limits, &mut head)?;
    let framing = request_framing(&head, bytes_of_head)?;
    head.host(bytes_of_head)?;
    let mut buffers = PathBuffers::default();
    let paths = buffers.canonicalise(head.path.bytes(bytes_of_head), &PathPolicies::default())?;
    Ok(Some(
        describe(&head, bytes_of_head, framing, paths.canonical) + &describe_place(start, bytes.len() - end),
    ))
}

/// `METHOD target (form: authority) HTTP/1.0 path canonical [Name=value, ...] body`; what is usual is left out.
fn describe(head: &RequestHead, bytes: &[u8], framing: BodyFraming, canonical: &[u8]) -> String {
    let text = |span: Span| span.bytes(bytes).escape_ascii().to_string();
    let mut out = format!("{} {}", text(head.method_token), text(head.target));
    let authority = head.authority.map(text).unwrap_or_default();
    match head.form {
        TargetForm::Origin => {}
        TargetForm::Absolute => {
            out += &format!(
                " (absolute: {authority} {} {})",
                text(head.path),
                head.query.map(text).unwrap_or_default()
            );
        }
        TargetForm::Authority => out += &format!(" (authority: {authority})"),
        TargetForm::Asterisk => out += " (asterisk)",
    }
    if head.version == Version::Http10 {
        out += " HTTP/1.0";
    }
    if head.path.bytes(bytes) != canonical {
        out += &format!(" path {}", canonical.escape_ascii());
    }
    let fields: Vec<String> = head
        .fields
        .lines()
        .iter()
        .map(|field| format!("{}={}", text(field.name), text(field.value)))
        .collect();
    out += &format!(" [{}]", fields.join(", "));
    match framing {
        BodyFraming::None => {}
        BodyFraming::Length(length) => out += &format!(" length {length}"),
        BodyFraming::Chunked => out += " chunked",
        BodyFraming::UntilClose => out += " until close",
    }
    out
}

/// What comes before and after the head.
fn describe_place(before: usize, after: usize) -> String {
    match (before, after) {
        (0, 0) => String::new(),
        (0, after) => format!(" then {after}"),
        (before, after) => format!(" behind {before} then {after}"),
    }
}

#[track_caller]
pub(crate) fn check(table: &[(&str, &[u8], Verdict)]) {
    let limits = HeadLimits::default();
    for (rule, bytes, expected) in table {
        let verdict = match all_ways(bytes, |ends| judge(bytes, &limits, ends)) {
            Ok(Some(text)) => Taken(text),
            Ok(None) => More,
            Err(refusal) => Verdict::Refused(refusal),
        };
        assert_eq!(&verdict, expected, "{rule}: {}", bytes.escape_ascii());
    }
}

pub(crate) fn ok(text: &str) -> Verdict {
    Taken(text.to_owned())
}

pub(crate) fn no(refusal: impl Into<Refusal>) -> Verdict {
    Verdict::Refused(refusal.into())
}

// The sections are of RFC 9112 where no other RFC is named.

#[test]
fn start_lines() {
    check(&[
        ("§2.1", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ok("GET / [Host=a]")),
        ("§2.1 unfinished", b"GET / HTTP/1.1\r\nHost: a\r\n", More),
        ("§2.1 unfinished", b"GET / HTTP/1.1\r\nHost: a\r\n\r", More),
        ("§2.1 unfinished", b"GET / HTTP/1.1", More),
        ("§2.1 nothing", b"", More),
        ("§2.1 a body behind it", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\0\n\r", ok("GET / [Host=a] then 3")),
        ("§9.3.2", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n\r\n", ok("GET / [Host=a] then 19")),
        // Empty lines before the request line.
        ("§2.2", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ok("GET / [Host=a] behind 2 then 0")),
        ("§2.2 twice", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§2.2 bare LF", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::BareLineFeed)),
        ("§2.2 bare CR", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::BareCarriageReturn)),
        ("§2.2 white space", b" \r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        // One SP between the parts.
        ("§3", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3", b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3", b"GET\x0b/ HTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3", b"GET / HTTP/1.1\t\r\nHost: a\r\n\r\n", no(E::VersionInvalid)),
        ("§3", b"GET / b HTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3", b"GET\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3 HTTP/0.9", b"GET /\r\n\r\n", no(E::RequestLineInvalid)),
        ("§3 folded", b"GET /\r\n HTTP/1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        // Methods.
        ("RFC 9110 §9.1", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", ok("get / [Host=a]")),
        (
            "RFC 9110 §9.1",
            b"!#$%&'*+-.^_`|~0A / HTTP/1.1\r\nHost: a\r\n\r\n",
            ok("!#$%&\\'*+-.^_`|~0A / [Host=a]"),
        ),
        ("RFC 9110 §9.1", b"G:T / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::MethodInvalid)),
        ("RFC 9110 §9.1", b"\"GET\" / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::MethodInvalid)),
        ("RFC 9110 §9.1", b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::MethodInvalid)),
        ("RFC 9110 §9.1", b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::MethodInvalid)),
        ("RFC 9110 §9.1", b"G\x7fT / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::MethodInvalid)),
        ("RFC 9110 §5.5", b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::Nul)),
        // Versions.
        ("§2.3", b"GET / HTTP/1.0\r\n\r\n", ok("GET / HTTP/1.0 []")),
        ("§2.3", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", no(E::VersionUnsupported)),
        ("§2.3", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", no(E::VersionUnsupported)),
        ("§2.3", b"GET / HTTP/0.9\r\n\r\n", no(E::VersionUnsupported)),
        ("§2.3", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", no(E::VersionUnsupported)),
        ("§2.3", b"GET / http/1.1\r\nHost: a\r\n\r\n", no(E::VersionInvalid)),
        ("§2.3", b"GET / HTTP/1\r\nHost: a\r\n\r\n", no(E::VersionInvalid)),
        ("§2.3", b"GET / HTTP/1.\r\nHost: a\r\n\r\n", no(E::VersionInvalid)),
        ("§2.3", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", no(E::VersionInvalid)),
        ("§2.3", b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", no(E::VersionInvalid)),
        ("§2.3", b"GET / HTTP/1.1x\r\nHost: a\r\n\r\n", no(E::VersionInvalid)),
        ("§2.3", b"GET / HTTP /1.1\r\nHost: a\r\n\r\n", no(E::RequestLineInvalid)),
        ("§2.3", b"GET / XTTP/1.1\r\nHost: a\r\n\r\n", no(E::VersionInvalid)),
        // What is no HTTP/1 at all.
        ("RFC 9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", no(E::VersionUnsupported)),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", no(E::Nul)),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", no(E::RequestLineInvalid)),
        ("PROXY", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n", no(E::RequestLineInvalid)),
        ("a response", b"HTTP/1.1 200 OK\r\n\r\n", no(E::MethodInvalid)),
        ("a chunk", b"0\r\n\r\n", no(E::RequestLineInvalid)),
        // Line ends.
        ("§2.2", b"GET / HTTP/1.1\nHost: a\n\n", no(E::BareLineFeed)),
        ("§2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n", no(E::BareLineFeed)),
        ("§2.2", b"GET / HTTP/1.1\rHost: a\r\r", no(E::BareCarriageReturn)),
        ("§2.2", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", no(E::BareCarriageReturn)),
        ("§2.2", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", no(E::BareCarriageReturn)),
        ("§2.2", b"GET / HTTP/1.1\n\rHost: a\r\n\r\n", no(E::BareLineFeed)),
    ]);
}

#[test]
fn targets_and_hosts() {
    check(&[
        // Origin-form.
        ("§3.2.1", b"GET /a/b?c=d&e HTTP/1.1\r\nHost: a\r\n\r\n", ok("GET /a/b?c=d&e [Host=a]")),
        ("§3.2.1", b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n", ok("GET /? [Host=a]")),
        ("§3.2.1", b"GET /a?/../b HTTP/1.1\r\nHost: a\r\n\r\n", ok("GET /a?/../b [Host=a]")),
        ("§3.2.1", b"GET //a HTTP/1.1\r\nHost: a\r\n\r\n", ok("GET //a path /a [Host=a]")),
        ("§3.2.1", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.1", b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.1", b"GET \\a HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2 fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 3986 §2", b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 3986 §2", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 3986 §2", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 9110 §5.5", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", no(E::Nul)),
        // Paths: all of it is in semantics/tests/paths.rs.
        ("RFC 3986 §5.2.4", b"GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", ok("GET /a/../b path /b [Host=a]")),
        ("RFC 3986 §5.2.4", b"GET /.. HTTP/1.1\r\nHost: a\r\n\r\n", no(P::AboveRoot)),
        ("RFC 3986 §2.1", b"GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", no(P::EscapeInvalid)),
        ("RFC 3986 §3.3", b"GET /a/..;/b HTTP/1.1\r\nHost: a\r\n\r\n", no(P::DotAmbiguous)),
        ("RFC 3986 §3.3", b"GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", no(P::EncodedSlash)),
        ("RFC 3986 §3.3", b"GET http://a/b\\c HTTP/1.1\r\nHost: a\r\n\r\n", no(P::Backslash)),
        ("RFC 3986 §3.4", b"GET /a?%2F\\%00 HTTP/1.1\r\nHost: a\r\n\r\n", ok("GET /a?%2F\\\\%00 [Host=a]")),
        // Absolute-form.
        (
            "§3.2.2",
            b"GET http://a:80/b?c HTTP/1.1\r\nHost: a:80\r\n\r\n",
            ok("GET http://a:80/b?c (absolute: a:80 /b c) [Host=a:80]"),
        ),
        (
            "§3.2.2",
            b"GET HTTPS://A HTTP/1.1\r\nHost: a\r\n\r\n",
            ok("GET HTTPS://A (absolute: A  ) [Host=a]"),
        ),
        ("§3.2.2", b"GET http://a?b HTTP/1.0\r\n\r\n", ok("GET http://a?b (absolute: a  b) HTTP/1.0 []")),
        ("§3.2.2", b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", no(H::Mismatch)),
        ("§3.2.2", b"GET http://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n", no(H::Mismatch)),
        ("§3.2.2", b"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", no(H::Invalid)),
        ("§3.2.2", b"GET http://a/ HTTP/1.1\r\n\r\n", no(H::Missing)),
        ("§3.2.2", b"GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.2", b"GET http:a HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.2", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 9110 §4.2.1", b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 9110 §4.2.1", b"GET http://:80/ HTTP/1.1\r\nHost: :80\r\n\r\n", no(H::Invalid)),
        ("RFC 9110 §4.2.4", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 9110 §4.2.4", b"GET http://u:p@a/ HTTP/1.1\r\nHost: u:p@a\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 3986 §3.2", b"GET http://a\\@b/ HTTP/1.1\r\nHost: b\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 3986 §3.2", b"GET http://a,b/ HTTP/1.1\r\nHost: a,b\r\n\r\n", no(H::Invalid)),
        ("RFC 3986 §3.2.3", b"GET http://a:65536/ HTTP/1.1\r\nHost: a:65536\r\n\r\n", no(H::Invalid)),
        // Authority-form.
        (
            "§3.2.3",
            b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            ok("CONNECT a:443 (authority: a:443) [Host=a:443]"),
        ),
        ("§3.2.3", b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.3", b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.3", b"CONNECT http://a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.3", b"CONNECT a:443/b HTTP/1.1\r\nHost: a:443\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.3", b"CONNECT u@a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.3", b"CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", no(H::Mismatch)),
        ("§3.2.3", b"GET a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 9110 §9.3.6", b"CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 9110 §9.3.6", b"CONNECT a:0 HTTP/1.1\r\nHost: a:0\r\n\r\n", no(E::TargetInvalid)),
        ("RFC 9110 §9.3.6", b"CONNECT a:99999 HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        // Asterisk-form.
        ("§3.2.4", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ok("OPTIONS * (asterisk) [Host=a]")),
        ("§3.2.4", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.4", b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        ("§3.2.4", b"OPTIONS *?a HTTP/1.1\r\nHost: a\r\n\r\n", no(E::TargetInvalid)),
        // Host.
        ("§3.2", b"GET / HTTP/1.1\r\n\r\n", no(H::Missing)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", no(H::Repeated)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", no(H::Repeated)),
        ("§3.2", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", no(H::Repeated)),
        ("RFC 9110 §4.2.1", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", ok("GET / [Host=[::1]:80]")),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: b\xc3\xbccher\r\n\r\n", no(H::Invalid)),
        ("§3.2", b"GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n", no(H::Invalid)),
    ]);
}

#[test]
fn field_lines() {
    check(&[
        ("§5.1", b"GET / HTTP/1.1\r\nHost:a\r\n\r\n", ok("GET / [Host=a]")),
        ("§5.1", b"GET / HTTP/1.1\r\nHost: \t a\t \r\n\r\n", ok("GET / [Host=a]")),
        ("§5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB:\r\nC: \t\r\n\r\n", ok("GET / [Host=a, B=, C=]")),
        ("§5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB: c : d\r\n\r\n", ok("GET / [Host=a, B=c : d]")),
        ("§5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB::\r\n\r\n", ok("GET / [Host=a, B=:]")),
        ("RFC 9110 §5.1", b"GET / HTTP/1.1\r\nhOsT: a\r\n\r\n", ok("GET / [hOsT=a]")),
        (
            "RFC 9110 §5.3",
            b"GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nB: d\r\n\r\n",
            ok("GET / [Host=a, B=c, B=d]"),
        ),
        (
            "RFC 9110 §5.5",
            b"GET / HTTP/1.1\r\nHost: a\r\nB: \xff\xc3\tc\r\n\r\n",
            ok("GET / [Host=a, B=\\xff\\xc3\\tc]"),
        ),
        (
            "RFC 9110 §5.6.2",
            b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~0A: b\r\n\r\n",
            ok("GET / [Host=a, !#$%&\\'*+-.^_`|~0A=b]"),
        ),
        // White space that readers take off or not.
        ("§5.1", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", no(E::FieldNameInvalid)),
        ("§5.1", b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", no(E::FieldNameInvalid)),
        ("§5.1", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n", no(E::FieldNameInvalid)),
        (
            "§5.1",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x0b: chunked\r\n\r\n",
            no(E::FieldNameInvalid),
        ),
        ("§5.1", b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\0: chunked\r\n\r\n", no(E::Nul)),
        ("§5.1", b"GET / HTTP/1.1\r\nHost: a\r\nTransfer Encoding: chunked\r\n\r\n", no(E::FieldNameInvalid)),
        ("§2.2", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", no(E::LineFolding)),
        ("§2.2", b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", no(E::LineFolding)),
        ("§2.2", b"GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", no(E::LineFolding)),
        ("§5.2", b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", no(E::LineFolding)),
        ("§5.2", b"GET / HTTP/1.1\r\nHost: a\r\nB:\r\n c\r\n\r\n", no(E::LineFolding)),
        ("§5.2", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n\t\r\n\r\n", no(E::LineFolding)),
        ("§5.2", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n Content-Length: 5\r\n\r\n", no(E::LineFolding)),
        // Names.
        ("§5", b"GET / HTTP/1.1\r\n: a\r\n\r\n", no(E::FieldNameInvalid)),
        ("§5", b"GET / HTTP/1.1\r\nHost: a\r\n:\r\n\r\n", no(E::FieldNameInvalid)),
        ("§5", b"GET / HTTP/1.1\r\nHost\r\n\r\n", no(E::FieldNameInvalid)),
        ("§5", b"GET / HTTP/1.1\r\nHost: a\r\nGET / HTTP/1.1\r\n\r\n", no(E::FieldNameInvalid)),
        ("RFC 9110 §5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB(c): d\r\n\r\n", no(E::FieldNameInvalid)),
        ("RFC 9110 §5.1", b"GET / HTTP/1.1\r\nHost: a\r\n\"B\": c\r\n\r\n", no(E::FieldNameInvalid)),
        ("RFC 9110 §5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB\xc3\xa9: c\r\n\r\n", no(E::FieldNameInvalid)),
        ("RFC 9110 §5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB\x7f: c\r\n\r\n", no(E::FieldNameInvalid)),
        ("RFC 9110 §5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB/c: d\r\n\r\n", no(E::FieldNameInvalid)),
        // Values.
        ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\0d\r\n\r\n", no(E::Nul)),
        ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\rd\r\n\r\n", no(E::BareCarriageReturn)),
        ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\x01\r\n\r\n", no(E::FieldValueInvalid)),
        ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: \x0bc\r\n\r\n", no(E::FieldValueInvalid)),
        ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\x0cd\r\n\r\n", no(E::FieldValueInvalid)),
        ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: \x1b[0m\r\n\r\n", no(E::FieldValueInvalid)),
        ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\x7f\r\n\r\n", no(E::FieldValueInvalid)),
        // Line ends.
        ("§2.2", b"GET / HTTP/1.1\r\nHost: a\n\r\n", no(E::BareLineFeed)),
        ("§2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n", no(E::BareLineFeed)),
        ("§2.2", b"GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n", no(E::BareLineFeed)),
        ("§2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", no(E::BareCarriageReturn)),
        ("§2.2", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", no(E::BareCarriageReturn)),
        ("§2.2", b"GET / HTTP/1.1\r\nHost: a\n\rB: c\r\n\r\n", no(E::BareLineFeed)),
    ]);
}

#[test]
fn limits() {
    let limits =
        HeadLimits { head_bytes_max: 64, request_line_bytes_max: 20, field_bytes_max: 30, fields_max: 3 };
    let table: &[(&[u8], Result<(), E>)] = &[
        (b"GET /aaaaaa HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"GET /aaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::RequestLineTooLong)),
        (b"\r\nGET /aaaaaa HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Err(E::RequestLineTooLong)),
        (b"GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n", Err(E::FieldTooLarge)),
        (b"GET / HTTP/1.1\r\nHost: a                        \r\n\r\n", Err(E::FieldTooLarge)),
        (b"GET / HTTP/1.1\r\nHost: a\r\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Err(E::FieldTooLarge)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA:\r\nC:\r\nE:\r\n\r\n", Err(E::TooManyFields)),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nB: cdef\r\n\r\n",
            Err(E::HeadTooLarge),
        ),
    ];
    for (bytes, expected) in table {
        let verdict = all_ways(bytes, |ends| judge(bytes, &limits, ends).map(drop));
        assert_eq!(verdict, expected.map_err(Refusal::Head), "{}", bytes.escape_ascii());
    }
}

impl From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Head(error)
    }
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<F> for Refusal {
    fn from(error: F) -> Self {
        Self::Framing(error)
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}
