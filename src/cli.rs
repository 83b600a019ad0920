//! The command line: what can be asked for, and what `--help` says about it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Everything that can be asked for.
#[derive(Debug, Parser)]
#[command(
    name = "corelane",
    version,
    about = "A reverse proxy and load balancer: one pinned worker per core on io_uring",
    after_long_help = EXIT_STATUSES,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve what a configuration file says
    #[command(long_about = "Serves what a configuration file says, until a signal ends it.", after_long_help = RUN_HELP)]
    Run {
        /// The configuration: TOML, or YAML and JSON by the ending .yaml, .yml or .json
        file: PathBuf,
    },
    /// Check a configuration file and show every error in it
    #[command(
        long_about = "Checks a configuration file as `run` and a reload would, without serving.\n\n\
                      Says OK and the memory that the file allows, and which files it includes. Otherwise each error stands on a line of its own on \
                      stderr, as file:line:column: message. Certificates are looked at, too: what can be used, but not as \
                      somebody may think, stands there as warning: message.",
        after_long_help = "Exit status: 0 without errors, with warnings or without; 1 with errors, 2 for a wrong command line."
    )]
    Check {
        /// The configuration: TOML, or YAML and JSON by the ending .yaml, .yml or .json
        file: PathBuf,
    },
    /// Put configuration files into their layout
    #[command(
        long_about = "Puts TOML and JSON files into one layout, comments and order kept, and prints the names of those \
                      that it changed. Without a file, standard input is read as TOML and written to standard output. \
                      Files that another one includes are not touched unless they are named; YAML is refused, as its \
                      comments could not be kept.",
        after_long_help = "Exit status: 0 when all is well, 1 when a file has syntax errors or, with --check, would \
                           change, 2 for a wrong command line."
    )]
    Fmt {
        /// The files
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Change nothing; print the names of the files that would change
        #[arg(long)]
        check: bool,
    },
    /// Print the JSON Schema of configuration files, for editors
    #[command(
        long_about = "Prints the JSON Schema of configuration files: keys, types, choices, defaults and descriptions, \
                      for editors of YAML, JSON and TOML."
    )]
    Schema,
    /// Say what becomes of a request, and why: routes, filters, upstream
    #[command(
        long_about = "Says what becomes of a request: every route of the listener in order of precedence, why it matches \
                      or which condition fails; each filter and what it does; and the answer, or the upstream and how \
                      its endpoint is chosen. Sends nothing and counts nothing.\n\n\
                      A running proxy, asked at its admin address, answers from the configuration that is in force, and \
                      says what is left of rate limits and how busy each endpoint is.",
        after_long_help = EXPLAIN_HELP
    )]
    Explain {
        /// The configuration; or the admin address of a running proxy, http://host:port or unix:/path
        file: PathBuf,
        /// The request's method
        method: String,
        /// http://host/path?query, or a path alone
        url: String,
        /// A field of the request; may stand several times
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        /// Where the connection comes from
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
        from: std::net::IpAddr,
        /// The listener; without it the one with the URL's port, or the only one
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
        /// The subject of the client's certificate, e.g. CN=me,O=Example; without it, it shows none
        #[arg(long, value_name = "SUBJECT")]
        client_subject: Option<String>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Watch a running proxy: rates, errors, connections, health
    #[command(
        long_about = "Shows what goes on in a running proxy, asked at its admin address: what is wrong, and tables of routes, \
                      upstreams, endpoints, listeners and workers with their rates over the last five seconds. The worst \
                      comes first. Changes nothing.",
        after_long_help = TOP_HELP
    )]
    Top {
        /// The admin address, host:port, http://host:port or unix:/path; or the configuration with it
        #[arg(long, value_name = "ADDRESS|FILE", default_value = "127.0.0.1:9900")]
        admin: OsString,
        /// Print the tables once
        #[arg(long)]
        once: bool,
        /// Print the state once, as JSON
        #[arg(long)]
        json: bool,
        /// The time between questions; the proxy has something new once a second
        #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
        interval: Duration,
    },
    /// Proxy from one address to others, without a file
    #[command(
        long_about = "Serves on one address and spreads the requests over others, in turn, with the defaults of a \
                      configuration file. For more than that write a file and use `run`.",
        after_long_help = PROXY_HELP
    )]
    Proxy {
        /// Where to listen: IPv4:port, IPv6 in brackets with a port, or unix:/path
        #[arg(long, value_name = "ADDRESS")]
        from: String,
        /// Where to send requests: IP:port, name:port, unix:/path or https://host:port; several are used in turn
        #[arg(long, value_name = "ADDRESS", required = true)]
        to: Vec<String>,
        /// Where to serve /status, /metrics, /healthz and /readyz; not at all unless given
        #[arg(long, value_name = "ADDRESS")]
        admin: Option<String>,
    },
    /// Start two origins and the proxy in front of them, to try it out
    #[command(
        long_about = "Starts two small origins on free ports of 127.0.0.1 and the proxy in front of them, prints what \
                      to try, and serves until Ctrl-C.",
        after_long_help = "/status, /metrics, /healthz and /readyz are on 127.0.0.1:9900, or on a free port if that one is taken.\n\n\
                           Exit status: 0 after Ctrl-C, 1 when a port is taken, 2 for a wrong command line."
    )]
    Demo {
        /// The port of 127.0.0.1 to listen on
        #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
    },
}

