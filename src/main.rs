//! Corelane: the command line.
//!
//! Exit statuses: 0 ended as told, 1 cannot start or go on, 2 wrong command line (clap's), 128+N ended by a second
//! signal N.

mod cli;
mod fmt;
mod memory;
mod output;
mod proxy;
mod top;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use corelane_control::config::Loaded;
use corelane_control::explain::Question;
use corelane_control::{Build, Checked, ConfigSource, ExitReason, MemoryBound, RunOptions};

use crate::cli::{Cli, Command};
use crate::output::print;
use crate::top::Show;

fn main() -> ExitCode {
    memory::use_small_pages();
    match dispatch(Cli::parse().command) {
        Ok(status) => status,
        Err(error) => {
            for line in error.to_string().lines() {
                eprintln!("corelane: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let reason = match command {
        Command::Check { file } => return Ok(check(&file)?),
        Command::Fmt { files, check } => return fmt::run(&files, check),
        Command::Schema => {
            print(&corelane_control::config::schema())?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Explain { file, method, url, headers, from, listener, client_subject, json } => {
            let question = Question { method, url, fields: headers, from, listener, client_subject };
            return Ok(explain(file.as_os_str(), &question, json)?);
        }
        Command::Top { admin, once, json, interval } => {
            let show = match (json, once) {
                (true, _) => Show::Json,
                (false, true) => Show::Once,
                (false, false) => Show::Live { interval },
            };
            return top::run(&admin, show);
        }
        Command::Run { file } => run(ConfigSource::File(file))?,
        Command::Proxy { from, to, admin } => {
            let text = proxy::config_text(&from, &to, admin.as_deref());
            run(ConfigSource::Text { name: "command line".to_owned(), text })?
        }
        Command::Demo { port } => corelane_control::demo::run(port, memory::trim, BUILD)?,
    };
    Ok(match reason {
        ExitReason::Drained | ExitReason::Cut => ExitCode::SUCCESS,
        // What a shell reports for a process that the signal killed.
        ExitReason::Forced(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
    })
}

fn run(source: ConfigSource) -> anyhow::Result<ExitReason> {
    Ok(corelane_control::run(RunOptions { source, on_ready: None, trim: memory::trim, build: BUILD })?)
}

/// Errors as the file's own, without a prefix: editors jump to file:line:column.
fn check(file: &Path) -> io::Result<ExitCode> {
    Ok(match corelane_control::check(&ConfigSource::File(file.to_owned())) {
        Ok(Checked { loaded: Loaded { config, files }, warnings }) => {
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            let mut text = format!(
                "OK: {} ({}, {}, {})\n",
                file.display(),
                count(config.listeners.len(), "listener"),
                count(config.routes.len(), "route"),
                count(config.upstreams.len(), "upstream")
            );
            for file in files.iter().skip(1) {
                text += &format!("includes {file}\n");
            }
            text += &MemoryBound::of(&config).to_string();
            print(&text)?;
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    })
}

fn explain(place: &OsStr, question: &Question, json: bool) -> io::Result<ExitCode> {
    Ok(match corelane_control::explain::tell(place, question, json) {
        Ok(told) => {
            print(&told.text)?;
            if told.is_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    })
}

/// From build.rs.
const BUILD: Build =
    Build { revision: env!("CORELANE_REVISION"), rust_version: env!("CORELANE_RUST_VERSION") };

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
