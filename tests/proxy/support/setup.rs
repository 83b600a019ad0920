//! The configuration most tests want: one listener `web`, one route `all`, one upstream `origin`, one worker.

use super::proxy::{Launch, Proxy};
use super::{Nginx, Origin};

/// Lines to add to the sections of that configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    workers: Option<usize>,
    process: String,
    listener: String,
    route: String,
    upstream: String,
    endpoints: Vec<String>,
    more: String,
}

impl Setup {
    /// To these endpoints: addresses, or inline tables.
    pub(crate) fn to(endpoints: &[&str]) -> Self {
        Self::default().endpoints(endpoints)
    }

    pub(crate) fn origin(origin: &Origin) -> Self {
        Self::to(&[origin.address()])
    }

    pub(crate) fn nginx(origin: &Nginx) -> Self {
        Self::to(&[origin.address()])
    }

    pub(crate) fn endpoints(mut self, endpoints: &[&str]) -> Self {
        self.endpoints = endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect();
        self
    }

    /// So many workers instead of one.
    pub(crate) fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Adds a line to `[process]`.
    pub(crate) fn process(mut self, line: &str) -> Self {
        add(&mut self.process, line);
        self
    }

    /// Adds a line to the listener.
    pub(crate) fn listener(mut self, line: &str) -> Self {
        add(&mut self.listener, line);
        self
    }

    /// Adds a line to the route.
    pub(crate) fn route(mut self, line: &str) -> Self {
        add(&mut self.route, line);
        self
    }

    /// Adds a line to the upstream.
    pub(crate) fn upstream(mut self, line: &str) -> Self {
        add(&mut self.upstream, line);
        self
    }

    /// Adds whole sections.
    pub(crate) fn more(mut self, text: &str) -> Self {
        add(&mut self.more, text);
        self
    }

    /// The file, for [`Launch::new`].
    pub(crate) fn text(&self) -> String {
        let Self { process, listener, route, upstream, more, .. } = self;
        let workers = self.workers.unwrap_or(1);
        let endpoints: Vec<String> = self.endpoints.iter().map(|endpoint| quoted(endpoint)).collect();
        let endpoints = endpoints.join(", ");
        format!(
            "[process]\nworkers = {workers}\n{process}\n\
             [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:@web@\"\nprotocol = \"http\"\n{listener}\n\
             [[routes]]\nname = \"all\"\nupstream = \"origin\"\n{route}\n\
             [upstreams.origin]\nendpoints = [{endpoints}]\n{upstream}\n{more}"
        )
    }

    #[track_caller]
    pub(crate) fn start(&self) -> Proxy {
        self.launch().start()
    }

    pub(crate) fn launch(&self) -> Launch {
        Launch::new(&self.text())
    }
}

/// An endpoint as TOML: a string unless it is an inline table.
fn quoted(endpoint: &str) -> String {
    if endpoint.starts_with('{') { endpoint.to_owned() } else { format!("\"{endpoint}\"") }
}

fn add(section: &mut String, line: &str) {
    section.push_str(line);
    section.push('\n');
}
