//! "did you mean".

use super::show;

/// Longest name that is compared: the distance costs the product of the lengths.
const COMPARED_CHARS_MAX: usize = 64;

/// `; did you mean "x"?` for the nearest of the names, or nothing when none is near.
pub(super) fn did_you_mean<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    match nearest(word, names) {
        Some(name) => format!("; did you mean {}?", show::quoted(name)),
        None => String::new(),
    }
}

/// The nearest of the names, within a third of the word's length and three changes. Costs about a microsecond a name.
pub(super) fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let chars = word.chars().take(COMPARED_CHARS_MAX + 1).count();
    if word.is_empty() || chars > COMPARED_CHARS_MAX {
        return None;
    }
    let changes_max = (chars / 3).clamp(1, 3);
    let folded = fold(word);
    names
        .into_iter()
        .filter(|name| !name.is_empty() && name.len() <= COMPARED_CHARS_MAX && *name != word)
        .map(|name| (distance(&folded, &fold(name)), name))
        .filter(|(changes, name)| *changes <= changes_max && *changes < name.chars().count())
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, name)| name)
}

/// How many changes make one word of the other, case and separators apart.
pub(super) fn changes(word: &str, name: &str) -> usize {
    if word.len() > COMPARED_CHARS_MAX { usize::MAX } else { strsim::osa_distance(&fold(word), &fold(name)) }
}

/// Changes between two folded words; a beginning of at least four characters counts as one (`least_conn`).
fn distance(word: &str, name: &str) -> usize {
    let changes = strsim::osa_distance(word, name);
    let beginning = word.len() >= 4 && name.starts_with(word);
    if beginning { changes.min(1) } else { changes }
}

/// Case and the choice of separator are the commonest mistakes and cost nothing.
fn fold(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest() {
        let names = ["round_robin", "weighted", "least_connections"];
        assert_eq!(nearest("round-robin", names), Some("round_robin"));
        assert_eq!(nearest("RoundRobin", names), Some("round_robin"));
        assert_eq!(nearest("weigthed", names), Some("weighted"));
        assert_eq!(nearest("least_conn", names), Some("least_connections"));
        assert_eq!(nearest("random", names), None);
        assert_eq!(nearest("apii", ["web", "api"]), Some("api"));
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("", ["y"]), None);
        assert_eq!(nearest(&"x".repeat(100_000), names), None);
    }
}
