//! Corelane.
fn main() {}
