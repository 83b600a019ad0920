//! Fields (RFC 9110 §5): names and values as spans, and the few that a proxy must know by name.

use crate::{Span, cookies, is_word};

/// The fields that the proxy itself acts on. All others are carried unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Known {
    /// RFC 9110 §11.6.2.
    Authorization,
    /// RFC 9110 §7.6.1.
    Connection,
    /// RFC 9110 §8.6.
    ContentLength,
    /// RFC 9110 §6.6.1.
    Date,
    /// RFC 9110 §10.1.1.
    Expect,
    /// RFC 7239.
    Forwarded,
    /// RFC 9110 §7.2.
    Host,
    /// Obsolete, hop-by-hop (RFC 9113 §3.1): what an upgrade to `h2c` carried.
    Http2Settings,
    /// Obsolete, hop-by-hop (RFC 2068 §19.7.1.1).
    KeepAlive,
    /// RFC 9110 §7.6.2.
    MaxForwards,
    /// Hop-by-hop (RFC 9110 §11.7.1).
    ProxyAuthenticate,
    /// Hop-by-hop (RFC 9110 §11.7.2).
    ProxyAuthorization,
    /// Never a standard, hop-by-hop by its meaning (RFC 9110 §7.6.1).
    ProxyConnection,
    /// RFC 9110 §10.1.4, hop-by-hop.
    Te,
    /// RFC 9110 §6.6.2.
    Trailer,
    /// RFC 9112 §6.1, hop-by-hop.
    TransferEncoding,
    /// RFC 9110 §7.8, hop-by-hop.
    Upgrade,
    /// RFC 9110 §7.6.3.
    Via,
    /// De-facto standard: the client addresses.
    XForwardedFor,
    /// De-facto standard: the host that the client asked for.
    XForwardedHost,
    /// De-facto standard: the scheme that the client used.
    XForwardedProto,
}

const KNOWN_COUNT: usize = Known::XForwardedProto as usize + 1;

/// Name in lower case, and the field.
const KNOWN_NAMES: [(&[u8], Known); KNOWN_COUNT] = [
    (b"authorization", Known::Authorization),
    (b"connection", Known::Connection),
    (b"content-length", Known::ContentLength),
    (b"date", Known::Date),
    (b"expect", Known::Expect),
    (b"forwarded", Known::Forwarded),
    (b"host", Known::Host),
    (b"http2-settings", Known::Http2Settings),
    (b"keep-alive", Known::KeepAlive),
    (b"max-forwards", Known::MaxForwards),
    (b"proxy-authenticate", Known::ProxyAuthenticate),
    (b"proxy-authorization", Known::ProxyAuthorization),
    (b"proxy-connection", Known::ProxyConnection),
    (b"te", Known::Te),
    (b"trailer", Known::Trailer),
    (b"transfer-encoding", Known::TransferEncoding),
    (b"upgrade", Known::Upgrade),
    (b"via", Known::Via),
    (b"x-forwarded-for", Known::XForwardedFor),
    (b"x-forwarded-host", Known::XForwardedHost),
    (b"x-forwarded-proto", Known::XForwardedProto),
];

