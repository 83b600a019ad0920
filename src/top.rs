//! `corelane top`: a running proxy, live in a terminal; or once, as plain tables or JSON.
//!
//! Asks the admin address for `/status.json` and shows it. Changes nothing, on either side.

mod app;
mod detail;
mod figures;
mod pane;
mod plain;
mod terminal;
mod view;

use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use corelane_control::state::Source;

use crate::output::print;

/// How the state is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Live, asked again and again.
    Live { interval: Duration },
    /// Once, as tables.
    Once,
    /// Once, as JSON.
    Json,
}

/// Shows the state of the proxy at `place`.
pub(crate) fn run(place: &OsStr, show: Show) -> anyhow::Result<ExitCode> {
    let source = Source::named(place).map_err(anyhow::Error::msg)?;
    match show {
        Show::Live { interval } => {
            if !std::io::stdout().is_terminal() {
                anyhow::bail!("standard output is no terminal; --once prints tables, --json prints JSON");
            }
            return Ok(terminal::run(source, interval)?);
        }
        Show::Once => print(&plain::written(&source.ask().map_err(anyhow::Error::msg)?))?,
        Show::Json => print(&source.ask_text().map_err(anyhow::Error::msg)?)?,
    }
    Ok(ExitCode::SUCCESS)
}
