//! `ExportTraceServiceRequest`, around spans that are written already, and what the answer to it says.

use corelane_engine::tracing::protobuf::{Attribute, Tag, write_attribute, write_bytes, write_prefix};

use crate::syslog::machine_name;

const RESOURCE_SPANS: Tag = Tag::bytes(1);
const RESOURCE: Tag = Tag::bytes(1);
const ATTRIBUTES_OF_RESOURCE: Tag = Tag::bytes(1);
const SCOPE_SPANS: Tag = Tag::bytes(2);
const SCOPE: Tag = Tag::bytes(1);
const SCOPE_NAME: Tag = Tag::bytes(1);
const SCOPE_VERSION: Tag = Tag::bytes(2);

/// Each of `spans` is written as `spans` of `ScopeSpans`.
pub(super) fn request(service_name: &str, spans: &[&[u8]]) -> Vec<u8> {
    let mut resource = Vec::new();
    let mut attribute = |key, value: &[u8]| {
        write_attribute(&mut resource, ATTRIBUTES_OF_RESOURCE, key, Attribute::Text(value))
    };
    attribute("service.name", service_name.as_bytes());
    attribute("service.version", env!("CARGO_PKG_VERSION").as_bytes());
    let host = machine_name();
    if !host.is_empty() {
        attribute("host.name", host.as_bytes());
    }
    let process = Attribute::Integer(std::process::id().into());
    write_attribute(&mut resource, ATTRIBUTES_OF_RESOURCE, "process.pid", process);

    let mut scope = Vec::new();
    write_bytes(&mut scope, SCOPE_NAME, b"corelane");
    write_bytes(&mut scope, SCOPE_VERSION, env!("CARGO_PKG_VERSION").as_bytes());

    let mut before = Vec::new();
    write_bytes(&mut before, SCOPE, &scope);
    let scope_spans_bytes = before.len() + spans.iter().map(|spans| spans.len()).sum::<usize>();

    let mut inside = Vec::new();
    write_bytes(&mut inside, RESOURCE, &resource);
    write_prefix(&mut inside, SCOPE_SPANS, scope_spans_bytes);
    inside.extend_from_slice(&before);

    let spans_bytes = scope_spans_bytes - before.len();
    let mut message = Vec::with_capacity(inside.len() + spans_bytes + MESSAGE_PREFIX_BYTES_MAX);
    write_prefix(&mut message, RESOURCE_SPANS, inside.len() + spans_bytes);
    message.extend_from_slice(&inside);
    spans.iter().for_each(|spans| message.extend_from_slice(spans));
    message
}

/// A tag, and a length of up to ten bytes.
const MESSAGE_PREFIX_BYTES_MAX: usize = 11;

/// One field of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, each with its number; ends at what is none.
pub(super) fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        let key = base128(&mut message)?;
        let field = match key & 7 {
            0 => Field::Number(base128(&mut message)?),
            1 => Field::Bytes(take(&mut message, 8)?),
            2 => {
                let bytes = usize::try_from(base128(&mut message)?).ok()?;
                Field::Bytes(take(&mut message, bytes)?)
            }
            5 => Field::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        Some((key >> 3, field))
    })
}

fn take<'a>(message: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(bytes)?;
    *message = rest;
    Some(taken)
}

fn base128(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << place;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// How many spans an `ExportTraceServiceResponse` says were not taken, and why.
pub(super) fn rejected(response: &[u8]) -> (u64, String) {
    let partial = fields(response).find_map(|field| match field {
        (1, Field::Bytes(partial)) => Some(partial),
        _ => None,
    });
    let (mut spans, mut why) = (0, String::new());
    for field in fields(partial.unwrap_or_default()) {
        match field {
            (1, Field::Number(count)) => spans = count,
            (2, Field::Bytes(text)) => why = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    (spans, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_stand_one_behind_the_other() {
        let message = request("edge", &[b"\x12\x02ab", b"\x12\x00"]);
        let bytes = |field: Option<(u64, Field<'_>)>| match field {
            Some((_, Field::Bytes(bytes))) => bytes.to_vec(),
            other => panic!("{other:?}"),
        };
        let mut all = fields(&message);
        let resource_spans = bytes(all.next());
        assert!(all.next().is_none());
        let mut parts = fields(&resource_spans);
        let resource = bytes(parts.next());
        assert!(resource.windows(4).any(|text| text == b"edge"), "{}", resource.escape_ascii());
        let scope_spans = bytes(parts.next());
        assert!(parts.next().is_none());
        let of_scope: Vec<_> = fields(&scope_spans).skip(1).collect();
        assert_eq!(of_scope, [(2, Field::Bytes(b"ab")), (2, Field::Bytes(b""))]);
    }

    #[test]
    fn reads_what_was_not_taken() {
        assert_eq!(rejected(b""), (0, String::new()));
        assert_eq!(rejected(b"\x0a\x00"), (0, String::new()));
        assert_eq!(rejected(b"\x0a\x08\x08\xac\x02\x12\x03why"), (300, "why".to_owned()));
        for broken in [&b"\x0a"[..], b"\x0a\x7f", b"\x0b", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(rejected(broken), (0, String::new()), "{}", broken.escape_ascii());
        }
    }
}
