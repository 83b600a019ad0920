//! Every key of the file: what it is called, what it takes, what it means when absent.
//!
//! The decoder knows no other keys and takes its defaults from here; docs/configuration.md is checked against it.

/// The keys, section by section, in the order of the documentation.
pub fn reference() -> &'static [Key] {
    &KEYS
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
    /// `[resolver]`
    Resolver,
    /// `[[listeners]]`
    Listener,
    /// `[[routes]]`
    Route,
    /// `path = { ... }` of a route
    Path,
    /// `[upstreams.NAME]`
    Upstream,
    /// `{ ... }` in an upstream's endpoints
    Endpoint,
}

impl Section {
    /// As it stands in messages and in the documentation's headings.
    pub fn title(self) -> &'static str {
        match self {
            Self::Process => "[process]",
            Self::Admin => "[admin]",
            Self::AccessLog => "[access_log]",
            Self::Resolver => "[resolver]",
            Self::Listener => "[[listeners]]",
            Self::Route => "[[routes]]",
            Self::Path => "path",
            Self::Upstream => "[upstreams.NAME]",
            Self::Endpoint => "an endpoint",
        }
    }

    /// Its keys.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> + Clone {
        KEYS.iter().filter(move |key| key.section == self)
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

use KeyDefault::{Absent, Required, Value};

const DURATION: &str = "\"0s\" to \"8760h\"; \"0s\" is no limit";
const SIZE: &str = "\"1KiB\" to \"64KiB\"";

