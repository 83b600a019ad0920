//! Answers that Corelane gives itself, where no upstream does.

use corelane_filters::FieldEdits;
use corelane_grpc::{Dialect, Status, write_message};
use corelane_http1::{reason_phrase, write_decimal, write_field, write_status_line};
use corelane_semantics::{Method, MethodSet, accept_weight};

use crate::error_page::{self, ErrorPage, ErrorPages, Facts};
use crate::heads::Persistence;

/// One answer.
pub(crate) struct OwnAnswer<'a> {
    pub(crate) facts: Facts<'a>,
    pub(crate) content: Content<'a>,
    /// What filters made of its fields.
    pub(crate) edits: Option<&'a FieldEdits>,
    pub(crate) persistence: Persistence,
    /// Which methods a 405 does not name in `Allow`.
    pub(crate) methods_refused: &'a MethodSet,
    /// When the client may come again, in a 503.
    pub(crate) retry_after_s: u16,
    /// False for HEAD: the answer says the length of a body that it does not have (RFC 9110 §8.6).
    pub(crate) with_body: bool,
}

/// What stands in it.
pub(crate) enum Content<'a> {
    /// The page of its status.
    Page(&'a ErrorPage),
    /// A filter's text, whose type is among its fields.
    Text(&'a [u8]),
    /// Nothing.
    Empty,
}

/// The page for a status: the configured one, or the built-in one that the request's head asks for, which may be empty.
pub(crate) fn page_for<'a>(pages: &'a ErrorPages, status: u16, request_head: &[u8]) -> &'a ErrorPage {
    match pages.of(status) {
        Some(page) => page,
        None if prefers_html(request_head) => &error_page::HTML,
        None => &error_page::JSON,
    }
}

/// Whether the client would rather have HTML than JSON. Browsers would; what does not say gets JSON.
fn prefers_html(request_head: &[u8]) -> bool {
    let mut others = accept_values(request_head);
    // Without the field both are as welcome.
    let Some(first) = others.next() else { return false };
    let values = || std::iter::once(first).chain(others.clone());
    accept_weight(values(), "text", "html") > accept_weight(values(), "application", "json")
}

/// The values of the Accept fields of a head that was written by us: well-formed, and perhaps with a body behind it.
fn accept_values(head: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    lines.skip(1).take_while(|line| !line.is_empty()).filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        line[..colon].eq_ignore_ascii_case(b"accept").then(|| &line[colon + 1..])
    })
}

/// What RFC 9110 §9 and RFC 5789 define.
const METHODS: [(Method, &str); 9] = [
    (Method::Get, "GET"),
    (Method::Head, "HEAD"),
    (Method::Post, "POST"),
    (Method::Put, "PUT"),
    (Method::Patch, "PATCH"),
    (Method::Delete, "DELETE"),
    (Method::Options, "OPTIONS"),
    (Method::Connect, "CONNECT"),
    (Method::Trace, "TRACE"),
];

impl OwnAnswer<'_> {
    /// Appends the whole answer, and returns the length of the body that it has.
    pub(crate) fn write(&self, date: &[u8], out: &mut Vec<u8>) -> usize {
        let status = self.facts.status;
        write_status_line(out, status, reason_phrase(status).as_bytes());
        let length = match &self.content {
            Content::Page(page) => page.length(&self.facts),
            Content::Text(text) => text.len(),
            Content::Empty => 0,
        };
        if let Content::Page(page) = &self.content {
            self.write_own(out, b"Content-Type", page.content_type.as_bytes());
        }
        // RFC 9110 §8.6: none in 1xx and 204.
        if status != 204 {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(out, length as u64);
            out.extend_from_slice(b"\r\n");
        }
        let is_page = matches!(self.content, Content::Page(_));
        if is_page {
            // It belongs to this request alone: a cache would show its id to others.
            self.write_own(out, b"Cache-Control", b"no-store");
        }
        self.write_own(out, b"Date", date);
        match status {
            // RFC 9110 §15.6.4.
            503 if is_page => self.write_retry_after(out),
            // 200: an OPTIONS request that was to end here.
            405 | 200 if is_page => self.write_allow(out),
            _ => {}
        }
        for (name, value) in self.edits.iter().flat_map(|edits| edits.added()) {
            write_field(out, name, value);
        }
        self.persistence.write(out);
        out.extend_from_slice(b"\r\n");
        if !self.with_body {
            return 0;
        }
        match &self.content {
            Content::Page(page) => page.write(&self.facts, out),
            Content::Text(text) => out.extend_from_slice(text),
            Content::Empty => {}
        }
        length
    }

    /// Writes a field that a filter has not set.
    fn write_own(&self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        if !self.edits.is_some_and(|edits| edits.adds(name)) {
            write_field(out, name, value);
        }
    }

    fn write_retry_after(&self, out: &mut Vec<u8>) {
        const NAME: &[u8] = b"Retry-After";
        if !self.edits.is_some_and(|edits| edits.adds(NAME)) {
            out.extend_from_slice(NAME);
            out.extend_from_slice(b": ");
            write_decimal(out, self.retry_after_s.into());
            out.extend_from_slice(b"\r\n");
        }
    }

    /// RFC 9110 §15.5.6: a 405 says what would be allowed.
    fn write_allow(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Allow: ");
        let allowed =
            METHODS.iter().filter(|(method, name)| !self.methods_refused.contains(*method, name.as_bytes()));
        for (index, (_, name)) in allowed.enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The answer to a call: a head and nothing else.
pub(crate) struct CallAnswer<'a> {
    /// How its client spells it.
    pub(crate) dialect: Dialect,
    pub(crate) status: Status,
    pub(crate) message: &'a [u8],
    /// What filters made of its fields.
    pub(crate) edits: Option<&'a FieldEdits>,
    pub(crate) persistence: Persistence,
}

