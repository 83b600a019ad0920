//! What the binary says about where it comes from: the commit and the compiler's version, or `unknown`.
//!
//! Packagers who build without a repository set CORELANE_REVISION. Only release builds ask for the commit: whatever depends
//! on it is built anew after each, and in debug builds that would be all tests.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CORELANE_REVISION");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let revision = env::var("CORELANE_REVISION").ok().or_else(|| is_release.then(revision).flatten());
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rust_version = said_by(&rustc, &["--version"]);
    let rust_version = rust_version.as_deref().and_then(|line| line.split(' ').nth(1));
    say("CORELANE_REVISION", revision.as_deref());
    say("CORELANE_RUST_VERSION", rust_version);
}

fn say(name: &str, value: Option<&str>) {
    println!("cargo:rustc-env={name}={}", value.unwrap_or("unknown"));
}

/// Of the repository that this is the root of, and of no other that it may lie in.
fn revision() -> Option<String> {
    let root = said_by("git", &["rev-parse", "--show-toplevel"])?;
    let own = env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&root).canonicalize().ok()? != Path::new(&own).canonicalize().ok()? {
        return None;
    }
    // Every commit and checkout writes a line to it.
    let log = said_by("git", &["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    said_by("git", &["rev-parse", "--short=12", "HEAD"])
}

/// The first line that a program writes.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    text.lines().next().map(str::to_owned)
}
