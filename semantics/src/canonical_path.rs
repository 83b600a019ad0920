//! The canonical form of a path, and the path that is forwarded (RFC 3986 §3.3, §5.2.4 and §6.2.2).
//!
//! A path without any spelling that servers disagree about is its own canonical form; one pass over it tells. Any other
//! is read once, segment by segment, and written twice: in canonical form, and as [`PathPolicies`] have it forwarded.
//! This file never decides what a path means to a route.

use crate::{PathError, PathPolicies, PathPolicy, percent_encoded};

/// Memory for the paths of one request at a time; one for each worker. It grows with paths that are not plain, at worst
/// (slashes alone) to 52 times the longest of them.
#[derive(Debug, Default)]
pub struct PathBuffers {
    canonical: Vec<u8>,
    forwarded: Vec<u8>,
    /// The segments before the one that is being read, for `..` to take away.
    above: Vec<Kept>,
}

/// What becomes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths<'a> {
    /// What every rule sees: see [`PathPolicies`].
    pub canonical: &'a [u8],
    /// What an upstream gets: the bytes as they came, but for the spellings whose policy is [`PathPolicy::Normalise`].
    pub forwarded: &'a [u8],
}

impl PathBuffers {
    /// The two forms of a path. `path` is what stands before the query: empty, or with a `/` at its start; without control
    /// bytes, spaces, `?` and `#`, which the parsers refuse there. An empty path stays empty.
    ///
    /// The canonical form of a canonical form, and of what is forwarded, is the same canonical form.
    ///
    /// # Errors
    ///
    /// [`PathError`], the first in the order of the path; the caller answers 400.
    pub fn canonicalise<'a>(
        &'a mut self,
        path: &'a [u8],
        policies: &PathPolicies,
    ) -> Result<Paths<'a>, PathError> {
        if is_plain(path) {
            return Ok(Paths { canonical: path, forwarded: path });
        }
        debug_assert!(path.starts_with(b"/"), "a path starts with a slash");
        self.canonical.clear();
        self.forwarded.clear();
        self.above.clear();
        let mut writer = Writer { path, policies, out: self, is_changed: false };
        writer.write()?;
        let forwarded = if writer.is_changed { &self.forwarded } else { path };
        Ok(Paths { canonical: &self.canonical, forwarded })
    }
}

/// Writes the two forms of one path.
struct Writer<'p, 'o> {
    path: &'p [u8],
    policies: &'p PathPolicies,
    out: &'o mut PathBuffers,
    /// Whether what is forwarded differs from the path as it came.
    is_changed: bool,
}

/// A segment that was written: where it starts in each form, its separator included.
#[derive(Clone, Copy, Debug)]
struct Kept {
    canonical: usize,
    forwarded: usize,
    /// Whether all servers agree on what a `..` behind it takes away.
    is_removable: bool,
}

/// A segment as it came.
#[derive(Clone, Copy, Debug)]
struct Segment {
    before: Boundary,
    /// Where its parameters start, at their `;`; where it ends if it has none.
    parameters: usize,
    after: Boundary,
}

/// What stands between two segments, and where.
#[derive(Clone, Copy, Debug)]
struct Boundary {
    kind: Separator,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Separator {
    Slash,
    EncodedSlash,
    Backslash,
    /// The end of the path.
    End,
}

impl Writer<'_, '_> {
    fn write(&mut self) -> Result<(), PathError> {
        let mut before = Boundary { kind: Separator::Slash, start: 0, end: 1 };
        loop {
            let start = Kept {
                canonical: self.out.canonical.len(),
                forwarded: self.out.forwarded.len(),
                is_removable: before.kind == Separator::Slash,
            };
            let segment = self.read(before)?;
            let text = self.out.canonical.get(start.canonical + 1..).unwrap_or_default();
            match dots(text) {
                Some(dots) => self.resolve(&segment, start, dots)?,
                None => self.keep(&segment, start)?,
            }
            if segment.after.kind == Separator::End {
                return Ok(());
            }
            before = segment.after;
        }
    }

    /// Reads the segment behind a separator and writes both to the canonical form.
    fn read(&mut self, before: Boundary) -> Result<Segment, PathError> {
        self.out.canonical.push(b'/');
        let mut parameters = None;
        let mut at = before.end;
        loop {
            let (byte, spelling, length) = match self.path.get(at) {
                None => (0, Spelling::Separator(Separator::End), 0),
                Some(b'%') => {
                    let byte = unescape(self.path, at)?;
                    (byte, escaped(byte), ESCAPE_BYTES)
                }
                Some(&byte) => (byte, raw(byte), 1),
            };
            self.check(spelling)?;
            if let Spelling::Separator(kind) = spelling {
                let after = Boundary { kind, start: at, end: at + length };
                return Ok(Segment { before, parameters: parameters.unwrap_or(at), after });
            }
            if spelling == Spelling::Parameters {
                parameters.get_or_insert(at);
            }
            if parameters.is_none() {
                match spelling {
                    Spelling::Plain => self.out.canonical.push(byte),
                    _ => self.out.canonical.extend_from_slice(&percent_encoded(byte)),
                }
            }
            at += length;
        }
    }

