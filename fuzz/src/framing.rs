//! How long a body is (RFC 9112 §6.3), as `corelane_semantics` documents its rules.

use crate::head::{Field, Request, Response};

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunked.
    Chunked,
    /// To the end of the connection.
    UntilClose,
}

/// `None`: refused.
pub fn of_request(request: &Request) -> Option<Framing> {
    let framing = declared(&request.fields, request.minor)?.unwrap_or(Framing::None);
    let has_content = !matches!(framing, Framing::None | Framing::Length(0));
    if request.method == b"CONNECT" && has_content { None } else { Some(framing) }
}

/// `None`: refused. `method` is the request's.
pub fn of_response(response: &Response, method: &[u8]) -> Option<Framing> {
    let class = response.status / 100;
    if class == 1 {
        return if values(&response.fields, b"transfer-encoding").is_empty() {
            Some(Framing::None)
        } else {
            None
        };
    }
    if class == 2 && method == b"CONNECT" {
        return Some(Framing::None);
    }
    let declared = declared(&response.fields, response.minor)?;
    if method == b"HEAD" || response.status == 204 || response.status == 304 {
        return Some(Framing::None);
    }
    Some(declared.unwrap_or(Framing::UntilClose))
}

/// What the fields say, if anything; `None`: what must not be.
fn declared(fields: &[Field], minor: u8) -> Option<Option<Framing>> {
    let lengths = values(fields, b"content-length");
    let codings = values(fields, b"transfer-encoding");
    match (&lengths[..], &codings[..]) {
        ([], []) => Some(None),
        ([length], []) => {
            // Digits alone, and no more than signed 64 bits hold.
            let is_number = matches!(length.len(), 1..=19) && length.iter().all(|byte| byte.is_ascii_digit());
            let number: i64 = std::str::from_utf8(length).ok()?.parse().ok()?;
            if is_number { Some(Some(Framing::Length(u64::try_from(number).ok()?))) } else { None }
        }
        ([], [coding]) => {
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked") && minor == 1;
            if is_chunked { Some(Some(Framing::Chunked)) } else { None }
        }
        _ => None,
    }
}

fn values<'a>(fields: &'a [Field], name: &[u8]) -> Vec<&'a [u8]> {
    fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name)).map(|field| &field.1[..]).collect()
}