/// At least a tenth of a second.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = corelane_control::config::parse_duration(text)?;
    if interval < Duration::from_millis(100) { Err("the least is 100ms".to_owned()) } else { Ok(interval) }
}

const EXIT_STATUSES: &str = "\
Exit status:
  0    told to end, and did
  1    could not start, or the configuration has errors
  2    wrong command line
  128+N  ended at once by a second signal N";

const RUN_HELP: &str = "\
Signals:
  SIGHUP   read the file and what it includes again. Listeners, routes and upstreams that did not
           change are not touched and connections are not cut. A file with errors changes nothing:
           each error is logged.
  SIGTERM, SIGINT
           fail /readyz, wait process.shutdown_delay, close the listeners, finish the requests in
           progress for at most process.drain_timeout, end. A second one ends at once.
  SIGUSR1  open the access-log file again, after it was renamed

The file may include others, include = [\"conf.d/*.toml\"], and take values from the environment: ${NAME},
or ${NAME:-default}. A reload reads all of its files again, with the environment of the start.

Units in the file: durations as \"500ms\", \"10s\", \"5m\"; sizes as 16384 or \"16KiB\".

The process logs to stderr. Exit status: 0 after one signal to end, 1 when it cannot start (the file
has errors, an address is taken), 2 for a wrong command line, 128+N after a second signal N.";

const EXPLAIN_HELP: &str = "\
Examples:
  corelane explain edge.toml GET http://shop.example/cart
  corelane explain edge.toml POST /api/users -H 'Host: api.example' -H 'X-Env: beta' --from 10.0.0.7
  corelane explain http://127.0.0.1:9900 GET http://shop.example/cart --json

Exit status: 0 when a route takes the request, 1 when none does, when it would be refused (by a filter
or a limit, or before any route is looked at), when the file has errors, or when the proxy cannot be
asked; 2 for a wrong command line.";

const TOP_HELP: &str = "\
Keys: Tab and 1 to 5 choose a table, arrows a row, Enter shows all about it, s and r sort, / filters, ! shows
problems only, p pauses, ? helps, q quits.

Examples:
  corelane top
  corelane top --admin edge.toml
  corelane top --admin unix:/run/corelane/admin.sock
  corelane top --once
  corelane top --json | jq '.problems[]'

Exit status: 0, 1 when the proxy cannot be asked, 2 for a wrong command line, 128+N after a signal N.";

const PROXY_HELP: &str = "\
Examples:
  corelane proxy --from 0.0.0.0:8080 --to 127.0.0.1:3000 --to 127.0.0.1:3001
  corelane proxy --from unix:/run/web.sock --to app.internal:8080 --admin 127.0.0.1:9900

SIGTERM and SIGINT finish the requests in progress and end; a second one ends at once.

Exit status: 0 after one signal to end, 1 when it cannot start, 2 for a wrong command line, 128+N
after a second signal N.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
