//! From the text of a configuration file to a [`Config`] that cannot be wrong, or to every error in it.

mod types;

pub use types::*;
