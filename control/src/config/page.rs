//! The text of an error page: from bytes to segments.
//!
//! A variable is `{`, lower-case letters and underscores, `}`, nothing else: what CSS and scripts have in braces has spaces,
//! colons or line ends there.

use super::suggest;
use super::types::{PageSegment, PageVariable};

/// The largest page, in bytes.
pub(super) const PAGE_BYTES_MAX: usize = 64 << 10;

/// Most variables of a page: with [`PAGE_BYTES_MAX`] they bound what is sent.
const PAGE_VARIABLES_MAX: usize = 100;

const VARIABLES: [(&str, PageVariable); 4] = [
    ("{status}", PageVariable::Status),
    ("{reason_phrase}", PageVariable::ReasonPhrase),
    ("{reason}", PageVariable::Reason),
    ("{request_id}", PageVariable::RequestId),
];

/// The segments of a text, no two texts in a row; or everything that is wrong with it, each to be read on from what it is.
pub(super) fn parse(text: &[u8]) -> Result<Vec<PageSegment>, Vec<String>> {
    if text.len() > PAGE_BYTES_MAX {
        return Err(vec![format!(
            "has {} bytes; a page has at most {} KiB",
            text.len(),
            PAGE_BYTES_MAX >> 10
        )]);
    }
    let mut segments = Vec::new();
    let mut faults = Vec::new();
    let mut variables = 0;
    let mut text_start = 0;
    let mut rest = 0;
    while let Some(open) = text[rest..].iter().position(|&byte| byte == b'{').map(|at| rest + at) {
        let Some(word) = word_at(text, open) else {
            rest = open + 1;
            continue;
        };
        rest = open + word.len();
        let Some((_, variable)) = VARIABLES.iter().find(|(name, _)| *name == word) else {
            faults.push(unknown(word, line_of(text, open)));
            continue;
        };
        variables += 1;
        push_text(&mut segments, &text[text_start..open]);
        segments.push(PageSegment::Variable(*variable));
        text_start = rest;
    }
    push_text(&mut segments, &text[text_start..]);
    if variables > PAGE_VARIABLES_MAX {
        faults.push(format!("has {variables} variables; a page has at most {PAGE_VARIABLES_MAX}"));
    }
    faults.dedup();
    if faults.is_empty() { Ok(segments) } else { Err(faults) }
}

/// `{word}`, if the brace at `open` begins one.
fn word_at(text: &[u8], open: usize) -> Option<&str> {
    let inside = text.get(open + 1..)?;
    let length = inside.iter().position(|byte| !matches!(byte, b'a'..=b'z' | b'_'))?;
    let word = text.get(open..open + length + 2)?;
    (length > 0 && word.ends_with(b"}")).then(|| std::str::from_utf8(word).ok()).flatten()
}

fn push_text(segments: &mut Vec<PageSegment>, text: &[u8]) {
    if !text.is_empty() {
        segments.push(PageSegment::Text(text.into()));
    }
}

fn unknown(word: &str, line: usize) -> String {
    let names = || VARIABLES.iter().map(|(name, _)| *name);
    let inside = word.trim_matches(['{', '}']);
    // A page may have long words; a message may not.
    let inside: String = inside.chars().take(WORD_CHARS_SHOWN).collect();
    let meant = match suggest::nearest(word, names()) {
        Some(name) => format!("; did you mean \"{name}\"?"),
        None => String::new(),
    };
    let names = names().collect::<Vec<_>>().join(", ");
    format!(
        "has the unknown variable \"{{{inside}}}\" in its line {line}{meant} (variables: {names}; for text write \"{{ {inside} }}\")"
    )
}

const WORD_CHARS_SHOWN: usize = 40;

fn line_of(text: &[u8], at: usize) -> usize {
    text[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use PageSegment::{Text, Variable};

    #[test]
    fn finds_the_variables() {
        for (page, expected) in [
            (&b""[..], vec![]),
            (b"sorry", vec![Text(b"sorry"[..].into())]),
            (b"{status}", vec![Variable(PageVariable::Status)]),
            (
                b"a{reason}{reason_phrase}\xff{request_id}b",
                vec![
                    Text(b"a"[..].into()),
                    Variable(PageVariable::Reason),
                    Variable(PageVariable::ReasonPhrase),
                    Text(b"\xff"[..].into()),
                    Variable(PageVariable::RequestId),
                    Text(b"b"[..].into()),
                ],
            ),
            (
                b"{{status}}",
                vec![Text(b"{"[..].into()), Variable(PageVariable::Status), Text(b"}"[..].into())],
            ),
        ] {
            assert_eq!(parse(page), Ok(expected), "{}", page.escape_ascii());
        }
    }

    #[test]
    fn leaves_other_braces_alone() {
        for page in [
            "p { color: red }",
            "p{margin:0}",
            "{}",
            "{",
            "}{",
            "{Status}",
            "{ status }",
            "{status",
            "{404}",
            "a{\nb}",
            "{\u{e9}}",
        ] {
            assert_eq!(parse(page.as_bytes()), Ok(vec![Text(page.as_bytes().into())]), "{page}");
        }
    }

    #[test]
    fn tells_of_unknown_variables() {
        let told = |page: &str| parse(page.as_bytes()).unwrap_err();
        let names = "{status}, {reason_phrase}, {reason}, {request_id}";
        assert_eq!(
            told("x\n{stauts} {zzzzz}"),
            [
                format!(
                    "has the unknown variable \"{{stauts}}\" in its line 2; did you mean \"{{status}}\"? \
                     (variables: {names}; for text write \"{{ stauts }}\")"
                ),
                format!(
                    "has the unknown variable \"{{zzzzz}}\" in its line 2 \
                     (variables: {names}; for text write \"{{ zzzzz }}\")"
                ),
            ]
        );
    }

    #[test]
    fn bounds_what_a_page_becomes() {
        let page = "{reason}".repeat(PAGE_VARIABLES_MAX);
        assert_eq!(parse(page.as_bytes()).unwrap().len(), PAGE_VARIABLES_MAX);
        assert_eq!(
            parse((page + "{reason}").as_bytes()),
            Err(vec!["has 101 variables; a page has at most 100".into()])
        );
        assert!(parse(&vec![b'x'; PAGE_BYTES_MAX]).is_ok());
        let error = parse(&vec![b'x'; PAGE_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(error, ["has 65537 bytes; a page has at most 64 KiB"]);
        assert!(parse(format!("{{{}}}", "x".repeat(60_000)).as_bytes()).unwrap_err()[0].len() < 300);
    }
}
