//! `/status`: the state in a browser, one page without anything from elsewhere.
//!
//! It asks for `/status.json` again and again. The policy that it is sent with lets nothing run but its own script, known
//! by its hash, and lets it talk to nobody else.

use sha2::{Digest as _, Sha256};

/// The page.
pub(crate) const HTML: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
     <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Corelane</title>\n\
     <link rel=\"icon\" href=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>\
     <path d='M2 3h12v2H2zm0 4h8v2H2zm0 4h10v2H2z' fill='%232d5fd0'/></svg>\">\n<style>",
    include_str!("page/style.css"),
    "</style>\n</head>\n<body>\n",
    include_str!("page/body.html"),
    "<script>",
    include_str!("page/script.js"),
    "</script>\n</body>\n</html>\n"
);

/// Its Content-Security-Policy.
pub(crate) fn policy() -> String {
    let style = source(include_str!("page/style.css"));
    let script = source(include_str!("page/script.js"));
    format!(
        "default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// What names a text in a policy (Content Security Policy Level 3, hash-source).
fn source(text: &str) -> String {
    format!("'sha256-{}'", base64(&Sha256::digest(text)))
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place) & 63) as usize;
            text.push(if place <= group.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_base64() {
        // RFC 4648 §10.
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn takes_nothing_from_elsewhere() {
        for foreign in ["http://", "https://", "src=", "@import", "url(", "innerHTML", "eval("] {
            let places = HTML
                .match_indices(foreign)
                .filter(|(at, _)| !HTML[*at..].starts_with("http://www.w3.org/2000/svg"));
            assert_eq!(places.count(), 0, "{foreign}");
        }
        // No attribute that the policy would ignore.
        assert!(!HTML.contains(" style=\"") && !HTML.contains(" onclick"));
        assert_eq!(HTML.matches("</script>").count(), 1, "the script does not end itself");
        assert_eq!(HTML.matches("</style>").count(), 1);
    }
}
