//! What a client says that is not believed: where its request came from, unless it is a trusted proxy.

use corelane_filters::Edits;
use corelane_semantics::{Known, RequestHead};

use super::options::{ConnectionOptions, connection_options};

/// Whether a field tells where a request came from, so that only trusted clients may send it: `X-Real-IP` and
/// `X-Forwarded-*`, in the spelling with `_` too, which CGI servers cannot tell apart.
fn is_origin_claim(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    const REAL_IP: &[u8] = b"x-real-ip";
    let same = |name: &[u8], folded: &[u8]| {
        name.iter()
            .zip(folded)
            .all(|(&byte, &folded)| byte.eq_ignore_ascii_case(&folded) || (byte == b'_' && folded == b'-'))
    };
    name.len() >= PREFIX.len() && same(name, PREFIX) || name.len() == REAL_IP.len() && same(name, REAL_IP)
}

/// Whether a field of that name is a claim that is not believed.
#[inline]
pub(super) fn is_unbelieved(name: &[u8], trusted: bool) -> bool {
    // Few names begin like that.
    matches!(name.first(), Some(b'x' | b'X')) && (!trusted || name.contains(&b'_')) && is_origin_claim(name)
}

/// Hides from filters what the client may not say: they would read it, or bring it back under another name.
pub(crate) fn hide_dropped(
    head: &RequestHead,
    bytes: &[u8],
    options: &ConnectionOptions,
    (trusted, drops_underscores): (bool, bool),
    edits: &mut Edits,
) {
    for (index, field) in head.fields.lines().iter().enumerate() {
        let is_dropped = match field.known {
            None => {
                let name = field.name.bytes(bytes);
                drops_underscores && name.contains(&b'_')
                    || options.nominate(field, bytes)
                    || is_unbelieved(name, trusted)
            }
            Some(
                Known::XForwardedFor | Known::XForwardedProto | Known::XForwardedHost | Known::Forwarded,
            ) => !trusted,
            Some(_) => false,
        };
        if is_dropped {
            edits.hide(index);
        }
    }
}

/// The same for who only tells what filters would do; `drops_underscores`: whether the listener does.
pub fn hide_from_filters(
    head: &RequestHead,
    bytes: &[u8],
    trusted: bool,
    drops_underscores: bool,
    edits: &mut Edits,
) {
    let options = connection_options(&head.fields, bytes);
    hide_dropped(head, bytes, &options, (trusted, drops_underscores), edits);
}
