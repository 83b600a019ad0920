//! Fields that end here, fields that may not, and methods (RFC 9110 §7.6, §9.3, §10.1).

use super::case::{Case, End, GET, OK, OK_CLOSE, When};
use super::run::Group;

pub(super) const HOPS: Group = Group { name: "hop-by-hop fields", setup: |setup| setup, cases: hops };
pub(super) const DROPPED: Group =
    Group { name: "fields that end here", setup: |setup| setup, cases: dropped };
pub(super) const UNDERSCORES_PASSED: Group = Group {
    name: "underscores passed",
    setup: |setup| setup.listener("underscore_fields = \"pass\""),
    cases: underscores_passed,
};
pub(super) const UNDERSCORES_REJECTED: Group = Group {
    name: "underscores rejected",
    setup: |setup| setup.listener("underscore_fields = \"reject\""),
    cases: underscores_rejected,
};
pub(super) const METHODS: Group = Group { name: "methods", setup: |setup| setup, cases: methods };
pub(super) const METHODS_REFUSED: Group = Group {
    name: "methods that are refused",
    setup: |setup| setup.listener("methods_refused = [\"TRACE\", \"DELETE\", \"PURGE\"]"),
    cases: methods_refused,
};
pub(super) const EXPECTATIONS: Group =
    Group { name: "expectations", setup: |setup| setup, cases: expectations };

/// A GET with these lines.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

