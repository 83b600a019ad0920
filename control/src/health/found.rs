//! What an answer is compared with.

use crate::config::Expected;

/// Whether it is somewhere in `text`.
pub(super) fn is_found(expected: &Expected, text: &[u8]) -> bool {
    match expected {
        Expected::Bytes(bytes) => text.windows(bytes.len()).any(|window| window == &**bytes),
        Expected::Regex(pattern) => pattern.is_found_in(text),
    }
}

/// What an answer says, of which so much has come. `None`: more of it may tell.
pub(super) fn is_expected(expected: &Expected, answer: &[u8], is_whole: bool) -> Option<bool> {
    match expected {
        Expected::Bytes(bytes) if answer.len() >= bytes.len() => Some(answer.starts_with(bytes)),
        Expected::Bytes(bytes) if !bytes.starts_with(answer) => Some(false),
        Expected::Regex(pattern) if pattern.is_found_in(answer) => Some(true),
        _ => is_whole.then_some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_routing::{Case, Pattern};

    fn bytes(text: &str) -> Expected {
        Expected::Bytes(text.as_bytes().into())
    }

    fn regex(text: &str) -> Expected {
        Expected::Regex(Pattern::new(text, Case::Sensitive).expect("a regex"))
    }

    #[test]
    fn bytes_are_found_anywhere_in_a_body() {
        assert!(is_found(&bytes("ready"), b"not yet ready."));
        assert!(!is_found(&bytes("ready"), b"read"));
        assert!(!is_found(&bytes("ready"), b""));
        assert!(is_found(&regex("^a.c$"), b"a\xffc"));
    }

    #[test]
    fn an_answer_is_judged_as_soon_as_it_can_be() {
        let pong = bytes("+PONG");
        for (answer, is_whole, judged) in [
            ("", false, None),
            ("+PO", false, None),
            ("+PO", true, Some(false)),
            ("+PONG\r\n", false, Some(true)),
            ("-", false, Some(false)),
            ("-NOAUTH", false, Some(false)),
        ] {
            assert_eq!(is_expected(&pong, answer.as_bytes(), is_whole), judged, "{answer}");
        }
        let greeting = regex("^220 .*\\n");
        for (answer, is_whole, judged) in
            [("220 a", false, None), ("220 a", true, Some(false)), ("220 a\n", false, Some(true))]
        {
            assert_eq!(is_expected(&greeting, answer.as_bytes(), is_whole), judged, "{answer}");
        }
    }
}
