//! The path of a request as rules see it, and as it is forwarded.
//!
//! Servers disagree about what some spellings of a path mean. Every rule (routes, filters, access) sees one canonical form,
//! in which such spellings mean what the most obliging server makes of them; what an upstream gets is decided by
//! [`PathPolicies`].

/// What becomes of a spelling that servers disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPolicy {
    /// The request is refused with 400.
    Reject,
    /// The upstream gets the canonical form.
    Normalise,
    /// The upstream gets the bytes as they came; rules see the canonical form.
    Pass,
}

/// The policies of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathPolicies {
    /// `%2F`; canonical: `/`. Default: reject.
    pub encoded_slash: PathPolicy,
    /// `\` and `%5C`; canonical: `/`. Default: reject.
    pub backslash: PathPolicy,
    /// `%00` to `%1F` and `%7F`; canonical: as they are. Default: reject. Never [`PathPolicy::Normalise`].
    pub encoded_control: PathPolicy,
    /// `%23` (`#`) and `%3F` (`?`); canonical: as they are. Default: reject. Never [`PathPolicy::Normalise`].
    pub encoded_delimiter: PathPolicy,
    /// The segments `.` and `..`, also as `%2e`; canonical: resolved (RFC 3986 §5.2.4). Default: normalise.
    pub dot_segments: PathPolicy,
    /// `;` and what follows it in a segment; canonical: left out. Default: pass.
    pub parameters: PathPolicy,
    /// Empty segments (`//`); canonical: one slash. Default: pass.
    pub empty_segments: PathPolicy,
}

impl Default for PathPolicies {
    fn default() -> Self {
        Self {
            encoded_slash: PathPolicy::Reject,
            backslash: PathPolicy::Reject,
            encoded_control: PathPolicy::Reject,
            encoded_delimiter: PathPolicy::Reject,
            dot_segments: PathPolicy::Normalise,
            parameters: PathPolicy::Pass,
            empty_segments: PathPolicy::Pass,
        }
    }
}

/// Why a path is refused: 400, the client is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `%2F`.
    #[error("encoded slash in the path")]
    EncodedSlash,
    /// `\` or `%5C`.
    #[error("backslash in the path")]
    Backslash,
    /// `%00` to `%1F` or `%7F`.
    #[error("encoded control character in the path")]
    EncodedControl,
    /// `%23` or `%3F`.
    #[error("encoded delimiter in the path")]
    EncodedDelimiter,
    /// `.` or `..` as a segment.
    #[error("dot segment in the path")]
    DotSegment,
    /// `;`.
    #[error("parameter in the path")]
    Parameter,
    /// `//`.
    #[error("empty segment in the path")]
    EmptySegment,
    /// `%` without two hexadecimal digits behind it. Always refused.
    #[error("invalid escape in the path")]
    EscapeInvalid,
    /// A dot segment that servers resolve differently: with a parameter (`..;x`), beside an encoded slash, a backslash or
    /// an empty segment. Always refused.
    #[error("ambiguous dot segment in the path")]
    DotAmbiguous,
    /// More `..` than there are segments above. Always refused.
    #[error("dot segment above the root")]
    AboveRoot,
}

impl PathError {
    /// The broken rule for logs and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::EncodedSlash => "path_encoded_slash",
            Self::Backslash => "path_backslash",
            Self::EncodedControl => "path_encoded_control",
            Self::EncodedDelimiter => "path_encoded_delimiter",
            Self::DotSegment => "path_dot_segment",
            Self::Parameter => "path_parameter",
            Self::EmptySegment => "path_empty_segment",
            Self::EscapeInvalid => "path_escape_invalid",
            Self::DotAmbiguous => "path_dot_ambiguous",
            Self::AboveRoot => "path_above_root",
        }
    }
}
