//! What an answer of a collector means (OTLP, "OTLP/HTTP Response" and "OTLP/gRPC Response").

use std::time::Duration;

use corelane_filters::decode_base64;
use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, StatusCode};

use super::message::{self, Field, fields};

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The collector has it; perhaps without some spans, or with a message.
    Taken { rejected: u64, message: String },
    /// It would be refused again.
    Refused(String),
    /// It may be taken later, if that is known after this time.
    Later(String, Option<Duration>),
}

impl Answer {
    /// Nothing came, or it made no sense.
    pub(super) fn failed(why: impl std::fmt::Display) -> Self {
        Self::Later(why.to_string(), None)
    }
}

/// A wait that is longer is none that an exporter keeps spans for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Of the text that comes with a refusal.
const TEXT_CHARS_MAX: usize = 200;

/// Of OTLP over HTTP.
pub(super) fn of_http(status: StatusCode, head: &HeaderMap, body: &[u8]) -> Answer {
    if status.is_success() {
        let (rejected, message) = message::rejected(body);
        return Answer::Taken { rejected, message };
    }
    match status.as_u16() {
        429 | 502 | 503 | 504 => Answer::Later(status.to_string(), retry_after(head)),
        _ => Answer::Refused(with_text(&status.to_string(), &message_of(body))),
    }
}

/// RFC 9110 §10.2.3, as a number of seconds; collectors send no dates.
fn retry_after(head: &HeaderMap) -> Option<Duration> {
    let seconds = head.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// `google.rpc.Status.message`
fn message_of(status: &[u8]) -> String {
    let message = fields(status).find_map(|field| match field {
        (2, Field::Bytes(message)) => Some(message),
        _ => None,
    });
    String::from_utf8_lossy(message.unwrap_or_default()).into_owned()
}

fn with_text(what: &str, text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    if text.is_empty() { what.to_owned() } else { format!("{what}: {text}") }
}

/// Of OTLP over gRPC; `trailers` are the head's fields where there is nothing else.
pub(super) fn of_grpc(status: StatusCode, trailers: &HeaderMap, body: &[u8]) -> Answer {
    let Some(code) = trailers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<u32>().ok())
    else {
        return match status.as_u16() {
            // gRPC's "HTTP to gRPC Status Code Mapping": these are UNAVAILABLE.
            200 | 429 | 502 | 503 | 504 => Answer::Later(format!("{status}, without a grpc-status"), None),
            _ => Answer::Refused(status.to_string()),
        };
    };
    if code == 0 {
        // Behind a byte that says that it is not compressed, and four of its length.
        let (rejected, message) = message::rejected(body.get(5..).unwrap_or_default());
        return Answer::Taken { rejected, message };
    }
    let text = trailers.get("grpc-message").and_then(|text| text.to_str().ok()).unwrap_or_default();
    let reason = with_text(&format!("grpc-status {code}"), text);
    let delay = trailers.get("grpc-status-details-bin").and_then(|details| retry_delay(details.as_bytes()));
    match code {
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS
        1 | 4 | 10 | 11 | 14 | 15 => Answer::Later(reason, delay),
        // RESOURCE_EXHAUSTED, if the collector says that it will recover.
        8 if delay.is_some() => Answer::Later(reason, delay),
        _ => Answer::Refused(reason),
    }
}

/// `google.rpc.RetryInfo.retry_delay` among the details of a `google.rpc.Status`.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = from_base64(details)?;
    let mut any = fields(&status).filter_map(|field| match field {
        (3, Field::Bytes(any)) => Some(any),
        _ => None,
    });
    let bytes = |message: &[u8], number: u64| {
        fields(message).find_map(|(found, field)| match field {
            Field::Bytes(bytes) if found == number => Some(bytes.to_vec()),
            _ => None,
        })
    };
    let info = any.find(|any| bytes(any, 1).is_some_and(|kind| kind.ends_with(b"/google.rpc.RetryInfo")))?;
    let delay = bytes(&bytes(info, 2)?, 1)?;
    let (mut seconds, mut nanoseconds) = (0, 0);
    for field in fields(&delay) {
        match field {
            (1, Field::Number(value)) => seconds = value,
            (2, Field::Number(value)) => nanoseconds = value,
            _ => {}
        }
    }
    let delay = Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanoseconds))?;
    Some(delay.min(RETRY_AFTER_MAX))
}