impl Known {
    /// The field of a name, without regard to case (RFC 9110 §5.1).
    // In the loop over lines a call would cost as much as what it does.
    #[inline(always)]
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        // Length and first letter leave one candidate: most names are told apart without a comparison.
        match (name.len(), name.first()? | 0x20) {
            (2, b't') => Self::if_named(Self::Te, name, b"te"),
            (3, b'v') => Self::if_named(Self::Via, name, b"via"),
            (4, b'h') => Self::if_named(Self::Host, name, b"host"),
            (4, b'd') => Self::if_named(Self::Date, name, b"date"),
            (6, b'e') => Self::if_named(Self::Expect, name, b"expect"),
            (7, b't') => Self::if_named(Self::Trailer, name, b"trailer"),
            (7, b'u') => Self::if_named(Self::Upgrade, name, b"upgrade"),
            (9, b'f') => Self::if_named(Self::Forwarded, name, b"forwarded"),
            (10, b'c') => Self::if_named(Self::Connection, name, b"connection"),
            (10, b'k') => Self::if_named(Self::KeepAlive, name, b"keep-alive"),
            (12, b'm') => Self::if_named(Self::MaxForwards, name, b"max-forwards"),
            (13, b'a') => Self::if_named(Self::Authorization, name, b"authorization"),
            (14, b'c') => Self::if_named(Self::ContentLength, name, b"content-length"),
            (14, b'h') => Self::if_named(Self::Http2Settings, name, b"http2-settings"),
            (15, b'x') => Self::if_named(Self::XForwardedFor, name, b"x-forwarded-for"),
            (16, b'x') => Self::if_named(Self::XForwardedHost, name, b"x-forwarded-host"),
            (16, b'p') => Self::if_named(Self::ProxyConnection, name, b"proxy-connection"),
            (17, b't') => Self::if_named(Self::TransferEncoding, name, b"transfer-encoding"),
            (17, b'x') => Self::if_named(Self::XForwardedProto, name, b"x-forwarded-proto"),
            (18, b'p') => Self::if_named(Self::ProxyAuthenticate, name, b"proxy-authenticate"),
            (19, b'p') => Self::if_named(Self::ProxyAuthorization, name, b"proxy-authorization"),
            _ => None,
        }
    }

    #[inline]
    fn if_named<const N: usize>(self, name: &[u8], lower: &[u8; N]) -> Option<Self> {
        debug_assert_eq!(self.name(), lower, "the name of another field");
        is_word(name, lower).then_some(self)
    }

    /// The name in lower case.
    #[must_use]
    pub fn name(self) -> &'static [u8] {
        KNOWN_NAMES[self as usize].0
    }

    /// Whether the field belongs to one connection only and is never forwarded (RFC 9110 §7.6.1). `Transfer-Encoding`
    /// and `Content-Length` are not in this list: framing decides about them. `Trailer` is forwarded.
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Http2Settings
                | Self::KeepAlive
                | Self::ProxyAuthenticate
                | Self::ProxyAuthorization
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name as received; a field line starts where its name starts.
    pub name: Span,
    /// The value without the white space around it.
    pub value: Span,
    /// Which known field it is, if any.
    pub known: Option<Known>,
}

/// The field lines of one head, in the order received, duplicates kept.
///
/// Reused from head to head: [`Fields::clear`] keeps the allocation.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    lines: Vec<Field>,
    /// A bit for each known field that occurs.
    present: u32,
    /// For each known field that occurs how often it does.
    counts: [u16; KNOWN_COUNT],
    /// For each known field that occurs where it does first.
    first: [u16; KNOWN_COUNT],
    has_underscore: bool,
}