    fn check(&self, spelling: Spelling) -> Result<(), PathError> {
        let policies = self.policies;
        match spelling {
            Spelling::Plain | Spelling::Escape | Spelling::Separator(Separator::Slash | Separator::End) => {
                Ok(())
            }
            Spelling::Separator(Separator::EncodedSlash) => {
                refuse(policies.encoded_slash, PathError::EncodedSlash)
            }
            Spelling::Separator(Separator::Backslash) => refuse(policies.backslash, PathError::Backslash),
            Spelling::Parameters => refuse(policies.parameters, PathError::Parameter),
            Spelling::Control => refuse(policies.encoded_control, PathError::EncodedControl),
            Spelling::Delimiter => refuse(policies.encoded_delimiter, PathError::EncodedDelimiter),
        }
    }

    /// Writes a segment that is no dot segment.
    fn keep(&mut self, segment: &Segment, start: Kept) -> Result<(), PathError> {
        let Segment { before, parameters, after } = *segment;
        let is_empty = self.out.canonical.len() == start.canonical + 1;
        // A path that ends in a slash ends in a segment of nothing, which is none of the empty ones.
        if is_empty && after.kind != Separator::End {
            refuse(self.policies.empty_segments, PathError::EmptySegment)?;
            self.out.canonical.truncate(start.canonical);
        }
        self.out.above.push(Kept { is_removable: start.is_removable && !is_empty, ..start });

        let cut = self.policies.parameters == PathPolicy::Normalise;
        let end = if cut { parameters } else { after.start };
        self.is_changed |= end < after.start;
        let (slash_before, slash_after) = (self.forwards_slash(before.kind), self.forwards_slash(after.kind));
        let merge = self.policies.empty_segments == PathPolicy::Normalise;
        if merge && end == before.end && slash_before && slash_after {
            self.is_changed = true;
            return Ok(());
        }
        if slash_before {
            self.is_changed |= before.kind != Separator::Slash;
            self.out.forwarded.push(b'/');
        } else {
            self.forward(before.start, before.end);
        }
        self.forward(before.end, end);
        Ok(())
    }

    /// Resolves a dot segment (RFC 3986 §5.2.4).
    fn resolve(&mut self, segment: &Segment, start: Kept, dots: Dots) -> Result<(), PathError> {
        let Segment { before, parameters, after } = *segment;
        let is_last = after.kind == Separator::End;
        let between_slashes = before.kind == Separator::Slash && (is_last || after.kind == Separator::Slash);
        if !between_slashes || parameters < after.start || dots == Dots::Parameters {
            return Err(PathError::DotAmbiguous);
        }
        refuse(self.policies.dot_segments, PathError::DotSegment)?;
        let normalise = self.policies.dot_segments == PathPolicy::Normalise;
        self.is_changed |= normalise;
        self.out.canonical.truncate(start.canonical);
        if dots == Dots::Two {
            let parent = self.out.above.pop().ok_or(PathError::AboveRoot)?;
            if !parent.is_removable {
                return Err(PathError::DotAmbiguous);
            }
            self.out.canonical.truncate(parent.canonical);
            if normalise {
                self.out.forwarded.truncate(parent.forwarded);
            }
        }
        // At the end of a path a dot segment stands for a directory: the slash before it stays.
        if is_last {
            self.out.canonical.push(b'/');
        }
        match (normalise, is_last) {
            (false, _) => self.forward(before.start, after.start),
            (true, true) => self.out.forwarded.push(b'/'),
            (true, false) => {}
        }
        Ok(())
    }

    fn forward(&mut self, start: usize, end: usize) {
        self.out.forwarded.extend_from_slice(self.path.get(start..end).unwrap_or_default());
    }

    /// Whether a separator is forwarded as a slash.
    fn forwards_slash(&self, separator: Separator) -> bool {
        match separator {
            Separator::Slash => true,
            Separator::EncodedSlash => self.policies.encoded_slash == PathPolicy::Normalise,
            Separator::Backslash => self.policies.backslash == PathPolicy::Normalise,
            Separator::End => false,
        }
    }
}

/// What a byte, as it is or escaped, is to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// Stands for itself in the canonical form.
    Plain,
    /// Stands as an escape in the canonical form.
    Escape,
    Separator(Separator),
    Parameters,
    /// As `Escape`, with a policy of its own.
    Control,
    /// As `Escape`, with a policy of its own.
    Delimiter,
}

