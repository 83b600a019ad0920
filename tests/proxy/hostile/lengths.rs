//! Where a request's body ends (RFC 9112 §6.1 to §6.3): what could be read in two ways is refused, what is forwarded
//! reads in one.

use super::case::{Case, End, GET, OK, OK_CLOSE, Step};
use super::run::Group;

pub(super) const BOTH: Group =
    Group { name: "Content-Length with Transfer-Encoding", setup: |setup| setup, cases: both };
pub(super) const CODINGS: Group =
    Group { name: "Transfer-Encoding", setup: |setup| setup, cases: transfer_encodings };
pub(super) const LENGTHS: Group = Group { name: "Content-Length", setup: |setup| setup, cases: lengths };
pub(super) const BODIES: Group = Group { name: "bodies that are none", setup: |setup| setup, cases: bodies };

/// A POST with these lines, and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{body}")
}

/// A last chunk for one reader, and a request of its own for another.
const SMUGGLED: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// RFC 9112 §6.1: "A server MAY reject a request that contains both": here it must.
fn both() -> Vec<Case> {
    let refused = |name, lines: &str, body: &str| {
        Case::new(name, post(lines, body)).refused(400, "length_with_transfer_encoding")
    };
    vec![
        refused("CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG"),
        refused(
            "TE.CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            "5c\r\nGPOST / HTTP/1.1\r\n0\r\n\r\n",
        ),
        refused(
            "CL.TE with a whole request behind",
            "Content-Length: 42\r\nTransfer-Encoding: chunked",
            SMUGGLED,
        ),
        refused(
            "TE.CL with close",
            "Connection: close\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
            SMUGGLED,
        ),
        refused("CL.TE that agree", "Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        refused("CL of zero with TE", "Content-Length: 0\r\nTransfer-Encoding: chunked", SMUGGLED),
        refused("CL with an empty TE", "Content-Length: 3\r\nTransfer-Encoding:", "abc"),
        refused("CL with TE identity", "Content-Length: 3\r\nTransfer-Encoding: identity", "abc"),
        refused("bad CL with TE", "Content-Length: x\r\nTransfer-Encoding: chunked", SMUGGLED),
        refused(
            "CL twice with TE",
            "Content-Length: 3\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
            SMUGGLED,
        ),
        refused("CL.TE in other cases", "CONTENT-LENGTH: 6\r\ntransfer-encoding: CHUNKED", "0\r\n\r\nG"),
        refused(
            "CL.TE apart",
            "Content-Length: 6\r\nX-A: 1\r\nX-B: 2\r\nTransfer-Encoding: chunked",
            "0\r\n\r\nG",
        ),
        Case::new(
            "CL.TE in a GET",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        )
        .refused(400, "length_with_transfer_encoding"),
        Case::new(
            "CL.TE in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        )
        .refused(400, "length_with_transfer_encoding"),
        Case::new(
            "CL named away by Connection beside TE",
            post(
                "Connection: Content-Length\r\nContent-Length: 6\r\nTransfer-Encoding: chunked",
                "0\r\n\r\nG",
            ),
        )
        .refused(400, "length_with_transfer_encoding"),
    ]
}

fn transfer_encodings() -> Vec<Case> {
    let refused = |name, lines: &str| {
        Case::new(name, post(lines, SMUGGLED)).refused(400, "transfer_encoding_unsupported")
    };
    let broken = |name, lines: &str, reason| Case::new(name, post(lines, SMUGGLED)).refused(400, reason);
    let chunked = |name, line: &str| {
        Case::new(name, post(line, "3\r\nabc\r\n0\r\n\r\n"))
            .arrives(post("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"))
    };
    vec![
        refused("TE xchunked", "Transfer-Encoding: xchunked"),
        refused("TE chunkedx", "Transfer-Encoding: chunkedx"),
        refused("TE identity", "Transfer-Encoding: identity"),
        refused("TE gzip", "Transfer-Encoding: gzip"),
        refused("TE gzip, chunked", "Transfer-Encoding: gzip, chunked"),
        refused("TE chunked, gzip", "Transfer-Encoding: chunked, gzip"),
        refused("TE chunked, identity", "Transfer-Encoding: chunked, identity"),
        refused("TE identity, chunked", "Transfer-Encoding: identity, chunked"),
        refused("TE chunked, chunked", "Transfer-Encoding: chunked, chunked"),
        refused("TE.TE: chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        refused("TE.TE: chunked, then another", "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow"),
        refused("TE.TE: another, then chunked", "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked"),
        refused("TE.TE: empty, then chunked", "Transfer-Encoding:\r\nTransfer-Encoding: chunked"),
        refused("TE.TE in other cases", "Transfer-Encoding: chunked\r\ntransfer-encoding: identity"),
        refused("TE with a leading comma", "Transfer-Encoding: ,chunked"),
        refused("TE with a trailing comma", "Transfer-Encoding: chunked,"),
        refused("TE with a parameter", "Transfer-Encoding: chunked;q=1"),
        refused("TE in quotes", "Transfer-Encoding: \"chunked\""),
        refused("TE chunked in two words", "Transfer-Encoding: chu nked"),
        refused("an empty TE", "Transfer-Encoding:"),
        Case::new(
            "TE behind a no-break space",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\xa0\r\n\r\n0\r\n\r\n",
        )
        .refused(400, "transfer_encoding_unsupported"),
        Case::new(
            "TE before a next-line byte",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x85\r\n\r\n0\r\n\r\n",
        )
        .refused(400, "transfer_encoding_unsupported"),
        broken("TE with a vertical tab", "Transfer-Encoding: \x0bchunked", "field_value_invalid"),
        broken("TE with a form feed", "Transfer-Encoding: chunked\x0c", "field_value_invalid"),
        broken("TE with NUL", "Transfer-Encoding: chunked\0", "nul"),
        broken("TE with CR", "Transfer-Encoding: chunked\r", "bare_carriage_return"),
        broken("TE with LF", "Transfer-Encoding:\n chunked", "bare_line_feed"),
        broken("TE with a space before the colon", "Transfer-Encoding : chunked", "field_name_invalid"),
        broken("TE with a tab before the colon", "Transfer-Encoding\t: chunked", "field_name_invalid"),
        broken("TE with a space before the name", "X-A: 1\r\n Transfer-Encoding: chunked", "line_folding"),
        broken("TE folded", "Transfer-Encoding:\r\n chunked", "line_folding"),
        broken("TE folded with a tab", "Transfer-Encoding: x\r\n\tchunked", "line_folding"),
        broken("TE behind CR", "X-A: 1\rTransfer-Encoding: chunked", "bare_carriage_return"),
        broken("TE behind LF", "X-A: 1\nTransfer-Encoding: chunked", "bare_line_feed"),
        broken("TE behind CRCRLF", "X-A: 1\r\r\nTransfer-Encoding: chunked", "bare_carriage_return"),
        broken("TE without a colon", "Transfer-Encoding chunked", "field_name_invalid"),
        Case::new(
            "TE in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )
        .refused(400, "transfer_encoding_in_http10"),
        chunked("TE in other cases is chunked", "tRANSFER-eNCODING: cHUNKED"),
        chunked("TE with white space around it is chunked", "Transfer-Encoding: \t chunked \t"),
        chunked("TE without white space is chunked", "Transfer-Encoding:chunked"),
        Case::new(
            "a field that only looks like TE is another",
            post("X-Transfer-Encoding: chunked\r\nContent-Length: 3", "abc"),
        ),
        Case::new(
            "TransferEncoding is another field",
            post("TransferEncoding: chunked\r\nContent-Length: 3", "abc"),
        ),
        Case::new(
            "Transfer_Encoding is left out",
            post("Transfer_Encoding: chunked\r\nContent-Length: 3", "abc"),
        )
        .arrives(post("Content-Length: 3", "abc")),
    ]
}

fn lengths() -> Vec<Case> {
    let refused = |name, lines: &str, reason| Case::new(name, post(lines, "abc")).refused(400, reason);
    let invalid = |name, value: &str| refused(name, &format!("Content-Length: {value}"), "length_invalid");
    vec![
        refused("CL twice, the same", "Content-Length: 3\r\nContent-Length: 3", "length_repeated"),
        refused("CL twice, different", "Content-Length: 3\r\nContent-Length: 0", "length_repeated"),
        refused("CL twice in other cases", "Content-Length: 3\r\ncontent-length: 4", "length_repeated"),
        refused("CL in a list", "Content-Length: 3, 3", "length_repeated"),
        refused("CL in a list of different", "Content-Length: 3,4", "length_repeated"),
        refused("CL in a list of three", "Content-Length: 3, 3, 3", "length_repeated"),
        refused("CL with a trailing comma", "Content-Length: 3,", "length_repeated"),
        refused("CL folded", "Content-Length:\r\n 3", "line_folding"),
        refused("CL with a space before the colon", "Content-Length : 3", "field_name_invalid"),
        refused("CL with NUL", "Content-Length: 3\0", "nul"),
        invalid("an empty CL", ""),
        invalid("CL of white space", " \t "),
        invalid("CL with plus", "+3"),
        invalid("CL with minus", "-3"),
        invalid("CL of minus zero", "-0"),
        invalid("hexadecimal CL", "0x3"),
        invalid("hexadecimal CL without prefix", "a"),
        invalid("octal CL with prefix", "0o3"),
        invalid("CL with an underscore", "1_0"),
        invalid("CL in two words", "1 0"),
        invalid("CL with a fraction", "3.0"),
        invalid("CL with an exponent", "3e0"),
        invalid("CL with a parameter", "3;q=1"),
        invalid("CL in quotes", "\"3\""),
        invalid("CL of letters", "three"),
        invalid("CL in fullwidth digits", "\u{ff13}"),
        invalid("CL past 64 bits", "18446744073709551619"),
        invalid("CL of twenty digits", "00000000000000000003"),
        invalid("CL of a thousand digits", &"9".repeat(1_000)),
        Case::new(
            "CL behind a no-break space",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xa03\r\n\r\nabc",
        )
        .refused(400, "length_invalid"),
        // Octal for some readers, so it does not go on as it came.
        Case::new("CL with leading zeros is a plain number", post("Content-Length: 0010", "0123456789"))
            .arrives(post("Content-Length: 10", "0123456789")),
        Case::new("CL with white space around it is a plain number", post("Content-Length: \t 3 \t", "abc")),
        Case::new("CL without white space is a plain number", post("Content-Length:3", "abc")),
        Case::new("Content_Length is left out", "GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 3\r\n\r\n")
            .arrives(GET),
    ]
}

fn bodies() -> Vec<Case> {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = smuggled.len();
    let with_body = |method: &str| {
        format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{smuggled}")
    };
    let twice = [OK, OK].concat();
    let pipelined =
        |name, bytes: String| Case::new(name, bytes).sees(&twice).logs(&[(200, None), (200, None)]);
    vec![
        Case::new("CL.0: a body that is a request stays a body", with_body("POST")),
        Case::new("0.CL: a GET's body stays a body", with_body("GET")),
        Case::new("a HEAD's body stays a body", with_body("HEAD"))
            .replies("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\n")
            .sees("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\n"),
        Case::new("an OPTIONS' body stays a body", with_body("OPTIONS")),
        Case::new("a DELETE's body stays a body", with_body("DELETE")),
        pipelined(
            "a POST without a length has no body",
            format!("POST / HTTP/1.1\r\nHost: a\r\n\r\n{smuggled}"),
        ),
        pipelined("CL of zero is no body", format!("{}{smuggled}", post("Content-Length: 0", ""))),
        pipelined(
            "what follows a body is the next request",
            format!("{}{smuggled}", post("Content-Length: 3", "abc")),
        ),
        pipelined(
            "what follows the last chunk is the next request",
            format!("{}{smuggled}", post("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")),
        ),
        pipelined(
            "a line break between requests is skipped",
            post("Content-Length: 3", "abc\r\n") + smuggled,
        )
        .arrives(post("Content-Length: 3", "abc") + smuggled),
        Case::new(
            "two line breaks between requests are one too many",
            post("Content-Length: 3", "abc\r\n\r\n") + smuggled,
        )
        .arrives(post("Content-Length: 3", "abc"))
        .sees_then_refused(OK, 400, "request_line_invalid"),
        Case::new(
            "bytes behind a body are the next request, and none",
            post("Content-Length: 3", "abcdef\r\n\r\n"),
        )
        .arrives(post("Content-Length: 3", "abc"))
        .sees_then_refused(OK, 400, "request_line_invalid"),
        Case::new(
            "a refused request behind a good one",
            format!("{smuggled}POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"),
        )
        .arrives(smuggled)
        .sees_then_refused(OK, 400, "length_invalid"),
        Case::new(
            "nothing is served behind close",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .arrives(GET)
        .sees(OK_CLOSE)
        .end(End::Closed),
        Case::new(
            "nothing is served behind HTTP/1.0",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .arrives(GET)
        .sees(OK_CLOSE)
        .end(End::Closed),
        Case::new("a body that is cut never arrives whole", post("Content-Length: 10", "abc"))
            .step(Step::HalfClose)
            .arrives_cut(post("Content-Length: 10", "abc"))
            .logs(&[(499, Some("client_gone"))])
            .sees("")
            .end(End::Closed),
        Case::new(
            "a chunked body that is cut never arrives whole",
            post("Transfer-Encoding: chunked", "3\r\nabc\r\n"),
        )
        .step(Step::HalfClose)
        .arrives_cut(post("Transfer-Encoding: chunked", "3\r\nabc\r\n"))
        .logs(&[(499, Some("client_gone"))])
        .sees("")
        .end(End::Closed),
        Case::new("a body that is reset never arrives whole", post("Content-Length: 10", "abc"))
            .step(Step::Sleep(std::time::Duration::from_millis(50)))
            .step(Step::Reset)
            .arrives_cut(post("Content-Length: 10", "abc"))
            .logs(&[(499, Some("client_gone"))])
            .sees("")
            .end(End::Ours),
    ]
}
