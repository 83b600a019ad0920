//! The bodies of Corelane's own answers: templates of text and a few facts.
//!
//! Nothing is escaped, because the facts are words and numbers of our own that neither HTML nor JSON would have to escape
//! (tested): nothing that a peer sent is ever in a page.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use corelane_http1::reason_phrase;

use crate::reason::{Reason, Word};

/// A body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// The value of Content-Type.
    pub content_type: Cow<'static, str>,
    /// The text, in order.
    pub segments: Cow<'static, [Segment]>,
}

/// A piece of an error page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Sent as it is.
    Text(Cow<'static, [u8]>),
    /// Known when the answer is.
    Variable(Variable),
}

/// What an error page says of the answer that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// Three digits.
    Status,
    /// The words of the status.
    ReasonPhrase,
    /// The word in the access log.
    Reason,
    /// 32 hexadecimal digits.
    RequestId,
}

/// The pages of one listener that replace the built-in ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages {
    exact: BTreeMap<u16, Arc<ErrorPage>>,
    /// By the first digit of the status.
    classes: BTreeMap<u16, Arc<ErrorPage>>,
}

impl ErrorPages {
    /// Sets the page of a status, in place of an earlier one.
    pub fn set(&mut self, status: u16, page: Arc<ErrorPage>) {
        self.exact.insert(status, page);
    }

    /// Sets the page of every status that begins with this digit and has none of its own, in place of an earlier one.
    pub fn set_class(&mut self, digit: u8, page: Arc<ErrorPage>) {
        self.classes.insert(u16::from(digit), page);
    }

    /// The page of a status.
    #[must_use]
    pub fn of(&self, status: u16) -> Option<&ErrorPage> {
        self.exact.get(&status).or_else(|| self.classes.get(&(status / 100))).map(|page| &**page)
    }
}

/// What a page is filled with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) status: u16,
    pub(crate) reason: Reason,
    pub(crate) request_id: &'a [u8],
}

impl ErrorPage {
    /// The length of the body in bytes.
    pub(crate) fn length(&self, facts: &Facts<'_>) -> usize {
        let mut length = 0;
        self.each_piece(facts, |piece| length += piece.len());
        length
    }

    /// Appends the body.
    pub(crate) fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        self.each_piece(facts, |piece| out.extend_from_slice(piece));
    }

    fn each_piece(&self, facts: &Facts<'_>, mut take: impl FnMut(&[u8])) {
        let Facts { status, reason, request_id } = facts;
        // Every status has three digits.
        let digit = |unit: u16| u8::try_from(status / unit % 10).map_or(b'?', |digit| b'0' + digit);
        for segment in self.segments.iter() {
            match segment {
                Segment::Text(text) => take(text),
                Segment::Variable(Variable::Status) => take(&[digit(100), digit(10), digit(1)]),
                Segment::Variable(Variable::ReasonPhrase) => take(reason_phrase(*status).as_bytes()),
                Segment::Variable(Variable::Reason) => take(reason.name().as_bytes()),
                Segment::Variable(Variable::RequestId) => take(request_id),
            }
        }
    }
}

const fn text(text: &'static str) -> Segment {
    Segment::Text(Cow::Borrowed(text.as_bytes()))
}

/// For programs.
pub(crate) static JSON: ErrorPage = ErrorPage {
    content_type: Cow::Borrowed("application/json"),
    segments: Cow::Borrowed(&[
        text("{\"status\":"),
        Segment::Variable(Variable::Status),
        text(",\"error\":\""),
        Segment::Variable(Variable::ReasonPhrase),
        text("\",\"reason\":\""),
        Segment::Variable(Variable::Reason),
        text("\",\"request_id\":\""),
        Segment::Variable(Variable::RequestId),
        text("\"}\n"),
    ]),
};

/// For people: one file without anything to load.
pub(crate) static HTML: ErrorPage = ErrorPage {
    content_type: Cow::Borrowed("text/html; charset=utf-8"),
    segments: Cow::Borrowed(&[
        text(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
        ),
        Segment::Variable(Variable::Status),
        text(" "),
        Segment::Variable(Variable::ReasonPhrase),
        text(
            "</title>\n<style>\n:root { color-scheme: light dark }\n\
             body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 15vh auto; padding: 0 1.5rem }\n\
             h1 { font-size: 1.5rem }\n\
             dt { float: left; width: 6rem }\n</style>\n</head>\n<body>\n<h1>",
        ),
        Segment::Variable(Variable::Status),
        text(" "),
        Segment::Variable(Variable::ReasonPhrase),
        text("</h1>\n<dl>\n<dt>Reason</dt>\n<dd><code>"),
        Segment::Variable(Variable::Reason),
        text("</code></dd>\n<dt>Request</dt>\n<dd><code>"),
        Segment::Variable(Variable::RequestId),
        text("</code></dd>\n</dl>\n</body>\n</html>\n"),
    ]),
};

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'_> = Facts { status: 404, reason: Reason::NoRoute, request_id: &[b'a'; 32] };

    fn written(page: &ErrorPage) -> String {
        let mut out = Vec::new();
        page.write(&FACTS, &mut out);
        assert_eq!(out.len(), page.length(&FACTS));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn says_the_same_to_programs_and_people() {
        let id = "a".repeat(32);
        assert_eq!(
            written(&JSON),
            format!(
                "{{\"status\":404,\"error\":\"Not Found\",\"reason\":\"no_route\",\"request_id\":\"{id}\"}}\n"
            )
        );
        let html = written(&HTML);
        for fact in ["<title>404 Not Found</title>", "<h1>404 Not Found</h1>", "no_route", &*id] {
            assert!(html.contains(fact), "{fact} is not in\n{html}");
        }
        assert!(!html.contains("://") && !html.contains("src="), "nothing to load");
    }

    #[test]
    fn no_fact_would_have_to_be_escaped() {
        let phrases = (400..600).map(reason_phrase);
        for word in Reason::ALL.iter().map(|reason| reason.name()).chain(phrases) {
            assert!(
                word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" _-".contains(&byte)),
                "{word}"
            );
        }
    }

    #[test]
    fn an_exact_status_goes_before_its_class() {
        let page = |name: &'static str| {
            Arc::new(ErrorPage {
                content_type: "text/plain".into(),
                segments: Cow::Owned(vec![text(name), Segment::Variable(Variable::Reason)]),
            })
        };
        let mut pages = ErrorPages::default();
        pages.set_class(4, page("class "));
        pages.set(404, page("first "));
        pages.set(404, page("exact "));
        assert_eq!(pages.of(404).map(written).as_deref(), Some("exact no_route"));
        assert_eq!(pages.of(400).map(written).as_deref(), Some("class no_route"));
        assert_eq!(pages.of(502), None);
    }
}
