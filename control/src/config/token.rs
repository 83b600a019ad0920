//! Tokens of HTTP as they stand in the file: methods, field names, protocols.

use super::show;

/// Most characters of a token. A guess: the longest registered field name has 44.
const TOKEN_CHARS_MAX: usize = 100;

/// A token; `what` names it in the message.
pub(super) fn checked<'v>(text: &'v str, what: &str) -> Result<&'v str, String> {
    if is_token(text) {
        return Ok(text);
    }
    let shown = show::quoted(text);
    match text.chars().find(|c| !is_token_char(*c)) {
        Some(c) => Err(format!(
            "{shown} has {c:?}, which no {what} may have (allowed: letters, digits and !#$%&'*+-.^_`|~)"
        )),
        None if text.is_empty() => {
            Err(format!("{shown} is empty; a {what} has 1 to {TOKEN_CHARS_MAX} characters"))
        }
        None => Err(format!("{shown} is too long; a {what} has 1 to {TOKEN_CHARS_MAX} characters")),
    }
}

/// Whether a text is a token, and not a long one.
pub(super) fn is_token(text: &str) -> bool {
    (1..=TOKEN_CHARS_MAX).contains(&text.len()) && text.chars().all(is_token_char)
}

/// RFC 9110 §5.6.2.
fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}
