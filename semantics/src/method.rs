//! Request methods (RFC 9110 §9).

/// The methods whose meaning matters to a proxy; any other token is [`Method::Other`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// RFC 9110 §9.3.1.
    #[default]
    Get,
    /// RFC 9110 §9.3.2.
    Head,
    /// RFC 9110 §9.3.3.
    Post,
    /// RFC 9110 §9.3.4.
    Put,
    /// RFC 9110 §9.3.5.
    Delete,
    /// RFC 9110 §9.3.6.
    Connect,
    /// RFC 9110 §9.3.7.
    Options,
    /// RFC 9110 §9.3.8.
    Trace,
    /// RFC 5789.
    Patch,
    /// Any other token.
    Other,
}

impl Method {
    /// The method of a token. Methods are case-sensitive (RFC 9110 §9.1).
    #[must_use]
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Whether sending the request twice has the effect of sending it once (RFC 9110 §9.2.2).
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

/// A set of methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodSet {
    /// A bit for each method but [`Method::Other`].
    known: u16,
    others: Vec<Box<[u8]>>,
}

impl MethodSet {
    /// The set of these tokens.
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut set = Self::default();
        for token in tokens {
            match Method::from_token(token) {
                Method::Other => set.others.push(token.into()),
                method => set.known |= 1 << method as u16,
            }
        }
        set
    }

    /// Whether a method is in it; `token` is its name.
    #[must_use]
    pub fn contains(&self, method: Method, token: &[u8]) -> bool {
        match method {
            Method::Other => self.others.iter().any(|other| **other == *token),
            method => self.known & 1 << method as u16 != 0,
        }
    }
}
