//! Programs in Python, with the libraries that `tests/python/prepare` installs.
//!
//! They are in a virtual environment in cargo's target directory; scripts/test prepares it. `CORELANE_PYTHON` names another
//! environment. Without one the tests fail; they are never left out.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::sys;

/// A script of `tests/`, ready to run.
#[track_caller]
pub(crate) fn script(path: &str) -> Command {
    let mut command = Command::new(interpreter());
    sys::die_with_parent(&mut command);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path));
    command
}

#[track_caller]
fn interpreter() -> PathBuf {
    let given = std::env::var_os("CORELANE_PYTHON").map(PathBuf::from);
    let test = std::env::current_exe().unwrap();
    let places = given.into_iter().chain(test.ancestors().map(|folder| folder.join("python")));
    let found = places.map(|place| place.join("bin/python")).find(|python| python.exists());
    found.expect("the Python libraries: run tests/python/prepare, or set CORELANE_PYTHON")
}
