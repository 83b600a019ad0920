//! Names of fields as settings give them.

use corelane_semantics::{Field, Known};

/// A field's name, compared without regard to case (RFC 9110 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldName {
    text: Box<[u8]>,
    known: Option<Known>,
}

impl FieldName {
    /// A name to look for.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || !text.bytes().all(is_token_byte) {
            return Err("not a field name: letters, digits and !#$%&'*+-.^_`|~ only");
        }
        if text.len() > NAME_BYTES_MAX {
            return Err("longer than 256 bytes");
        }
        Ok(Self { text: text.as_bytes().into(), known: Known::from_name(text.as_bytes()) })
    }

    /// A name that an edit may change: not one that frames the message or belongs to one connection (RFC 9110 §7.6.1).
    pub(crate) fn parse_editable(text: &str) -> Result<Self, &'static str> {
        let name = Self::parse(text)?;
        match name.known {
            Some(Known::Host) => Err("the filter `rewrite` changes the host"),
            Some(Known::ContentLength | Known::TransferEncoding | Known::Trailer) => {
                Err("it frames the body, which Corelane does itself")
            }
            Some(known) if known.is_hop_by_hop() => {
                Err("it belongs to one connection and is never forwarded")
            }
            _ if text.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("proxy-")) => {
                Err("it belongs to one connection and is never forwarded")
            }
            _ => Ok(name),
        }
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn is(&self, name: &[u8]) -> bool {
        self.text.eq_ignore_ascii_case(name)
    }

    pub(crate) fn is_of(&self, field: &Field, bytes: &[u8]) -> bool {
        match (self.known, field.known) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, None) => self.is(field.name.bytes(bytes)),
            _ => false,
        }
    }
}

/// Far above any name in use.
const NAME_BYTES_MAX: usize = 256;

/// RFC 9110 §5.6.2.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_frame_or_belong_to_a_connection_cannot_be_edited() {
        for name in [
            "",
            "a b",
            "a:",
            "é",
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Keep-Alive",
            "Proxy-Authorization",
            "proxy-x",
            "HTTP2-Settings",
        ] {
            assert!(FieldName::parse_editable(name).is_err(), "{name}");
        }
        for name in ["X-A", "Authorization", "Via", "Date", "x_a", "Proxy"] {
            assert!(FieldName::parse_editable(name).is_ok(), "{name}");
        }
        assert!(FieldName::parse("Host").is_ok(), "it can be read");
        assert!(FieldName::parse(&"a".repeat(257)).is_err());
    }
}
