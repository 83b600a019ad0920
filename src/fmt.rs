//! `corelane fmt`: files in their layout.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corelane_control::config;

use crate::output::print;

/// Formats files where they are, or standard input to standard output; `check` only says which would change.
pub(crate) fn run(files: &[PathBuf], check: bool) -> anyhow::Result<ExitCode> {
    if files.is_empty() {
        return standard_input(check);
    }
    let mut status = ExitCode::SUCCESS;
    for file in files {
        let formatted = config::read(file).and_then(|text| {
            let new = config::formatted(&file.display().to_string(), &text)?;
            Ok((new != text).then_some(new))
        });
        match formatted {
            Ok(None) => continue,
            Ok(Some(_)) if check => print(&format!("{}\n", file.display()))?,
            Ok(Some(text)) => {
                replace(file, &text).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
                print(&format!("{}\n", file.display()))?;
                continue;
            }
            Err(errors) => eprintln!("{errors}"),
        }
        status = ExitCode::FAILURE;
    }
    Ok(status)
}

fn standard_input(check: bool) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    match config::formatted("standard input", &text) {
        Ok(new) if check => Ok(if new == text { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Ok(new) => {
            io::stdout().write_all(new.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            eprintln!("{errors}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Writes a file beside the old one and puts it in its place: there is always a whole one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let file = fs::canonicalize(file)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = file.with_file_name(name);
    let written = fs::write(&beside, text)
        .and_then(|()| fs::set_permissions(&beside, fs::metadata(&file)?.permissions()))
        .and_then(|()| fs::rename(&beside, &file));
    written.inspect_err(|_| drop(fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn replaces_a_file_and_keeps_its_permissions() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("c.toml");
        fs::write(&file, "a=1").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        run(std::slice::from_ref(&link), true).expect("checks");
        assert_eq!(fs::read_to_string(&file).expect("there"), "a=1", "a check changes nothing");
        run(&[link], false).expect("formats");
        assert_eq!(fs::read_to_string(&file).expect("there"), "a = 1\n");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 2, "nothing is left beside it");
    }
}
