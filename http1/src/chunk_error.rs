//! Why a chunked body is refused.

/// The rule that a chunked body breaks (RFC 9112 §7.1). The peer that sent it is at fault. Where the message ends is
/// unknown from there on, so its connection is closed: after [`ChunkError::status`] to a client that has no response yet,
/// after 502 for an upstream if nothing of its response has been forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A chunk size that is not one or more hexadecimal digits.
    #[error("invalid chunk size")]
    SizeInvalid,
    /// More than `CHUNK_SIZE_DIGITS_MAX` digits.
    #[error("chunk size too long")]
    SizeTooLong,
    /// A chunk extension that is not `;` name \[`=` value\] (RFC 9112 §7.1.1), or white space that none follows.
    #[error("invalid chunk extension")]
    ExtensionInvalid,
    /// A chunk's line of more than `CHUNK_LINE_BYTES_MAX` bytes.
    #[error("chunk line too long")]
    LineTooLong,
    /// Over many chunks, far more bytes of extensions than of data: see `CHUNK_EXTENSIONS_EXCESS_MAX`.
    #[error("too many chunk extensions")]
    ExtensionsTooLong,
    /// LF without CR before it.
    #[error("LF without CR")]
    BareLineFeed,
    /// CR without LF after it.
    #[error("CR without LF")]
    BareCarriageReturn,
    /// Bytes other than CRLF after a chunk's data.
    #[error("chunk data without its CRLF")]
    DataUnterminated,
    /// A trailer line that is not a field line (RFC 9110 §6.5).
    #[error("invalid trailer field")]
    TrailerInvalid,
    /// More than `TRAILER_BYTES_MAX` bytes of trailer section.
    #[error("trailer section too large")]
    TrailersTooLarge,
    /// More than `TRAILER_FIELDS_MAX` lines.
    #[error("too many trailer fields")]
    TooManyTrailers,
}

impl ChunkError {
    /// The status that answers a request with this fault: 400 or 431.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TrailersTooLarge | Self::TooManyTrailers => 431,
            _ => 400,
        }
    }
}
