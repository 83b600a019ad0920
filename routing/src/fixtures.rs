//! Requests for unit tests.

use corelane_http1::{HeadLimits, parse_request};
use corelane_semantics::RequestHead;

use crate::{Request, Router};

/// A head and its bytes.
pub(crate) fn head(first_line: &str, fields: &[&str]) -> (RequestHead, Vec<u8>) {
    let mut text = format!("{first_line}\r\n");
    for field in fields {
        text += field;
        text += "\r\n";
    }
    text += "\r\n";
    let mut head = RequestHead::default();
    parse_request(text.as_bytes(), &HeadLimits::default(), &mut head).expect("a valid head");
    (head, text.into_bytes())
}

/// A request for nothing in particular.
pub(crate) fn get<'a>(head: &'a RequestHead, bytes: &'a [u8]) -> Request<'a> {
    Request { listener: 0, host: b"h", path: b"/", head, bytes, client: None, tls: false }
}

/// The route of a request with no more than a host and a path.
pub(crate) fn routed(router: &Router, listener: usize, host: &[u8], path: &[u8]) -> Option<usize> {
    let (head, bytes) = head("GET / HTTP/1.1", &[]);
    router.route(&Request { listener, host, path, ..get(&head, &bytes) }, &mut router.scratch())
}