impl CallAnswer<'_> {
    /// Appends it.
    pub(crate) fn write(&self, date: &[u8], out: &mut Vec<u8>) {
        write_status_line(out, 200, reason_phrase(200).as_bytes());
        write_field(out, b"Content-Type", self.dialect.content_type());
        write_field(out, b"Content-Length", b"0");
        write_field(out, b"Date", date);
        write_field(out, b"grpc-status", self.status.digits().as_bytes());
        out.extend_from_slice(b"grpc-message: ");
        write_message(self.message, out);
        out.extend_from_slice(b"\r\n");
        const OWN: [&[u8]; 3] = [b"content-type", b"content-length", b"date"];
        let added = self.edits.iter().flat_map(|edits| edits.added());
        for (name, value) in added.filter(|(name, _)| !OWN.iter().any(|own| own.eq_ignore_ascii_case(name))) {
            write_field(out, name, value);
        }
        self.persistence.write(out);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    fn written(status: u16, with_body: bool) -> String {
        let answer = OwnAnswer {
            facts: Facts { status, reason: Reason::NoRoute, request_id: &[b'a'; 32] },
            content: Content::Page(&error_page::JSON),
            edits: None,
            persistence: Persistence::Close,
            methods_refused: &MethodSet::new([&b"TRACE"[..], b"CONNECT", b"PUT"]),
            retry_after_s: 12,
            with_body,
        };
        let mut out = Vec::new();
        let body_bytes = answer.write(b"today", &mut out);
        assert!(out[..out.len() - body_bytes].ends_with(b"\r\n\r\n"));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn answers_say_their_length() {
        for status in [400, 404, 405, 408, 413, 414, 431, 502, 503, 504, 505] {
            let text = written(status, true);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{text}");
            assert!(head.contains("\r\nCache-Control: no-store\r\nDate: today\r\n"), "{text}");
            assert!(head.ends_with("\r\nConnection: close"), "{text}");
            assert_eq!(head.contains("\r\nRetry-After: 12\r\n"), status == 503);
            assert_eq!(
                head.contains("\r\nAllow: GET, HEAD, POST, PATCH, DELETE, OPTIONS\r\n"),
                status == 405
            );
            assert_eq!(written(status, false), text[..head.len() + 4]);
        }
    }

    #[test]
    fn speaks_html_to_who_would_rather_have_it() {
        let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";
        for (fields, html) in [
            (browser, true),
            ("", false),
            ("Accept: */*\r\n", false),
            ("Accept: application/json\r\n", false),
            ("Accept: text/html, application/json\r\n", false),
            ("Accept: text/html;q=0.5, application/json;q=0.4\r\n", true),
            ("aCCEPT: application/json;q=0.1\r\nX: y\r\naccept: text/html\r\n", true),
            ("Accept-Language: text/html\r\n", false),
            ("Accept: image/png\r\n", false),
        ] {
            assert_eq!(prefers_html(head(fields).as_bytes()), html, "{fields}");
        }
        assert!(!prefers_html(b""), "a head that could not be parsed");
        assert!(!prefers_html(head("\r\nAccept: text/html\r\n").as_bytes()), "the body is not looked at");
        assert!(!prefers_html(b"Accept: text/html"), "the first line is none");
    }
}
