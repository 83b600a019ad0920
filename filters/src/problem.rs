//! What is wrong with a filter's settings.

/// One mistake in the settings of a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct Problem {
    /// Where: the key, and below it keys and places from 0, such as `set.X-Client` or `add[2].value`.
    pub key: String,
    /// Which byte of the text there, if the mistake has a place in it.
    pub position: Option<usize>,
    /// What, without a full stop.
    pub message: String,
}