const fn raw(byte: u8) -> Spelling {
    match byte {
        b'/' => Spelling::Separator(Separator::Slash),
        b'\\' => Spelling::Separator(Separator::Backslash),
        b';' => Spelling::Parameters,
        0x80.. => Spelling::Escape,
        _ => Spelling::Plain,
    }
}

const fn escaped(byte: u8) -> Spelling {
    match byte {
        b'/' => Spelling::Separator(Separator::EncodedSlash),
        b'\\' => Spelling::Separator(Separator::Backslash),
        b'#' | b'?' => Spelling::Delimiter,
        0..=0x1f | 0x7f => Spelling::Control,
        // Decoded, `%` and `;` would mean something else, and no target holds a space or a byte beyond ASCII.
        b'%' | b';' | b' ' | 0x80.. => Spelling::Escape,
        _ => Spelling::Plain,
    }
}

fn refuse(policy: PathPolicy, error: PathError) -> Result<(), PathError> {
    if policy == PathPolicy::Reject { Err(error) } else { Ok(()) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dots {
    One,
    Two,
    /// Either, with a parameter whose `;` is escaped.
    Parameters,
}

/// Which dot segment a segment in canonical form is, if any.
fn dots(segment: &[u8]) -> Option<Dots> {
    match segment {
        b"." => Some(Dots::One),
        b".." => Some(Dots::Two),
        [b'.', b'%', b'3', b'B', ..] | [b'.', b'.', b'%', b'3', b'B', ..] => Some(Dots::Parameters),
        _ => None,
    }
}

/// The byte of the escape at `at` (RFC 3986 §2.1).
fn unescape(path: &[u8], at: usize) -> Result<u8, PathError> {
    let digit = |at: usize| {
        let digit = path.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        digit.and_then(|digit| u8::try_from(digit).ok()).ok_or(PathError::EscapeInvalid)
    };
    Ok(digit(at + 1)? << 4 | digit(at + 2)?)
}

/// Whether a path is both of its forms already: it has no escape, no backslash, no parameter, no byte beyond ASCII, and
/// no segment that is empty or starts with a dot. On the hot path: eight bytes a step.
fn is_plain(path: &[u8]) -> bool {
    let (words, _) = path.as_chunks::<8>();
    let Some(last) = path.last_chunk::<8>() else {
        let pairs = path.iter().zip(path.iter().skip(1));
        let lone = path.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';' | 0x80..));
        return !lone && !pairs.into_iter().any(|pair| matches!(pair, (b'/', b'/' | b'.')));
    };
    let (mut found, mut before) = (0, 0);
    for word in words {
        let word = u64::from_le_bytes(*word);
        found |= marks(word, before);
        before = word >> 56;
    }
    // The bytes behind the last whole word, with some of it once more.
    found |= marks(u64::from_le_bytes(*last), 0);
    found == 0
}

/// Not zero if one of eight bytes makes a path other than plain; `before` is the byte before them.
const fn marks(word: u64, before: u64) -> u64 {
    let after_slash = zeros((word << 8 | before) ^ repeat(b'/'));
    // `.` and `/` differ in the lowest bit alone.
    let slash_or_dot = zeros((word | repeat(1)) ^ repeat(b'/'));
    let lone = zeros(word ^ repeat(b'%')) | zeros(word ^ repeat(b'\\')) | zeros(word ^ repeat(b';'));
    lone | word & repeat(0x80) | after_slash & slash_or_dot
}

/// The highest bit of each byte that is 0. Right above such a byte it marks a 1 too, which makes no difference here: the
/// byte that differs from `/` by 1 is `.`, and one of those right behind a slash is looked for anyway.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(repeat(1)) & !word & repeat(0x80)
}

const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// `%` and two digits.
const ESCAPE_BYTES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_told_from_others_at_any_length_and_place() {
        let pieces: &[&[u8]] = &[
            b"", b"/", b"//", b"/.", b"./", b";", b"\\", b"%41", b"\x80", b"\xff", b"/\x30", b"/\x01", b".",
        ];
        for length in 0..40 {
            for place in 0..=length {
                for piece in pieces {
                    let path = [b"/", &vec![b'a'; place][..], piece, &vec![b'-'; length - place]].concat();
                    let lone = path.iter().any(|byte| b"%\\;".contains(byte) || !byte.is_ascii());
                    let pair = path.windows(2).any(|pair| pair == b"//" || pair == b"/.");
                    assert_eq!(is_plain(&path), !lone && !pair, "{}", path.escape_ascii());
                }
            }
        }
        assert!(is_plain(b""));
    }
}
