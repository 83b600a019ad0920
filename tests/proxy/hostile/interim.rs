//! Interim responses (RFC 9110 §15.2, RFC 9112 §6.3): no body, no coding, not too many, and no switch that nobody asked for.

use super::case::{Case, End, OK, OK_CLOSE};
use super::responses::setup;
use super::run::Group;

pub(super) const GROUP: Group = Group { name: "interim responses", setup, cases };

fn before_ok(interim: impl AsRef<[u8]>) -> Vec<u8> {
    [interim.as_ref(), OK].concat()
}

fn cases() -> Vec<Case> {
    let passed = |name, interim: &str| Case::response(name, before_ok(interim));
    let refused = |name, interim: &str, reason| Case::response(name, before_ok(interim)).bad_gateway(reason);
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    vec![
        passed("100 passes", "HTTP/1.1 100 Continue\r\n\r\n"),
        passed("102 passes", "HTTP/1.1 102 Processing\r\n\r\n"),
        passed("103 passes", hints),
        passed("an interim status that nobody knows passes", "HTTP/1.1 199 Soon\r\n\r\n"),
        passed("interim responses pass in order", &format!("HTTP/1.1 102 Processing\r\n\r\n{hints}{hints}")),
        passed("eight interim responses pass", &hints.repeat(8)),
        refused("nine interim responses are too many", &hints.repeat(9), "interim_responses_excess")
            .sees_interims(hints, 8),
        refused("interim responses without end", &hints.repeat(2_000), "interim_responses_excess")
            .sees_interims(hints, 8),
        passed("an interim response has no length", "HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\nLink: </a>\r\n\r\n")
            .sees(before_ok("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")),
        // Its body would be the next head.
        Case::response("an interim response with a body", before_ok("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello"))
            .bad_gateway("version_invalid")
            .sees_interims("HTTP/1.1 103 Early Hints\r\n\r\n", 1),
        Case::response(
            "an interim response whose body is a response",
            b"HTTP/1.1 103 Early Hints\r\nContent-Length: 45\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\nDate: x\r\n\r\npoisonHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        )
        .sees("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\nDate: x\r\n\r\npoison")
        .pooled(false),
        refused("100 with TE", "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer_encoding_in_interim"),
        refused("103 with TE", "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "transfer_encoding_in_interim"),
        refused("103 with another TE", "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer_encoding_in_interim"),
        passed("an interim response with two lengths has none", "HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\nContent-Length: 1\r\nLink: </a>\r\n\r\n")
            .sees(before_ok("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")),
        refused("an interim response with a folded line", "HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n 2\r\n\r\n", "line_folding"),
        refused("an interim response with NUL", "HTTP/1.1 103 Early Hints\r\nX-A: \0\r\n\r\n", "nul"),
        passed("an interim response's hop-by-hop fields end here", "HTTP/1.1 103 Early Hints\r\nConnection: X-Hop\r\nX-Hop: 1\r\nLink: </a>\r\n\r\n")
            .sees(before_ok("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")),
        refused("101 that nobody asked for", switch, "unexpected_switch"),
        refused("101 without Upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "unexpected_switch"),
        refused("101 behind 100", &format!("HTTP/1.1 100 Continue\r\n\r\n{switch}"), "unexpected_switch")
            .sees_interims("HTTP/1.1 100 Continue\r\n\r\n", 1),
        Case::new("101 for an Upgrade that is not allowed", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tls/1.0\r\n\r\n")
            .arrives("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .replies(before_ok("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tls/1.0\r\n\r\n"))
            .bad_gateway("unexpected_switch"),
        Case::new("101 for h2c", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
            .arrives("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .replies(before_ok("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"))
            .bad_gateway("unexpected_switch"),
        Case::new("HTTP/1.0 gets no interim response", "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            .arrives(super::case::GET)
            .replies(before_ok(hints))
            .sees(OK_CLOSE)
            .end(End::Closed),
        Case::new("HEAD: interim responses pass", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            .replies(format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\n"))
            .sees(format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\n")),
    ]
}
