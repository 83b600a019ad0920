//! A load client that accounts for every request: keep-alive connections, one thread each, each answer read whole.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::Client;
use super::message::Response;

/// A running load.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Tally>>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Responses read to their end, by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// New connections that were refused, or reset before a byte of the first answer.
    pub(crate) refused: u64,
    /// Requests without a whole answer.
    pub(crate) failures: Vec<String>,
    /// How long each answer took.
    pub(crate) times: Vec<Duration>,
}

impl Load {
    /// Starts `connections` connections that each send GET `target` over and over.
    pub(crate) fn start(address: &str, connections: usize, target: &str) -> Self {
        let address = address.to_owned();
        Self::start_with(move || Client::try_connect(&address), u64::MAX, connections, target)
    }

    /// The same with connections that are opened in another way, each for at most so many requests.
    pub(crate) fn start_with(
        connect: impl Fn() -> io::Result<Client> + Clone + Send + 'static,
        requests_max: u64,
        connections: usize,
        target: &str,
    ) -> Self {
        let request = format!("GET {target} HTTP/1.1\r\nHost: load\r\n\r\n");
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let threads = (0..connections)
            .map(|_| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                let (connect, request) = (connect.clone(), request.clone());
                std::thread::spawn(move || run(&connect, requests_max, request.as_bytes(), &stop, &answered))
            })
            .collect();
        Self { stop, answered, threads }
    }

    /// Answers so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets each connection finish its request.
    pub(crate) fn finish(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Tally::default();
        for thread in self.threads {
            let tally = thread.join().expect("the load thread");
            for (status, count) in tally.statuses {
                *total.statuses.entry(status).or_default() += count;
            }
            total.refused += tally.refused;
            total.failures.extend(tally.failures);
            total.times.extend(tally.times);
        }
        total
    }
}

impl Tally {
    /// Fails unless every request was answered 200 and no connection was refused.
    #[track_caller]
    pub(crate) fn assert_all_ok(&self) {
        self.assert_no_failures();
        assert_eq!(self.refused, 0, "refused connections");
    }

    /// Fails unless every request was answered 200; new connections may have been refused.
    #[track_caller]
    pub(crate) fn assert_no_failures(&self) {
        let some: Vec<_> = self.failures.iter().take(5).collect();
        assert!(self.failures.is_empty(), "{} failed requests, e.g. {some:?}", self.failures.len());
        assert!(self.statuses.keys().all(|&status| status == 200), "{:?}", self.statuses);
        assert!(self.answered() > 0, "no request was answered");
    }

    pub(crate) fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// The time that the share `quantile` of the answers did not exceed.
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index below the number of samples"
        )]
        let index = (times.len() as f64 * quantile) as usize;
        times[index.min(times.len() - 1)]
    }
}

fn run(
    connect: &impl Fn() -> io::Result<Client>,
    requests_max: u64,
    request: &[u8],
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = connect() else {
            tally.refused += 1;
            // A refused load does not need to be a busy one.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let mut on_connection = 0u64;
        while on_connection < requests_max && !stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            match exchange(&mut client, request) {
                Ok(response) => {
                    tally.times.push(start.elapsed());
                    *tally.statuses.entry(response.status()).or_default() += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                    on_connection += 1;
                    if response.head.connection_has("close") {
                        break;
                    }
                }
                // A listener that closes resets what waits in its accept queue; the kernel leaves no way around it.
                Err(error) if on_connection == 0 && client.has_received_nothing() && !timed_out(&error) => {
                    tally.refused += 1;
                    break;
                }
                Err(error) => {
                    tally.failures.push(format!("request {on_connection} of a connection: {error}"));
                    break;
                }
            }
        }
    }
    tally
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn exchange(client: &mut Client, request: &[u8]) -> io::Result<Response> {
    client.send(request)?;
    client.try_response(true)
}
