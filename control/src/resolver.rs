//! Host names of endpoints to addresses, again and again.
//!
//! One task a name: look it up, report, sleep until the answer is out of date. A failed lookup keeps the last good
//! answer. /etc/hosts is asked first, as getaddrinfo does, because a name there must work without any DNS server.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::config::{self, Config, Target};
use crate::log;
use crate::refresh::Refresh;
use crate::snapshot_builder::Answers;
use crate::status::{Status, increment};

/// Every name that the configuration in force has, and what it resolved to.
pub(crate) struct Resolver {
    status: Rc<Status>,
    settings: Option<config::Resolver>,
    client: Option<TokioResolver>,
    names: HashMap<Arc<str>, Name>,
    answers: Answers,
    reports: mpsc::UnboundedReceiver<Report>,
    reporter: mpsc::UnboundedSender<Report>,
    /// Tells reports of a task from those of its predecessor.
    task_next: u64,
    running: Rc<Semaphore>,
}

struct Name {
    task: u64,
    abort: AbortHandle,
    state: NameState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameState {
    Asking,
    Resolved,
    Failed,
}

struct Report {
    host: Arc<str>,
    task: u64,
    result: Result<Vec<IpAddr>, String>,
}

impl Drop for Name {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Resolver {
    /// Without names.
    pub(crate) fn new(status: Rc<Status>) -> Self {
        // Unbounded: a task reports once a lookup, and sleeps at least `Refresh`'s shortest time in between.
        let (reporter, reports) = mpsc::unbounded_channel();
        Self {
            status,
            settings: None,
            client: None,
            names: HashMap::new(),
            answers: Answers::new(),
            reports,
            reporter,
            task_next: 0,
            running: Rc::new(Semaphore::new(LOOKUPS_AT_ONCE)),
        }
    }

    /// Watches the names of `config` and no others. Gives those that are new.
    pub(crate) fn configure(&mut self, config: &Config) -> Vec<Arc<str>> {
        if self.settings.as_ref() != Some(&config.resolver) {
            self.settings = Some(config.resolver.clone());
            self.client = Some(client(&config.resolver));
            // Their tasks ask the old servers. The answers stay until the new servers have answered.
            self.names.clear();
        }
        let wanted: BTreeSet<Arc<str>> = hosts(config).collect();
        self.names.retain(|host, _| wanted.contains(host));
        self.answers.retain(|host, _| wanted.contains(host));
        let mut new = Vec::new();
        for host in wanted {
            if !self.names.contains_key(&host) {
                self.watch(host.clone());
                new.push(host);
            }
        }
        self.count();
        new
    }

    /// What every name resolved to last.
    pub(crate) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Waits until each of `hosts` has its first outcome, but not past the deadline. The answers may have changed then.
    pub(crate) async fn first_answers(&mut self, hosts: &[Arc<str>], within: Duration) {
        let wait = async {
            while hosts
                .iter()
                .any(|host| self.names.get(host).is_some_and(|it| it.state == NameState::Asking))
            {
                let Some(report) = self.reports.recv().await else { return };
                self.take(report);
            }
        };
        // Late ones come by `changed`.
        let _ = tokio::time::timeout(within, wait).await;
    }

    /// Waits until the answers have changed. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        while let Some(report) = self.reports.recv().await {
            let mut changed = self.take(report);
            while let Ok(report) = self.reports.try_recv() {
                changed |= self.take(report);
            }
            if changed {
                return;
            }
        }
    }

    /// True: the answers have changed.
    fn take(&mut self, report: Report) -> bool {
        let Some(name) = self.names.get_mut(&report.host).filter(|name| name.task == report.task) else {
            return false;
        };
        let changed = match report.result {
            Ok(addresses) => {
                increment(&self.status.lookups_ok);
                if name.state != NameState::Resolved {
                    name.state = NameState::Resolved;
                    log::info!("resolved", name = report.host, addresses = join(&addresses));
                }
                self.answers.insert(report.host, addresses.clone()) != Some(addresses)
            }
            Err(error) => {
                increment(&self.status.lookups_failed);
                if name.state != NameState::Failed {
                    name.state = NameState::Failed;
                    let kept = self.answers.get(&report.host).map_or(0, Vec::len);
                    log::warning!("cannot resolve", name = report.host, error = error, addresses_kept = kept);
                }
                false
            }
        };
        self.count();
        changed
    }

    fn count(&self) {
        let unresolved = self.names.keys().filter(|host| !self.answers.contains_key(*host));
        let unresolved: BTreeSet<_> = unresolved.cloned().collect();
        self.status.names_resolved.set(self.names.len() - unresolved.len());
        *self.status.names_unresolved.borrow_mut() = unresolved;
    }

    fn watch(&mut self, host: Arc<str>) {
        let (Some(client), Some(settings)) = (&self.client, &self.settings) else { return };
        let task = self.task_next;
        self.task_next += 1;
        let watch = Watch {
            host: host.clone(),
            task,
            client: client.clone(),
            refresh: Refresh::new(settings.ttl_min, settings.ttl_max),
            reporter: self.reporter.clone(),
            running: self.running.clone(),
            last: Families::default(),
        };
        let abort = tokio::task::spawn_local(watch.run()).abort_handle();
        self.names.insert(host, Name { task, abort, state: NameState::Asking });
    }
}

/// The task of one name.
struct Watch {
    host: Arc<str>,
    task: u64,
    client: TokioResolver,
    refresh: Refresh,
    reporter: mpsc::UnboundedSender<Report>,
    running: Rc<Semaphore>,
    last: Families,
}