impl Fields {
    /// Forgets all lines and keeps the memory.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.present = 0;
        self.has_underscore = false;
    }

    /// Adds a line. More than 65 535 lines are not counted by name; parsers bound them far below.
    #[inline]
    pub fn push(&mut self, name: Span, value: Span, known: Option<Known>) {
        if let Some(known) = known {
            let slot = known as usize;
            if self.has(known) {
                self.counts[slot] = self.counts[slot].saturating_add(1);
            } else {
                self.present |= 1 << slot;
                self.counts[slot] = 1;
                self.first[slot] = u16::try_from(self.lines.len()).unwrap_or(u16::MAX);
            }
        }
        self.lines.push(Field { name, value, known });
    }

    /// Remembers that a name holds `_`: the parser looks for it, which has the name at hand.
    pub fn mark_underscore(&mut self) {
        self.has_underscore = true;
    }

    /// Whether any name holds `_`, which CGI servers cannot tell from `-`.
    #[must_use]
    pub fn has_underscore(&self) -> bool {
        self.has_underscore
    }

    /// All lines in order.
    #[must_use]
    pub fn lines(&self) -> &[Field] {
        &self.lines
    }

    /// Whether any line has this name.
    #[inline]
    #[must_use]
    pub fn has(&self, known: Known) -> bool {
        self.present & 1 << known as u32 != 0
    }

    /// How many lines have this name.
    #[inline]
    #[must_use]
    pub fn count(&self, known: Known) -> usize {
        if self.has(known) { usize::from(self.counts[known as usize]) } else { 0 }
    }

    /// The value of the first line with this name.
    #[must_use]
    pub fn first<'a>(&self, known: Known, buffer: &'a [u8]) -> Option<&'a [u8]> {
        if !self.has(known) {
            return None;
        }
        self.lines.get(usize::from(self.first[known as usize])).map(|field| field.value.bytes(buffer))
    }

    /// The values of all lines with this name, in order.
    pub fn all<'a>(&'a self, known: Known, buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let from = if self.has(known) { usize::from(self.first[known as usize]) } else { self.lines.len() };
        self.lines
            .get(from..)
            .unwrap_or_default()
            .iter()
            .filter(move |field| field.known == Some(known))
            .map(|field| field.value.bytes(buffer))
    }

    /// The members of all comma-separated lists in lines with this name, without the white space around them, empty
    /// members left out (RFC 9110 §5.6.1).
    pub fn list<'a>(&'a self, known: Known, buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.all(known, buffer)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// The cookies. RFC 6265 §5.4 lets a client send one field; some intermediaries cut it up.
    pub fn cookies<'b>(&self, buffer: &'b [u8]) -> impl Iterator<Item = (&'b [u8], Option<&'b [u8]>)> {
        let is_cookie = move |field: &&Field| field.name.bytes(buffer).eq_ignore_ascii_case(b"cookie");
        self.lines().iter().filter(is_cookie).flat_map(move |field| cookies(field.value.bytes(buffer)))
    }

    /// The value of the first line with this name, without regard to case. A scan; for known fields use
    /// [`Fields::first`].
    #[must_use]
    pub fn find<'a>(&self, name: &[u8], buffer: &'a [u8]) -> Option<&'a [u8]> {
        self.lines
            .iter()
            .find(|field| field.name.bytes(buffer).eq_ignore_ascii_case(name))
            .map(|field| field.value.bytes(buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (index, (name, known)) in KNOWN_NAMES.iter().enumerate() {
            assert_eq!(*known as usize, index);
            assert_eq!(Known::from_name(name), Some(*known));
            assert_eq!(Known::from_name(&name.to_ascii_uppercase()), Some(*known));
            assert_eq!(known.name(), *name);
            assert!(!name.contains(&b'_'), "parsers look for `_` in other names only");
        }
        assert_eq!(Known::from_name(b"x-other"), None);
        // Whatever byte stands in a place, only the letter itself is taken for it.
        for (name, known) in &KNOWN_NAMES {
            for place in 0..name.len() {
                for byte in 0..=u8::MAX {
                    let mut other = name.to_vec();
                    other[place] = byte;
                    let is_same = byte.eq_ignore_ascii_case(&name[place]);
                    assert_eq!(Known::from_name(&other) == Some(*known), is_same, "{}", other.escape_ascii());
                }
            }
        }
        assert_eq!(Known::from_name(b"hosT1"), None);
        assert_eq!(Known::from_name(b""), None);
    }

    #[test]
    fn lists_join_lines_and_skip_empty_members() {
        let buffer = b"Connection: close, ,x-a\r\nConnection:  TE\r\n";
        let mut fields = Fields::default();
        fields.push(Span::new(0, 10), Span::new(12, 23), Some(Known::Connection));
        fields.push(Span::new(25, 35), Span::new(38, 40), Some(Known::Connection));
        let members: Vec<&[u8]> = fields.list(Known::Connection, buffer).collect();
        assert_eq!(members, [&b"close"[..], b"x-a", b"TE"]);
        assert_eq!(fields.count(Known::Connection), 2);
        fields.mark_underscore();
        assert!(fields.has_underscore());
        fields.clear();
        assert_eq!(fields.list(Known::Connection, buffer).count(), 0);
        assert!(!fields.has_underscore());
    }
}
