//! Takes samples while somebody watches, the same ones for everybody.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::State;
use super::sample;
use super::window::Window;
use crate::status::Status;

/// See the module.
#[derive(Debug)]
pub(crate) struct Sampler {
    status: Rc<Status>,
    /// When the state was last asked for; `None` while nobody watches, and no samples are taken.
    asked: Cell<Option<Instant>>,
    /// What was last told.
    told: RefCell<Option<Told>>,
    /// There is something new to tell.
    news: Notify,
}

/// A state, and its text once somebody has asked for it.
#[derive(Debug)]
struct Told {
    state: State,
    text: Option<Bytes>,
}

impl Sampler {
    pub(crate) fn new(status: Rc<Status>) -> Rc<Self> {
        Rc::new(Self { status, asked: Cell::new(None), told: RefCell::new(None), news: Notify::new() })
    }

    /// The state as JSON, no older than [`EVERY`]; the first time in a while it takes that long.
    pub(crate) async fn text(self: &Rc<Self>) -> Bytes {
        if self.asked.replace(Some(Instant::now())).is_none() {
            spawn_local(self.clone().watch());
        }
        loop {
            if let Some(told) = &mut *self.told.borrow_mut() {
                return told.text.get_or_insert_with(|| text(&told.state)).clone();
            }
            // Nobody else runs between the look and the wait: one thread, and no point to switch at.
            self.news.notified().await;
        }
    }

    async fn watch(self: Rc<Self>) {
        let mut window = Window::default();
        let is_watched = || self.asked.get().is_some_and(|asked| asked.elapsed() < WATCHED);
        while is_watched() {
            if let Some(state) = window.push(Instant::now(), sample::take(&self.status)) {
                self.told.replace(Some(Told { state, text: None }));
                self.news.notify_waiters();
            }
            tokio::time::sleep(EVERY).await;
        }
        self.told.replace(None);
        self.asked.set(None);
    }
}

fn text(state: &State) -> Bytes {
    let mut text = serde_json::to_vec(state).expect("names are strings, and figures are finite");
    text.push(b'\n');
    text.into()
}

/// The time between samples.
const EVERY: Duration = Duration::from_secs(1);
/// For so long after a question samples are taken: with 10 000 routes, reading the counters is work.
const WATCHED: Duration = Duration::from_secs(10);
