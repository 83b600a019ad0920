//! Checks by programs.