static KEYS: [Key; 41] = [
    Key {
        section: Section::Process,
        name: "workers",
        kind: "string or integer",
        default: Value("\"auto\""),
        allowed: "\"auto\" or 1 to 1024",
        description: "How many worker threads serve; \"auto\" is one for each core that the process may run on.",
        example: "4",
    },
    Key {
        section: Section::Process,
        name: "driver",
        kind: "string",
        default: Value("\"auto\""),
        allowed: "\"auto\", \"io_uring\", \"epoll\"",
        description: "How the workers wait for sockets; \"auto\" is io_uring, and epoll where that is refused.",
        example: "\"io_uring\"",
    },
    Key {
        section: Section::Process,
        name: "drain_timeout",
        kind: "duration",
        default: Value("\"30s\""),
        allowed: "\"0s\" to \"8760h\"; \"0s\" cuts at once",
        description: "How long requests in flight may take to end after SIGTERM before they are cut.",
        example: "\"1m\"",
    },
    Key {
        section: Section::Process,
        name: "shutdown_delay",
        kind: "duration",
        default: Value("\"0s\""),
        allowed: "\"0s\" to \"8760h\"",
        description: "How long connections are still accepted after SIGTERM, while /readyz already fails.",
        example: "\"5s\"",
    },
    Key {
        section: Section::Admin,
        name: "address",
        kind: "string",
        default: Required,
        allowed: "IPv4:port, [IPv6]:port or unix:/path, not a listener's",
        description: "Where /metrics, /healthz and /readyz are served.",
        example: "\"127.0.0.1:9900\"",
    },
    Key {
        section: Section::AccessLog,
        name: "path",
        kind: "string",
        default: Required,
        allowed: "\"stdout\", \"stderr\" or the path of a file",
        description: "Where the access log goes.",
        example: "\"/var/log/corelane/access.log\"",
    },
    Key {
        section: Section::Resolver,
        name: "servers",
        kind: "list of strings",
        default: Absent("the system's servers"),
        allowed: "one or more IP addresses, with or without a port (53)",
        description: "The name servers to ask.",
        example: "[\"127.0.0.53\", \"[2001:db8::53]:5353\"]",
    },
    Key {
        section: Section::Resolver,
        name: "ttl_min",
        kind: "duration",
        default: Value("\"1s\""),
        allowed: "\"100ms\" to \"8760h\", not above ttl_max",
        description: "A name is not asked for again sooner, whatever TTL its answer has.",
        example: "\"5s\"",
    },
    Key {
        section: Section::Resolver,
        name: "ttl_max",
        kind: "duration",
        default: Value("\"5m\""),
        allowed: "\"100ms\" to \"8760h\", not below ttl_min",
        description: "A name is asked for again at the latest after this time.",
        example: "\"1m\"",
    },
    Key {
        section: Section::Listener,
        name: "name",
        kind: "string",
        default: Absent("the text of `address`"),
        allowed: "1 to 100 characters, unique among the listeners",
        description: "What routes, logs and metrics call it.",
        example: "\"web\"",
    },
    Key {
        section: Section::Listener,
        name: "address",
        kind: "string",
        default: Required,
        allowed: "IPv4:port, [IPv6]:port or unix:/path, unique",
        description: "Where it listens.",
        example: "\"0.0.0.0:8080\"",
    },
    Key {
        section: Section::Listener,
        name: "protocol",
        kind: "string",
        default: Value("\"http\""),
        allowed: "\"http\"",
        description: "What is spoken there; \"http\" is HTTP/1.1 and HTTP/1.0 in clear text.",
        example: "\"http\"",
    },
    Key {
        section: Section::Listener,
        name: "head_timeout",
        kind: "duration",
        default: Value("\"10s\""),
        allowed: DURATION,
        description: "The time in which a whole request head must arrive.",
        example: "\"5s\"",
    },
    Key {
        section: Section::Listener,
        name: "body_idle_timeout",
        kind: "duration",
        default: Value("\"30s\""),
        allowed: DURATION,
        description: "How long a request body may make no progress.",
        example: "\"1m\"",
    },
    Key {
        section: Section::Listener,
        name: "keepalive_timeout",
        kind: "duration",
        default: Value("\"60s\""),
        allowed: DURATION,
        description: "How long a connection may stay open without a request.",
        example: "\"15s\"",
    },
    Key {
        section: Section::Listener,
        name: "send_timeout",
        kind: "duration",
        default: Value("\"30s\""),
        allowed: DURATION,
        description: "How long a response may make no progress towards the client.",
        example: "\"1m\"",
    },
    Key {
        section: Section::Listener,
        name: "head_bytes_max",
        kind: "size",
        default: Value("\"16KiB\""),
        allowed: SIZE,
        description: "The largest request head.",
        example: "\"32KiB\"",
    },
    Key {
        section: Section::Listener,
        name: "fields_max",
        kind: "integer",
        default: Value("100"),
        allowed: "1 to 1000",
        description: "The most field lines that a request head may have.",
        example: "64",
    },
    Key {
        section: Section::Listener,
        name: "trusted_proxies",
        kind: "list of strings",
        default: Value("[]"),
        allowed: "IP addresses and networks",
        description: "The clients whose X-Forwarded-* and Forwarded fields are kept and added to.",
        example: "[\"10.0.0.0/8\", \"2001:db8::7\"]",
    },
    Key {
        section: Section::Listener,
        name: "forwarded_fields",
        kind: "list of strings",
        default: Value("[\"x-forwarded\", \"forwarded\", \"via\"]"),
        allowed: "any of \"x-forwarded\", \"forwarded\", \"via\"",
        description: "The fields that tell the upstream where a request came from.",
        example: "[\"x-forwarded\"]",
    },
    Key {
        section: Section::Listener,
        name: "client_half_close",
        kind: "string",
        default: Value("\"abort\""),
        allowed: "\"abort\", \"finish\"",
        description: "What happens to a request whose client closes its sending side after sending all of it.",
        example: "\"finish\"",
    },
    Key {
        section: Section::Route,
        name: "name",
        kind: "string",
        default: Absent("the upstream's name"),
        allowed: "1 to 100 characters, unique among the routes",
        description: "What logs and metrics call it.",
        example: "\"api\"",
    },
    Key {
        section: Section::Route,
        name: "listeners",
        kind: "list of strings",
        default: Absent("every http listener"),
        allowed: "one or more names of listeners",
        description: "Where the route holds.",
        example: "[\"web\"]",
    },
    Key {
        section: Section::Route,
        name: "hosts",
        kind: "list of strings",
        default: Absent("any host"),
        allowed: "one or more host names or IP addresses without a port; *.name",
        description: "The hosts that requests may be for.",
        example: "[\"api.example.com\", \"*.example.org\"]",
    },
    Key {
        section: Section::Route,
        name: "path",
        kind: "table",
        default: Value("{ prefix = \"/\" }"),
        allowed: "{ prefix = \"/...\" } or { exact = \"/...\" }",
        description: "The paths that requests may be for.",
        example: "{ prefix = \"/api\" }",
    },
    Key {
        section: Section::Route,
        name: "upstream",
        kind: "string",
        default: Required,
        allowed: "the name of an upstream",
        description: "Where the requests go.",
        example: "\"api\"",
    },
    Key {
        section: Section::Route,
        name: "host",
        kind: "string",
        default: Value("\"preserve\""),
        allowed: "\"preserve\" or a host, with or without a port",
        description: "The Host field towards the upstream; \"preserve\" is the client's own.",
        example: "\"app.internal\"",
    },
    Key {
        section: Section::Path,
        name: "prefix",
        kind: "string",
        default: Absent("not matched by prefix"),
        allowed: "a path that begins with /; not beside exact",
        description: "This path and all below it, by whole segments.",
        example: "\"/api\"",
    },
    Key {
        section: Section::Path,
        name: "exact",
        kind: "string",
        default: Absent("not matched exactly"),
        allowed: "a path that begins with /; not beside prefix",
        description: "This path alone.",
        example: "\"/favicon.ico\"",
    },
    Key {
        section: Section::Upstream,
        name: "policy",
        kind: "string",
        default: Value("\"round_robin\""),
        allowed: "\"round_robin\", \"weighted\", \"least_connections\"",
        description: "How an endpoint is chosen.",
        example: "\"least_connections\"",
    },
    Key {
        section: Section::Upstream,
        name: "endpoints",
        kind: "list of strings and tables",
        default: Required,
        allowed: "one or more addresses, or { address = \"...\", weight = N }",
        description: "The servers.",
        example: "[\"127.0.0.1:8001\", { address = \"app.internal:8080\", weight = 3 }]",
    },
    Key {
        section: Section::Upstream,
        name: "connect_timeout",
        kind: "duration",
        default: Value("\"2s\""),
        allowed: DURATION,
        description: "The time in which a connection to an endpoint must open.",
        example: "\"500ms\"",
    },
    Key {
        section: Section::Upstream,
        name: "response_head_timeout",
        kind: "duration",
        default: Value("\"30s\""),
        allowed: DURATION,
        description: "The time in which the response head must arrive after the request was sent.",
        example: "\"1m30s\"",
    },
    Key {
        section: Section::Upstream,
        name: "body_idle_timeout",
        kind: "duration",
        default: Value("\"60s\""),
        allowed: DURATION,
        description: "How long a response body may make no progress.",
        example: "\"5m\"",
    },
    Key {
        section: Section::Upstream,
        name: "idle_timeout",
        kind: "duration",
        default: Value("\"60s\""),
        allowed: DURATION,
        description: "How long a pooled connection is kept without being used.",
        example: "\"50s\"",
    },
    Key {
        section: Section::Upstream,
        name: "request_timeout",
        kind: "duration",
        default: Value("\"0s\""),
        allowed: DURATION,
        description: "The time in which the whole exchange must end.",
        example: "\"5m\"",
    },
    Key {
        section: Section::Upstream,
        name: "idle_connections_max",
        kind: "integer",
        default: Value("256"),
        allowed: "0 to 65535; 0 is no reuse",
        description: "The most idle connections kept for each endpoint by each worker.",
        example: "64",
    },
    Key {
        section: Section::Upstream,
        name: "attempts_max",
        kind: "integer",
        default: Value("3"),
        allowed: "1 to 16",
        description: "How many endpoints a request may try when connecting fails, the first one included.",
        example: "1",
    },
    Key {
        section: Section::Upstream,
        name: "head_bytes_max",
        kind: "size",
        default: Value("\"16KiB\""),
        allowed: SIZE,
        description: "The largest response head.",
        example: "\"64KiB\"",
    },
    Key {
        section: Section::Endpoint,
        name: "address",
        kind: "string",
        default: Required,
        allowed: "IPv4:port, [IPv6]:port, name:port or unix:/path; not a listener's",
        description: "Where the endpoint is.",
        example: "\"app.internal:8080\"",
    },
    Key {
        section: Section::Endpoint,
        name: "weight",
        kind: "integer",
        default: Value("1"),
        allowed: "0 to 65535; 0 takes no requests",
        description: "Its share of the requests.",
        example: "3",
    },
];
