//! Heads between HTTP/2 and the HTTP/1.1 bytes that mean the same, which is what everything behind works on.
//!
//! What is received is written as bytes and read by the parser that reads every head: what the `h2` crate lets pass and a head
//! may not have is refused there, with the same answer. What is sent is written by `heads.rs` for HTTP/1.1; what frames it there
//! is left out.

use std::io;

use bytes::Bytes;
use corelane_http1::{HeadError, is_token, read_trailers, write_decimal, write_field};
use corelane_semantics::BodyFraming;
use h2::ext::Protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, response};

use super::websocket;
use crate::message::ReceiveError;

/// Fields that an HTTP/2 message must not have (RFC 9113 §8.2.2). `Upgrade` and the others of requests never come: the `h2` crate
/// takes such a request for malformed.
const CONNECTION_FIELDS: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Writes a request's head. `has_body`: its stream has not ended with its head. `key`: for a server that is asked for a
/// WebSocket.
///
/// # Errors
///
/// What makes the request malformed (RFC 9113 §8.1.1), or too many fields.
pub(super) fn write_request(
    parts: &Parts,
    has_body: bool,
    key: Option<&websocket::Key>,
    fields_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), HeadError> {
    let (fields, authority) = (&parts.headers, parts.uri.authority());
    let protocol = parts.extensions.get::<Protocol>();
    // Each crumb of a cookie counts: a list of one-byte references is how 16 KiB become many megabytes.
    if fields.len() > fields_max {
        return Err(HeadError::TooManyFields);
    }
    // RFC 9113 §8.3.1 has others for gateways to other protocols. Which of these two it is says who ends TLS.
    if parts.uri.scheme().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(HeadError::TargetInvalid);
    }
    // RFC 8441 §5.
    let method = if protocol.is_some() { &Method::GET } else { &parts.method };
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    match (parts.uri.path_and_query(), authority) {
        // RFC 9113 §8.5.
        (_, Some(authority)) if method == Method::CONNECT => {
            out.extend_from_slice(authority.as_str().as_bytes());
        }
        (Some(path), _) => out.extend_from_slice(path.as_str().as_bytes()),
        (None, _) => return Err(HeadError::TargetInvalid),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = authority {
        write_field(out, b"host", authority.as_str().as_bytes());
    }
    if let Some(protocol) = protocol {
        write_upgrade(protocol.as_str().as_bytes(), out)?;
    }
    if let Some(key) = key {
        write_field(out, websocket::KEY_FIELD.as_bytes(), key);
    }
    let mut has_cookie = false;
    // Those of one name come one behind the other.
    for (name, value) in fields {
        match *name {
            // RFC 9113 §8.3.1: if there are both, they are the same. Where they are not there are two of them now, which is
            // refused.
            header::HOST if is_repeated(authority, fields) => {}
            // RFC 9113 §8.2.3: one field again, because HTTP/1.1 has no more.
            header::COOKIE if std::mem::replace(&mut has_cookie, true) => {}
            header::COOKIE => write_cookies(fields, out)?,
            // RFC 8441 §5: it means nothing there.
            header::SEC_WEBSOCKET_KEY if key.is_some() => {}
            _ => write_field(out, name.as_str().as_bytes(), checked(value)?),
        }
    }
    // What has no length ends with its stream; in HTTP/1.1 that is said so.
    if has_body && !fields.contains_key(header::CONTENT_LENGTH) {
        write_field(out, b"transfer-encoding", b"chunked");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Asks for another protocol, which is none if it is no token: then it could be anything in the lines that it stands in.
fn write_upgrade(protocol: &[u8], out: &mut Vec<u8>) -> Result<(), HeadError> {
    if !is_token(protocol) {
        return Err(HeadError::FieldValueInvalid);
    }
    write_field(out, b"connection", b"upgrade");
    write_field(out, b"upgrade", protocol);
    Ok(())
}

/// Whether the only Host field says what the authority says.
fn is_repeated(authority: Option<&http::uri::Authority>, fields: &HeaderMap) -> bool {
    let mut hosts = fields.get_all(header::HOST).iter();
    let (Some(authority), Some(host), None) = (authority, hosts.next(), hosts.next()) else { return false };
    host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
}

fn write_cookies(fields: &HeaderMap, out: &mut Vec<u8>) -> Result<(), HeadError> {
    let mut separator: &[u8] = b"cookie: ";
    for crumb in fields.get_all(header::COOKIE) {
        out.extend_from_slice(separator);
        out.extend_from_slice(checked(crumb)?);
        separator = b"; ";
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// RFC 9113 §8.2.1: a value has no white space at its ends. The rest of the rules the type keeps.
fn checked(value: &HeaderValue) -> Result<&[u8], HeadError> {
    match value.as_bytes() {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => Err(HeadError::FieldValueInvalid),
        value => Ok(value),
    }
}

/// Writes fields as lines.
fn write_lines(fields: &HeaderMap, out: &mut Vec<u8>) -> Result<(), HeadError> {
    for (name, value) in fields {
        write_field(out, name.as_str().as_bytes(), checked(value)?);
    }
    Ok(())
}

/// The lines of a trailer section, without those that may not stand there (RFC 9110 §6.5.1): to a recipient that takes trailers for
/// fields of the head they would be framing, or somebody's name.
///
/// # Errors
///
/// A value that is none, or more lines than HTTP/1.1 would have let pass.
pub(super) fn trailer_lines(fields: &HeaderMap) -> Result<Vec<u8>, ReceiveError> {
    let mut section = Vec::new();
    write_lines(fields, &mut section)?;
    section.extend_from_slice(b"\r\n");
    Ok(read_trailers(&section)?)
}

/// Reads a response head that `heads.rs` has written.
///
/// # Errors
///
/// A field that HTTP/2 cannot say.
pub(super) fn read_response(head: &[u8]) -> io::Result<Response<()>> {
    // One piece of memory for all values.
    let head = Bytes::copy_from_slice(head);
    let line_end = memchr::memchr(b'\n', &head).ok_or(io::ErrorKind::InvalidData)?;
    // `HTTP/1.1 200 OK`
    let status = head.get(9..12).ok_or(io::ErrorKind::InvalidData)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_bytes(status).map_err(io::Error::other)?;
    *response.headers_mut() = read_fields(&head.slice(line_end + 1..))?;
    Ok(response)
}

/// Writes a response's head. `implied`: how its body is framed, where no field says that.
///
/// # Errors
///
/// What makes the response malformed (RFC 9113 §8.1.1).
pub(super) fn write_response(
    parts: &response::Parts,
    implied: BodyFraming,
    out: &mut Vec<u8>,
) -> Result<(), HeadError> {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(parts.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_lines(&parts.headers, out)?;
    if !parts.headers.contains_key(header::CONTENT_LENGTH) {
        match implied {
            BodyFraming::Length(length) => {
                out.extend_from_slice(b"content-length: ");
                write_decimal(out, length);
                out.extend_from_slice(b"\r\n");
            }
            BodyFraming::Chunked => write_field(out, b"transfer-encoding", b"chunked"),
            BodyFraming::None | BodyFraming::UntilClose => {}
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes the head of a response by which an extended CONNECT was granted: a switch to what it asked for. `accept`: the answer to the
/// client's key.
///
/// # Errors
///
/// What makes the response malformed (RFC 9113 §8.1.1).
pub(super) fn write_switch(
    fields: &HeaderMap,
    protocol: &str,
    accept: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), HeadError> {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    write_upgrade(protocol.as_bytes(), out)?;
    if let Some(accept) = accept {
        write_field(out, b"sec-websocket-accept", accept);
    }
    write_lines(fields, out)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Reads a request head that `heads.rs` has written. One that asks for another protocol becomes an extended CONNECT, with that as a
/// [`Protocol`] (RFC 8441 §5).
///
/// # Errors
///
/// What HTTP/2 cannot say.
pub(super) fn read_request(head: &[u8], scheme: Scheme) -> io::Result<Request<()>> {
    // One piece of memory for all values.
    let head = Bytes::copy_from_slice(head);
    let line_end = memchr::memchr(b'\n', &head).ok_or(io::ErrorKind::InvalidData)?;
    // `GET /path HTTP/1.1`
    let mut words = head[..line_end].split(|&byte| byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let target = head.slice_ref(target);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method).map_err(io::Error::other)?;
    let (mut authority, mut fields) = (None, HeaderMap::with_capacity(FIELDS_EXPECTED));
    let (mut may_switch, mut wanted) = (false, None);
    each_field(&head.slice(line_end + 1..), |name, value| {
        match name {
            header::CONNECTION => may_switch = value.split(is_comma).any(|it| it.trim_ascii() == b"upgrade"),
            header::UPGRADE => wanted = protocol_of(&value),
            name if is_of_connection(&name) => {}
            header::HOST if value.is_empty() => {}
            header::HOST => authority = Some(Authority::from_maybe_shared(value).map_err(io::Error::other)?),
            // RFC 9113 §8.2.2.
            header::TE if !value.eq_ignore_ascii_case(b"trailers") => {}
            name => {
                let is_secret = SECRET_FIELDS.contains(&name);
                let mut value = HeaderValue::from_maybe_shared(value).map_err(io::Error::other)?;
                value.set_sensitive(is_secret);
                fields.append(name, value);
            }
        }
        Ok(())
    })?;
    *request.headers_mut() = fields;
    let mut parts = http::uri::Parts::default();
    if let Some(protocol) = wanted.filter(|_| may_switch) {
        *request.method_mut() = Method::CONNECT;
        request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
        request.extensions_mut().insert(protocol);
    }
    if request.method() == Method::CONNECT && request.extensions().is_empty() {
        // RFC 9113 §8.5.
        parts.authority = Some(Authority::from_maybe_shared(target).map_err(io::Error::other)?);
    } else {
        parts.path_and_query = Some(path_of(target)?);
        parts.scheme = authority.is_some().then_some(scheme);
        parts.authority = authority;
    }
    *request.uri_mut() = Uri::from_parts(parts).map_err(io::Error::other)?;
    Ok(request)
}

/// RFC 3986 §2.1: what a target has no place for, and the type refuses, is said by its number, as browsers do.
fn path_of(target: Bytes) -> io::Result<PathAndQuery> {
    if let Ok(path) = PathAndQuery::from_maybe_shared(target.clone()) {
        return Ok(path);
    }
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for &byte in &target {
        match byte {
            b'"' => encoded.extend_from_slice(b"%22"),
            b'<' => encoded.extend_from_slice(b"%3C"),
            b'>' => encoded.extend_from_slice(b"%3E"),
            b'`' => encoded.extend_from_slice(b"%60"),
            byte => encoded.push(byte),
        }
    }
    PathAndQuery::from_maybe_shared(Bytes::from(encoded)).map_err(io::Error::other)
}

/// The first of the protocols in `Upgrade`.
fn protocol_of(value: &[u8]) -> Option<Protocol> {
    let first = value.split(is_comma).next()?;
    Some(Protocol::from(std::str::from_utf8(first.trim_ascii()).ok()?))
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

/// The value of a field in a head.
pub(super) fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|&byte| byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

/// Fields that stay out of the tables of HPACK (RFC 7541 §7.1.3): a connection to an upstream carries the requests of many clients,
/// and none may probe for what another one has sent. For the tables they are of no use either.
const SECRET_FIELDS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// Reads field lines, each with its CRLF; an empty line ends them.
///
/// # Errors
///
/// A field that HTTP/2 cannot say.
pub(super) fn read_fields(lines: &Bytes) -> io::Result<HeaderMap> {
    let mut fields = HeaderMap::with_capacity(FIELDS_EXPECTED);
    each_field(lines, |name, value| {
        if !is_of_connection(&name) {
            fields.append(name, HeaderValue::from_maybe_shared(value).map_err(io::Error::other)?);
        }
        Ok(())
    })?;
    Ok(fields)
}

fn is_of_connection(name: &HeaderName) -> bool {
    CONNECTION_FIELDS.contains(&name.as_str())
}

/// Calls `take` for each field.
fn each_field(lines: &Bytes, mut take: impl FnMut(HeaderName, Bytes) -> io::Result<()>) -> io::Result<()> {
    let mut start = 0;
    while let Some(end) = memchr::memchr(b'\n', &lines[start..]) {
        let line = lines[start..start + end].trim_ascii_end();
        start += end + 1;
        let Some(colon) = memchr::memchr(b':', line) else { break };
        let name = HeaderName::from_bytes(&line[..colon]).map_err(io::Error::other)?;
        take(name, lines.slice_ref(line[colon + 1..].trim_ascii()))?;
    }
    Ok(())
}

/// A table for so many grows no more for most responses.
const FIELDS_EXPECTED: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_the_form_of_their_method() {
        let written = |method: &str, uri: &str| {
            let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
            let mut out = Vec::new();
            write_request(&request.into_parts().0, false, None, 100, &mut out)
                .map(|()| String::from_utf8(out).unwrap())
        };
        let line = |line: &str| Ok(format!("{line} HTTP/1.1\r\n\r\n"));
        assert_eq!(written("OPTIONS", "*"), line("OPTIONS *"));
        assert_eq!(written("GET", "/?a"), line("GET /?a"));
        assert_eq!(written("CONNECT", "a:1"), Ok("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n".into()));
    }

    #[test]
    fn what_http2_cannot_say_is_an_error() {
        for lines in ["a b: c\r\n", ": a\r\n", "a: \u{1}\r\n", "a: \x7f\r\n"] {
            assert!(read_fields(&Bytes::copy_from_slice(lines.as_bytes())).is_err(), "{lines:?}");
        }
        for head in ["", "HTTP/1.1\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n"] {
            assert!(read_response(head.as_bytes()).is_err(), "{head:?}");
        }
    }
}
