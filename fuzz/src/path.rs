//! Paths in canonical form and as they are forwarded, as `corelane_semantics::PathPolicies` documents them: the whole path
//! is taken apart first and put together again at the end.

/// What is done about a spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Refuse.
    Reject,
    /// Forward the canonical form of it.
    Normalise,
    /// Forward it.
    Pass,
}

/// One for each spelling, as in `corelane_semantics::PathPolicies`.
#[derive(Clone, Copy, Debug)]
pub struct Policies {
    /// `%2F`
    pub slash: Policy,
    /// `\`, `%5C`
    pub backslash: Policy,
    /// `%00` to `%1F`, `%7F`
    pub control: Policy,
    /// `%23`, `%3F`
    pub delimiter: Policy,
    /// `.` and `..`
    pub dots: Policy,
    /// `;`
    pub parameters: Policy,
    /// `//`
    pub empty: Policy,
}

#[derive(Clone, Debug)]
struct Segment {
    /// What stands before it: `/`, `\`, `%2F` and so on.
    separator: String,
    /// As it came, without its parameters.
    main: String,
    /// From the `;` on.
    parameters: String,
    /// What its main part is in canonical form.
    canonical: String,
}

/// Canonical form and what is forwarded; `None`: refused. `path` starts with `/` and holds each byte as a character.
pub fn canonicalise(path: &str, policies: &Policies) -> Option<(String, String)> {
    let segments = take_apart(path, policies)?;
    let slash_raw = |separator: &str| separator == "/";
    let last = segments.len() - 1;
    let mut kept: Vec<(Segment, bool)> = Vec::new();
    let mut forwarded: Vec<(String, String)> = Vec::new();
    let mut ends_in_slash = false;
    for (index, segment) in segments.iter().enumerate() {
        let after = segments.get(index + 1).map(|next| next.separator.clone());
        let dots = &segment.canonical[..];
        if dots.starts_with(".%3B") || dots.starts_with("..%3B") {
            return None;
        }
        if dots == "." || dots == ".." {
            let alone = segment.parameters.is_empty();
            let fenced = slash_raw(&segment.separator) && after.as_deref().is_none_or(slash_raw);
            if !alone || !fenced || policies.dots == Policy::Reject {
                return None;
            }
            if policies.dots == Policy::Pass {
                forwarded.push((segment.separator.clone(), segment.main.clone()));
            }
            if dots == ".." {
                let (gone, is_removable) = kept.pop()?;
                if !is_removable || gone.canonical.is_empty() {
                    return None;
                }
                if policies.dots == Policy::Normalise {
                    forwarded.pop();
                }
            }
            if index == last {
                ends_in_slash = true;
                if policies.dots == Policy::Normalise {
                    forwarded.push(("/".to_owned(), String::new()));
                }
            }
            continue;
        }
        if segment.canonical.is_empty() && index < last && policies.empty == Policy::Reject {
            return None;
        }
        kept.push((segment.clone(), slash_raw(&segment.separator)));
        let separator = forwarded_separator(&segment.separator, policies);
        let mut text = segment.main.clone();
        if policies.parameters != Policy::Normalise {
            text.push_str(&segment.parameters);
        }
        forwarded.push((separator, text));
        let followed = after.map(|after| forwarded_separator(&after, policies));
        let merged = policies.empty == Policy::Normalise && followed.as_deref() == Some("/");
        if let Some((separator, text)) = forwarded.last_mut()
            && merged
            && separator == "/"
            && text.is_empty()
        {
            separator.clear();
        }
    }
    let mut canonical: String = kept
        .iter()
        .filter(|kept| !kept.0.canonical.is_empty())
        .map(|kept| format!("/{}", kept.0.canonical))
        .collect();
    let ends_empty = kept.last().is_some_and(|kept| kept.0.canonical.is_empty()) && !ends_in_slash;
    if ends_in_slash || ends_empty || canonical.is_empty() {
        canonical.push('/');
    }
    let forwarded = forwarded.into_iter().map(|(separator, text)| separator + &text).collect();
    Some((canonical, forwarded))
}

fn forwarded_separator(separator: &str, policies: &Policies) -> String {
    let policy = match separator {
        "/" => return separator.to_owned(),
        "%2F" | "%2f" => policies.slash,
        _ => policies.backslash,
    };
    if policy == Policy::Normalise { "/".to_owned() } else { separator.to_owned() }
}

/// The segments, each with what stands before it.
fn take_apart(path: &str, policies: &Policies) -> Option<Vec<Segment>> {
    let characters: Vec<char> = path.chars().collect();
    let mut segments: Vec<Segment> = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let length = if characters[at] == '%' { 3 } else { 1 };
        let spelling: String = characters.get(at..at + length)?.iter().collect();
        at += length;
        let escaped = match spelling.strip_prefix('%') {
            Some(digits) if digits.chars().all(|digit| digit.is_ascii_hexdigit()) => {
                Some(u8::from_str_radix(digits, 16).ok()?)
            }
            Some(_) => return None,
            None => None,
        };
        let refused = match (escaped, &spelling[..]) {
            (Some(b'/'), _) => policies.slash,
            (Some(b'\\'), _) | (None, "\\") => policies.backslash,
            (Some(0..=0x1f | 0x7f), _) => policies.control,
            (Some(b'#' | b'?'), _) => policies.delimiter,
            (None, ";") => policies.parameters,
            _ => Policy::Pass,
        };
        if refused == Policy::Reject {
            return None;
        }
        if spelling == "/" || spelling == "\\" || matches!(escaped, Some(b'/' | b'\\')) {
            let empty = String::new;
            segments.push(Segment {
                separator: spelling,
                main: empty(),
                parameters: empty(),
                canonical: empty(),
            });
            continue;
        }
        let segment = segments.last_mut()?;
        if spelling == ";" || !segment.parameters.is_empty() {
            segment.parameters.push_str(&spelling);
            continue;
        }
        segment.main.push_str(&spelling);
        segment.canonical.push_str(&match (escaped, spelling.chars().next()?) {
            (Some(byte @ 0x21..=0x7e), _) if !b"%;#?".contains(&byte) => char::from(byte).to_string(),
            (Some(byte), _) => format!("%{byte:02X}"),
            (None, character) if character.is_ascii() => character.to_string(),
            (None, character) => format!("%{:02X}", u32::from(character)),
        });
    }
    Some(segments)
}
