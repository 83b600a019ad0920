//! docs/scaling.md says what its model computes. Needs python3, as tests/websocket does.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

use std::process::Command;

#[test]
fn the_document_has_the_tables_of_the_model() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/scaling");
    let checked = Command::new("python3").args(["-I", model, "--check"]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