fn hops() -> Vec<Case> {
    let ends = |name, lines: &str| Case::new(name, get(lines)).arrives(GET);
    let protected = |name, field: &str, value: &str| {
        Case::new(name, get(&format!("Connection: {field}\r\n{field}: {value}")))
            .refused(400, "connection_nominates_protected")
    };
    let nominated = |name, option: &str| {
        Case::new(name, get(&format!("Connection: {option}"))).refused(400, "connection_nominates_protected")
    };
    let framed = |name, lines: &str, body: &str| {
        Case::new(name, get(lines) + body).refused(400, "connection_nominates_protected")
    };
    let many = |count: usize| vec!["x"; count].join(",");
    vec![
        ends("Keep-Alive ends here", "Keep-Alive: timeout=5"),
        ends("Connection: keep-alive ends here", "Connection: keep-alive"),
        ends("Proxy-Connection ends here", "Proxy-Connection: keep-alive"),
        ends("Proxy-Authorization ends here", "Proxy-Authorization: Basic YTpi"),
        ends("Upgrade without Connection ends here", "Upgrade: websocket"),
        ends("an Upgrade that is not allowed ends here", "Connection: upgrade\r\nUpgrade: tls/1.0"),
        ends(
            "h2c ends here",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        ),
        ends("HTTP2-Settings ends here by itself", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ends("what Connection names ends here", "Connection: X-Hop\r\nX-Hop: 1"),
        ends("what Connection names in another case ends here", "Connection: x-hop\r\nX-HOP: 1"),
        ends("as often as it comes", "X-Hop: 1\r\nConnection: X-Hop\r\nX-Hop: 2"),
        ends(
            "by the second name of a list",
            "Connection: keep-alive, X-Hop , X-Other\r\nX-Hop: 1\r\nX-Other: 2",
        ),
        ends("by the second Connection", "Connection: keep-alive\r\nX-Hop: 1\r\nConnection: X-Hop"),
        ends("empty members mean nothing", "Connection: ,, X-Hop,\r\nX-Hop: 1"),
        ends("TE other than trailers ends here", "TE: gzip, deflate;q=0.5"),
        Case::new("TE: trailers is said anew", get("TE: gzip, trailers\r\nConnection: TE"))
            .arrives(get("TE: trailers\r\nConnection: TE")),
        Case::new("Connection: close closes", get("Connection: close"))
            .arrives(GET)
            .sees(OK_CLOSE)
            .end(End::Closed),
        Case::new("Connection: CLOSE closes", get("Connection: X-Hop, CLOSE\r\nX-Hop: 1"))
            .arrives(GET)
            .sees(OK_CLOSE)
            .end(End::Closed),
        Case::new("close wins over keep-alive", get("Connection: keep-alive, close"))
            .arrives(GET)
            .sees(OK_CLOSE)
            .end(End::Closed),
        nominated("Connection: Host", "Host"),
        nominated("Connection: host", "host"),
        nominated("Connection: Content-Length without one", "Content-Length"),
        nominated("Connection: Transfer-Encoding without one", "close, Transfer-Encoding"),
        protected("Connection: Authorization", "Authorization", "Basic YTpi"),
        protected("Connection: Cookie", "Cookie", "a=b"),
        protected("Connection: X-Forwarded-For", "X-Forwarded-For", "127.0.0.1"),
        protected("Connection: X-Forwarded-Host", "X-Forwarded-Host", "b"),
        protected("Connection: X-Forwarded-Proto", "X-Forwarded-Proto", "https"),
        framed("Connection: Content-Length", "Connection: Content-Length\r\nContent-Length: 3", "abc"),
        framed(
            "Connection: Transfer-Encoding",
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
            "0\r\n\r\n",
        ),
        Case::new("a second Connection names Host", get("Connection: close\r\nConnection: Host"))
            .refused(400, "connection_nominates_protected"),
        ends("thirty-two options are allowed", &format!("Connection: {}", many(32))),
        Case::new("thirty-three options are too many", get(&format!("Connection: {}", many(33))))
            .refused(400, "connection_options_excess"),
        Case::new("options over many lines are too many", get(&["Connection: x"; 33].join("\r\n")))
            .refused(400, "connection_options_excess"),
        Case::new("empty options count", get(&format!("Connection: {}", ",".repeat(40))))
            .refused(400, "connection_options_excess"),
    ]
}

fn dropped() -> Vec<Case> {
    let ends = |name, lines: &str| Case::new(name, get(lines)).arrives(GET);
    vec![
        ends("X-Forwarded-For of a stranger ends here", "X-Forwarded-For: 127.0.0.1"),
        ends("X-Forwarded-Host of a stranger ends here", "X-Forwarded-Host: b"),
        ends("X-Forwarded-Proto of a stranger ends here", "X-Forwarded-Proto: https"),
        ends("X-Forwarded-Anything of a stranger ends here", "X-Forwarded-Client-Cert: x"),
        ends("X-Real-IP of a stranger ends here", "X-Real-IP: 127.0.0.1"),
        ends("Forwarded of a stranger ends here", "Forwarded: for=127.0.0.1"),
        ends("X-Forwarded-For in another case ends here", "x-FORWARDED-for: 127.0.0.1"),
        ends("a name with an underscore ends here", "X_A: 1"),
        ends("a name that begins with one", "_X: 1"),
        ends("a name that is one", "_: 1"),
        ends("X_Forwarded_For ends here", "X_Forwarded_For: 127.0.0.1"),
        ends("X-Forwarded_For ends here", "X-Forwarded_For: 127.0.0.1"),
        ends("a second Host in disguise ends here", "HO_ST: b\r\nHost_: b"),
        Case::new("an underscore in a value stays", get("X-A: a_b")),
        Case::new("Via is kept", get("Via: 1.1 before")),
        Case::new("Max-Forwards is kept", get("Max-Forwards: 0")),
    ]
}

fn underscores_passed() -> Vec<Case> {
    vec![
        Case::new("underscores passed: a name with an underscore", get("X_A: 1")),
        Case::new(
            "underscores passed: X_Forwarded_For ends here all the same",
            get("X_Forwarded_For: 127.0.0.1"),
        )
        .arrives(GET),
        Case::new("underscores passed: Content_Length is any field", get("Content_Length: 5")),
    ]
}

fn underscores_rejected() -> Vec<Case> {
    let refused = |name, lines: &str| Case::new(name, get(lines)).refused(400, "underscore_field");
    vec![
        refused("underscores rejected: a name with an underscore", "X_A: 1"),
        refused("underscores rejected: X_Forwarded_For", "X_Forwarded_For: 127.0.0.1"),
        refused("underscores rejected: Transfer_Encoding", "Transfer_Encoding: chunked"),
        refused("underscores rejected: one among many", "X-A: 1\r\nX-B: 2\r\nX-C_: 3\r\nX-D: 4"),
        Case::new("underscores rejected: one in a value stays", get("X-A: a_b")),
    ]
}

fn methods() -> Vec<Case> {
    let passed = |name, method: &str| Case::new(name, format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
    let refused = |name, bytes: &str| Case::new(name, bytes).refused(405, "method_refused");
    vec![
        refused("CONNECT", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"),
        refused("CONNECT and bytes behind it", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03\x01"),
        refused(
            "CONNECT and a request behind it",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        refused("TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n"),
        refused("TRACE with a body", "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
        Case::new("CONNECT to a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n")
            .refused(400, "target_invalid"),
        Case::new("CONNECT without a port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n")
            .refused(400, "target_invalid"),
        Case::new("CONNECT to an absolute target", "CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
            .refused(400, "target_invalid"),
        Case::new("CONNECT to another host", "CONNECT b:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
            .refused(400, "host_mismatch"),
        passed("TRACE in lower case is another method", "trace"),
        passed("a method that nobody knows", "FROBNICATE"),
        passed("PATCH", "PATCH"),
        passed("PURGE", "PURGE"),
        Case::new("HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            .replies("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\n")
            .sees("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\n"),
    ]
}

fn methods_refused() -> Vec<Case> {
    let connect = |name, line: &str, body: &str| {
        Case::new(name, format!("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n{line}\r\n\r\n{body}"))
            .refused(400, "content_in_connect")
    };
    let with = |name, method: &str| Case::new(name, format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
    vec![
        with("methods_refused: DELETE", "DELETE").refused(405, "method_refused"),
        with("methods_refused: PURGE", "PURGE").refused(405, "method_refused"),
        with("methods_refused: TRACE", "TRACE").refused(405, "method_refused"),
        with("methods_refused: purge is another method", "purge"),
        with("methods_refused: POST is not named", "POST"),
        connect("methods_refused: CONNECT with a body", "Content-Length: 3", "abc"),
        connect("methods_refused: CONNECT with a length", "Content-Length: 3", ""),
        connect("methods_refused: CONNECT with a coding", "Transfer-Encoding: chunked", "0\r\n\r\n"),
    ]
}

fn expectations() -> Vec<Case> {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let unsupported = |name, bytes: String| Case::new(name, bytes).refused(417, "expectation_unsupported");
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    vec![
        Case::new("Expect is forwarded, and its 100 comes back", head)
            .when(When::Head)
            .replies(go_on)
            .later("abc")
            .reply_step(super::case::Step::Sleep(std::time::Duration::from_secs(1)))
            .replies_more(OK)
            .arrives(head.to_owned() + "abc")
            .sees([go_on.as_bytes(), OK].concat())
            .pooled(true),
        Case::new("nobody needs to wait for the 100", head.to_owned() + "abc"),
        Case::new("Expect ends here in HTTP/1.0", {
            "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
        })
        .arrives("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        .sees(OK_CLOSE)
        .end(End::Closed),
        unsupported("an expectation that nobody knows", get("Expect: miracles")),
        unsupported("an expectation beside the one that is known", get("Expect: 100-continue, miracles")),
        unsupported("an expectation on two lines", get("Expect: 100-continue\r\nExpect: miracles")),
        unsupported("an expectation with a body", head.replace("100-continue", "x") + "abc"),
        Case::new("a request behind a refused expectation is not its body", head)
            .when(When::Head)
            .replies("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nDate: x\r\n\r\nno")
            .then(super::case::Then::Hold)
            .arrives(head)
            .sees(
                "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nDate: x\r\n\
                 Connection: close\r\n\r\nno",
            )
            .end(End::Closed)
            .pooled(false),
    ]
}
