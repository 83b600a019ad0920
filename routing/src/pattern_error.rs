//! Why a text is not a pattern. All are the configuration's fault; the caller shows them beside the value's place.

/// What a pattern may not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A host of no characters.
    #[error("a host may not be empty; leave `hosts` out to match any host")]
    HostEmpty,
    /// A name of more than 253 characters, or a label of more than 63 (RFC 1035 §2.3.4).
    #[error("a host has at most 253 characters, and at most 63 between two dots")]
    HostTooLong,
    /// Two dots in a row, or one at the start or the end.
    #[error("a host may not have an empty label (a dot at the start, at the end, or two in a row)")]
    LabelEmpty,
    /// A `*` that is not the whole first label of a longer name.
    #[error("`*` may stand only for the whole first label, as in `*.example.com`")]
    WildcardPlace,
    /// A host with a port.
    #[error("a host is matched without its port; leave the port out")]
    HostPort,
    /// Neither a name nor an address: the last label is a number (RFC 1123 §2.1).
    #[error("a host that ends in a number must be an IPv4 address, without `*`")]
    Ipv4Invalid,
    /// Brackets or colons around something that is not an IPv6 address.
    #[error("not an IPv6 address")]
    Ipv6Invalid,
    /// A character that no host holds.
    #[error(
        "a host may not hold {0:?}; allowed are a-z, 0-9, `-`, `_` and `.`, other names in their `xn--` form"
    )]
    HostCharacter(char),
    /// A path that does not start with `/`.
    #[error("a path must start with `/`")]
    PathRelative,
    /// A path with `?`.
    #[error("a path is matched without its query; leave `?` and what follows out")]
    PathQuery,
    /// A path with `#`.
    #[error("a path may not hold a fragment; no request carries one")]
    PathFragment,
    /// A space, a control character or one outside ASCII: such a path cannot arrive (RFC 3986 §3.3).
    #[error("a path may not hold {0:?}; write it percent-encoded, as it is sent")]
    PathCharacter(char),
    /// A `%` without two hexadecimal digits behind it.
    #[error("a `%` in a path must be followed by two hexadecimal digits")]
    PathEscape,
    /// `%2F`, `%5C` or `\`.
    #[error("a path may not hold `%2F`, `%5C` or a backslash; rules see a `/` in their place")]
    PathSeparator,
    /// `.` or `..` as a segment.
    #[error("a path may not hold the segments `.` and `..`; rules see paths with them resolved")]
    PathDotSegment,
    /// `;`.
    #[error("a path may not hold `;`; rules see paths without `;` and what follows it in a segment")]
    PathParameter,
    /// `//`.
    #[error("a path may not hold `//`; rules see one slash in its place")]
    PathEmptySegment,
    /// A regex of no characters: it would match everything.
    #[error("a regex may not be empty; it would match everything")]
    RegexEmpty,
    /// A regex that the parser refuses.
    #[error("not a regex: {what}, at character {column}")]
    Regex {
        /// What the parser says.
        what: Box<str>,
        /// Where, from 1.
        column: usize,
    },
    /// A regex of more than 4096 bytes, or that takes more than 64 KiB when it is compiled.
    #[error("the regex is too large: it may have 4096 bytes and take 64 KiB compiled; repeat less in it")]
    RegexTooLarge,
}
