//! Interim responses (RFC 9110 §15.2, RFC 9112 §6.3): no body, no coding, not too many, and no switch that nobody asked for.

use super::case::{Case, End, GET, OK, OK_CLOSE};
use super::responses::setup;
use super::run::Group;

pub(super) const GROUP: Group = Group { name: "interim responses", setup, cases };

fn before_ok(interim: impl AsRef<[u8]>) -> Vec<u8> {
    [interim.as_ref(), OK].concat()
}

/// A 103 with these lines.
fn hints(lines: &str) -> String {
    format!("HTTP/1.1 103 Early Hints\r\n{lines}\r\n")
}

/// A 101 to this protocol.
fn switch(protocol: &str) -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n")
}

const LINK: &str = "Link: </a.css>\r\n";

fn cases() -> Vec<Case> {
    let passed = |name, interim: &str| Case::response(name, before_ok(interim));
    let written = |name, lines: &str| passed(name, &hints(lines)).sees(before_ok(hints(LINK)));
    let refused = |name, interim: &str, reason| Case::response(name, before_ok(interim)).bad_gateway(reason);
    let coded = |name, interim: &str| refused(name, interim, "transfer_encoding_in_interim");
    let unasked = |name, interim: &str| refused(name, interim, "unexpected_switch");
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\n";
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nDate: x\r\n\r\npoison";
    vec![
        passed("100 passes", "HTTP/1.1 100 Continue\r\n\r\n"),
        passed("102 passes", "HTTP/1.1 102 Processing\r\n\r\n"),
        passed("103 passes", &hints(LINK)),
        passed("an interim status that nobody knows passes", "HTTP/1.1 199 Soon\r\n\r\n"),
        passed(
            "interim responses pass in order",
            &["HTTP/1.1 102 Processing\r\n\r\n", &hints(LINK)].concat(),
        ),
        passed("eight interim responses pass", &hints(LINK).repeat(8)),
        refused("nine interim responses are too many", &hints(LINK).repeat(9), "interim_responses_excess")
            .sees_interims(&hints(LINK), 8),
        refused("interim responses without end", &hints(LINK).repeat(2_000), "interim_responses_excess")
            .sees_interims(&hints(LINK), 8),
        written("an interim response has no length", "Content-Length: 0\r\nLink: </a.css>\r\n"),
        written(
            "an interim response with two lengths has none",
            "Content-Length: 0\r\nContent-Length: 1\r\nLink: </a.css>\r\n",
        ),
        written(
            "an interim response's hop-by-hop fields end here",
            "Connection: X-Hop\r\nX-Hop: 1\r\nLink: </a.css>\r\n",
        ),
        // Its body would be the next head.
        refused(
            "an interim response with a body",
            &(hints("Content-Length: 5\r\n") + "hello"),
            "version_invalid",
        )
        .sees_interims(&hints(""), 1),
        Case::response("an interim response whose body is a response", {
            before_ok(hints("Content-Length: 51\r\n") + poison)
        })
        .sees(hints("") + poison)
        .pooled(false),
        coded("100 with TE", "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n"),
        coded("103 with TE", &(hints("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n")),
        coded("103 with another TE", &hints("Transfer-Encoding: gzip\r\n")),
        coded("103 with CL and TE", &hints("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
        refused("an interim response with a folded line", &hints("X-A: 1\r\n 2\r\n"), "line_folding"),
        refused("an interim response with NUL", &hints("X-A: \0\r\n"), "nul"),
        unasked("101 that nobody asked for", &switch("websocket")),
        unasked("101 without Upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        unasked("101 behind 100", &("HTTP/1.1 100 Continue\r\n\r\n".to_owned() + &switch("websocket")))
            .sees_interims("HTTP/1.1 100 Continue\r\n\r\n", 1),
        Case::new(
            "101 for an Upgrade that is not allowed",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tls/1.0\r\n\r\n",
        )
        .arrives(GET)
        .replies(before_ok(switch("tls/1.0")))
        .bad_gateway("unexpected_switch"),
        Case::new(
            "101 for h2c",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        )
        .arrives(GET)
        .replies(before_ok(switch("h2c")))
        .bad_gateway("unexpected_switch"),
        Case::new("HTTP/1.0 gets no interim response", "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            .arrives(GET)
            .replies(before_ok(hints(LINK)))
            .sees(OK_CLOSE)
            .end(End::Closed),
        Case::new("HEAD: interim responses pass", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            .replies(hints(LINK) + head)
            .sees(hints(LINK) + head),
    ]
}
