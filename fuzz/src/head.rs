//! Heads of requests and responses (RFC 9112 §2 to §5).

use crate::cursor::{Cursor, Parsed, Stop, is_field_content, is_tchar, is_vchar};

/// How large a head may be; as `corelane_http1::HeadLimits`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The head, the empty line before it not counted.
    pub head: usize,
    /// The first line without CRLF.
    pub first_line: usize,
    /// A field line without CRLF.
    pub field_line: usize,
    /// Field lines.
    pub fields: usize,
}

/// A name and a value.
pub type Field = (Vec<u8>, Vec<u8>);

/// A request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Vec<u8>,
    /// The target.
    pub target: Vec<u8>,
    /// Its form and parts.
    pub parts: Parts,
    /// 0 or 1.
    pub minor: u8,
    /// The field lines.
    pub fields: Vec<Field>,
    /// Where the head starts and ends.
    pub place: (usize, usize),
}

/// The form of a target (RFC 9112 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Path and query.
    Origin(Vec<u8>, Option<Vec<u8>>),
    /// Authority, path and query.
    Absolute(Vec<u8>, Vec<u8>, Option<Vec<u8>>),
    /// The target is the authority.
    Authority,
    /// `*`.
    Asterisk,
}

/// A response head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase.
    pub reason: Vec<u8>,
    /// 0 or 1.
    pub minor: u8,
    /// The field lines.
    pub fields: Vec<Field>,
    /// Where the head ends.
    pub end: usize,
}

/// request-line CRLF *( field-line CRLF ) CRLF
pub fn request(bytes: &[u8], limits: &Limits) -> Parsed<Request> {
    let mut cursor = Cursor::new(bytes);
    cursor.end_max = limits.head;
    cursor.line(limits.first_line);
    // RFC 9112 §2.2: one empty line is ignored.
    if cursor.peek()? == b'\r' {
        cursor.crlf()?;
    }
    let start = cursor.at;
    cursor.end_max = start + limits.head;
    cursor.line(limits.first_line);

    let method = cursor.some(is_tchar)?;
    cursor.literal(b' ')?;
    let target = cursor.some(|byte| is_vchar(byte) && byte != b'#')?;
    cursor.literal(b' ')?;
    let minor = version(&mut cursor)?;
    cursor.crlf()?;
    let fields = fields(&mut cursor, limits)?;
    let parts = parts(&method, &target)?;
    Ok(Request { method, target, parts, minor, fields, place: (start, cursor.at) })
}

/// status-line CRLF *( field-line CRLF ) CRLF
pub fn response(bytes: &[u8], limits: &Limits) -> Parsed<Response> {
    let mut cursor = Cursor::new(bytes);
    cursor.end_max = limits.head;
    cursor.line(limits.first_line);
    let minor = version(&mut cursor)?;
    cursor.literal(b' ')?;
    let mut status = 0;
    for _ in 0..3 {
        status = status * 10 + u16::from(cursor.take(|byte| byte.is_ascii_digit())? - b'0');
    }
    if status < 100 {
        return Err(Stop::Refused);
    }
    // The SP is left out by some, where there is no reason either.
    let mut reason = Vec::new();
    if cursor.peek()? != b'\r' {
        cursor.literal(b' ')?;
        reason = cursor.many(is_field_content)?;
    }
    cursor.crlf()?;
    let fields = fields(&mut cursor, limits)?;
    Ok(Response { status, reason, minor, fields, end: cursor.at })
}

/// `HTTP/1.` and the minor version.
fn version(cursor: &mut Cursor<'_>) -> Parsed<u8> {
    for byte in *b"HTTP/1." {
        cursor.literal(byte)?;
    }
    Ok(cursor.take(|byte| byte == b'0' || byte == b'1')? - b'0')
}

/// *( field-line CRLF ) CRLF
fn fields(cursor: &mut Cursor<'_>, limits: &Limits) -> Parsed<Vec<Field>> {
    let mut fields = Vec::new();
    loop {
        cursor.line(limits.field_line);
        if cursor.peek()? == b'\r' {
            cursor.crlf()?;
            return Ok(fields);
        }
        if fields.len() == limits.fields {
            return Err(Stop::Refused);
        }
        fields.push(field_line(cursor)?);
        cursor.crlf()?;
    }
}

/// field-name ":" OWS field-value OWS
pub fn field_line(cursor: &mut Cursor<'_>) -> Parsed<Field> {
    let name = cursor.some(is_tchar)?;
    cursor.literal(b':')?;
    let mut value = cursor.many(is_field_content)?;
    while value.last().is_some_and(|&byte| byte == b' ' || byte == b'\t') {
        value.pop();
    }
    while value.first().is_some_and(|&byte| byte == b' ' || byte == b'\t') {
        value.remove(0);
    }
    Ok((name, value))
}

/// RFC 9112 §3.2: the form that a method's target must have, or may.
fn parts(method: &[u8], target: &[u8]) -> Parsed<Parts> {
    if method == b"CONNECT" {
        return if crate::authority::is_host_and_port(target) {
            Ok(Parts::Authority)
        } else {
            Err(Stop::Refused)
        };
    }
    if method == b"OPTIONS" && target == b"*" {
        return Ok(Parts::Asterisk);
    }
    if target[0] == b'/' {
        let (path, query) = path_and_query(target);
        return Ok(Parts::Origin(path, query));
    }
    let lower = target.to_ascii_lowercase();
    let scheme: &[u8] = if lower.starts_with(b"https://") { b"https://" } else { b"http://" };
    if !lower.starts_with(scheme) {
        return Err(Stop::Refused);
    }
    let mut authority = Vec::new();
    let mut at = scheme.len();
    while at < target.len() && target[at] != b'/' && target[at] != b'?' {
        authority.push(target[at]);
        at += 1;
    }
    if !crate::authority::is_authority(&authority) {
        return Err(Stop::Refused);
    }
    let (path, query) = path_and_query(&target[at..]);
    Ok(Parts::Absolute(authority, path, query))
}

fn path_and_query(text: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    for (at, &byte) in text.iter().enumerate() {
        if byte == b'?' {
            return (text[..at].to_vec(), Some(text[at + 1..].to_vec()));
        }
    }
    (text.to_vec(), None)
}