/// As gRPC writes binary fields.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    decode_base64(text.trim_ascii_end(), &mut bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn head(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(line).collect()
    }

    fn later(reason: &str, seconds: Option<u64>) -> Answer {
        Answer::Later(reason.to_owned(), seconds.map(Duration::from_secs))
    }

    #[test]
    fn http_statuses_are_final_or_not() {
        let of = |status: u16, fields: &[(&'static str, &'static str)], body: &[u8]| {
            of_http(StatusCode::from_u16(status).expect("a status"), &head(fields), body)
        };
        assert_eq!(of(200, &[], b""), Answer::Taken { rejected: 0, message: String::new() });
        assert_eq!(of(200, &[], b"\x0a\x02\x08\x02"), Answer::Taken { rejected: 2, message: String::new() });
        assert_eq!(of(429, &[("retry-after", "7")], b""), later("429 Too Many Requests", Some(7)));
        assert_eq!(
            of(503, &[("retry-after", "99999999")], b""),
            later("503 Service Unavailable", Some(3600))
        );
        assert_eq!(of(503, &[("retry-after", "soon")], b""), later("503 Service Unavailable", None));
        assert_eq!(of(502, &[], b""), later("502 Bad Gateway", None));
        assert_eq!(of(504, &[], b""), later("504 Gateway Timeout", None));
        assert_eq!(of(400, &[], b"\x08\x03\x12\x02no"), Answer::Refused("400 Bad Request: no".to_owned()));
        for status in [302, 401, 404, 413, 500, 501] {
            assert!(matches!(of(status, &[], b""), Answer::Refused(_)), "{status}");
        }
    }

    #[test]
    fn grpc_statuses_are_final_or_not() {
        let of = |fields: &[(&'static str, &'static str)], body: &[u8]| {
            of_grpc(StatusCode::OK, &head(fields), body)
        };
        let taken = |rejected| Answer::Taken { rejected, message: String::new() };
        assert_eq!(of(&[("grpc-status", "0")], b"\0\0\0\0\0"), taken(0));
        assert_eq!(of(&[("grpc-status", "0")], b"\0\0\0\0\x04\x0a\x02\x08\x02"), taken(2));
        assert_eq!(
            of(&[("grpc-status", "14"), ("grpc-message", "gone")], b""),
            later("grpc-status 14: gone", None)
        );
        assert!(matches!(of(&[("grpc-status", "16")], b""), Answer::Refused(_)));
        assert!(matches!(of(&[("grpc-status", "8")], b""), Answer::Refused(_)));
        // Status { code: 8, details: [Any { "type.googleapis.com/google.rpc.RetryInfo", { { 3 s } } }] }
        let details = "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAw";
        let exhausted = [("grpc-status", "8"), ("grpc-status-details-bin", details)];
        assert_eq!(of(&exhausted, b""), later("grpc-status 8", Some(3)));
        assert_eq!(
            of_grpc(StatusCode::SERVICE_UNAVAILABLE, &head(&[]), b""),
            later("503 Service Unavailable, without a grpc-status", None)
        );
        assert!(matches!(of_grpc(StatusCode::NOT_FOUND, &head(&[]), b""), Answer::Refused(_)));
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for (text, expected) in [
            ("", Some(&b""[..])),
            ("Zg==", Some(b"f")),
            ("Zg", Some(b"f")),
            ("Zm8", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
        ] {
            assert_eq!(from_base64(text.as_bytes()).as_deref(), expected, "{text}");
        }
        assert_eq!(from_base64(b"Zg-_"), None);
    }
}
