//! What is done about a path that servers read differently.
//!
//! Every rule (routes, filters, access) sees one canonical form, in which such spellings mean what the most obliging
//! server makes of them; what an upstream gets is decided by [`PathPolicies`]. Both are made in `canonical_path.rs`.

/// What becomes of a spelling that servers disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPolicy {
    /// The request is refused with 400.
    Reject,
    /// The upstream gets this spelling as it is in the canonical form, and all else as it came.
    Normalise,
    /// The upstream gets this spelling as it came; rules see the canonical form.
    Pass,
}

/// The policies of a listener.
///
/// | spelling | canonical form | default |
/// | --- | --- | --- |
/// | `%2F` | `/` | reject |
/// | `\`, `%5C` | `/` | reject |
/// | `%00` to `%1F`, `%7F` | the escape | reject |
/// | `%23`, `%3F` | the escape | reject |
/// | segments `.` and `..`, with `%2E` for any `.` | resolved | normalise |
/// | `;` and what follows in a segment | left out | pass |
/// | `//` | `/` | pass |
/// | other escapes of visible ASCII but `%25` and `%3B` | decoded | forwarded as they came |
/// | all other escapes, and bytes beyond ASCII | the escape, in upper case | forwarded as they came |
///
/// Nothing is decoded twice (`%252E` stays), and nothing but ASCII is decoded (`%C0%AF` stays).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathPolicies {
    /// `%2F`, in a parameter too. Default: reject.
    pub encoded_slash: PathPolicy,
    /// `\` and `%5C`, in a parameter too. Default: reject.
    pub backslash: PathPolicy,
    /// `%00` to `%1F` and `%7F`. Default: reject. They have no other form: [`PathPolicy::Normalise`] passes them.
    pub encoded_control: PathPolicy,
    /// `%23` (`#`) and `%3F` (`?`). Default: reject. They have no other form: [`PathPolicy::Normalise`] passes them.
    pub encoded_delimiter: PathPolicy,
    /// The segments `.` and `..`, also as `%2e`; resolved as in RFC 3986 §5.2.4. Default: normalise.
    pub dot_segments: PathPolicy,
    /// `;` and what follows it in a segment. Default: pass.
    pub parameters: PathPolicy,
    /// Empty segments: `//`, and for rejection also what is empty without its parameters (`/;a/`). Default: pass.
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
    /// `;` in a segment.
    #[error("parameter in the path")]
    Parameter,
    /// A segment of nothing, or of nothing but parameters.
    #[error("empty segment in the path")]
    EmptySegment,
    /// `%` without two hexadecimal digits behind it. Always refused.
    #[error("invalid escape in the path")]
    EscapeInvalid,
    /// A dot segment that servers resolve differently: with a parameter (`..;a`, `..%3Ba`), beside a `%2F` or a backslash,
    /// or a `..` for which the segment that it takes away is empty (`/a//..`, `/a/;b/..`) or stands behind one of these
    /// (`/a%2Fb/..`). Always refused.
    #[error("ambiguous dot segment in the path")]
    DotAmbiguous,
    /// More `..` than there are segments above. Always refused.
    #[error("dot segment above the root")]
    AboveRoot,
}
