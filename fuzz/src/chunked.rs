//! Chunked bodies (RFC 9112 §7.1).

use crate::cursor::{Cursor, Parsed, Stop, is_blank, is_field_content, is_tchar};
use crate::head::field_line;

/// A body, as far as it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The data.
    pub data: Vec<u8>,
    /// The trailer lines that may be forwarded.
    pub trailers: Vec<u8>,
    /// Whether the trailer section has begun.
    pub in_trailers: bool,
    /// How many bytes it took.
    pub taken: usize,
}

/// *chunk last-chunk trailer-section CRLF. What was read stands in `out` even if it ends early.
pub fn body(bytes: &[u8], out: &mut Body) -> Parsed<()> {
    let mut cursor = Cursor::new(bytes);
    let mut excess = 0_u64;
    loop {
        let size = size_line(&mut cursor, &mut excess)?;
        if size == 0 {
            break;
        }
        for _ in 0..size {
            out.data.push(cursor.take(|_| true)?);
        }
        cursor.crlf()?;
    }
    out.in_trailers = true;
    out.trailers = trailers(&mut cursor)?;
    out.taken = cursor.at;
    Ok(())
}

/// chunk-size [ chunk-ext ] CRLF
fn size_line(cursor: &mut Cursor<'_>, excess: &mut u64) -> Parsed<u64> {
    cursor.line(4096);
    let mut size = u64::from(hex(cursor.take(is_hex)?));
    let mut digits = 1;
    while is_hex(cursor.peek()?) {
        digits += 1;
        if digits > 16 {
            return Err(Stop::Refused);
        }
        size = size * 16 + u64::from(hex(cursor.take(is_hex)?));
    }
    let start = cursor.at;
    // At most 16 KiB more of extensions than of data, at any byte.
    cursor.text_end_max = cursor.text_end_max.min(start + usize::try_from(16 * 1024 - *excess).unwrap());
    while cursor.peek()? != b'\r' {
        extension(cursor)?;
    }
    *excess += (cursor.at - start) as u64;
    cursor.crlf()?;
    *excess = excess.saturating_sub(size);
    Ok(size)
}

/// BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ]
fn extension(cursor: &mut Cursor<'_>) -> Parsed<()> {
    cursor.many(is_blank)?;
    cursor.literal(b';')?;
    cursor.many(is_blank)?;
    cursor.some(is_tchar)?;
    let before = cursor.clone();
    cursor.many(is_blank)?;
    if cursor.peek()? != b'=' {
        // The white space belongs to the next extension.
        *cursor = before;
        return Ok(());
    }
    cursor.literal(b'=')?;
    cursor.many(is_blank)?;
    if cursor.peek()? == b'"' { quoted_string(cursor) } else { cursor.some(is_tchar).map(drop) }
}

/// DQUOTE *( qdtext / quoted-pair ) DQUOTE
fn quoted_string(cursor: &mut Cursor<'_>) -> Parsed<()> {
    cursor.literal(b'"')?;
    loop {
        match cursor.take(is_field_content)? {
            b'"' => return Ok(()),
            b'\\' => drop(cursor.take(is_field_content)?),
            _ => {}
        }
    }
}

/// *( field-line CRLF ) CRLF, 8 KiB and 100 lines at most.
fn trailers(cursor: &mut Cursor<'_>) -> Parsed<Vec<u8>> {
    cursor.end_max = cursor.at + 8 * 1024;
    let mut kept = Vec::new();
    let mut lines = 0;
    while cursor.peek()? != b'\r' {
        let start = cursor.at;
        let (name, _) = field_line(cursor)?;
        cursor.crlf()?;
        lines += 1;
        if lines > 100 {
            return Err(Stop::Refused);
        }
        if may_be_forwarded(&name) {
            kept.extend_from_slice(&cursor.bytes[start..cursor.at]);
        }
    }
    cursor.crlf()?;
    Ok(kept)
}

/// RFC 9110 §6.5.1 and §7.6.1, and what tells who the client is; `_` is as good as `-`.
fn may_be_forwarded(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase().replace('_', "-");
    let forbidden = [
        // Framing and connections.
        "content-length transfer-encoding trailer connection keep-alive proxy-connection te upgrade http2-settings",
        // Routing.
        "host max-forwards via location x-accel-redirect x-http-method-override",
        // Request modifiers and conditions.
        "cache-control pragma expect range if-match if-none-match if-modified-since if-unmodified-since if-range",
        // Authentication.
        "authorization cookie set-cookie www-authenticate authentication-info strict-transport-security proxy \
         proxy-authenticate proxy-authorization proxy-authentication-info",
        // Response control and content.
        "age date expires retry-after vary warning content-encoding content-type content-range",
        // The client.
        "forwarded x-real-ip",
    ];
    let is_forbidden = forbidden.iter().any(|names| names.split_whitespace().any(|other| other == name));
    !is_forbidden && !name.starts_with("x-forwarded-")
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap_or(0) as u8
}
