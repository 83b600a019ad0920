//! Which requests are calls, by their `Content-Type`.

/// How a call is spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `application/grpc`: messages in the body, the status in the trailers.
    Grpc,
    /// `application/grpc-web`: the trailers are the body's end.
    Web,
    /// `application/grpc-web-text`: the same in base64.
    WebText,
}

impl Dialect {
    /// What a `Content-Type` says. `None`: no call.
    #[must_use]
    pub fn of(content_type: &[u8]) -> Option<Self> {
        Self::split(content_type).map(|(dialect, _)| dialect)
    }

    /// The same with what follows: nothing, `+` and the form of the messages, or `;` and parameters.
    #[must_use]
    pub fn split(content_type: &[u8]) -> Option<(Self, &[u8])> {
        // The longest first, because each begins with the next.
        [Self::WebText, Self::Web, Self::Grpc].into_iter().find_map(|dialect| {
            let name = dialect.content_type();
            let (start, rest) = content_type.split_at_checked(name.len())?;
            let is_whole = matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..]);
            (is_whole && start.eq_ignore_ascii_case(name)).then_some((dialect, rest))
        })
    }

    /// The `Content-Type` without the form of the messages.
    #[must_use]
    pub const fn content_type(self) -> &'static [u8] {
        match self {
            Self::Grpc => b"application/grpc",
            Self::Web => b"application/grpc-web",
            Self::WebText => b"application/grpc-web-text",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_their_content_type() {
        for (value, expected) in [
            ("application/grpc", Some((Dialect::Grpc, ""))),
            ("application/grpc+proto", Some((Dialect::Grpc, "+proto"))),
            ("Application/gRPC; charset=utf-8", Some((Dialect::Grpc, "; charset=utf-8"))),
            ("application/grpc ;a=b", Some((Dialect::Grpc, " ;a=b"))),
            ("application/grpc-web", Some((Dialect::Web, ""))),
            ("application/grpc-web+json", Some((Dialect::Web, "+json"))),
            ("application/grpc-web-text", Some((Dialect::WebText, ""))),
            ("application/GRPC-WEB-TEXT+proto", Some((Dialect::WebText, "+proto"))),
            ("application/grpc-webtext", None),
            ("application/grpc-web-texts", None),
            ("application/grpc-foo", None),
            ("application/grpcs", None),
            ("application/json", None),
            ("application/grp", None),
            ("", None),
        ] {
            let split = expected.map(|(dialect, rest): (_, &str)| (dialect, rest.as_bytes()));
            assert_eq!(Dialect::split(value.as_bytes()), split, "{value}");
        }
    }
}
