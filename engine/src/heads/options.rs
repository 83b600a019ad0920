//! What the `Connection` fields of a message say (RFC 9110 §7.6.1), and whether it asks for another protocol by them.

use corelane_semantics::{Field, Fields, Known, RequestHead, Span, Version, is_word};

/// Members of the lists in `Connection` fields at most, empty ones counted: each is compared with each field name.
pub(crate) const CONNECTION_OPTIONS_MAX: usize = 32;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionOptions {
    /// `close`
    pub(crate) close: bool,
    /// `keep-alive`
    pub(crate) keep_alive: bool,
    /// `upgrade`
    pub(crate) upgrade: bool,
    /// More than [`CONNECTION_OPTIONS_MAX`]; then none is kept.
    pub(crate) excess: bool,
    /// A field is named that cannot be a hop's own: framing, routing, authentication or the client's address rest on it.
    pub(crate) protected: bool,
    /// The other fields that are named. For most messages there is none, and no memory.
    nominated: Vec<Span>,
}

/// Reads the `Connection` fields.
pub(crate) fn connection_options(fields: &Fields, bytes: &[u8]) -> ConnectionOptions {
    let mut options = ConnectionOptions::default();
    // What most messages say.
    match fields.first(Known::Connection, bytes) {
        None => return options,
        Some(value) if fields.count(Known::Connection) == 1 && is_word(value, b"keep-alive") => {
            options.keep_alive = true;
            return options;
        }
        Some(_) => {}
    }
    read_options(fields, bytes, &mut options);
    options
}

fn read_options(fields: &Fields, bytes: &[u8], options: &mut ConnectionOptions) {
    let members = fields.all(Known::Connection, bytes).flat_map(|value| value.split(|&byte| byte == b','));
    for (index, member) in members.enumerate() {
        if index == CONNECTION_OPTIONS_MAX {
            options.excess = true;
            options.nominated.clear();
            return;
        }
        let option = member.trim_ascii();
        if is_word(option, b"close") {
            options.close = true;
        } else if is_word(option, b"keep-alive") {
            options.keep_alive = true;
        } else if is_word(option, b"upgrade") {
            options.upgrade = true;
        } else if is_protected(option) {
            options.protected = true;
        } else if !option.is_empty() {
            options.nominated.push(Span::of(bytes, option));
        }
    }
}

impl ConnectionOptions {
    /// Whether any field is named.
    #[inline]
    pub(crate) fn names_fields(&self) -> bool {
        !self.nominated.is_empty()
    }

    /// Whether this field is named, so that it ends here.
    #[inline]
    pub(crate) fn nominate(&self, field: &Field, bytes: &[u8]) -> bool {
        if self.nominated.is_empty() {
            return false;
        }
        let name = field.name.bytes(bytes);
        self.nominated(bytes).any(|option| option.eq_ignore_ascii_case(name))
    }

    /// The names of the fields that end here.
    pub(crate) fn nominated<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.nominated.iter().map(|option| option.bytes(bytes))
    }
}

/// Whether a client asks to switch protocols in a way that can be granted.
pub(crate) fn wants_upgrade(head: &RequestHead, options: &ConnectionOptions) -> bool {
    options.upgrade && head.version == Version::Http11 && head.fields.has(Known::Upgrade)
}

/// Those of the protocols in `Upgrade` that are allowed.
pub(crate) fn upgrades<'a>(
    head: &'a RequestHead,
    bytes: &'a [u8],
    allowed: &'a [Box<str>],
) -> impl Iterator<Item = &'a [u8]> {
    head.fields
        .list(Known::Upgrade, bytes)
        .filter(|protocol| allowed.iter().any(|allowed| protocol.eq_ignore_ascii_case(allowed.as_bytes())))
}

/// Whether naming this field would let a sender make the next hop read another message than this one.
fn is_protected(option: &[u8]) -> bool {
    const PROTECTED: [&[u8]; 11] = [
        b"authentication-info",
        b"authorization",
        b"content-length",
        b"cookie",
        b"forwarded",
        b"host",
        b"set-cookie",
        b"transfer-encoding",
        b"via",
        b"www-authenticate",
        b"x-real-ip",
    ];
    const FORWARDED: &[u8] = b"x-forwarded-";
    PROTECTED.iter().any(|protected| option.eq_ignore_ascii_case(protected))
        || option.get(..FORWARDED.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORWARDED))
}
