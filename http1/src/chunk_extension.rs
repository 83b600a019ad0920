//! Chunk extensions, byte by byte (RFC 9112 §7.1.1).
//!
//! ```text
//! chunk-ext = *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )
//!
//! BeforeSemicolon ─;→ BeforeName ─→ Name ─BWS→ AfterName ─=→ BeforeValue ─┬→ Value ─BWS→ BeforeSemicolon
//!                         ↑          │ └──────=──────────────↗            └\"→ Quoted ─\"→ AfterQuoted
//!                         └────;─────┴── from AfterName, Value and AfterQuoted as well
//! ```
//!
//! Extensions are read by the grammar although nobody uses them: where a quoted string ends is one of the things that
//! readers disagree about. No state takes CR or LF, so whatever is accepted is one line for every reader.

use crate::bytes::{is_token_byte, is_value_byte};

/// How far the extensions of a chunk are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Extension {
    #[default]
    BeforeSemicolon,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    QuotedPair,
    AfterQuoted,
}

impl Extension {
    /// The state after a byte; `None` if the grammar has no place for it.
    pub(crate) fn step(self, byte: u8) -> Option<Self> {
        let is_space = matches!(byte, b' ' | b'\t');
        match (self, byte) {
            // RFC 9110 §5.6.4. Neither byte set has CR, LF or another control byte.
            (Self::Quoted, b'"') => Some(Self::AfterQuoted),
            (Self::Quoted, b'\\') => Some(Self::QuotedPair),
            (Self::Quoted | Self::QuotedPair, _) => is_value_byte(byte).then_some(Self::Quoted),

            (Self::BeforeName | Self::Name, _) if is_token_byte(byte) => Some(Self::Name),
            (Self::BeforeValue | Self::Value, _) if is_token_byte(byte) => Some(Self::Value),
            (Self::BeforeValue, b'"') => Some(Self::Quoted),
            (Self::Name | Self::AfterName, b'=') => Some(Self::BeforeValue),

            (Self::Name | Self::AfterName, _) if is_space => Some(Self::AfterName),
            (Self::Value | Self::AfterQuoted | Self::BeforeSemicolon, _) if is_space => {
                Some(Self::BeforeSemicolon)
            }
            (Self::BeforeName | Self::BeforeValue, _) if is_space => Some(self),

            (Self::BeforeName | Self::BeforeValue, _) => None,
            (_, b';') => Some(Self::BeforeName),
            _ => None,
        }
    }

    /// Whether the line may end here: behind a name or a value, without white space.
    pub(crate) const fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::AfterQuoted)
    }
}
