//! Every key of the file: what it is called, what it takes, what it means when absent.
//!
//! The decoder knows no other keys and takes its defaults from here; docs/configuration.md is checked against it.

mod error_page;
mod filter;
mod health;
mod listener;
mod outlier;
mod process;
mod route;
mod tls;
mod tracing;
mod upstream;
mod upstream_http2;
mod upstream_tls;

/// The keys, section by section, in the order of the documentation.
pub fn reference() -> impl Iterator<Item = &'static Key> + Clone {
    KEYS.into_iter().flatten()
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands.
    pub section: Section,
    /// Its name.
    pub name: &'static str,
    /// What type of value it takes.
    pub kind: &'static str,
    /// What holds without it.
    pub default: KeyDefault,
    /// Which values are allowed.
    pub allowed: &'static str,
    /// What it does, in a sentence or two.
    pub description: &'static str,
    /// A value, in TOML.
    pub example: &'static str,
}

/// What holds when a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDefault {
    /// It may not be absent.
    Required,
    /// This value, in TOML.
    Value(&'static str),
    /// No value would mean the same; this happens.
    Absent(&'static str),
}

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// `[process]`
    Process,
    /// `[admin]`
    Admin,
    /// `[access_log]`
    AccessLog,
    /// `{ ... }` in the access log's sampling
    Sampling,
    /// `[tracing]`
    Tracing,
    /// `[resolver]`
    Resolver,
    /// `[[listeners]]`
    Listener,
    /// `paths = { ... }` of a listener
    PathPolicies,
    /// `[listeners.tls]`
    ListenerTls,
    /// `{ ... }` in the certificates of `tls`
    Certificate,
    /// `client_auth = { ... }` of `tls`
    ClientAuth,
    /// `[[routes]]`
    Route,
    /// `{ ... }` in a route's hosts
    RouteHost,
    /// `path = { ... }` of a route
    Path,
    /// `{ ... }` in a route's split
    Split,
    /// `sticky = { ... }` of a route
    Sticky,
    /// `mirror = { ... }` of a route
    Mirror,
    /// `{ ... }` in a route's headers, queries and cookies
    Condition,
    /// `[upstreams.NAME]`
    Upstream,
    /// `[upstreams.NAME.tls]`
    UpstreamTls,
    /// `hash = { ... }` of an upstream
    Hash,
    /// `sticky = { ... }` of an upstream
    Seating,
    /// `retry = { ... }` of an upstream
    Retry,
    /// `outlier = { ... }` of an upstream
    Outlier,
    /// `breaker = { ... }` of an upstream
    Breaker,
    /// `queue = { ... }` of an upstream
    Queue,
    /// `{ ... }` in an upstream's endpoints
    Endpoint,
    /// `health = { ... }` of an upstream
    Health,
    /// `[[error_pages]]`
    ErrorPage,
    /// `[filters.NAME]`
    Filter,
}

impl Section {
    /// As it stands in messages and in the documentation's headings.
    pub fn title(self) -> &'static str {
        match self {
            Self::Process => "[process]",
            Self::Admin => "[admin]",
            Self::AccessLog => "[access_log]",
            Self::Sampling => "a rule of sampling",
            Self::Tracing => "[tracing]",
            Self::Resolver => "[resolver]",
            Self::Listener => "[[listeners]]",
            Self::PathPolicies => "paths",
            Self::ListenerTls => "tls",
            Self::Certificate => "a certificate",
            Self::ClientAuth => "client_auth",
            Self::Route => "[[routes]]",
            Self::RouteHost => "a host",
            Self::Path => "path",
            Self::Split => "an upstream of split",
            Self::Sticky => "sticky",
            Self::Mirror => "mirror",
            Self::Condition => "a condition",
            Self::Upstream => "[upstreams.NAME]",
            Self::UpstreamTls => "tls of an upstream",
            Self::Hash => "hash",
            Self::Seating => "sticky of an upstream",
            Self::Retry => "retry",
            Self::Outlier => "outlier",
            Self::Breaker => "breaker",
            Self::Queue => "queue",
            Self::Endpoint => "an endpoint",
            Self::Health => "health",
            Self::ErrorPage => "[[error_pages]]",
            Self::Filter => "[filters.NAME]",
        }
    }

    /// Whether it is written as `[[name]]`, any number of times.
    pub fn is_list(self) -> bool {
        self.title().starts_with("[[")
    }

    /// Whether it is a table of named tables, `[name.NAME]`.
    pub fn is_named(self) -> bool {
        self.title().ends_with(".NAME]")
    }

    /// Its keys.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> + Clone {
        reference().filter(move |key| key.section == self)
    }
}

impl KeyDefault {
    /// As it stands in the documentation.
    pub fn text(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Value(text) | Self::Absent(text) => text,
        }
    }
}

static KEYS: [&[Key]; 12] = [
    process::KEYS,
    tracing::KEYS,
    listener::KEYS,
    tls::KEYS,
    route::KEYS,
    upstream::KEYS,
    upstream_http2::KEYS,
    upstream_tls::KEYS,
    health::KEYS,
    outlier::KEYS,
    error_page::KEYS,
    filter::KEYS,
];

const DURATION: &str = "\"0s\" to \"8760h\"; \"0s\" is no limit";
const HEAD_SIZE: &str = "\"1KiB\" to \"64KiB\"";
