//! Clients that behave, beside those that do not: one of HTTP/2 and one of HTTP/1.1, each with a connection that it keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::Proxy;
use crate::support::http2::{Http2, Outcome, get};

/// How long they wait for an answer: a bound for a machine that does much else, and none for a connection that holds the worker.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the module.
pub(super) struct Neighbours {
    threads: Vec<JoinHandle<Vec<Duration>>>,
    is_over: Arc<AtomicBool>,
}

impl Neighbours {
    pub(super) fn beside(proxy: &Proxy) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let (mut http1, mut http2, mut stream) = (proxy.client(), Http2::greet(proxy.client()), 1);
        let ask_http1 = move || assert_eq!(http1.get("/").status(), 200);
        let ask_http2 = move || {
            http2.send(get(stream, "/")).unwrap();
            assert_eq!(http2.answer(stream).0, Outcome::Answered(200), "stream {stream}");
            stream += 2;
        };
        let threads = vec![ask_often(ask_http1, &is_over), ask_often(ask_http2, &is_over)];
        Self { threads, is_over }
    }

    pub(super) fn count(&self) -> u64 {
        self.threads.len() as u64
    }

    /// Every request of theirs was answered in time.
    pub(super) fn finish(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let times = thread.join().expect("each of its requests is answered");
            let longest = times.iter().max().expect("requests");
            assert!(*longest < PATIENCE, "{longest:?}, of {} answers", times.len());
        }
    }
}

fn ask_often(mut ask: impl FnMut() + Send + 'static, is_over: &Arc<AtomicBool>) -> JoinHandle<Vec<Duration>> {
    let is_over = Arc::clone(is_over);
    std::thread::spawn(move || {
        let mut times = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let start = Instant::now();
            ask();
            times.push(start.elapsed());
            // It is there, and is no load.
            std::thread::sleep(Duration::from_millis(5));
        }
        times
    })
}