/// The last good answer of each kind, so that an AAAA lookup that fails does not take the IPv6 endpoints away.
#[derive(Default)]
struct Families {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

impl Watch {
    async fn run(mut self) {
        loop {
            let outcome = {
                let running = self.running.clone();
                let _permit = running.acquire().await;
                self.look_up().await
            };
            let (pause, result) = match outcome {
                Ok((addresses, ttl)) => (self.refresh.after_answer(ttl), Ok(addresses)),
                Err(error) => (self.refresh.after_failure(), Err(error)),
            };
            let report = Report { host: self.host.clone(), task: self.task, result };
            if self.reporter.send(report).is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn look_up(&mut self) -> Result<(Vec<IpAddr>, Duration), String> {
        let in_file = hosts_file_addresses(&self.host);
        if !in_file.is_empty() {
            return Ok((in_file, HOSTS_FILE_TTL));
        }
        let (v4, v6) =
            tokio::join!(self.client.ipv4_lookup(&*self.host), self.client.ipv6_lookup(&*self.host));
        let error = [&v4, &v6].into_iter().find_map(|it| it.as_ref().err().map(reason));
        let (v4, v6) = (Family::from(v4), Family::from(v6));
        if !v4.answered() && !v6.answered() {
            return Err(error.unwrap_or_default());
        }
        let ttl = v4.ttl().into_iter().chain(v6.ttl()).min();
        let addresses = sorted(v4.or_last(&self.last.v4).chain(v6.or_last(&self.last.v6)));
        let Some(ttl) = ttl.filter(|_| !addresses.is_empty()) else {
            return Err(error.unwrap_or_else(|| "the name has no addresses".to_owned()));
        };
        v4.keep(&mut self.last.v4);
        v6.keep(&mut self.last.v6);
        Ok((addresses, ttl))
    }
}

/// The outcome of an A or an AAAA lookup.
enum Family {
    Addresses(Vec<IpAddr>, Duration),
    /// The servers say that there are none (NODATA, NXDOMAIN).
    None,
    /// Nobody knows.
    Failed,
}

impl From<Result<Lookup, NetError>> for Family {
    fn from(result: Result<Lookup, NetError>) -> Self {
        match result {
            Ok(lookup) => {
                let address = |data: &RData| match data {
                    RData::A(a) => Some(IpAddr::V4(a.0)),
                    RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                    _ => None,
                };
                let found: Vec<IpAddr> =
                    lookup.answers().iter().filter_map(|record| address(&record.data)).collect();
                let ttl = lookup.valid_until().saturating_duration_since(Instant::now());
                if found.is_empty() { Self::None } else { Self::Addresses(found, ttl) }
            }
            Err(error) if error.is_no_records_found() => Self::None,
            Err(_) => Self::Failed,
        }
    }
}

impl Family {
    fn answered(&self) -> bool {
        matches!(self, Self::Addresses(..))
    }

    fn ttl(&self) -> Option<Duration> {
        if let Self::Addresses(_, ttl) = self { Some(*ttl) } else { None }
    }

    fn or_last<'a>(&'a self, last: &'a [IpAddr]) -> impl Iterator<Item = IpAddr> + 'a {
        let addresses = match self {
            Self::Addresses(addresses, _) => addresses,
            Self::None => &[][..],
            Self::Failed => last,
        };
        addresses.iter().copied()
    }

    fn keep(self, last: &mut Vec<IpAddr>) {
        match self {
            Self::Addresses(addresses, _) => *last = addresses,
            Self::None => last.clear(),
            Self::Failed => {}
        }
    }
}

fn reason(error: &NetError) -> String {
    if error.is_nx_domain() {
        "there is no such name".to_owned()
    } else if error.is_no_records_found() {
        "the name has no addresses".to_owned()
    } else {
        error.to_string()
    }
}

fn client(settings: &config::Resolver) -> TokioResolver {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder_tokio().unwrap_or_else(|error| {
            log::warning!("no system resolver, only /etc/hosts and localhost resolve", error = error);
            TokioResolver::builder_with_config(ResolverConfig::default(), provider)
        })
    } else {
        let servers = settings.servers.iter().map(|&(ip, port)| {
            let connection = |mut connection: ConnectionConfig| {
                connection.port = port;
                connection
            };
            let connections = vec![connection(ConnectionConfig::udp()), connection(ConnectionConfig::tcp())];
            NameServerConfig::new(ip, true, connections)
        });
        TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers.collect()), provider)
    };
    let options = builder.options_mut();
    // We ask again when an answer is out of date, by our own clamped TTL.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build().expect("only building a TLS configuration fails, and there is none")
}

fn hosts(config: &Config) -> impl Iterator<Item = Arc<str>> {
    config.upstreams.iter().flat_map(|upstream| &upstream.endpoints).filter_map(|it| match &it.target {
        Target::Name { host, .. } => Some(host.clone()),
        Target::Address(_) => None,
    })
}

/// The addresses of a name in /etc/hosts. The file is read at each lookup: it is small, and it may have changed.
fn hosts_file_addresses(host: &str) -> Vec<IpAddr> {
    let Ok(file) = std::fs::File::open("/etc/hosts") else { return Vec::new() };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    sorted(lines.filter_map(|line| hosts_line(&line, host)))
}

/// The address of a line that names the host.
fn hosts_line(line: &str, host: &str) -> Option<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut words = line.split('#').next()?.split_ascii_whitespace();
    let ip = words.next()?.parse().ok()?;
    words.any(|name| name.eq_ignore_ascii_case(host)).then_some(ip)
}

fn sorted(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    addresses.collect::<BTreeSet<_>>().into_iter().collect()
}

fn join(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// So that a file with thousands of names is not a burst that the server drops. A guess.
const LOOKUPS_AT_ONCE: usize = 64;

/// /etc/hosts has no TTLs; reading it is cheap.
const HOSTS_FILE_TTL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
