//! The bytes of a request head (RFC 9112 §2.2, §3, §5): line ends, request lines, names and values.

use super::case::{Case, GET, OK};
use super::run::Group;

pub(super) const LINES: Group = Group { name: "line ends", setup: |setup| setup, cases: line_ends };
pub(super) const REQUEST_LINES: Group =
    Group { name: "request lines", setup: |setup| setup, cases: request_lines };
pub(super) const TARGETS: Group = Group { name: "targets", setup: |setup| setup, cases: targets };
pub(super) const FIELDS: Group = Group { name: "field lines", setup: |setup| setup, cases: field_lines };

fn line_ends() -> Vec<Case> {
    let lf = |name, bytes: &str| Case::new(name, bytes).refused(400, "bare_line_feed");
    let cr = |name, bytes: &str| Case::new(name, bytes).refused(400, "bare_carriage_return");
    vec![
        lf("LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        lf("LF behind a field", "GET / HTTP/1.1\r\nHost: a\nX-A: 1\r\n\r\n"),
        lf("LF everywhere", "GET / HTTP/1.1\nHost: a\n\n"),
        lf("LF as the end", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        lf("LF LF as the end", "GET / HTTP/1.1\r\nHost: a\n\n"),
        lf("LF before the request", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        lf("LF in the request line", "GET /\nHTTP/1.1\r\nHost: a\r\n\r\n"),
        lf("LF in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\n2\r\n\r\n"),
        lf("LF that makes a field", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\nContent-Length: 5\r\n\r\nhello"),
        lf("LF CR", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\n\r\n\r\n"),
        cr("CR behind the request line", "GET / HTTP/1.1\rHost: a\r\n\r\n"),
        cr("CR behind a field", "GET / HTTP/1.1\r\nHost: a\rX-A: 1\r\n\r\n"),
        cr("CR everywhere", "GET / HTTP/1.1\rHost: a\r\r"),
        cr("CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r2\r\n\r\n"),
        cr("CR in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\r-A: 1\r\n\r\n"),
        cr("CR in the target", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
        cr("CR before a CRLF", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\r\n\r\n"),
        cr("CR before the request", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        cr("CR that makes a field", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\rContent-Length: 5\r\n\r\nhello"),
        Case::new("one empty line before the request is skipped", [b"\r\n", GET].concat()).arrives(GET),
        Case::new("two empty lines before the request", [b"\r\n\r\n", GET].concat())
            .refused(400, "request_line_invalid"),
        Case::new("a hundred empty lines before the request", [b"\r\n".repeat(100).as_slice(), GET].concat())
            .refused(400, "request_line_invalid"),
        Case::new("a head in two pieces", "GET / HTTP/1.1\r\nHo").later("st: a\r\n\r\n").arrives(GET),
        Case::new("a head cut between CR and LF", "GET / HTTP/1.1\r\nHost: a\r").later("\n\r\n").arrives(GET),
        cr_in_pieces(),
    ]
}

fn cr_in_pieces() -> Case {
    Case::new("CR at the end of a piece", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r")
        .later("2\r\n\r\n")
        .refused(400, "bare_carriage_return")
}

fn request_lines() -> Vec<Case> {
    let with = |name, line: &str, status, reason| {
        Case::new(name, format!("{line}\r\nHost: a\r\n\r\n")).refused(status, reason)
    };
    let line = |name, text: &str| with(name, text, 400, "request_line_invalid");
    let version = |name, version: &str| with(name, &format!("GET / {version}"), 400, "version_invalid");
    let unsupported =
        |name, version: &str| with(name, &format!("GET / {version}"), 505, "version_unsupported");
    let method = |name, method: &str| with(name, &format!("{method} / HTTP/1.1"), 400, "method_invalid");
    vec![
        line("two spaces behind the method", "GET  / HTTP/1.1"),
        line("two spaces before the version", "GET /  HTTP/1.1"),
        line("a space before the method", " GET / HTTP/1.1"),
        line("a space behind the version", "GET / HTTP/1.1 "),
        line("a word behind the version", "GET / HTTP/1.1 x"),
        line("a space in the target", "GET /a b HTTP/1.1"),
        line("a second request line in the target", "GET /a HTTP/1.1 HTTP/1.1"),
        line("no version", "GET /"),
        line("no target", "GET HTTP/1.1"),
        line("no method", "/ HTTP/1.1"),
        line("a method alone", "GET"),
        line("tabs for spaces", "GET\t/\tHTTP/1.1"),
        Case::new("HTTP/0.9", "GET /\r\n\r\n").refused(400, "request_line_invalid"),
        Case::new("HTTP/0.9 and more behind it", "GET /\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
            .refused(400, "request_line_invalid"),
        version("a version in lower case", "http/1.1"),
        version("a version in mixed case", "Http/1.1"),
        version("a version with two digits behind the point", "HTTP/1.10"),
        version("a version with two digits before the point", "HTTP/01.1"),
        version("a version without a minor", "HTTP/1"),
        version("a version without a point", "HTTP/11"),
        version("a version with a comma", "HTTP/1,1"),
        version("a version with a sign", "HTTP/+1.1"),
        version("a version in hexadecimal", "HTTP/1.a"),
        version("a version of another protocol", "HTTPS/1.1"),
        version("a version of words", "HTTP/one.one"),
        version("a version of RTSP", "RTSP/1.0"),
        unsupported("version 0.9", "HTTP/0.9"),
        unsupported("version 1.2", "HTTP/1.2"),
        unsupported("version 1.9", "HTTP/1.9"),
        unsupported("version 2.0", "HTTP/2.0"),
        unsupported("version 9.9", "HTTP/9.9"),
        Case::new("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .refused(505, "version_unsupported"),
        Case::new("NUL in the version", "GET / HTTP/1.1\0\r\nHost: a\r\n\r\n").refused(400, "nul"),
        method("a method with a parenthesis", "G(T"),
        method("a method with a colon", "GET:"),
        method("a method in quotes", "\"GET\""),
        method("a method with a slash", "G/T"),
        method("a method with a control byte", "G\x01T"),
        method("a method with DEL", "GET\x7f"),
        Case::new("a method beyond ASCII", b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n")
            .refused(400, "method_invalid"),
        Case::new("NUL in the method", "G\0T / HTTP/1.1\r\nHost: a\r\n\r\n").refused(400, "nul"),
        Case::new("a method in lower case is another method", "get / HTTP/1.1\r\nHost: a\r\n\r\n"),
        Case::new("a method of every token byte", "X!#$%&'*+-.^_`|~9 / HTTP/1.1\r\nHost: a\r\n\r\n"),
        Case::new("a TLS client hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
            .refused(400, "nul"),
        Case::new("binary rubbish", b"\xff\xfe\xfd\x80\x81\r\n\r\n").refused(400, "request_line_invalid"),
        Case::new("a status line", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .refused(400, "method_invalid"),
    ]
}

fn targets() -> Vec<Case> {
    let refused = |name, target: &str| {
        Case::new(name, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).refused(400, "target_invalid")
    };
    let passed = |name, target: &str| Case::new(name, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let becomes = |name, target: &str, origin_form: &str| {
        passed(name, target).arrives(format!("GET {origin_form} HTTP/1.1\r\nHost: a\r\n\r\n"))
    };
    vec![
        refused("a target without a slash", "a"),
        refused("a target that is a query", "?a=b"),
        refused("an asterisk in a GET", "*"),
        refused("an authority in a GET", "a:80"),
        refused("a fragment", "/#a"),
        refused("a fragment behind a query", "/?a#b"),
        refused("a tab in the target", "/\t"),
        refused("DEL in the target", "/\x7f"),
        refused("a control byte in the target", "/\x01"),
        refused("a target in UTF-8", "/\u{e9}"),
        refused("another scheme", "ftp://a/"),
        refused("a scheme alone", "http:"),
        refused("a scheme without slashes", "http:a/"),
        refused("a scheme with one slash", "http:/a/"),
        refused("no authority", "http:///x"),
        refused("no authority and a query", "http://?x"),
        refused("a user in the target", "http://u@a/"),
        refused("a user and a password in the target", "http://u:p@a/"),
        refused("a user that looks like the host", "http://a@evil.example/"),
        refused("a fragment in an absolute target", "http://a/#b"),
        Case::new("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n").refused(400, "nul"),
        Case::new("an overlong byte in the target", b"GET /\xc0\xaf HTTP/1.1\r\nHost: a\r\n\r\n")
            .refused(400, "target_invalid"),
        passed("a query passes as it is", "/a?b=/../c;d=%2F&e=\\"),
        passed("an empty query passes as it is", "/a?"),
        passed("every byte of a path passes as it is", "/-._~!$&'()*+,=:@%7e%41"),
        becomes("an absolute target is sent in origin form", "http://a/b?c", "/b?c"),
        becomes("an absolute target without a path gets one", "http://a", "/"),
        becomes("an absolute target with a query alone gets a path", "http://a?b", "/?b"),
        becomes("a scheme in upper case", "HTTP://A/b", "/b"),
        // RFC 9110 §7.4: in clear text nobody has shown that this is the server of the https origin.
        Case::new("a target of https", "GET https://a/b HTTP/1.1\r\nHost: a\r\n\r\n")
            .refused(421, "scheme_mismatch"),
        Case::new("a target of HTTPS", "GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n")
            .refused(421, "scheme_mismatch"),
        Case::new("an asterisk for OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        Case::new("an absolute OPTIONS without a path", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n")
            .arrives("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        Case::new("two asterisks", "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n").refused(400, "target_invalid"),
        Case::new("an asterisk and a query", "OPTIONS *?a HTTP/1.1\r\nHost: a\r\n\r\n")
            .refused(400, "target_invalid"),
    ]
}

fn field_lines() -> Vec<Case> {
    let with = |name, line: &[u8], reason| {
        Case::new(name, [b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\n\r\n"].concat()).refused(400, reason)
    };
    let bad_name = |name, line: &[u8]| with(name, line, "field_name_invalid");
    let bad_value = |name, line: &[u8]| with(name, line, "field_value_invalid");
    let folded = |name, line: &[u8]| with(name, line, "line_folding");
    let passed =
        |name, line: &[u8]| Case::new(name, [b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\n\r\n"].concat());
    vec![
        bad_name("a space before the colon", b"X-A : 1"),
        bad_name("a tab before the colon", b"X-A\t: 1"),
        bad_name("a space in a name", b"X A: 1"),
        bad_name("no colon", b"X-A"),
        bad_name("an empty name", b": 1"),
        bad_name("a colon alone", b":"),
        bad_name("a name in brackets", b"[X]: 1"),
        bad_name("a name with a slash", b"X/A: 1"),
        bad_name("a name with an at sign", b"X@A: 1"),
        bad_name("a name with a comma", b"X,A: 1"),
        bad_name("a name with an equals sign", b"X=A: 1"),
        bad_name("a name in quotes", b"\"X\": 1"),
        bad_name("a name with a backslash", b"X\\A: 1"),
        bad_name("a name with a control byte", b"X\x01A: 1"),
        bad_name("a name with DEL", b"X\x7fA: 1"),
        bad_name("a name beyond ASCII", b"X\xc3\xa9: 1"),
        bad_name("a name with a no-break space", b"X-A\xa0: 1"),
        bad_name("a request line as a field", b"GET /smuggled HTTP/1.1"),
        with("NUL in a name", b"X\0A: 1", "nul"),
        with("NUL in a value", b"X-A: 1\x002", "nul"),
        with("NUL as a value", b"X-A: \0", "nul"),
        bad_value("a control byte in a value", b"X-A: \x01"),
        bad_value("a bell in a value", b"X-A: 1\x072"),
        bad_value("a vertical tab in a value", b"X-A: 1\x0b2"),
        bad_value("a form feed in a value", b"X-A: 1\x0c2"),
        bad_value("an escape in a value", b"X-A: \x1b[0m"),
        bad_value("DEL in a value", b"X-A: 1\x7f2"),
        folded("a folded line", b"X-A: 1\r\n 2"),
        folded("a line folded with a tab", b"X-A: 1\r\n\t2"),
        folded("a folded line that is empty", b"X-A: 1\r\n \r\nX-B: 2"),
        folded("a line of white space before the end", b"X-A: 1\r\n  "),
        Case::new("white space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n")
            .refused(400, "line_folding"),
        Case::new("a line of white space before the fields", "GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n")
            .refused(400, "line_folding"),
        Case::new("a folded request line", "GET /\r\n HTTP/1.1\r\nHost: a\r\n\r\n")
            .refused(400, "request_line_invalid"),
        passed("a value in UTF-8 passes as it is", b"X-A: \xc3\xa9\xff"),
        passed("white space in a value passes as it is", b"X-A: 1 \t 2"),
        passed("an empty value passes as it is", b"X-A:"),
        passed("colons in a value pass as they are", b"X-A: :b: c:"),
        passed("a name of every token byte passes as it is", b"X!#$%&'*+-.^`|~9: 1"),
        passed("names keep their case, order and number", b"x-B: 1\r\nX-A: 2\r\nX-b: 3"),
        Case::new(
            "the next request is parsed anew",
            [GET, b"GET / HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n"].concat(),
        )
        .arrives(GET)
        .sees_then_refused(OK, 400, "field_name_invalid"),
    ]
}
